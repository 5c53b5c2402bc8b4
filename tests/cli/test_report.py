"""The pages about samples: what they say, whatever the rows hold."""

from __future__ import annotations

import gzip
import html.parser
import importlib.util
import json
import math
import sys
import tracemalloc

import pytest
from click.testing import CliRunner
from hypothesis import example, given
from hypothesis import strategies as st
from report_rows import BEGAN, FIRST_ID, Words, failed_row, many_rows, row, write
from small_tokenizers import sentencepiece

from tinkex.bulk._output.record import choice_columns
from tinkex.cli._app import app
from tinkex.report import batch_report, logprobs_report
from tinkex.report._shown import shown
from tinkex.report.cards import cards_of
from tinkex.report.data.histogram import Histogram
from tinkex.report.data.idle import find_idle
from tinkex.report.data.scan import Scan
from tinkex.report.data.timeline import Timeline
from tinkex.report.tokens import read_tokens

pytestmark = pytest.mark.skipif(importlib.util.find_spec("altair") is None, reason="needs altair")


class Page(html.parser.HTMLParser):
    """What a browser would find: elements, their attributes, and the text outside of styles."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.words, self._style = [], [], False
        self.feed(text)
        self.text = "".join(self.words).replace("\N{MINUS SIGN}", "-")

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self._style = tag == "style"

    def handle_endtag(self, tag):
        self._style = False

    def handle_data(self, data):
        if not self._style:
            self.words.append(data)

    def tips(self):
        return [attributes["data-tip"] for _, attributes in self.elements if "data-tip" in attributes]


def page_of(tmp_path, rows, tail="", **options):
    """The page about these rows."""
    return Page(batch_report(write(tmp_path / "out.jsonl", rows, tail), **options))


@pytest.fixture
def undrawn(monkeypatch):
    """Pages without their pictures, which take most of the time."""
    for name in ("distribution", "phases", "progress"):
        monkeypatch.setattr(f"tinkex.report.charts.{name}", lambda *_, **__: "")


def assert_harmless(page):
    """Nothing on the page can run or fetch."""
    assert not [
        tag for tag, _ in page.elements if tag in {"script", "iframe", "object", "embed", "img", "base", "form"}
    ]
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")], tag
        assert attributes.get("href", "data:,") == "data:,"
        assert "src" not in attributes


@pytest.mark.slow
def test_page_counts(tmp_path):
    """The page gives the numbers of rows done and failed, and every picture."""
    page = page_of(tmp_path, many_rows(300), tokenizer=Words())
    assert "300 rows" in page.text
    failed = sum(made["status"] == "error" for made in many_rows(300))
    assert f"rows failed{failed}1 kind of error" in page.text.replace("\n", "")
    pictures = [attributes["aria-label"].split(".")[0] for tag, attributes in page.elements if tag == "figure"]
    assert pictures == [
        "Progress", "Time of a row", "Tokens sampled", "Tokens of the prompt", "Perplexity", "Where the time went",
    ]  # fmt: skip
    assert_harmless(page)


def test_a_count_is_not_broken(undrawn, tmp_path):
    """No line ends between a number and its prefix where it stands among words."""
    usage = {"prompt_tokens": 11_800, "sampled_tokens": 3, "prompt_cache_hit_tokens": 0}
    assert "11.8\N{NO-BREAK SPACE}k read" in page_of(tmp_path, [row(1, usage=usage)]).text


def test_same_file_same_page(undrawn, tmp_path):
    """The rows to show are drawn the same way every time."""
    path = write(tmp_path / "out.jsonl", many_rows(100))
    assert batch_report(path) == batch_report(path)


@pytest.mark.parametrize(
    ("rows", "tail"),
    [
        ([], ""),
        ([], '{"id": "torn", "mod'),
        ([failed_row(n) for n in range(5)], "\n\n[]\n\x00\n"),
        ([row()], ""),
    ],
    ids=["empty", "torn", "all failed", "one"],
)
def test_odd_files(undrawn, tmp_path, rows, tail):
    """A file that is empty, torn, or full of failures gives a page that says so."""
    page = page_of(tmp_path, rows, tail)
    assert f"{len(rows)} rows" in page.text
    assert ("left out" in page.text) == bool(tail)
    assert_harmless(page)


HOSTILE = [
    "</script><script>alert(1)</script>", "</style><img src=x onerror=alert()>", '" onmouseover="alert(1)', "{{7*7}}{%",
    "\x00\x07\x1b[31m\x7f\x85", "\u202eevil\u2066", "👩‍👩‍👧‍👦🏳️‍🌈", "\ud800lone\udfff", "]]>--><!--", "&lt;&#x202e;",
]  # fmt: skip


def test_hostile_words(undrawn, tmp_path):
    """Whatever a server, a model or an input says is shown as text, with what would hide or reorder it made visible."""
    every = "".join(HOSTILE)
    rows = [failed_row(n, message=word, kind=word, id=word, model=word) for n, word in enumerate(HOSTILE)]
    for number, word in enumerate(HOSTILE, len(rows)):
        rows.append(row(number, id=word, model=word))
        rows[-1]["sequences"][0] |= {"text": word, "stop_reason": word}

    class Tokenizer(Words):
        def decode(self, ids):
            return every * len(ids)

    path = write(tmp_path / "out.jsonl", rows)
    for tokenizer in (None, Tokenizer()):
        text = batch_report(path, tokenizer=tokenizer, title=every)
        text.encode()
        page = Page(text)
        assert_harmless(page)
        assert not [word for word in HOSTILE if shown(word) not in page.text]
        assert not set(text) & set("\x00\x07\x1b\x7f\x85\u202e\u2066")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


further = ["choices", "best", "answer", "correct", "correct_by_mean", "prompt_logprobs", "topk_prompt_logprobs"]
some_fields = st.dictionaries(st.sampled_from(sorted([*row(), *further])), values)
some_columns = st.dictionaries(st.sampled_from(["tokens", "logprobs", "topk_logprobs", "text", "stop_reason"]), values)


@given(some_fields, some_columns, st.sampled_from(["ok", "error"]))
@example({"started_at": -1e308, "finished_at": 1e308, "attempts": 10**400}, {"logprobs": [1e308, -1e308]}, "ok")
def test_any_row_is_read(changes, sequence, status):
    """A row whose values are of any kind is read as far as it makes sense."""
    made = row() | changes | {"status": status}
    if isinstance(made["sequences"], list):
        made["sequences"] = [*made["sequences"], row()["sequences"][0] | sequence]
    line = json.dumps(made).encode()
    scan = Scan()
    scan.read([line])
    assert scan.rows == 1
    for decode in (None, Words().decode):
        for several in (False, True):
            cards = cards_of(scan.picked(), lambda model, decode=decode: decode, several=several)
            assert [card.id is not None for card in cards] == [True]
    scan.timeline.points()


def test_openai_rows(undrawn, tmp_path):
    """Rows in OpenAI's form give the same: text, tokens with their alternatives, and errors."""
    content = [{"token": " hi", "logprob": -0.5, "top_logprobs": [{"token": " ho", "logprob": -1.0}]}]
    chat = {
        "id": "b", "custom_id": "mine", "model": "m", "fingerprint": "0", "status": "ok", "error": None,
        "response": {"status_code": 200, "body": {
            "choices": [{"message": {"content": " hi"}, "finish_reason": "length", "logprobs": {"content": content}}],
            "usage": {"prompt_tokens": 7, "completion_tokens": 1},
        }},
    }  # fmt: skip
    bad = {**chat, "status": "error", "response": None, "error": {"code": "rate_limit", "message": "slow down"}}
    page = page_of(tmp_path, [chat, bad])
    assert "mine" in page.text
    assert "cut at max_tokens" in page.text
    assert "slow down" in page.text
    assert "tell no times" in page.text
    assert any("60.7 %" in tip and "␣ho" in tip for tip in page.tips())


