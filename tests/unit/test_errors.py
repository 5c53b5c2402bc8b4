"""The errors: their tree, their words, what they carry and what they never do."""

from __future__ import annotations

import copy
import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinkex import errors
from tinkex.errors import (
    APIConnectionError,
    APIError,
    APIResponseError,
    APIStatusError,
    APITimeoutError,
    ClientClosedError,
    CredentialError,
    ForkedFutureError,
    MissingExtraError,
    MissingFeatureError,
    NoThreadsError,
    QueueFullError,
    RequestFailedError,
    SampleTimeoutError,
    TinkexError,
    clean_text,
    is_user_error,
    status_error,
)
from tinkex.errors._text import bounded_body

KEY = "tml-0123456789abcdef"
STATUS_CLASSES = {
    400: errors.BadRequestError,
    401: errors.AuthenticationError,
    402: errors.BillingError,
    403: errors.PermissionDeniedError,
    404: errors.NotFoundError,
    409: errors.ConflictError,
    422: errors.UnprocessableEntityError,
    429: errors.RateLimitError,
    500: errors.InternalServerError,
    503: errors.InternalServerError,
    599: errors.InternalServerError,
    302: APIStatusError,
    408: APIStatusError,
    410: APIStatusError,
    418: APIStatusError,
}
EXAMPLES = [
    TinkexError("m"),
    APIError("m", "req-1", "waiting", True),
    APIConnectionError("m", "req-1", "submitting"),
    APITimeoutError("m", "req-1", "fetching"),
    APIResponseError("m", "req-1"),
    MissingFeatureError("m", "req-1"),
    *(status_error(status, "m", {"detail": "m"}, "req-1", 2.5, "waiting", True) for status in STATUS_CLASSES),
    RequestFailedError("m", "req-1", "server", "fetching", True),
    SampleTimeoutError("m", "waiting", "req-1", 503, 3, "paused_capacity", 60.0, True),
    QueueFullError("m", 2.5),
    CredentialError("m"),
    MissingExtraError("m"),
    NoThreadsError("m"),
    ClientClosedError("m"),
    ForkedFutureError("m"),
]


def leaves(kind):
    """Every class below *kind*, itself included."""
    return {kind}.union(*(leaves(child) for child in kind.__subclasses__()))


def test_examples_are_complete():
    """Every class of the tree is among the examples of this file."""
    ours = {kind for kind in leaves(TinkexError) if kind.__module__.startswith("tinkex.errors")}
    assert {type(error) for error in EXAMPLES} == ours


@pytest.mark.thin(4)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_pickle_keeps_everything(error, protocol):
    """An error comes back from a pickle of any protocol with class, text, arguments, notes and attributes."""
    error = copy.copy(error)
    error.add_note("seen by a worker")
    back = pickle.loads(pickle.dumps(error, protocol))
    assert (type(back), str(back), back.args, vars(back)) == (type(error), str(error), error.args, vars(error))


def test_pickle_of_a_subclass_with_its_own_signature():
    """A subclass need not know how its parents pickle."""
    error = OddError(3)
    assert vars(pickle.loads(pickle.dumps(error))) == vars(error)


class OddError(APIError):
    def __init__(self, number):
        super().__init__(f"odd: {number}", request_id="req-9")
        self.number = number


@pytest.mark.thin(4)
@pytest.mark.parametrize("kind", sorted(leaves(TinkexError) - {OddError}, key=lambda kind: kind.__name__))
@pytest.mark.parametrize("message", ["", " \n", "\x00"])
def test_text_is_never_empty(kind, message):
    """An error without words says what its class says."""
    extra = [500] if issubclass(kind, APIStatusError) else [1.0] if kind is QueueFullError else []
    assert str(kind(message, *extra)).strip()


def test_words_default_to_the_class():
    """Where there is nothing to add, the class says it."""
    assert str(ClientClosedError()) == "The client was closed before or during the call: make a new one."


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_text_names_the_facts(error):
    """The text names request, status and phase wherever the error has them."""
    for name in ("request_id", "status", "phase", "last_status", "queue_state"):
        assert str(getattr(error, name, None) or "") in str(error)


def test_facts_follow_the_attributes():
    """What is learnt after an error was made shows in its text."""
    error = APIConnectionError("The connection was lost.")
    assert str(error) == f"The connection was lost. {error.hint}"
    error.request_id, error.phase, error.may_have_run = "req-1", "waiting", True
    facts = "(request req-1; while waiting; the work may have been done and billed)"
    assert str(error) == f"The connection was lost. {error.hint} {facts}"
    assert str(APIError("It broke")) == "It broke"


def test_text_of_a_passed_deadline():
    """A passed deadline says how far the sample came."""
    assert str(SampleTimeoutError("Too late.", "waiting", "req-1", 408, 2, "paused_capacity", 60.0)) == (
        "Too late. (timeout 60 s; attempts 2; last status 408; queue state paused_capacity;"
        " request req-1; while waiting)"
    )
    late = SampleTimeoutError("Too late.", "retrying", attempts=2, last_failure="The server is\nbusy\x1b.")
    assert str(late) == "Too late. The last failure was: The server is busy. (attempts 2; while retrying)"


@pytest.mark.parametrize(("status", "kind"), STATUS_CLASSES.items())
def test_status_error_picks_the_class(status, kind):
    """Each status has its class; others fall back to the general one."""
    error = status_error(status, "words")
    assert type(error) is kind
    assert (error.status, error.status_code) == (status, status)
    assert str(error).startswith(f"The server answered {status}")


