"""What ``tinkex sample`` shows on a terminal, and how tokens become text one by one."""

from __future__ import annotations

import re
import sys
from concurrent.futures import Future

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinkex.types import SampledSequence, SampleResponse

tokenizers = pytest.importorskip("tokenizers")
testing = pytest.importorskip("tinkex.testing")
app = pytest.importorskip("tinkex.cli._app").app
_tokens = pytest.importorskip("tinkex.cli.output.tokens")
sample = pytest.importorskip("tinkex.cli.commands.sample")
KEY = "tml-a-secret-key-for-tests"
COLOUR = re.compile(r"\x1b\[[\d;]*m")


class Bytes:
    """A tokenizer with a token a byte, as the ones of real models fall back to."""

    def encode(self, text):
        return list(text.encode())

    def decode(self, ids, *, skip_special_tokens=False):
        return bytes(ids).decode("utf-8", "replace")


class Trimming(Bytes):
    """One that drops a space at the very beginning, as some do."""

    def decode(self, ids, *, skip_special_tokens=False):
        return super().decode(ids).removeprefix(" ")


@given(st.text(max_size=40))
def test_pieces_add_up(text):
    """The pieces of a text's tokens make up the text; tokens inside a character have none of it."""
    ids = list(text.encode())
    pieces = _tokens.token_texts(Bytes(), ids)
    assert ("".join(pieces), len(pieces)) == (text, len(ids))
    assert all(piece == "" or len(piece) == 1 for piece in pieces)


@given(st.lists(st.integers(0, 255), max_size=30))
def test_pieces_of_anything(ids):
    """Tokens that are no text at all have pieces too, one each."""
    assert len(_tokens.token_texts(Bytes(), ids)) == len(ids)


def test_spaces_between_tokens_are_kept():
    """A tokenizer that trims the first space of what it decodes does not swallow those in between."""
    assert _tokens.token_texts(Trimming(), list(b"a b")) == ["a", " ", "b"]


def test_pieces_without_a_tokenizer():
    """Without a tokenizer there is no text."""
    assert _tokens.token_texts(None, [1, 2]) == ["", ""]


@pytest.fixture
def show(monkeypatch, capsys, tmp_path):
    """Run a command on a terminal; stdout and stderr as they are, and the server's answers to set."""
    vocabulary = {**{f"w{number}": number for number in range(40)}, "[red]": 40, "\x1b": 41}
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, "w0"))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    inner.save(str(tmp_path / "tokenizer.json"))
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("TINKER_API_KEY", KEY)
    monkeypatch.setattr(type(sys.stdout), "isatty", lambda _: True)

    def run(width, *arguments, models=("a/model",)):
        monkeypatch.setenv("COLUMNS", str(width))
        named = [part for model in models for part in ("--base-model", model)]
        line = ["sample", "w1 w2", *named, "--base-url", run.server.url, "--tokenizer", str(tmp_path), *arguments]
        with pytest.raises(SystemExit) as ended:
            app(line, prog_name="tinkex")
        assert ended.value.code == 0
        return capsys.readouterr()

    with testing.FakeServer() as run.server:
        yield run


def words(*ids):
    """A sequence of tokens, each half as likely as the one before."""
    return SampledSequence(list(ids), [-0.01 - 0.7 * number for number in range(len(ids))])


def lines(shown):
    """What stands on the screen, line by line, without colours."""
    return [line.rstrip() for line in COLOUR.sub("", shown).splitlines()]


def test_models_side_by_side(show):
    """Where there is room, each model has a column."""
    show.server.answers = lambda _: SampleResponse([words(5, 6)])
    shown = lines(show(80, models=("a/model", "b/model")).out)
    assert shown[0].split() == ["a/model", "b/model"]
    assert shown[2].split() == ["w5", "w6", "w5", "w6"]
    assert shown[2].index("w5", 5) == shown[0].index("b/model")


def test_models_one_under_another(show):
    """Where there is none, each has a heading."""
    show.server.answers = lambda _: SampleResponse([words(5, 6)])
    shown = lines(show(60, models=("a/model", "b/model")).out)
    assert shown[0].startswith("a/model ──")
    assert shown[1:3] == ["w5 w6", shown[2]]
    assert shown[2].startswith("b/model ──")


def test_several_texts(show):
    """Several texts of one model are separated by a line."""
    show.server.answers = lambda _: SampleResponse([words(5), words(6)])
    shown = lines(show(80, "-n", "2").out)
    assert [line.split()[0] for line in shown] == ["1", "w5", "2", "w6"]


def test_one_colour_a_token(show):
    """--colors gives each token the colour of how likely it was, and says on stderr what the colours mean."""
    show.server.answers = lambda _: SampleResponse([words(5, 6, 7)])
    out, err = show(80, "--colors")
    assert lines(out) == ["w5 w6 w7"]
    assert "\x1b[92mw5" in out
    assert "\x1b[33m w7" in out
    assert "likely: under 1%" in COLOUR.sub("", err)


def test_no_colour(show, monkeypatch):
    """With NO_COLOR there is none, and a remark says why."""
    show.server.answers = lambda _: SampleResponse([words(5, 6, 7)])
    monkeypatch.setenv("NO_COLOR", "1")
    out, err = show(80, "--colors")
    assert out == "w5 w6 w7\n"
    assert "no colours" in err


def test_tables_of_tokens(show):
    """--logprobs and --topk-logprobs draw a table, whose colours follow --colors."""
    shown = lines(show(100, "-m", "2", "--topk-logprobs", "2", "--prompt-logprobs").out)
    assert shown[0].split() == ["token", "logprob", "text"]
    assert shown[3].split() == ["token", "logprob", "text", "likeliest"]
    assert len(shown) == 6


@pytest.mark.thin(3)
@pytest.mark.parametrize("arguments", [(), ("--colors",), ("--logprobs",)])
@pytest.mark.parametrize("models", [("a/model",), ("a/model", "[bold]evil[/bold]\x1b[2J")])
def test_sampled_words_cannot_steer_the_terminal(show, arguments, models):
    """Neither markup nor control characters in a text, or a model's name, are obeyed."""
    show.server.answers = lambda _: SampleResponse([words(40, 41)])
    out = show(100, *arguments, models=models).out
    assert "[red]" in out
    assert "\x1b[2J" not in out
    assert "\x1b" not in COLOUR.sub("", out)


def test_progress_tells_what_is_going_on(monkeypatch):
    """While samples take their time, the words say how many are done, and why the others are not."""
    monkeypatch.setattr(sample, "_TELL_EVERY", 0.001)
    told, futures = [], [in_phase("waiting"), in_phase("retrying")]

    def tell(text):
        told.append(text)
        for future in futures:
            if not future.done():
                future.set_result(None)

    futures[0].set_result(None)
    sample._watch(futures, tell)
    assert told[0] == "Sampling: 1 of 2 models, retrying"


def in_phase(phase):
    """A future in some phase."""
    future = Future()
    future.phase, future.queue_state_reason = phase, None
    return future