def test_impossible_texts_count(undrawn, tmp_path):
    """A text with a token of probability zero is infinitely perplexing: it counts, in quantiles, too."""
    rows = [row(n, logprobs=(-0.5, -0.5, -0.5)) for n in range(3)]
    rows += [row(n, logprobs=(-0.5, -9999.0, -0.5)) for n in range(3, 8)]
    page = page_of(tmp_path, rows, tokenizer=Words())
    assert "impossible texts5have a token of probability zero, of 8" in page.text
    assert "median perplexity∞" in page.text
    assert "log p -∞" in page.text
    assert any("0.0 %" in tip and "log p \N{MINUS SIGN}∞" in tip for tip in page.tips())
    scan = Scan()
    scan.read(json.dumps(each).encode() for each in rows)
    assert (scan.perplexity.count, scan.perplexity.infinite, scan.impossible) == (3, 5, 5)
    assert all(each.number > 3 for each in scan.picked() if "least likely" in each.remarks)


def test_unknown_numbers_do_not_count(undrawn, tmp_path):
    """A text with a log-probability that is not known has no perplexity, and the page says so."""
    page = page_of(tmp_path, [row(1), row(2, logprobs=(-0.1, None, -0.1))])
    assert "texts not scored1a log-probability is not known" in page.text
    scan = Scan()
    scan.read([json.dumps(row(2, logprobs=(-0.1, None, -0.1))).encode()])
    assert (scan.perplexity.count, scan.unknown) == (0, 1)


