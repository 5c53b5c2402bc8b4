"""Gives one of the targets a stream of inputs, led by what new code each of them reaches.

``python tests/fuzz/fuzz.py protobuf -runs=1000000``: what follows the target's name goes to libFuzzer, through atheris:
-runs, -seed, -max_total_time, or a file with an input to replay. An input that breaks the target is written to a file,
whose name is printed, and the exit code is not 0. So it is for one that takes more than ten seconds or 1 GB.
"""

from __future__ import annotations

import pathlib
import sys
import tempfile
import warnings

import atheris

with atheris.instrument_imports(include=["tinkex"]):
    from targets import TARGETS


def main() -> None:
    """Fuzz the target that the command line names."""
    name, *options = sys.argv[1:]
    warnings.simplefilter("error")
    target = TARGETS[name]
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        for at, seed in enumerate(target.seeds):
            (folder / f"seed-{at}").write_bytes(seed)
        corpus = [] if any(pathlib.Path(option).is_file() for option in options) else [scratch]
        limits = ["-timeout=10", "-rss_limit_mb=1024", "-max_len=4096", "-verbosity=0"]
        atheris.Setup([sys.argv[0], *limits, *options, *corpus], target.run)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
