"""Run ``tinkex check`` on servers that packages bring, and make the table of ``docs/servers.rst`` from what it finds.

    PYTHONPATH=tests/support python docs/servers/run.py [local|fake|toy|skyrl|hatchery|tuft ...]      # all by default

Each server is installed once, into the cache of the tests (``$TINKEX_TEST_CACHE``), and serves on the loopback
interface. What was found is kept in ``results.json``, by server, with its version; the table is ``table.txt``.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from typing import Any, Final

import environments

import tinkex
from tinkex.check import ALL_NAMES, Checkup
from tinkex.testing import FakeServer, ToyModel
from tinkex.tokenizers import get_tokenizer

HERE: Final = pathlib.Path(__file__).resolve().parent
PROTOCOL: Final = (
    *("repeated submission", "request ids", "long polls", "unknown request", "cancel", "formats", "compression"),
    *("cost of many samples", "max_tokens"),
)
RESULTS: Final = HERE / "results.json"
TABLE: Final = HERE / "table.txt"
WORDS: Final = {"ok": "ok", "fault": "**fault**", "absent": "absent", "unknown": "?", "skipped": r"\-"}


@contextlib.contextmanager
def local() -> Iterator[tuple[str, dict[str, Any]]]:
    """The local model."""
    with tinkex.ServiceClient.local() as service:
        tokenizer = service.create_sampling_client(base_model=service.local_model).get_tokenizer()
        yield f"local model, tinkex {tinkex.__version__}", {
            "service": service, "base_model": service.local_model, "tokenizer": tokenizer,
            "end_tokens": tokenizer.end_ids,
        }  # fmt: skip


@contextlib.contextmanager
def fake(answers: Any = None) -> Iterator[tuple[str, dict[str, Any]]]:
    """The fake server with its own answers, which go by prompt and seed alone."""
    with FakeServer(answers=answers) as server, tinkex.ServiceClient.direct(server.url) as service:
        model = "ToyModel" if answers else "FakeServer"
        options = {"service": service, "base_model": "fake/model", "end_tokens": [2], "tokenizer": answers}
        yield f"{model}, tinkex {tinkex.__version__}", options


def toy() -> contextlib.AbstractContextManager[tuple[str, dict[str, Any]]]:
    """The fake server with a random model that goes by every parameter."""
    return fake(ToyModel(draws=0))


@contextlib.contextmanager
def skyrl() -> Iterator[tuple[str, dict[str, Any]]]:
    """SkyRL on its JAX backend, with a tiny random model."""
    with environments.running_skyrl("0.4.0") as server, tinkex.ServiceClient.direct(server.url) as service:
        yield "SkyRL 0.4.0 (JAX)", {"service": service, **of_tiny_model(server.model)}


@contextlib.contextmanager
def hatchery() -> Iterator[tuple[str, dict[str, Any]]]:
    """Hatchery with the same model, on the CPU."""
    packages = ("transformers>=4.51", "peft", "fastapi", "uvicorn", "msgpack", "aiosqlite", "structlog", "httpx")
    ours = ("--ignore-requires-python", "hatchery-core==0.3.0", "hatchery-client==0.2.0")  # it runs on 3.11, too
    python = environments.environment_of("hatchery-0.3.0", "torch", *packages, without_dependencies=ours)
    model = tiny_model(python)
    with serving([python, HERE / "hatchery_serve.py", model], {"OMP_NUM_THREADS": "1"}) as service:
        yield "hatchery 0.3.0", {"service": service, **of_tiny_model(model), "context": 4096}


@contextlib.contextmanager
def tuft() -> Iterator[tuple[str, dict[str, Any]]]:
    """TuFT in its CPU mode, in which a stand-in samples: its protocol alone is looked at."""
    packages = ("torch", "peft", "accelerate", "fastapi<0.137,>=0.133", "omegaconf", "opentelemetry-exporter-otlp",
                "opentelemetry-instrumentation-fastapi", "opentelemetry-instrumentation-logging", "tinker>=0.25,<0.26",
                "typer", "uvicorn", "psutil", "transformers>=5.5.3,<6", "nvidia-ml-py", "ray", "protobuf")  # fmt: skip
    python = environments.environment_of("tuft-0.2.2", *packages, without_dependencies=("tuft==0.2.2",))
    model = tiny_model(python)
    settings = {
        "supported_models": [{"model_name": model, "model_path": model, "max_model_len": 4096}],
        "authorized_users": {"tml-local": "check"}, "checkpoint_dir": str(environments.CACHE / "tuft-checkpoints"),
    }  # fmt: skip
    config = environments.CACHE / "tuft.yaml"
    config.write_text(json.dumps(settings))
    launch = [python, "-m", "tuft", "launch", "--config", config, "--port"]
    with serving(launch, {"TUFT_CPU_TEST": "1"}) as service:
        yield "TuFT 0.2.2 (CPU mode)", {"service": service, "base_model": model, "only": PROTOCOL}


def tiny_model(python: pathlib.Path) -> str:
    """Make the random model of the SkyRL kit, as SkyRL's own start does."""
    model = environments.CACHE / "tiny-qwen3"
    if not (model / "model.safetensors").exists():
        subprocess.run([python, environments.SKYRL_KIT / "make_model.py", model], check=True)
    return str(model)


def of_tiny_model(model: str) -> dict[str, Any]:
    """What is known of it."""
    return {"base_model": model, "tokenizer": get_tokenizer(model), "end_tokens": [2], "vocabulary": 512}


@contextlib.contextmanager
def serving(command: list[Any], environ: dict[str, str]) -> Iterator[tinkex.ServiceClient]:
    """A server process, whose port is its last argument."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [*map(str, command), str(port)],
        env={**os.environ, "HF_HUB_OFFLINE": "1", **environ},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        url = f"http://127.0.0.1:{port}"
        for _ in range(300):
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/api/v1/healthz", timeout=5):  # noqa: S310
                break
            time.sleep(1)
        with tinkex.ServiceClient.direct(url) as service:
            yield service
    finally:
        process.terminate()
        process.wait(60)


SERVERS: Final = {"local": local, "fake": fake, "toy": toy, "skyrl": skyrl, "hatchery": hatchery, "tuft": tuft}


def examine(name: str) -> dict[str, Any]:
    """Check one server: its version, and verdicts with what was seen."""
    with SERVERS[name]() as (version, options):
        report = Checkup(**options, limit=1800.0, timeout=300.0).run()
    says = {each.name: each.says.replace(report.model, "the model")[:300] for each in report.results}
    return {"version": version, "found": {each.name: [each.verdict, says[each.name]] for each in report.results}}


def table(results: dict[str, Any]) -> str:
    """The verdicts as a table of reStructuredText: a row a check, a column a server."""
    servers = [results[name] for name in SERVERS if name in results]
    rows = [["check", *(each["version"] for each in servers)]]
    for check in ALL_NAMES:
        verdicts = [each["found"].get(check, ["skipped"])[0] for each in servers]
        if set(verdicts) != {"skipped"}:
            rows.append([check, *(WORDS[verdict] for verdict in verdicts)])
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in rows:
        lines += [f"   {'*' if not n else ' '} - {cell}" for n, cell in enumerate(row)]
    return "\n".join(lines) + "\n"


def main(names: list[str]) -> None:
    """Check the servers that are named, and write both files."""
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in names or SERVERS:
        results[name] = examine(name)
        RESULTS.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    TABLE.write_text(table(results))


if __name__ == "__main__":
    main(sys.argv[1:])