def score_row(number, *logprobs, **fields):
    """A row of which only the prompt was scored."""
    usage = {"prompt_tokens": 1 + len(logprobs), "sampled_tokens": 1, "prompt_cache_hit_tokens": 0}
    ids = [FIRST_ID] * (1 + len(logprobs))
    scored = {"prompt_tokens": ids, "prompt_logprobs": [None, *logprobs], "sequences": [], "usage": usage}
    return row(number, parameters={"score": True}, **scored, **fields)


def test_scores(undrawn, tmp_path):
    """Of rows that were only scored the page tells the log-probability and the tokens that were read, not a sample."""
    page = page_of(tmp_path, [score_row(1, -1.0, -2.0), score_row(2, -0.5)], tokenizer=Words())
    assert "tokens read5none sampled" in page.text
    assert "prompt, log p -3.000, -1.500 per token" in page.text
    assert "3 tokens" in page.text
    assert "1 token" not in page.text
    scan = Scan()
    scan.read([json.dumps(score_row(1, None, -0.5, prompt_logprobs_last_n=None)).encode()])
    assert scan.unknown == 1  # only the first token of a prompt has no log-probability by nature
    last = score_row(1, None, -0.5)
    last["parameters"]["prompt_logprobs_last_n"] = 1
    scan.read([json.dumps(last).encode()])
    assert (scan.unknown, scan.perplexity.count) == (1, 1)


def test_choices(undrawn, tmp_path):
    """Scored choices stand below their prompt, with what they sum to and what they are; the page tells the accuracy.

    The caller's column with the right choice, which counts them from 0, is not repeated where that choice is marked.
    """
    choices = [(" a", [101], [-1.0]), (" b", [102, 103], [-0.75, -0.75])]
    rows = [
        row(n, sequences=[], **choice_columns(choices, answer), extra={"topic": "sky", "answer": answer})
        for n, answer in enumerate([0, 0, 1, None])
    ]
    page = page_of(tmp_path, rows, tokenizer=Words())
    assert "accuracy66.7 %33.3 % by mean log-probability, of 3 rows" in page.text
    assert "choice 1 of 2, log p -1.000 likeliest right" in page.text
    assert "choice 2 of 2, log p -1.500, -0.750 per token likeliest per token right" in page.text
    assert page.text.count("wrong") == 1
    assert (page.text.count("topic sky"), page.text.count("answer null")) == (4, 1)
    assert "answer 0" not in page.text


@pytest.mark.parametrize(
    ("rows", "titles"),
    [
        ([row(1)], ["rows a second", "tokens a second", "rows in flight"]),
        ([score_row(1, -1.0, -2.0)], ["rows a second", "tokens read a second", "rows in flight"]),
        ([failed_row(1)], ["rows a second", "rows in flight"]),
    ],
    ids=["sampled", "scored", "failed"],
)
def test_panels_of_the_progress(tmp_path, rows, titles):
    """Progress shows the tokens that were sampled, or read where a run only scored, and no empty panel."""
    page = page_of(tmp_path, rows)
    shown = [words for words in page.words if words == "rows in flight" or words.endswith(" a second")]
    assert shown == titles * 2  # wide and narrow


