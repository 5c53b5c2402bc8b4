"""Program of the local server's process: ``python -m tinkex.local.serve --gguf FILE``."""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import os
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from attrs import asdict

from tinkex.local.errors import LocalError
from tinkex.local.model.gguf_file import read_gguf
from tinkex.local.model.load_runtime import import_runtime


def _exit_with_owner() -> None:
    """End this process at the end of file of its standard input, which comes when its owner ends."""

    def watch() -> None:
        while os.read(0, 4096):
            pass
        os._exit(0)

    threading.Thread(target=watch, name="tinkex-owner-watch", daemon=True).start()


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tinkex.local.serve", description="Serve a model on this machine.")
    parser.add_argument("--gguf", required=True, help="the model file")
    parser.add_argument("--model-name", help="what clients call it")
    parser.add_argument("--runtime", choices=("auto", "ik", "numpy"), default="auto")
    parser.add_argument("--threads", type=int, help="threads to compute with")
    parser.add_argument("--cache-bytes", type=int, help="most memory for the prefix cache")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--report", action="store_true", help="print a line of JSON for each sample")
    parser.add_argument("--owned", action="store_true", help="end when standard input does")
    return parser.parse_args(arguments)


def _print_line(message: Any) -> None:
    # In one piece, since samples end on several threads.
    print(f"{json.dumps(asdict(message))}\n", end="", flush=True)  # noqa: T201 - the lines that the owner waits for


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the server that the arguments describe; prints one line of JSON once it can be used, then its reports."""
    options = _arguments(arguments)
    if options.owned:
        _exit_with_owner()
    gc.disable()  # nothing of what is imported and loaded here is garbage
    try:
        model = read_gguf(options.gguf, without=("tokenizer.ggml.merges",))
        load = import_runtime(model, options.runtime, options.threads)
        # The library needs no interpreter to load the model; the web framework takes as long to import.
        loading = ThreadPoolExecutor(1).submit(load)
        web_server = importlib.import_module("tinkex.local.web_server")
        on_sample = _print_line if options.report else None
        engine = web_server.make_engine(model, loading.result(), options.model_name, on_sample, options.cache_bytes)
        web_server.serve(engine, _begin, port=options.port)
    except (LocalError, ImportError, OSError) as error:
        sys.exit(str(error))


def _begin(ready: Any) -> None:
    gc.freeze()
    gc.enable()
    _print_line(ready)
    importlib.import_module("numpy.random")  # loaded with its first use, which would hold up the first sample


if __name__ == "__main__":
    main()
