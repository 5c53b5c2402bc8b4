"""Programs of others in environments of their own, and the commands that a page of the docs has for them."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import textwrap

from environments import environment
from lm_eval_tasks import ROWS

ROOT = pathlib.Path(__file__).resolve().parents[2]
_TINKEX_NEEDS = ["attrs", "gguf>=0.17", "jinja2>=3.1.6", "numpy", "platformdirs", "requests", "tenacity", "tokenizers"]
ENVIRONMENTS = {
    "lm-eval": ["lm-eval[api]==0.4.13", *_TINKEX_NEEDS],
    "inspect": ["inspect-ai==0.3.285", "openai==3.57.0", "trio", *_TINKEX_NEEDS],
    "litellm": ["litellm==1.110.2"],
    "openai": ["openai==3.57.0"],
    "langchain": ["langchain-openai==1.7.4"],
    "llm": ["llm==0.36", *_TINKEX_NEEDS],
}


def programs_of(name):
    """The folder of the programs of an environment."""
    return environment(name, *ENVIRONMENTS[name])


def install_tinkex(folder):
    """Install this tinkex into a folder, as programs find it that look for plug-ins: with its entry points."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder]
    subprocess.run([*pip, ROOT], check=True, timeout=600)


def page(name):
    """The text of a page of the docs."""
    return (ROOT / "docs" / f"{name}.rst").read_text(encoding="utf-8")


def run_section(text, title, folder, *, programs, replacing=(), **variables):
    """Run the commands that a page has in a section, all in one shell; what they print."""
    section = re.split(rf"\n{re.escape(title)}\n([-~])\1+\n", text)[2]
    section = re.split(r"\n[^\n]+\n[-~=]{3,}\n", section)[0]
    blocks = re.findall(r"\.\. code-block:: sh\n\n((?:(?:    .*)?\n)+)", section)
    script = "".join(map(textwrap.dedent, blocks))
    for old, new in replacing:
        script = script.replace(old, new)
    return run(["bash", "-euc", script], folder, programs=programs, **variables)


def run(command, folder, *, programs, fails=False, **variables):
    """Run a command with the programs of an environment; what it prints, also on stderr where it `fails`."""
    known = {
        "HOME": str(folder),
        "PATH": f"{programs}:{os.environ['PATH']}",
        "HF_HUB_OFFLINE": "1",
        "TMPDIR": tempfile.gettempdir(),
        **variables,
    }
    ended = subprocess.run(command, cwd=folder, env=known, capture_output=True, text=True, timeout=300, check=False)
    assert (ended.returncode != 0) == fails, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr if fails else ended.stdout


_CAPITALS = """
from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.scorer import includes
from inspect_ai.solver import generate

ROWS = {rows!r}

@task
def capitals():
    samples = [Sample(f"What is the capital of {{country}}?", target=city) for country, city in ROWS]
    return Task(dataset=samples, solver=generate(), scorer=includes())
"""


def write_inspect_task(folder):
    """Write a task of five samples for inspect-ai: ``capitals.py``."""
    (folder / "capitals.py").write_text(_CAPITALS.format(rows=ROWS))


def inspect_log(folder, programs):
    """The only log of inspect-ai in a folder."""
    (log,) = folder.glob("logs/*.eval")
    return json.loads(run(["inspect", "log", "dump", str(log)], folder, programs=programs))
