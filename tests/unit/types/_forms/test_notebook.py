"""What notebooks show of responses: fragments that keep to themselves."""

from __future__ import annotations

import html.parser
import math
import pickle
import re

from tinkex import SampledSequence, SampleResponse
from tinkex.text import SampledText, TextCodec, TextResponse
from tinkex.types import ModelInput

HOSTILE = "<script>alert(1)</script>\n'\"&"


class Fragment(html.parser.HTMLParser):
    """What a browser would find in a fragment: its elements are closed, and only such as change nothing around them."""

    def __init__(self, shown):
        super().__init__()
        self.words, self.titles, self.styles, self._open = [], [], [], []
        self.feed(shown._repr_html_())
        self.text = "".join(self.words).replace("\N{MINUS SIGN}", "-")
        assert self._open == []

    def handle_starttag(self, tag, attributes):
        self._open.append(tag)
        given = dict(attributes)
        assert tag in {"div", "span"}
        assert given.keys() <= {"style", "title"}
        assert not re.search(r"url|position|!important|@", given.get("style", ""))
        self.titles += [given["title"]] if "title" in given else []
        self.styles += [given["style"]] if "title" in given else []

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def test_a_sequence():
    """Ids with what is known of them, the unlikely ones darker; sum and mean above."""
    rows = [[(5, -0.01), (7, -4.0)], None, [(9, -math.inf)]]
    shown = Fragment(SampledSequence([5, 7, 9], [-0.01, -3.0, -6.0], rows, "length"))
    assert shown.text.startswith("3 tokens · log-probability -9.010 · -3.003 a token · length")
    assert shown.text.endswith("5 7 9")
    assert shown.titles[0].splitlines()[1:] == ["instead:", "5: 99 %", "7: 1.83 %"]
    assert shown.titles[2].splitlines()[1:] == ["instead:", "9: 0 %"]
    shades = [float(re.search(r"rgba\(.*,(.*)\)", style)[1]) if "rgba" in style else 0 for style in shown.styles]
    assert shades == sorted(shades)
    assert shades[0] == 0 < shades[1] < shades[2]


def test_what_is_not_known():
    """Without log-probabilities, or with some that are not known or impossible, nothing is made up."""
    assert Fragment(SampledSequence([5])).text == "1 token · stop5"
    assert "log-probability not known" in Fragment(SampledSequence([5, 6], [-1.0, math.nan])).text
    assert "log-probability -∞" in Fragment(SampledSequence([5], [-math.inf])).text
    assert Fragment(SampledSequence([], stop_reason=HOSTILE)).text == f"0 tokens · {HOSTILE}"


def test_a_response():
    """Every sequence, and the prompt's log-probability; of very many tokens or sequences the first."""
    many = SampledSequence(range(1000), [-1.0] * 1000)
    shown = Fragment(SampleResponse([many] * 10, prompt_logprobs=[None, -1.0, -2.0]))
    assert shown.text.startswith("prompt of 3 tokens · log-probability -3.000 · -1.500 a token")
    assert shown.text.count("… 500 more") == 8
    assert shown.text.endswith("… 2 more sequences")


def test_texts():
    """A text of which the tokenizer is not known stands above its token ids."""
    sampled = SampledText(HOSTILE, SampledSequence([5], [-1.0]))
    response = TextResponse(SampleResponse([sampled.sequence]), ModelInput.from_ints([1]), lambda _: sampled)
    for shown in (Fragment(sampled), Fragment(response)):
        assert shown.text.startswith(HOSTILE + "1 token")


class Letters:
    """A tokenizer of single letters, some of them hostile."""

    def encode(self, text):
        return [ord(letter) for letter in text]

    def decode(self, tokens):
        return "".join(map(chr, tokens))


def test_spelled_texts():
    """Where the tokenizer is known the tokens stand as the text that they make, also in what could stand instead."""
    tokens = [ord(letter) for letter in HOSTILE]
    sequence = SampledSequence(tokens, [-1.0] * len(tokens), [[(ord(" "), -0.5)]] * len(tokens), "length")
    sampled = SampledText(HOSTILE, sequence, codec=TextCodec(Letters()))
    response = TextResponse(SampleResponse([sequence]), ModelInput.from_ints([1]), lambda _: sampled)
    for shown in (Fragment(sampled), Fragment(response)):
        assert shown.text.endswith("a token · length" + HOSTILE)
        assert shown.titles[0].splitlines()[1:] == [f"token {ord('<')}", "instead:", "' ': 60.7 %"]
    loaded = pickle.loads(pickle.dumps(response))
    assert loaded == response
    assert Fragment(loaded).text.startswith(HOSTILE)
