from __future__ import annotations

import re
import time

import pytest
from loading import APPS, ROOT, wait_until

from tinkex.testing import FakeServer, expected_tokens

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

CELLS = [cell.partition("\n")[2].strip() for cell in (APPS / "notebook.py").read_text().split("# %%")[1:]]
_, SUBMIT, STATS, RESULTS, CANCEL = CELLS
OPEN = re.sub(r"ServiceClient\.direct\(.*\)  # the hosted service: tinkex\.", "", CELLS[0])  # as its comment says


@pytest.fixture
def tinker(monkeypatch):
    """A Tinker server that the kernel finds through its environment."""
    pytest.importorskip("ipykernel")
    with FakeServer(latency=0.2, long_poll=5.0) as server:
        monkeypatch.setenv("TINKER_BASE_URL", server.url)
        monkeypatch.setenv("TINKER_API_KEY", "tml-secret")
        monkeypatch.setenv("PYTHONPATH", str(ROOT))
        yield server


class Kernel:
    """A notebook's kernel, whose own log goes to a file. A context manager."""

    def __init__(self, log):
        self._log = log.open("w+")  # a restart begins with the same one
        self._manager = pytest.importorskip("jupyter_client.manager").KernelManager()

    def __enter__(self):
        self._manager.start_kernel(stdout=self._log, stderr=self._log)
        self._connect()
        return self

    def __exit__(self, *_):
        self._client.stop_channels()
        self._manager.shutdown_kernel()
        self._manager.cleanup_resources()
        with self._log:
            self._log.seek(0)
            log = self._log.read()
        assert "Traceback" not in log, log

    def _connect(self):
        self._client = self._manager.blocking_client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=60)

    def begin(self, code):
        """Send a cell, and wait until it is being run."""
        self._number = self._client.execute(code)
        while self._next()["msg_type"] != "execute_input":
            pass

    def end(self):
        """Wait for the cell: the name of its error or None, and all that it wrote or displayed."""
        written = []
        while True:
            message = self._next()
            content = message["content"]
            if message["msg_type"] == "stream":
                written.append(content["text"])
            elif message["msg_type"] == "execute_result":
                written.append(content["data"]["text/plain"])
            elif message["msg_type"] == "status" and content["execution_state"] == "idle":
                break
        return self._next(self._client.get_shell_msg)["content"].get("ename"), "".join(written)

    def _next(self, get=None):
        """The next message about this cell; late answers to others, such as a ping, are skipped."""
        get = get or self._client.get_iopub_msg
        while (message := get(timeout=60))["parent_header"].get("msg_id") != self._number:
            pass
        return message

    def run(self, code):
        """Run a cell that must end well: what it wrote or displayed."""
        self.begin(code)
        error, written = self.end()
        assert error is None, written
        return written

    def interrupt(self):
        """The interrupt button."""
        self._manager.interrupt_kernel()

    def restart(self):
        """The restart button: the seconds until the old kernel was gone and the new one ready."""
        self._client.stop_channels()
        began = time.monotonic()
        self._manager.restart_kernel()
        self._connect()
        return time.monotonic() - began


def test_a_notebook_runs_quietly(tinker, tmp_path):
    """The documented notebook runs from top to bottom and writes nothing but its results."""
    nbclient, v4 = pytest.importorskip("nbclient"), pytest.importorskip("nbformat.v4")
    notebook = v4.new_notebook(cells=[v4.new_code_cell(cell) for cell in [*CELLS, "print(answers)"]])
    nbclient.NotebookClient(notebook, kernel_name="python3", timeout=60).execute()
    outputs = [output for cell in notebook.cells for output in cell.outputs]
    assert [output.output_type for output in outputs] == ["execute_result", "stream"]
    answers = [[1, 1 + number, 7] for number in range(300)]
    assert outputs[1].text.strip() == str([expected_tokens(prompt, max_tokens=16) for prompt in answers])


def test_an_interrupt_ends_the_wait_and_nothing_else(tinker, tmp_path):
    """Interrupting `result()` raises KeyboardInterrupt there, soon; the same futures have their results afterwards."""
    tinker.hold()
    with Kernel(tmp_path / "log") as kernel:
        kernel.run(OPEN)
        kernel.run(SUBMIT)
        for _ in range(3):
            kernel.begin(RESULTS)
            time.sleep(0.3)
            began = time.monotonic()
            kernel.interrupt()
            assert kernel.end()[0] == "KeyboardInterrupt"
            assert time.monotonic() - began < 5.0
        assert kernel.run(STATS) == "300"
        tinker.release()
        assert kernel.run(RESULTS + "\nprint(len(answers))") == "300\n"
        assert int(re.search(r"\d+", kernel.run("import threading; threading.active_count()"))[0]) < 40


def test_a_restart_in_mid_load(tinker, tmp_path):
    """Restarting the kernel with hundreds of samples in flight does not wait for them, and ends the session."""
    tinker.latency = 60.0
    with Kernel(tmp_path / "log") as kernel:
        for turn in range(2):
            kernel.run(OPEN)
            kernel.run(SUBMIT)
            tinker.wait_for("asample", 300 * (turn + 1))
            assert kernel.restart() < 10
            wait_until(lambda turn=turn: tinker.counts["finish"] == turn + 1, 10)
        tinker.latency = 0.0
        kernel.run(OPEN)
        kernel.run(SUBMIT)
        assert kernel.run(RESULTS + "\nprint(len(answers))") == "300\n"