def test_a_row_is_remarkable_once(undrawn, tmp_path):
    """A row of several unlikely sequences is called so once, and takes the place of no other row; few rows are not."""
    unlikely = row(1, logprobs=(-9.0, -9.0, -9.0))
    unlikely["sequences"] *= 3
    rows = [unlikely, row(2, logprobs=(-8.0, -8.0, -8.0)), *map(row, range(3, 10))]
    for number, expected in ((9, [1, 1, 0, 0, 0, 0, 0, 0, 0]), (3, [0, 0, 0])):  # among few rows none is remarkable
        scan = Scan()
        scan.read(json.dumps(each).encode() for each in rows[:number])
        assert [one.remarks.count("least likely") for one in scan.picked()] == expected


def test_accuracy_of_each_model(undrawn, tmp_path):
    """Where several models scored choices, the table of models tells how accurate each is."""
    right, wrong = (choice_columns([(" a", [101], [-1.0]), (" b", [102], [-2.0])], answer) for answer in (0, 1))
    told = [("a/one", right), ("a/one", right), ("a/two", right), ("a/two", wrong), ("a/three", {})]
    rows = [row(n, model=model, sequences=[], **columns) for n, (model, columns) in enumerate(told)]
    table = batch_report(write(tmp_path / "out.jsonl", rows)).partition("<h2>Models")[2].partition("</table>")[0]
    heads, *lines = table.split("</tr>")[:-1]
    assert heads.endswith("accuracy</th>")
    assert [line.rpartition('number">')[2] for line in lines] == ["100 %</td>", "50 %</td>", "</td>"]
    assert "accuracy" not in page_of(tmp_path, of_two(1)).text


def test_rows_of_several_models_name_theirs(undrawn, tmp_path):
    """Where rows are of several models, each says of which."""
    page = page_of(tmp_path, [row(1, model="a/one"), row(1, model="a/two")])
    assert [text.count("a/one3 tokens") for text in page.text.split("row-1")[1:]] == [1]
    assert "a/one3" not in page_of(tmp_path, [row(1, model="a/one")]).text


def of_two(count, **fields):
    """Rows of two models, one model after the other."""
    return [row(n, model=model, **fields) for model in ("a/one", "a/two") for n in range(count)]


def test_models_stand_side_by_side(undrawn, tmp_path):
    """A row that is drawn comes with those that other models gave for its id, wherever they stand, also failures."""
    asked = {"prompt": "Name a fruit."}
    rows = [*of_two(100, **asked), *(failed_row(n, model="a/three", **asked) for n in range(100))]
    scan = Scan(5)
    scan.read(json.dumps(each).encode() for each in rows)
    cards = cards_of(scan.picked(), lambda model: Words().decode, several=True)
    whole = [card for card in cards if [view.model for view in card.rows] == ["a/one", "a/two", "a/three"]]
    assert len(whole) == 5
    assert [[part.text for part in card.prompt] for card in whole] == [["Name a fruit."]] * 5
    assert all([part.prompt for part in view.parts] == [False] for card in whole for view in card.rows[:2])
    assert page_of(tmp_path, rows, samples=5).text.count("3 models") == 5 + 1  # and under the title


def test_a_prompt_that_differs_is_told_of_each(undrawn, tmp_path):
    """Where models were given different texts under one id, each has its own above its answer."""
    rows = [row(1, model="a/one", prompt="A"), row(1, model="a/two", messages=[{"role": "user", "content": "B"}])]
    page = page_of(tmp_path, [{**each, "prompt_tokens": None} for each in rows], tokenizer=Words())
    assert [words for words in page.words if words in ("A", "user: B")] == ["A", "user: B"]


