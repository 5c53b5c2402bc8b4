#!/usr/bin/env bash
# tinker.APITimeoutError, raised in a worker process, takes the whole process pool with it: its pickle cannot be read, and
# every other future of the pool fails with BrokenProcessPool, also those whose work was done. tinker.APIError is alike;
# APIConnectionError and the status errors come through. Exits with 1 if that has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "tinker==0.38.0"
cat > "$folder/pool.py" <<'PYTHON'
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor

import httpx
import tinker

REQUEST = httpx.Request("POST", "https://localhost/api/v1/asample")
ERRORS = {
    "APIConnectionError": lambda: tinker.APIConnectionError(REQUEST),
    "BadRequestError": lambda: tinker.BadRequestError("no", response=httpx.Response(400, request=REQUEST), body=None),
    "APITimeoutError": lambda: tinker.APITimeoutError(REQUEST),
}


def work(name):
    if name in ERRORS:
        raise ERRORS[name]()
    return name


def outcomes(name):
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        futures = [pool.submit(work, each) for each in ("first", name, "next")]
        return [type(error).__name__ if (error := future.exception()) else future.result() for future in futures]


if __name__ == "__main__":
    print("tinker", tinker.__version__)
    found = {name: outcomes(name) for name in ERRORS}
    for name, each in found.items():
        print(f"a worker raises {name}:", each)
    expected = {name: ["first", name, "next"] for name in ERRORS}
    expected["APITimeoutError"] = ["first", "BrokenProcessPool", "BrokenProcessPool"]
    print("as found" if found == expected else "changed")
    sys.exit(found != expected)
PYTHON
"$folder/venv/bin/python" "$folder/pool.py"
