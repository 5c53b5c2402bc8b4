"""Processes whose threads are not what they seem."""

from __future__ import annotations

import sys
import threading
import types
import warnings

import pytest
from serving import KEY, MODEL, PARAMS, PROMPT, make_service, sampling

import tinkex
from tinkex._runtime import host_checks
from tinkex.testing import FakeServer


def uwsgi(monkeypatch, **options):
    """Pretend to run in uWSGI, which gives its options in bytes."""
    opt = {name.replace("_", "-").encode(): value for name, value in options.items()}
    monkeypatch.setitem(sys.modules, "uwsgi", types.SimpleNamespace(opt=opt))


@pytest.mark.parametrize("options", [{}, {"processes": b"4"}, {"enable_threads": b"false"}, {"enable_threads": b"0"}])
def test_uwsgi_without_threads(monkeypatch, options):
    """Where uWSGI runs no threads whatever would need them raises, naming the option, and nothing is sent."""
    uwsgi(monkeypatch, **options)
    with FakeServer() as fake:
        service = make_service(fake)
        with pytest.raises(tinkex.NoThreadsError, match="--enable-threads"):
            service.create_sampling_client(base_model=MODEL)
        identity = {"sampling_session_id": "s"}
        with pytest.raises(tinkex.NoThreadsError, match="--enable-threads"):
            service.create_sampling_client(**identity)
        assert not fake.requests


def test_uwsgi_without_threads_in_a_worker(monkeypatch):
    """`sample()` itself raises where a client comes into such a process."""
    with FakeServer() as fake, sampling(fake) as client:
        handle = client.handle()
        uwsgi(monkeypatch)
        with pytest.raises(tinkex.NoThreadsError):
            tinkex.SamplingClient.from_handle(handle, api_key=KEY).sample(PROMPT, PARAMS)


@pytest.mark.parametrize("options", [{"enable_threads": True}, {"enable_threads": b"true"}, {"threads": b"4"}])
def test_uwsgi_with_threads(monkeypatch, options):
    """With threads on uWSGI is a process as any other."""
    uwsgi(monkeypatch, **options)
    with FakeServer() as fake, sampling(fake) as client:
        assert client.sample(PROMPT, PARAMS).result(5)


@pytest.mark.parametrize(
    ("module", "question", "library"),
    [("gevent.monkey", "is_module_patched", "gevent"), ("eventlet.patcher", "is_monkey_patched", "eventlet")],
)
def test_patched_threads(monkeypatch, module, question, library):
    """Patched threads are warned about once in a process, and only if they are patched."""
    monkeypatch.setattr(host_checks, "_warned_of", set())
    monkeypatch.setitem(sys.modules, module, types.SimpleNamespace(**{question: lambda name: False}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        host_checks.check_threads()
    monkeypatch.setitem(sys.modules, module, types.SimpleNamespace(**{question: lambda name: True}))
    with pytest.warns(RuntimeWarning, match=library):
        host_checks.check_threads()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        host_checks.check_threads()


@pytest.mark.parametrize("refused", ["worker", "reactor"])
def test_no_threads_left(monkeypatch, refused):
    """Where the system allows no more threads the caller is told so, and goes on when it does."""
    start = threading.Thread.start

    def refuse(thread):
        if refused in thread.name:
            raise RuntimeError("can't start new thread")
        start(thread)

    with FakeServer() as fake:
        service = make_service(fake)
        with monkeypatch.context() as patch:
            patch.setattr("threading.Thread.start", refuse)
            with pytest.raises(tinkex.NoThreadsError, match="can't start new thread"):
                service.create_sampling_client(base_model=MODEL)
        assert service.create_sampling_client(base_model=MODEL)
        service.close()
