"""`install()`: the SDK's own clients sample through tinkex, whatever wraps their methods, until `uninstall()`."""

from __future__ import annotations

import asyncio
import concurrent.futures
import multiprocessing
import os
import pickle
import threading
import warnings

import pytest
from serving import KEY, quick_config

pytestmark = pytest.mark.clients

tinker = pytest.importorskip("tinker")

import tinkex.compat  # noqa: E402
from tinkex.compat import CompatFuture  # noqa: E402
from tinkex.testing import FakeServer  # noqa: E402

PROMPT = tinker.ModelInput.from_ints([11, 12, 13])
PARAMS = tinker.SamplingParams(max_tokens=3, seed=7)
METHODS = ("sample", "compute_logprobs", "sample_async", "compute_logprobs_async")


@pytest.fixture(autouse=True)
def uninstalled():
    """No test leaves it installed."""
    methods = {name: vars(tinker.SamplingClient)[name] for name in METHODS}
    yield
    tinkex.compat.uninstall(timeout=0.0)
    assert {name: vars(tinker.SamplingClient)[name] for name in METHODS} == methods


def by_tinkex(client):
    """Whether a client samples through tinkex; what it gives is what it always gives."""
    future = client.sample(PROMPT, 1, PARAMS)
    assert future.result(10).sequences[0].tokens == EXPECTED
    assert client.compute_logprobs(PROMPT).result(10)[0] is None
    return isinstance(future, CompatFuture)


EXPECTED = tinkex.testing.expected_tokens([11, 12, 13], seed=7, max_tokens=3)


def test_until_uninstalled(official):
    """Clients that exist sample through tinkex once it is installed, and by themselves once it is not."""
    assert not by_tinkex(official)
    for _ in range(2):
        tinkex.compat.install()
        assert by_tinkex(official)
        tinkex.compat.uninstall()
        assert not by_tinkex(official)
    tinkex.compat.uninstall()


def test_all_that_hands_out_clients(official_service, official, installed):
    """Every way to a sampling client gives one that samples through tinkex, and the deprecated methods do, too."""
    assert by_tinkex(official_service.create_sampling_client(base_model="fake/model").result(10))
    with pytest.warns(FutureWarning, match="Using the future"):
        assert by_tinkex(official_service.create_sampling_client(base_model="fake/model"))
    assert by_tinkex(pickle.loads(pickle.dumps(official)))
    assert by_tinkex(tinker.SamplingClient.from_sampler_handle(official.get_sampler_handle()))

    async def main():
        client = await official_service.create_sampling_client(base_model="fake/model")
        with pytest.warns(FutureWarning, match="sample_async"):
            response = await client.sample_async(PROMPT, 1, PARAMS)
        with pytest.warns(FutureWarning, match="compute_logprobs_async"):
            return response, await client.compute_logprobs_async(PROMPT)

    response, logprobs = asyncio.run(main())
    assert response.sequences[0].tokens == EXPECTED
    assert logprobs == official.compute_logprobs(PROMPT).result(10)


def test_the_same_again(official):
    """Installing again with equal arguments changes nothing; with others it is an error, and the first one stays."""
    tinkex.compat.install(KEY)
    tinkex.compat.install(KEY)
    for arguments in ((), ("tml-other",)):
        with pytest.raises(RuntimeError, match="uninstall"):
            tinkex.compat.install(*arguments)
    with pytest.raises(RuntimeError, match="uninstall"):
        tinkex.compat.install(KEY, config=quick_config())
    assert by_tinkex(official)
    tinkex.compat.uninstall()
    tinkex.compat.install(config=quick_config())
    tinkex.compat.install(config=quick_config())
    assert by_tinkex(official)


def test_many_threads_install_at_once(official):
    """Threads that install, sample and uninstall at the same moment leave the SDK as it was."""
    start = threading.Barrier(6)
    ends = []

    def work(number):
        start.wait(10)
        for _ in range(5):
            (tinkex.compat.install if number % 2 else tinkex.compat.uninstall)()
        ends.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(ends) == [*range(6)]
    tinkex.compat.install()
    assert by_tinkex(official)
    tinkex.compat.uninstall()
    assert not by_tinkex(official)


def test_threads_sample_from_one_client(official, installed, official_server):
    """Threads that are the first to sample from a client, all at once, all get their samples."""
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda _: by_tinkex(official), range(32)))


def test_one_service_for_a_server(official_service, installed, official_server):
    """However many clients a program makes, there is one service of tinkex for a server: sessions do not pile up."""
    for _ in range(3):
        assert by_tinkex(official_service.create_sampling_client(base_model="fake/model").result(10))
    assert official_server.counts["create_session"] == 1
    (service,) = tinkex.compat._install.Installation.current.services.values()
    assert service.stats().in_flight == 0


def test_settings_of_the_client_stay(official_service, installed, official_server):
    """What a client was created with holds: stability information, and the retry configuration."""
    from tinker.lib.retry_handler import RetryConfig

    client = official_service.create_sampling_client(
        base_model="fake/model", retry_config=RetryConfig(enable_retry_logic=False), record_stability_info=True
    ).result(10)
    official_server.fail_next("asample", 503)
    with pytest.raises(tinker.InternalServerError):
        client.sample(PROMPT, 1, PARAMS).result(10)
    assert by_tinkex(client)
    assert official_server.requests_to("asample")[-1].json["record_stability_info"] is True


