from __future__ import annotations

import gc
import json

import pytest

from tinkex.local import serve
from tinkex.local.report import SampleReport


@pytest.fixture
def _not_frozen():
    yield
    gc.unfreeze()
    gc.enable()


@pytest.mark.usefixtures("_not_frozen")
def test_garbage_is_collected_from_the_start_on(capsys):
    """Once the server can be used, its garbage is collected as in any process; while it loads, there is none."""
    gc.disable()
    serve._begin(SampleReport(1, 2, 0.5, 1.5))
    assert gc.isenabled()
    assert json.loads(capsys.readouterr().out)["prompt_tokens"] == 1