def test_drawing_is_fair():
    """Which ids are drawn depends on neither their order nor the file; each is as likely as the others."""
    drawn = []
    for numbers in (range(300), reversed(range(300))):
        scan = Scan(30)
        scan.read(json.dumps(row(number)).encode() for number in numbers)
        drawn.append(set(scan._drawn.rows))
    assert drawn[0] == drawn[1]
    assert 5 <= sum(int(name.removeprefix("row-")) < 100 for name in drawn[0]) <= 15


def test_the_likeliest_of_several_is_marked(undrawn, tmp_path):
    """Of a row's sequences the likeliest is marked, by the mean of its tokens, and shown wherever it stands."""
    means = [-2.0, -1.0, -math.inf, None, -3.0, -0.5]
    made = [{**row()["sequences"][0], "tokens": [101], "logprobs": [mean]} for mean in means]
    finite = json.loads(json.dumps(made).replace("-Infinity", "-9999.0"))
    page = page_of(tmp_path, [row(1, sequences=finite)], tokenizer=Words())
    assert page.text.count("likeliest") == 1
    assert "sequence 6 of 6, log p -0.500 likeliest" in page.text
    assert "likeliest" not in page_of(tmp_path, [row(1)], tokenizer=Words()).text


def test_own_columns(undrawn, tmp_path):
    """The caller's own columns stand on the card, with what is no text as JSON writes it."""
    page = page_of(tmp_path, [row(1, extra={"topic": "<b>", "label": 3, "tags": ["x", None]})])
    assert "topic <b> label 3 tags " in page.text
    assert '["x", null]' in page.text


@pytest.mark.parametrize(
    ("where", "ids"),
    [
        ({"topic": "a"}, {"row-0", "row-2"}),
        ({"topic": ["a", "b"], "label": 1}, {"row-1"}),
        ({"label": None}, {"row-3"}),
        ({"model": "a/two"}, set()),
        ({"status": "error"}, {"row-3"}),
        (None, {"row-0", "row-1", "row-2", "row-3"}),
    ],
)
def test_filters(undrawn, tmp_path, where, ids):
    """A filter leaves those rows that have all that is wanted, in the numbers as on the cards."""
    rows = [row(n, extra={"topic": "ab"[n % 2], "label": n}) for n in range(3)]
    rows.append(failed_row(3, extra={"topic": "c", "label": None}))
    page = page_of(tmp_path, rows, where=where)
    assert {f"row-{n}" for n in range(4) if f"row-{n}" in page.text} == ids
    assert ("No row is as the filter wants it." in page.text) == (not ids)
    assert (f"{len(ids)} rows of 4 · where " in page.text) == (where is not None)


def test_a_filter_of_no_column(undrawn, tmp_path):
    """A column that no row has is named, as is a filter that is none."""
    assert "No row has a column tpoic." in page_of(tmp_path, [row(1)], where={"tpoic": "a"}).text
    with pytest.raises(TypeError, match="where must be a mapping"):
        page_of(tmp_path, [row(1)], where="topic=a")


@pytest.mark.parametrize("name", ["out.jsonl.gz", "out.csv", "out.parquet"])
def test_other_files(undrawn, tmp_path, name):
    """A compressed output is read, and in the place of a table the rows beside it."""
    data = json.dumps(row(1)).encode() + b"\n"
    path = tmp_path / name
    if name.endswith(".gz"):
        path.write_bytes(gzip.compress(data))
    else:
        path.write_bytes(b"a table")
        path.with_name(name + ".jsonl").write_bytes(data)
    assert "1 rows" in batch_report(path)


def test_errors_are_counted_by_kind(undrawn, tmp_path):
    """Messages that differ in numbers and ids only are one kind of error, the commonest first."""
    rows = [failed_row(n, f"request req-{n} failed") for n in range(5)] + [failed_row(9, "boom", "ValueError")]
    page = page_of(tmp_path, rows)
    assert page.text.index("request req-0 failed") < page.text.index("boom")
    assert "request req-1 failed" not in page.text.partition("Rows")[0]


