"""What is installed for a service, or for the process, observes its samples."""

from __future__ import annotations

import contextvars
import threading

import pytest
from observing import Recorder
from serving import MODEL, PARAMS, PROMPT, make_service

import tinkex
from tinkex import instrumentation
from tinkex.testing import FakeServer

WHO = contextvars.ContextVar("WHO", default=None)


@pytest.fixture(scope="module")
def server():
    """A server that answers at once."""
    with FakeServer() as fake:
        yield fake


@pytest.fixture
def service(server):
    """A service of it."""
    with make_service(server) as service:
        yield service


def test_one_service(server, service):
    """A service's own instrumentation observes all of its clients, also those made before, and of no other service."""
    client, recorder = service.create_sampling_client(base_model=MODEL), Recorder()
    service.install(recorder)
    service.install(recorder)  # once is enough
    client.sample(PROMPT, PARAMS).result(10)
    assert client.compute_logprobs(PROMPT).result(10)[0] is None
    with make_service(server) as other:
        other.create_sampling_client(base_model=MODEL).sample(PROMPT, PARAMS).result(10)
    assert recorder.outcomes == ["completed", "completed"]
    start = recorder.samples[0].start
    assert (start.model, start.base_url, start.request.prompt.to_ints()) == (MODEL, server.url, PROMPT)
    assert start.service.stats().completed == 2
    service.uninstall(recorder)
    client.sample(PROMPT, PARAMS).result(10)
    assert len(recorder.samples) == 2


def test_the_process(service):
    """What is installed for the process observes every service, beside what a service has of its own."""
    everywhere, here = Recorder(), Recorder()
    instrumentation.install(everywhere)
    try:
        service.install(here)
        weights = service.create_sampling_client(base_model=MODEL, model_path="tinker://run/sampler_weights/1")
        weights.sample(PROMPT, PARAMS).result(10)
    finally:
        instrumentation.uninstall(everywhere)
    assert everywhere.outcomes == here.outcomes == ["completed"]
    assert here.samples[0].start.model == "tinker://run/sampler_weights/1"
    service.create_sampling_client(base_model=MODEL).sample(PROMPT, PARAMS).result(10)
    assert len(everywhere.samples) == 1


def test_it_begins_in_the_context_of_the_caller(service):
    """Each sample begins in the thread and the context that asks for it."""
    found = []

    class Contexts:
        def begin(self, start):
            found.append((WHO.get(), threading.get_ident()))

    client = service.create_sampling_client(base_model=MODEL)
    service.install(Contexts())
    for name in "ab":
        context = contextvars.copy_context()
        context.run(WHO.set, name)
        context.run(client.sample, PROMPT, PARAMS).result(10)
    assert found == [("a", threading.get_ident()), ("b", threading.get_ident())]


def test_what_is_no_instrumentation(service):
    """It is refused at once, by name."""
    for install in (service.install, instrumentation.install):
        with pytest.raises(TypeError, match="instrumentation must have a method begin, str has none"):
            install("otel")


def test_nothing_is_paid_for_what_is_not_installed(service):
    """Without an instrumentation a sample has a future of the usual class, and its requests no lines more."""
    client = service.create_sampling_client(base_model=MODEL)
    future = client.sample(PROMPT, PARAMS)
    assert type(future) is tinkex.SampleFuture
    service.install(Recorder())
    assert type(client.sample(PROMPT, PARAMS)) is not tinkex.SampleFuture
    future.result(10)
