"""How a program begins: `start.py SUBJECT URL` imports a client and takes one sample; without URL it only imports,
with `names` for it every public name.

It imports nothing itself before it measures, except what the interpreter has loaded anyway, `time`, and `subjects`,
which imports nothing either.
"""

from __future__ import annotations

import sys
import time

from subjects import SUBJECTS, read


def main() -> None:
    """Measure, then print."""
    subject = sys.argv[1]
    cpu, wall = time.process_time(), time.perf_counter()
    if subject != "floor":
        module = __import__(subject.partition("+")[0])
        if "names" in sys.argv[2:]:
            for name in module.__all__:
                getattr(module, name)
    imported_cpu, imported_wall = time.process_time() - cpu, time.perf_counter() - wall
    modules = len(sys.modules)
    if "://" in sys.argv[-1]:
        started = SUBJECTS[subject](sys.argv[2], 1000)
        read(started.sample(started.client(), started.prompt(range(64)), started.params(16), 1, False).result())
    total_cpu, total_wall = time.process_time() - cpu, time.perf_counter() - wall
    whole_cpu = time.process_time()

    import json
    import os

    from scenario import memory, threads

    figures = {
        "import_cpu_ms": imported_cpu * 1e3,
        "import_ms": imported_wall * 1e3,
        "total_cpu_ms": total_cpu * 1e3,
        "total_ms": total_wall * 1e3,
        "process_cpu_ms": whole_cpu * 1e3,
        "modules": modules,
        "rss_mb": memory(),
        "threads": threads(),
    }
    print(json.dumps(figures), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
