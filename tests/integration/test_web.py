from __future__ import annotations

import importlib
import pathlib
import re
import sys
import types
from unittest.mock import Mock

import celery.exceptions
import pytest

import tinkex
from tinkex.errors import status_error
from tinkex.local import LocalError
from tinkex.testing import FakeServer, expected_tokens
from tinkex.tokenizers import TokenizerError
from tinkex.web import error_response

HERE = pathlib.Path(__file__).resolve().parents[1]
PAGE = HERE.parent / "docs" / "web_servers.rst"
APPS = ("sampling", "flask_app", "django_app", "tasks")
BASES = {"TinkexError", "APIError"}  # never raised themselves

BUSY = (503, {"Retry-After": "1"})
RESPONSES = [
    *((status_error(code, phase="submitting"), (400, {})) for code in (400, 422)),
    *((status_error(code), (500, {})) for code in (400, 401, 402, 403, 404, 405, 409, 422)),
    *((status_error(code, phase="waiting"), (502, {})) for code in (500, 502, 503)),
    (status_error(429), BUSY),
    (status_error(429, retry_after=6.1), (503, {"Retry-After": "7"})),
    (tinkex.QueueFullError("full", 0.25), BUSY),
    (tinkex.ClientClosedError(), BUSY),
    (tinkex.ForkedFutureError(), BUSY),
    (tinkex.SampleTimeoutError("late"), (504, {})),
    (tinkex.APITimeoutError("late"), (504, {})),
    (tinkex.APIConnectionError("refused"), (502, {})),
    (tinkex.APIResponseError("garbled"), (502, {})),
    (tinkex.MissingFeatureError("left out", phase="fetching"), (502, {})),
    (tinkex.RequestFailedError("no", category="user", phase="waiting"), (400, {})),
    (tinkex.RequestFailedError("no", category="server", phase="waiting"), (502, {})),
    (tinkex.RequestFailedError("no", phase="waiting"), (502, {})),
    (tinkex.CredentialError("none"), (500, {})),
    (tinkex.MissingExtraError("none"), (500, {})),
    (tinkex.NoThreadsError("none"), (500, {})),
    (TokenizerError("none"), (500, {})),
    (LocalError("none"), (500, {})),
]


@pytest.mark.parametrize(("error", "response"), RESPONSES, ids=lambda given: type(given).__name__)
def test_response_to_an_error(error, response):
    """Each error has one status, and those that will pass say when to come again."""
    assert error_response(error) == response


def test_the_table_of_errors_is_complete_and_true():
    """The page's table names every public error, and gives it the statuses that `error_response` gives."""
    _, _, table = PAGE.read_text(encoding="utf-8").partition("Which error, which status")
    written = {}
    for row in re.findall(r"^   \* - (.*?)^     - (\d+)", table, re.MULTILINE | re.DOTALL):
        for name in re.findall(r"`(\w+Error)`", row[0]):
            written.setdefault(name, set()).add(int(row[1]))
    del written["TypeError"], written["ValueError"]
    true = {}
    for error, (status, _) in RESPONSES:
        true.setdefault(type(error).__name__, set()).add(status)
    assert written == true
    public = {name for name in [*tinkex.__all__, *vars(tinkex.errors)] if name.endswith("Error")}
    assert public - BASES <= true.keys()


@pytest.fixture(scope="module")
def apps():
    """The documented applications, imported as a server does, and the Tinker server behind them."""
    with FakeServer() as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TINKER_BASE_URL", server.url)
        patch.setenv("TINKER_API_KEY", "tml-test")
        patch.syspath_prepend(HERE / "apps")
        settings = types.SimpleNamespace(task_always_eager=True, task_eager_propagates=True, broker_url="memory://")
        patch.setitem(sys.modules, "celeryconfig", settings)
        flask_app, django_app, tasks = (importlib.import_module(name) for name in APPS[1:])
        yield server, {"flask": flask_client(flask_app), "django": django_client(django_app), "celery": tasks}
        sys.modules["sampling"].service.close()
        for name in APPS:
            del sys.modules[name]


def flask_client(module):
    """A function that posts JSON to the Flask application."""
    browser = module.app.test_client()

    def post(body):
        response = browser.post("/complete", json=body)
        return response.status_code, response.headers, response.get_json()

    assert browser.get("/healthz").status_code == 200
    return post


def django_client(module):
    """A function that posts JSON to the Django project."""
    from django.test import Client

    def post(body):
        response = Client().post("/complete", body, content_type="application/json")
        return response.status_code, response.headers, response.json()

    assert Client().get("/healthz").status_code == 200
    return post


@pytest.mark.slow
@pytest.mark.parametrize("framework", ["flask", "django"])
def test_a_view_answers_as_the_table_says(apps, framework):
    """The documented views answer with tokens, blame the visitor for a bad prompt only, and say when to come again."""
    server, clients = apps
    post = clients[framework]
    status, _, body = post({"tokens": [1, 2, 3]})
    assert (status, body) == (200, {"tokens": expected_tokens([1, 2, 3], max_tokens=16)})
    for bad in ({"tokens": [-1]}, {"tokens": "abc"}, {}):
        status, _, body = post(bad)
        assert status == 400
        assert body["error"]
    for answered, response in ((403, 500), (422, 400)):
        server.fail_next("asample", status=answered)
        assert post({"tokens": [1]})[::2] == (response, {"error": "sampling failed"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tinkex.SamplingClient, "sample", Mock(side_effect=tinkex.QueueFullError("full", retry_after=2.5)))
        status, headers, _ = post({"tokens": [1]})
    assert (status, headers["Retry-After"]) == (503, "3")


@pytest.mark.slow
def test_a_task_is_tried_again_only_if_nothing_ran(apps):
    """The documented task returns tokens, has what cannot have run repeated later, and raises anything else."""
    server, clients = apps
    tasks = clients["celery"]
    assert tasks.complete.delay([1, 2, 3]).get() == expected_tokens([1, 2, 3], max_tokens=16)
    server.fail_next("asample", status=403)
    with pytest.raises(tinkex.PermissionDeniedError):
        tasks.complete.delay([1])
    full = tinkex.QueueFullError("full", retry_after=2.5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tinkex.SamplingClient, "sample", Mock(side_effect=full))
        patch.setattr(tasks.complete, "retry", retry := Mock(return_value=celery.exceptions.Retry()))
        with pytest.raises(celery.exceptions.Retry):
            tasks.complete.delay([1])
    retry.assert_called_once_with(exc=full, countdown=2.5)
