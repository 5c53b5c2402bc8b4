"""Real servers and third-party packages, installed once into a cache and kept there."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import pathlib
import shutil
import socket
import subprocess
import sys

import attrs
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SKYRL_KIT = pathlib.Path(os.environ.get("TINKEX_SHARED", ROOT.parent / "shared")) / "servers" / "skyrl"
CACHE = pathlib.Path(os.environ.get("TINKEX_TEST_CACHE", "/tmp/tinkex-test-cache"))
TORCH = "torch==2.13.0"
WITHOUT_CUDA = ("--find-links", "https://download.pytorch.org/whl/cpu/torch/")


@attrs.frozen
class SkyRL:
    """A running SkyRL server and the model it serves."""

    version: str
    url: str
    model: str


def python311():
    """The interpreter that SkyRL and the official SDK are installed with."""
    if (python := shutil.which("python3.11")) is None:
        pytest.skip("needs python3.11 on the PATH")
    return python


def installed(name, install):
    """The virtual environment of that name in the cache, made with `install(path)` the first time."""
    CACHE.mkdir(parents=True, exist_ok=True)
    path = CACHE / name
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (path / ".installed").exists():
            shutil.rmtree(path, ignore_errors=True)
            try:
                install(path)
            except subprocess.CalledProcessError as error:
                pytest.skip(f"{name} could not be installed: {error}")
            (path / ".installed").touch()
    return path


def pip_install(path, *packages):
    """Install packages into the virtual environment at that path."""
    pip = [path / "bin" / "pip", "install", "--quiet"]
    if TORCH in packages:  # alone: pip would ask a page that may be barred for every package
        subprocess.run([*pip, "--no-deps", "--retries", "1", *WITHOUT_CUDA, TORCH], check=True)
    subprocess.run([*pip, *packages], check=True)


def environment_of(name, *packages, without_dependencies=()):
    """The interpreter of a virtual environment that has the packages."""
    python = python311()

    def install(path):
        subprocess.run([python, "-m", "venv", path], check=True)
        pip_install(path, *packages)
        if without_dependencies:
            pip_install(path, "--no-deps", *without_dependencies)

    return installed(name, install) / "bin" / "python"


def environment(name, *requirements):
    """The folder of the programs of an environment with these packages; CalledProcessError where they cannot be had."""
    key = hashlib.sha256(repr((sys.version_info[:2], requirements)).encode()).hexdigest()[:12]
    home = CACHE / f"{name}-{key}"
    done = home / "complete"
    if not done.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", home], check=True)
        subprocess.run([home / "bin" / "pip", "install", "--quiet", *requirements], check=True, timeout=1200)
        done.touch()
    return home / "bin"


@contextlib.contextmanager
def running_skyrl(version, *, training=False):
    """A SkyRL server with a tiny random model; for `training` it also has what it saves weights with."""
    if not SKYRL_KIT.is_dir():
        pytest.skip(f"needs the SkyRL start scripts in {SKYRL_KIT}")
    python311()

    def install(path):
        subprocess.run(["bash", SKYRL_KIT / "install.sh", path, version], check=True)
        if training:
            pip_install(path, TORCH, "peft==0.21.2")

    venv = installed(f"skyrl-training-{version}" if training else f"skyrl-{version}", install)
    run = CACHE / f"run-{version}"
    with (CACHE / f"run-{version}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one server at a time uses this folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        environ = {**os.environ, "TINKER_LONG_POLL_S": "5"}
        try:
            subprocess.run(["bash", SKYRL_KIT / "start.sh", venv, str(port), run], check=True, env=environ)
            yield SkyRL(version, f"http://127.0.0.1:{port}", str(run / "tiny-qwen3"))
        finally:
            subprocess.run(["bash", SKYRL_KIT / "stop.sh", run], check=True)