@pytest.mark.slow
def test_memory_is_bounded(tmp_path):
    """Ten times the rows need hardly more memory."""

    def peak(count):
        lines = [json.dumps(made).encode() for made in many_rows(count)]
        tracemalloc.start()
        Scan().read(lines)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    assert peak(600) < peak(60) + 300_000


# Numbers


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=300), st.sampled_from([0.05, 0.5, 0.95]))
def test_quantiles(numbers, part):
    """A quantile is right to half a per cent of its value."""
    histogram = Histogram()
    for number in numbers:
        histogram.add(number)
    exact = sorted(numbers)[max(0, math.ceil(part * len(numbers)) - 1)]
    assert histogram.quantile(part) == pytest.approx(exact, rel=0.006, abs=2e-6)


@given(st.lists(st.floats(0, 1e4), min_size=1, max_size=300), st.sampled_from([0.0, 1.0]))
def test_bars(numbers, step):
    """Bars are of one width, at most a few dozen, and lose only what lies far beyond the rest."""
    histogram = Histogram()
    for number in numbers:
        histogram.add(number)
    bars = histogram.bars(step=step)
    assert 1 <= len(bars) <= 40
    assert sum(bar.count for bar in bars) >= 0.98 * len(numbers) - 1
    assert all(math.isclose(bar.high - bar.low, bars[0].high - bars[0].low, rel_tol=1e-6, abs_tol=1e-9) for bar in bars)


times = st.tuples(st.floats(0, 1e9), st.floats(0, 1e4))


@given(st.lists(times, min_size=1, max_size=30))
def test_timeline_loses_nothing(spans):
    """However long the run and whatever the order, every row is in one of a few hundred stretches."""
    timeline = Timeline()
    for began, seconds in spans:
        timeline.add(began, began + seconds, failed=False, tokens=2)
    points = timeline.points()
    assert len(points) <= 200
    assert sum(point.done for point in points) == len(spans)
    assert sum(point.tokens for point in points) == 2 * len(spans)
    seconds = sum(point.in_flight for point in points) * timeline.width
    assert seconds == pytest.approx(sum(seconds for _, seconds in spans), rel=1e-6, abs=1e-4)


def test_time_between_runs_is_left_out():
    """A run that goes on the next day is shown next to the first."""
    timeline = Timeline()
    for day in (0, 86_400):
        for second in range(60):
            began = BEGAN + day + second
            timeline.add(began, began + 1.0, failed=False, tokens=1)
    assert sum(point.resumed for point in timeline.points()) == 1
    assert timeline.working < 200


def test_pauses():
    """A pause is a stretch in which rows are under way and none ends, longer than rows usually take."""
    timeline, waits = Timeline(), Histogram()
    for number in range(100):
        began = BEGAN + number / 10
        held = began + 30 if number >= 50 else began
        timeline.add(began, held + 0.5, failed=False, tokens=1)
        waits.add(0.5)
    pauses = find_idle(timeline.points(), timeline.width, waits)
    assert [round(pause.seconds) for pause in pauses] == [30]
    assert find_idle([], 1.0, waits) == []


# Tokens


def test_tokens_that_share_a_character():
    """Tokens that only together make a character are one piece, as likely as all of them."""
    parts = {1: b"a ", 2: "🎉".encode()[:2], 3: "🎉".encode()[2:], 4: b"!", 5: b"\xff"}
    decode = lambda ids: b"".join(parts[token] for token in ids).decode(errors="replace")  # noqa: E731
    tokens = read_tokens([1, 2, 3, 4, 5], [None, -1.0, -0.5, -2.0, -3.0], decode)
    assert [(token.text, token.ids, token.logprob) for token in tokens] == [
        ("a ", (1,), None), ("🎉", (2, 3), -1.5), ("!", (4,), -2.0), ("�", (5,), -3.0),
    ]  # fmt: skip


@given(st.text(max_size=40))
def test_pieces_join_to_the_text(text):
    """The pieces of a text, whatever it is, are the text."""
    data = text.encode("utf-8", "replace")
    decode = lambda ids: bytes(ids).decode(errors="replace")  # noqa: E731
    tokens = read_tokens(data, None, decode)
    assert "".join(token.text for token in tokens) == data.decode()
    assert [number for token in tokens for number in token.ids] == list(data)


