"""The virtual environments that the clients run in: made once, kept in a cache, one for each client."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
OFFICIAL = "tinker==0.38.0"
# The proxy's own extra cannot be installed: it names packages that no index has. These are what the proxy imports.
LITELLM = [
    "litellm==1.110.2", "apscheduler>=3.11.2,<4", "backoff>=2.2.1,<3", "backports-zstd>=1.0", "cryptography>=49,<51",
    "expression>=5.6,<6", "fastapi>=0.136.3,<1", "fastapi-sso>=0.19,<1", "mcp>=2.3,<3", "orjson>=3.11.6,<4",
    "pyjwt>=2.13,<3", "python-multipart>=0.0.27,<1", "pyyaml>=6.0.3,<7", "redis", "rich>=13.9.4,<14",
    "semver>=3.0.4,<4", "soundfile>=0.12.1,<1", "starlette>=1.0.1,<2", "uvicorn>=0.33,<1", "uvloop>=0.22.1,<1",
    "websockets>=15.0.1,<16",
]  # fmt: skip
INSTALLED = {
    "tinker": [OFFICIAL],
    "tinkex": ["--editable", str(CHECKOUT)],
    "compat": [OFFICIAL, "--editable", str(CHECKOUT), "aiohttp>=3.10"],
    "serve": ["--editable", f"{CHECKOUT}[serve,cli,fast]"],
    "litellm": LITELLM,
    "tinkex+fast": ["--editable", f"{CHECKOUT}[fast]", "matplotlib>=3.8"],  # the plots are drawn there as well
}


def cache_directory() -> Path:
    """`$TINKEX_BENCH_CACHE`, or a directory of our own in the user's cache."""
    chosen = os.environ.get("TINKEX_BENCH_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tinkex-benchmarks"


def python_of(name: str) -> Path:
    """The interpreter that has `name` installed; the first time this takes a minute."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    home = cache_directory() / f"{name}-{version}"
    python, stamp = home / "bin" / "python", home / "installed"
    wanted = "\n".join(INSTALLED[name])
    if not stamp.is_file() or stamp.read_text() != wanted:
        print(f"Installing {name} into {home}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", home], check=True)
        pip = [python, "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
        subprocess.run([*pip, *INSTALLED[name]], check=True)
        stamp.write_text(wanted)
    return python