def test_numbers_of_requests_do_not_clash(official, official_server):
    """What the SDK and tinkex send for one sampling session never has the same number."""
    for _ in range(2):
        by_tinkex(official)
        tinkex.compat.install()
        by_tinkex(official)
        tinkex.compat.uninstall()
    sent = [request.json for request in official_server.requests_to("asample")]
    assert len({each["sampling_session_id"] for each in sent}) == 1
    assert len({each["seq_id"] for each in sent}) == len(sent) == 8


def test_the_key_for_another_server(monkeypatch):
    """The environment's key is for the environment's server: for another one, `install` wants it in so many words."""
    with FakeServer(require_key=KEY) as other:
        service = tinker.ServiceClient(base_url=other.url, api_key=KEY)
        client = service.create_sampling_client(base_model="fake/model").result(10)
        monkeypatch.setenv("TINKER_API_KEY", KEY)
        tinkex.compat.install()
        with pytest.raises(tinker.TinkerError, match="pass api_key to install"):
            client.sample(PROMPT, 1, PARAMS)
        tinkex.compat.uninstall()
        for arguments in ({"api_key": KEY}, {"config": quick_config(api_key=KEY)}):
            tinkex.compat.install(**arguments)
            assert by_tinkex(client)
            tinkex.compat.uninstall()
        service.close("success").result(10)


def test_samples_under_way_when_it_is_uninstalled(official, official_server):
    """They have the time that `uninstall` gives them, and fail then."""
    tinkex.compat.install()
    official_server.hold()
    future = official.sample(PROMPT, 1, PARAMS)
    tinkex.compat.uninstall(timeout=0.0)
    with pytest.raises(tinker.TinkerError, match="closed"):
        future.result(10)
    official_server.release()
    with pytest.raises(tinker.TinkerError, match="uninstalled"):
        tinkex.compat._install._sample(official, PROMPT, 1, PARAMS)


def test_in_forked_children(official, installed):
    """A forked child samples through tinkex, also from a client that has sampled in the parent."""
    assert by_tinkex(official)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork with threads, which is the point
        child = os.fork()
    if child == 0:
        try:
            os._exit(0 if by_tinkex(official) else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    assert by_tinkex(official)


def test_in_spawned_children(official, official_server):
    """A spawned process installs it itself, as its initializer."""
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=spawn, initializer=tinkex.compat.install) as pool:
        future = pool.submit(by_tinkex, official)
        assert future.result(60)


# --- What wraps the methods


def counted(calls):
    """Wraps whatever stands on the class, as tracing does."""
    import functools

    def wrap(method):
        @functools.wraps(method)
        def wrapper(*args, **options):
            calls.append(method.__name__)
            return method(*args, **options)

        return wrapper

    return wrap


@pytest.mark.parametrize("first", ["install", "wrap"])
@pytest.mark.parametrize("last", ["uninstall", "unwrap"])
def test_wrappers_see_the_calls(official, monkeypatch, first, last):
    """What wraps the methods sees the calls, whether it came before or after, and stays, or goes, in any order."""
    calls = []

    def wrap():
        for name in ("sample", "compute_logprobs"):
            monkeypatch.setattr(tinker.SamplingClient, name, counted(calls)(vars(tinker.SamplingClient)[name]))

    steps = [tinkex.compat.install, wrap]
    for step in steps if first == "install" else reversed(steps):
        step()
    assert by_tinkex(official)
    assert calls == ["sample", "compute_logprobs"]
    if last == "uninstall":
        tinkex.compat.uninstall()
        assert not by_tinkex(official)
        assert len(calls) == 4
        monkeypatch.undo()
    else:
        for name in ("sample", "compute_logprobs"):
            monkeypatch.setattr(tinker.SamplingClient, name, vars(tinker.SamplingClient)[name].__wrapped__)
        assert by_tinkex(official)
        tinkex.compat.uninstall()
    assert not by_tinkex(official)


def test_methods_that_are_hidden(official, monkeypatch):
    """Where the SDK's own methods cannot be found, that is an error, and nothing is changed."""
    monkeypatch.setattr(tinker.SamplingClient, "compute_logprobs", lambda self, prompt: None)
    with pytest.raises(RuntimeError, match=r"SamplingClient\.compute_logprobs"):
        tinkex.compat.install()
    assert not isinstance(official.sample(PROMPT, 1, PARAMS), CompatFuture)
    monkeypatch.undo()


def test_methods_that_the_sdk_does_not_wrap(official, monkeypatch):
    """A version of the SDK that has its methods as they are can be installed, too."""
    import inspect

    for name in ("sample", "compute_logprobs"):
        plain = inspect.unwrap(vars(tinker.SamplingClient)[name])
        assert plain.__module__.startswith("tinker.")
        monkeypatch.setattr(tinker.SamplingClient, name, plain)
    tinkex.compat.install()
    assert by_tinkex(official)
    tinkex.compat.uninstall()
    assert not by_tinkex(official)
    monkeypatch.undo()