def test_status_error_says_what_to_do():
    """The text holds the server's words and then the advice."""
    error = status_error(401, "bad key", {"detail": "bad key"}, "req-7")
    assert str(error) == (
        "The server answered 401 Unauthorized: bad key. Check the API key: pass api_key or set TINKER_API_KEY."
        " (status 401; request req-7)"
    )


def test_status_error_without_words():
    """A text body speaks where nobody gave words, and silence leaves no loose punctuation."""
    assert "Bad gateway" in str(status_error(502, body="Bad gateway"))
    teapot = "The server answered 418 I'm a Teapot. Unchanged, the request would be refused again. (status 418)"
    assert str(status_error(418)) == teapot
    assert str(status_error(599)).startswith("The server answered 599. Try again")


@pytest.mark.parametrize(
    ("error", "ours"),
    [
        *((status_error(status), True) for status in (400, 401, 402, 403, 404, 409, 422, 418)),
        *((status_error(status), False) for status in (302, 408, 410, 425, 429, 500, 503)),
        (RequestFailedError("m", category="user"), True),
        (RequestFailedError("m", category="User"), True),
        (RequestFailedError("m", category="user_error"), True),
        (RequestFailedError("m", category="server"), False),
        (RequestFailedError("m"), False),
        (APIConnectionError("m"), False),
        (CredentialError("m"), True),
        (ValueError("m"), False),
    ],
)
def test_is_user_error(error, ours):
    """The caller's errors are those that fail again unchanged."""
    assert is_user_error(error) is ours


@pytest.mark.parametrize(
    ("error", "retryable"),
    [
        *((status_error(status), True) for status in (408, 409, 410, 425, 429, 500, 503)),
        *((status_error(status), False) for status in (302, 400, 401, 402, 403, 404, 422)),
        (RequestFailedError("m", category="Server error"), True),
        (RequestFailedError("m", category="user"), False),
        (APITimeoutError("m"), True),
        (APIResponseError("m"), False),
        (SampleTimeoutError("m"), True),
        (QueueFullError("m", 1.0), True),
        (ClientClosedError(), False),
    ],
)
def test_retryable(error, retryable):
    """What may pass by itself can be tried again."""
    assert error.retryable is retryable


@pytest.mark.parametrize("category", [None, 3, "", "weird", ["user"]])
def test_odd_categories_are_unknown(category):
    """A category that makes no sense is unknown, whatever its type."""
    assert RequestFailedError("m", category=category).category == "unknown"


def test_a_credential_error_is_a_value_error():
    """A missing key can be caught like any wrong argument."""
    with pytest.raises(ValueError, match="no key"):
        raise CredentialError("no key")


@pytest.mark.parametrize("secret", [KEY, "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ1In0.c2ln-_"])
def test_no_error_holds_a_credential(secret):
    """A credential that a server echoes reaches neither text, arguments, body nor pickle."""
    error = status_error(401, f"key {secret} is wrong", {"detail": [{"input": secret}]}, "req-1")
    shown = f"{error} {error!r} {error.args} {error.body} {vars(error)}"
    assert secret not in shown
    assert secret.encode() not in pickle.dumps(error)
    assert "[redacted]" in shown


def test_clean_text_removes_given_secrets():
    """A key of any format goes when it is named; an empty one changes nothing."""
    assert clean_text("key hunter2!", secrets=["hunter2", ""]) == "key [redacted]!"


@given(st.text(), st.integers(1, 60))
def test_clean_text_is_bounded_and_printable(text, limit):
    """Whatever comes in, one printable line of bounded length goes out."""
    cleaned = clean_text(text, limit)
    assert len(cleaned) <= limit
    assert cleaned.isprintable()


@given(st.text(max_size=50), st.text(max_size=50))
def test_clean_text_masks_wherever_the_credential_stands(before, after):
    """No surroundings carry a credential through."""
    assert KEY not in clean_text(before + KEY + after)


def test_clean_text_masks_a_credential_that_is_broken_up():
    """Control characters inside a credential do not hide it."""
    assert "0123456789" not in clean_text("tml-\x0001234\x1b56789abcdef")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    )
)
def test_short_bodies_are_kept(body):
    """A short JSON body stays what it was, and a text body stays text."""
    kept = bounded_body(body)
    assert kept == (clean_text(body) if isinstance(body, str) else body)


@pytest.mark.parametrize("body", ["x" * 10_000, ["x" * 10_000], {"detail": list(range(5000))}])
def test_long_bodies_are_cut(body):
    """A long body is kept as 2,000 characters of text."""
    error = status_error(400, "m", body)
    assert isinstance(error.body, str)
    assert len(error.body) == 2000


def test_bodies_that_cannot_be_shown():
    """A body that JSON cannot hold, or that is nested without end, is only named."""
    deep = []
    for _ in range(10_000):
        deep = [deep]
    assert bounded_body(deep) == "an answer of type list that cannot be shown"
    assert bounded_body({1, 2}) == "an answer of type set that cannot be shown"


def test_a_redacted_body_is_still_json():
    """A short body that echoed a key can still be read as JSON."""
    assert json.loads(bounded_body({"detail": f"bad key {KEY}"})) == {"detail": "bad key [redacted]"}
