"""The migration page's example for the official SDK runs with the official SDK."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import textwrap

import pytest

from tinkex.testing import FakeServer

pytestmark = [pytest.mark.clients, pytest.mark.timeout(600)]  # the first run installs the official SDK

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "migration.rst"


def test_official_example(official_python):
    """The program before the migration prints the tokens and log-probabilities of two sequences."""
    blocks = re.findall(r"\.\. code-block:: python\n\n((?:    .*\n|\n)+)", PAGE.read_text(encoding="utf-8"))
    (program,) = (block for block in blocks if "import tinker\n" in block)
    with FakeServer() as server:
        environ = {**os.environ, "TINKER_BASE_URL": server.url, "TINKER_API_KEY": "tml-example"}
        command = [official_python, "-c", textwrap.dedent(program)]
        ended = subprocess.run(command, env=environ, check=True, capture_output=True, text=True, timeout=120)
    assert ended.stdout.count("[") == 4
