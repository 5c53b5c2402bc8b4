"""A process that is stopped for a while, as by Ctrl-Z, a paused container or a frozen machine."""

from __future__ import annotations

import pytest
from programs import succeed

from tinkex.testing import FakeServer

pytestmark = pytest.mark.slow

STOPPED = """
import subprocess

def stop(seconds):
    # Stop this process for so long, from outside.
    me = os.getpid()
    subprocess.run(["sh", "-c", f"kill -STOP {me}; sleep {seconds}; kill -CONT {me}"], check=True)

"""


@pytest.mark.parametrize("endpoint", ["asample", "retrieve_future"])
def test_what_came_while_stopped_is_read_first(endpoint):
    """Answers that came while the process was stopped for longer than every limit are read; nothing is asked twice."""
    with FakeServer(long_poll=30.0) as server:
        server.fault(endpoint, "delay", seconds=1.5, times=None)
        succeed(
            STOPPED
            + """
service, client = open_client(request_timeout=2.0, poll_timeout=2.0, telemetry=False)
futures = [client.sample([1], PARAMS, timeout=4.0) for _ in range(20)]
phase = "submitting" if sys.argv[2] == "asample" else "waiting"
connections = service._lifecycle.runtime.connections
while any(future.phase != phase for future in futures) or connections._parked < len(futures):  # until all are sent
    time.sleep(0.01)
stop(5)
for future in futures:
    assert len(future.result(20).sequences) == 1
service.close()
""",
            server.url,
            endpoint,
        )
        assert server.counts["asample"] == server.counts["retrieve_future"] == 20
