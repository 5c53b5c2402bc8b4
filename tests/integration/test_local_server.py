from __future__ import annotations

import gc
import json
import os
import pathlib
import queue
import signal
import subprocess
import sys
import threading
import time

import pytest
import requests
from tiny_model import CONTEXT, write_model

import tinkex
from tinkex.local import LocalServer
from tinkex.local import server as server_module
from tinkex.local.errors import LocalError
from tinkex.local.log import warn_once
from tinkex.local.model.load_runtime import SLOWER

pytestmark = pytest.mark.slow
ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """The tiny model's file."""
    return write_model(tmp_path_factory.mktemp("tiny") / "tiny.gguf")


@pytest.fixture
def server(tiny):
    """A server over the tiny model."""
    with LocalServer(tiny, runtime="numpy") as server:
        yield server


def is_alive(pid):
    """Whether a process runs; one that nobody waited for does not."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return state.strip()[:1] not in ("", "Z")


def wait_until_gone(pid):
    """Wait at most ten seconds for a process to end."""
    deadline = time.monotonic() + 10
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not is_alive(pid)


def post(server, path, **body):
    """Ask the server something."""
    return requests.post(f"{server.url}/api/v1/{path}", json=body, timeout=30).json()


def test_sample(server):
    """A sample goes all the way through."""
    session = post(server, "create_session", tags=[], user_metadata={}, sdk_version="0")["session_id"]
    sampler = post(
        server, "create_sampling_session", session_id=session, sampling_session_seq_id=0, base_model=server.base_model
    )["sampling_session_id"]
    promise = post(
        server, "asample", sampling_session_id=sampler, seq_id=0, prompt_logprobs=True,
        prompt={"chunks": [{"type": "encoded_text", "tokens": [1, 2, 3]}]},
        sampling_params={"max_tokens": 3, "stop": []},
    )  # fmt: skip
    result = post(server, "retrieve_future", request_id=promise["request_id"], allow_metadata_only=False)
    assert len(result["sequences"][0]["tokens"]) == 3
    assert len(result["prompt_logprobs"]) == 3


def test_reports_and_the_slower_runtime(tiny, caplog, monkeypatch):
    """How fast a sample was is told while the server runs, and that NumPy computes is said once a process."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *without_the_prebuilt_library(tiny.parent)]))
    warn_once.cache_clear()
    reports = queue.Queue()
    for _ in range(2):
        with LocalServer(tiny, on_sample=reports.put) as server:
            with tinkex.ServiceClient(base_url=server.url) as service:
                client = service.create_sampling_client(base_model=server.base_model)
                client.sample([1, 2, 3], tinkex.SamplingParams(max_tokens=4, stop=[])).result(timeout=60)
            report = reports.get(timeout=10)
        assert caplog.text.count(f"{SLOWER} ik-llama-cpp-python is missing") == 1
        assert (report.prompt_tokens, report.sampled_tokens) == (3, 4)


def without_the_prebuilt_library(folder):
    """A place on Python's path where the library is found, and cannot be loaded."""
    place = folder / "broken"
    place.mkdir(exist_ok=True)
    (place / "ik_llama_cpp.py").write_text("raise OSError('libgomp.so.1: cannot open shared object file')")
    return [str(place)]


def test_facts(server):
    """The server says where it is and what it runs, and its tokenizer is at hand."""
    assert (server.base_model, server.runtime) == ("tiny", "numpy")
    models = requests.get(f"{server.url}/api/v1/get_server_capabilities", timeout=30).json()["supported_models"]
    assert (models[0]["model_name"], models[0]["max_context_length"]) == ("tiny", CONTEXT)
    assert server.get_tokenizer().decode(server.get_tokenizer().encode("as it is")) == "as it is"