@pytest.mark.parametrize(("probability", "shade"), [(0.95, 0), (0.6, 1), (0.3, 2), (0.1, 3), (0.02, 4), (0.001, 5)])
def test_shades(probability, shade):
    """The less likely a token, the darker."""
    assert read_tokens([FIRST_ID], [math.log(probability)], Words().decode)[0].shade == shade


def test_logprobs_page():
    """The page about one text has each token with its probability and what else could have stood there."""
    others = [None, [(102, -0.7)], []]
    logprobs = [None, math.log(0.25), -0.1]
    page = Page(logprobs_report([100, 101, 106], logprobs, Words(), alternatives=others, model="<m>"))
    assert_harmless(page)
    assert "<m>" in page.text
    assert "</script><script>" in page.text
    found = [tip for tip in page.tips() if "25.0 %" in tip]
    assert len(found) == 1
    assert "␣brown" in found[0]
    assert "token 101" in found[0]


def test_alternatives_keep_their_space():
    """An alternative is spelled as what it would add where it stands, its space included."""
    inner = sentencepiece()
    true, yes = inner.token_to_id("▁true"), inner.token_to_id("▁yes")
    tokens = read_tokens([true, true], [-0.5, -0.5], inner.decode, [[(yes, -1.0)], [(yes, -1.0)]])
    assert [[text for text, _ in token.alternatives] for token in tokens] == [["yes"], [" yes"]]


def test_logprobs_page_of_an_impossible_text():
    """Minus infinity is told as it is; where a number is not known there is no sum of the others."""
    page = Page(logprobs_report([100, 101, 106], [None, -math.inf, -0.5], Words()))
    assert "log-probability-∞of the whole text" in page.text
    assert "perplexity∞0.0 % per token" in page.text
    page = Page(logprobs_report([100, 101, 106], [None, math.nan, -0.5], Words()))
    assert "log-probability?that of a token is not known" in page.text
    assert "perplexity" not in page.text


def test_no_tokenizer_is_fetched(undrawn, tmp_path, monkeypatch):
    """A model's tokenizer that is not on this machine stays away: text is shown as text, tokens as numbers."""
    hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(hub, "hf_hub_download", None)
    page = page_of(tmp_path, [row(model="no/such-model"), row(1, model="tinker://run/sampler_weights/1")])
    assert " the quick brown" in page.text
    assert any("token 100" in tip for tip in page.tips())


# The commands


def test_command(undrawn, tmp_path):
    """`tinkex batch report` writes the page beside the output and prints where."""
    path = write(tmp_path / "out.jsonl", many_rows(20))
    result = CliRunner().invoke(app, ["batch", "report", str(path)])
    assert (result.exit_code, result.stdout.strip(), result.stderr) == (0, str(tmp_path / "out.html"), "")
    assert "20 rows" in (tmp_path / "out.html").read_text()
    some = ["--where", "status=ok", "--where", "id=row-1", "--where", "id=row-2"]
    assert CliRunner().invoke(app, ["batch", "report", str(path), *some]).exit_code == 0
    assert "2 rows of 20" in (tmp_path / "out.html").read_text()
    wrong = CliRunner().invoke(app, ["batch", "report", str(path), "--where", "status"])
    assert (wrong.exit_code, "--where takes NAME=VALUE" in wrong.stderr) == (2, True)
    again = CliRunner().invoke(app, ["batch", "report", str(path), "-o", str(path)])
    assert again.exit_code == 2
    assert len(path.read_text().splitlines()) == 20


def test_missing_extra(tmp_path, monkeypatch):
    """Without the extra the command names it."""
    monkeypatch.setitem(sys.modules, "altair", None)
    for name in ("batch", "charts"):
        monkeypatch.delitem(sys.modules, f"tinkex.report.{name}", raising=False)
        monkeypatch.delattr(f"tinkex.report.{name}", raising=False)
    result = CliRunner().invoke(app, ["batch", "report", str(write(tmp_path / "out.jsonl", []))])
    assert result.exit_code == 2
    assert "tinkex[report]" in result.stderr
