"""Calls whose arguments do not fit."""

from __future__ import annotations

import inspect
import pydoc

import pytest

import tinkex
from tinkex._validation.calls import explained

PARAMS = tinkex.SamplingParams(max_tokens=4)
SAMPLING, SERVICE, PROMPT = tinkex.SamplingClient, tinkex.ServiceClient, tinkex.ModelInput


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: SAMPLING.sample(None, [1]), r"^sampling_params must be given: .*sample\(prompt, tinkex.SamplingPar"),
        (lambda: SAMPLING.sample(None), r"^prompt must be given: token ids, as in sample\("),
        (
            lambda: SAMPLING.sample(None, [1], max_tokens=4),
            r"'max_tokens': write tinkex.SamplingParams\(max_",
        ),
        (lambda: SAMPLING.sample(None, [1], max_new_tokens=4), r"write tinkex.SamplingParams\(max_tokens=...\)$"),
        (lambda: SAMPLING.sample(None, [1], PARAMS, n=4), r"^sample\(\) got an .* 'n': did you mean num_samples\?$"),
        (lambda: SAMPLING.sample(None, [1], params=PARAMS), r"did you mean sampling_params\?$"),
        (
            lambda: SAMPLING.sample(None, [1], 4, PARAMS),
            r"others by name, as in sample\(prompt, sampling_params, n",
        ),
        (lambda: SAMPLING.sample(None, [1], PARAMS, xyzzy=4), r"^sample\(\) got an unexpected keyword arg.* 'xyzzy'$"),
        (lambda: SAMPLING.sample(None, "The sky"), r"^prompt must be token ids, got the text .*client.complete\("),
        (lambda: SAMPLING.sample(None, "The sky", max_tokens=4), r"^prompt must be token ids, got the text 'The sky'"),
        (lambda: SAMPLING.sample(None, prompt="The sky", max_tokens=4), r"^prompt must be token ids, got the text"),
        (lambda: SAMPLING.sample(None, [{"role": "user"}], max_tokens=4), r"got messages, .*client.chat\("),
        (lambda: SAMPLING.complete(None), r"^prompt must be given: a text, as in complete\("),
        (lambda: SAMPLING.chat(None, max_tokens=4), r"^messages must be given: a text or messages, as in chat\("),
        (lambda: SAMPLING.score(None, "a", choces=["b"]), r"^score\(\) got .* 'choces': did you mean choices\?$"),
        (lambda: SAMPLING.score(None, "a", timeout=4), r"^choices must be given: "),
        (lambda: SAMPLING.score(None, "a"), r"^choices must be given: the texts to score, as in score\("),
        (
            lambda: SERVICE.create_sampling_client(None, "a/b"),
            r"by name, as in create_.*\(base_model=...",
        ),
        (lambda: SERVICE.create_sampling_client_async(None, "a/b"), r"_async\(base_model=...\)$"),
        (lambda: SERVICE.create_sampling_client(None, model="a/b"), r"'model': did you mean base_model\?$"),
        (
            lambda: SERVICE("tml-x"),
            r"^ServiceClient\(\) takes .* by name, as in ServiceClient\(api_key=...\)$",
        ),
        (lambda: SERVICE(apikey="tml-x"), r"'apikey': did you mean api_key\?$"),
        (lambda: SERVICE(timeout=3), r"'timeout': write config=tinkex.ClientConfig\(timeout=...\)$"),
        (lambda: tinkex.ClientConfig(time_out=3), r"^ClientConfig\(\) got .* 'time_out': did you mean timeout\?$"),
        (lambda: tinkex.RetryConfig(attempts=3), r"'attempts': did you mean max_attempts\?$"),
        (lambda: tinkex.SamplingParams(max_new_tokens=3), r"^SamplingParams\(\) got .* did you mean max_tokens\?$"),
        (lambda: SAMPLING("a/b"), r"by ServiceClient.create_sampling_client\(base_model=...\), which makes"),
        (
            lambda: SERVICE(base_url="http://127.0.0.1:1", observers=print),
            r"^observers must be a list",
        ),
        (lambda: PROMPT.from_text("a"), r"^model_or_tokenizer must be given: as in ModelInput.from_text\("),
        (lambda: PROMPT.from_messages([]), r"^tokenizer must be given: as in ModelInput.from_messages\("),
    ],
)
def test_what_to_write(call, words):
    """Arguments that do not fit a call are told with what to write, from the line that calls."""
    with pytest.raises(TypeError, match=words) as caught:
        call()
    assert caught.value.__context__ is None or caught.value.__suppress_context__


class Thing:
    """Has a call of each kind."""

    @explained(first="the first")
    def call(self, first, second, *, third=1):
        """Add them."""
        return first + second + third


def test_calls_that_fit():
    """A call that fits is made, its signature and text are its own, and its own TypeError is left as it is."""
    assert Thing().call(1, 2, third=3) == 6
    assert list(inspect.signature(Thing.call).parameters) == ["self", "first", "second", "third"]
    assert inspect.getdoc(Thing.call) == "Add them."
    with pytest.raises(TypeError, match="unsupported operand"):
        Thing().call(1, "2")


def test_what_help_shows():
    """Private parameters, which only tests and the library itself pass, are not in a signature."""
    assert list(inspect.signature(SERVICE).parameters) == [
        "api_key", "base_url", "config", "user_metadata", "project_id", "display_name", "observers",
    ]  # fmt: skip
    assert "_clock" not in pydoc.render_doc(SERVICE)


def test_what_nothing_is_said_of():
    """Where a missing argument has no advice, or one is given twice, Python's own words stay."""
    with pytest.raises(TypeError, match=r"missing 1 required positional argument: 'second'"):
        Thing().call(1)
    with pytest.raises(TypeError, match=r"multiple values for argument 'first'"):
        Thing().call(1, 2, first=3)


def test_a_key_stays_out_of_tracebacks():
    """A service client that is made from the wrong arguments keeps its key out of the frames of the error."""
    with pytest.raises(TypeError) as caught:
        SERVICE(api_key="tml-secret", api_kex="tml-secret")
    frame, frames = caught.value.__traceback__.tb_next, []
    while frame is not None:
        frames.append(repr(frame.tb_frame.f_locals))
        frame = frame.tb_next
    assert not any("tml-secret" in each for each in frames)
