#!/usr/bin/env bash
# In the multiprocess mode of prometheus-client a gauge that is made before a fork is 0 in the parent for ever, which counts among the
# processes: the minimum (livemin, min) of a gauge that every worker has set to 1 is 0. So it is under gunicorn --preload. It would be left
# out of the minimum as long as the process has not set it. Exits with 1 if that has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "prometheus-client==0.26.0"
mkdir "$folder/shared"
PROMETHEUS_MULTIPROC_DIR="$folder/shared" "$folder/venv/bin/python" - <<'PYTHON'
import os
import sys
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.multiprocess import MultiProcessCollector

before = Gauge("made_before", "Made before the fork.", multiprocess_mode="livemin")


def work():
    """A worker, as of gunicorn, which makes a gauge of its own as well."""
    after = Gauge("made_after", "Made after the fork.", multiprocess_mode="livemin")
    before.set(1)
    after.set(1)
    os._exit(0)


for _ in range(2):
    pid = os.fork()
    if not pid:
        work()
    os.waitpid(pid, 0)

registry = CollectorRegistry()
MultiProcessCollector(registry)
found = {name: registry.get_sample_value(name) for name in ("made_before", "made_after")}
print("prometheus-client", version("prometheus-client"))
print("each of two workers has set both gauges to 1; the minimum of all processes:", found)
changed = found != {"made_before": 0.0, "made_after": 1.0}
print("changed" if changed else "as found: the parent, which has set nothing, counts as 0")
sys.exit(changed)
PYTHON