def test_started_once(tiny):
    """Many threads that need the server get the same one."""
    server = LocalServer(tiny, runtime="numpy")
    urls = []
    threads = [threading.Thread(target=lambda: urls.append(server.url)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(urls)) == 1
    assert len(urls) == 8
    server.close()


def test_started_without_waiting(tiny):
    """A server can be started ahead: its process boots while other things are done, and the first use waits for it."""
    server = LocalServer(tiny, runtime="numpy").start(wait=False).start(wait=False)
    pid = server._early[0].process.pid
    with tinkex.ServiceClient.local(server=server) as service:
        assert (server.pid, service.local_model) == (pid, "tiny")
    assert not is_alive(pid)
    with pytest.raises(TypeError, match="threads cannot be changed"):
        tinkex.ServiceClient.local(server=server, threads=1)


def test_closed_before_it_answers(tiny):
    """A server that was started ahead and is closed before its first use ends its process."""
    server = LocalServer(tiny, runtime="numpy").start(wait=False)
    pid = server._early[0].process.pid
    server.close()
    assert not is_alive(pid)
    with pytest.raises(LocalError, match="closed"):
        server.start(wait=False)


def test_file_that_is_fetched_again(tiny, tmp_path, monkeypatch):
    """If the file turns out damaged while the process starts, another one serves the file that is fetched."""
    monkeypatch.delenv("TINKEX_GGUF", raising=False)
    damaged, whole = tmp_path / "damaged.gguf", write_model(tmp_path / "whole.gguf")
    damaged.write_bytes(whole.read_bytes())
    monkeypatch.setattr(server_module, "find_model", lambda gguf, check: damaged)
    monkeypatch.setattr(server_module, "fetch_model", lambda gguf, progress: whole)
    server = LocalServer(runtime="numpy").start(wait=False)
    first = server._early[0].process.pid
    with server:
        assert server.pid != first
        assert str(whole) in server._child.process.args
        assert not is_alive(first)


def test_tokenizer_ahead(tiny):
    """The tokenizer can be loaded while the process starts; what goes wrong then is told to the caller that asks."""
    with LocalServer(tiny, runtime="numpy", preload_tokenizer=True) as server:
        assert server.get_tokenizer().encode("the") == server.get_tokenizer().encode("the")
    other = write_model(tiny.parent / "martian.gguf", **{"tokenizer.ggml.pre": "martian"})
    with (
        LocalServer(other, runtime="numpy", preload_tokenizer=True) as server,
        pytest.raises(LocalError, match="martian"),
    ):
        server.get_tokenizer()


def test_close(server):
    """After close the process is gone, closing again is fine, and using it says so."""
    pid = server.pid
    server.close()
    server.close()
    assert not is_alive(pid)
    with pytest.raises(LocalError, match="closed"):
        server.url  # noqa: B018


def test_forgotten(tiny):
    """A server that is no longer referenced is stopped."""
    server = LocalServer(tiny, runtime="numpy").start()
    pid = server.pid
    del server
    gc.collect()
    assert wait_until_gone(pid)


def test_dies(server):
    """When the process dies, the next use says how."""
    os.kill(server.pid, signal.SIGKILL)
    server._child.process.wait(10)
    with pytest.raises(LocalError, match="exit status -9"):
        server.url  # noqa: B018


def test_does_not_start(tmp_path):
    """A server that cannot start gives its last words."""
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF")
    with pytest.raises(LocalError, match=r"exit status 1.*broken\.gguf is not a whole GGUF file"):
        LocalServer(broken).start()


def test_port_taken(server, tiny):
    """A port that is taken is an error that says so."""
    port = int(server.url.rpartition(":")[2])
    with pytest.raises(LocalError, match="in use"):
        LocalServer(tiny, runtime="numpy", port=port).start()


def test_too_slow(tiny, monkeypatch):
    """A server that does not answer in time is stopped."""
    monkeypatch.setattr(LocalServer, "_command", lambda *_: [sys.executable, "-c", "import time; time.sleep(60)"])
    with pytest.raises(LocalError, match=r"within 0\.3 s"):
        LocalServer(tiny, startup_timeout=0.3).start()


@pytest.mark.parametrize("said", ["pass", "print('[New LWP 1]\\n300 main.c', flush=True)"])
def test_library_that_crashes(tiny, monkeypatch, said):
    """Where the prebuilt library kills the process, NumPy takes over; not where the library was asked for.

    Nor is what a debugger prints then, line by line, taken for an answer.
    """
    command = LocalServer._command

    def crashing(self, path, runtime):
        if runtime == "numpy":
            return command(self, path, runtime)
        return [sys.executable, "-c", f"import os, signal; {said}; os.kill(os.getpid(), signal.SIGILL)"]

    monkeypatch.setattr(LocalServer, "_command", crashing)
    with LocalServer(tiny) as server:
        assert server.runtime == "numpy"
    with pytest.raises(LocalError, match="exit status -4"):
        LocalServer(tiny, runtime="ik").start()


OWNER = """
import json, os, sys, time
from tinkex.local import LocalServer
from tinkex.local import server as server_module
server = LocalServer(sys.argv[1], runtime="numpy").start()
print(json.dumps(server.pid), flush=True)
exec(sys.argv[2])
"""


def run_owner(tiny, then):
    """Run a script that starts a server and then does something; return it and the server's process."""
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(tiny), then], stdout=subprocess.PIPE)
    return owner, json.loads(owner.stdout.readline())


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_owner_is_killed(tiny, ending):
    """The server ends with its owner, however that one is killed."""
    owner, pid = run_owner(tiny, "time.sleep(60)")
    assert is_alive(pid)
    owner.send_signal(ending)
    owner.communicate()
    assert wait_until_gone(pid)


@pytest.mark.parametrize("then", ["pass", "os._exit(3)", "os.abort()"])
def test_owner_ends(tiny, then):
    """The server ends when its owner ends without closing it."""
    owner, pid = run_owner(tiny, then)
    owner.communicate()
    assert wait_until_gone(pid)


def test_forked_child(tiny):
    """A forked child can use the server, and neither its close nor its exit stops it."""
    then = (
        "child = os.fork()\n"
        "if not child:\n    assert server.url\n    server.close()\n    sys.exit(0)\n"
        "status = os.waitpid(child, 0)[1]\n"
        "print(json.dumps([status, server.start() is server]), flush=True)"
    )
    owner, pid = run_owner(tiny, then)
    assert json.loads(owner.communicate()[0]) == [0, True]
    assert wait_until_gone(pid)
