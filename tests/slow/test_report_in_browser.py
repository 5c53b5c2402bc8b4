"""The pages in a real browser: nothing runs, nothing is fetched, everything can be seen and pointed at."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("altair")

from browsing import SIZES, chromium, ink_and_paper
from report_rows import FIRST_ID, Words, failed_row, many_rows, row, write

import tinkex
from tinkex.report import batch_report, logprobs_report

pytestmark = pytest.mark.slow
CHARTS = 6


@pytest.fixture(scope="module")
def browser():
    """A browser without a window."""
    with chromium() as opened:
        yield opened


@pytest.fixture
def visit(browser, tmp_path):
    """Open a page from a file; at the end it must have asked for nothing else and complained of nothing."""
    requests, complaints, contexts = [], [], []

    def visit(html, size="wide", scheme="light"):
        file = tmp_path / "page.html"
        file.write_text(html, encoding="utf-8")
        width, height = SIZES[size]
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: requests.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(file.as_uri())
        return page

    yield visit
    for context in contexts:
        context.close()
    assert {url.rpartition("/")[2] for url in requests} <= {"page.html"}
    assert complaints == []


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The report on a few hundred rows, some of them hostile."""
    hostile = "<img src=x onerror=\"document.title='pwned'\">"
    rows = [*many_rows(400), failed_row(400, hostile, hostile, id=hostile, model=hostile)]
    return batch_report(write(tmp_path_factory.mktemp("report") / "out.jsonl", rows), tokenizer=Words(), title="A run")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_is_seen(visit, report, size, scheme):
    """Every chart has a size, the page fits the screen, and text stands out from what is behind it."""
    page = visit(report, size, scheme)
    assert page.title() == "A run: batch report"
    charts = page.locator("figure svg:visible")
    assert charts.count() == CHARTS
    for number in range(CHARTS):
        shape = charts.nth(number).bounding_box()
        assert shape["width"] > 250
        assert shape["height"] > 80
    assert page.evaluate("document.documentElement.scrollWidth") <= SIZES[size][0]
    ink, paper = ink_and_paper(page)
    assert (ink < paper) == (scheme == "light")
    assert abs(ink - paper) > 500


@pytest.mark.parametrize("size", SIZES)
def test_models_side_by_side(visit, tmp_path, size):
    """The answers of two models to a prompt stand beside each other, or below where the screen is narrow; all fits."""
    models = ["a/one", "a/two" + "-and-more" * 20]
    rows = [row(n, model=model, extra={"topic": "x" * 200}) for model in models for n in range(3)]
    page = visit(batch_report(write(tmp_path / "out.jsonl", rows), tokenizer=Words()), size)
    boxes = [section.bounding_box() for section in page.locator(".beside").first.locator("section").all()]
    assert len(boxes) == 2
    assert (boxes[0]["y"] == boxes[1]["y"]) == (size == "wide")
    assert page.evaluate("document.documentElement.scrollWidth") <= SIZES[size][0]


NOTEBOOK = """<div class="jp-RenderedHTMLCommon"><style>
.jp-RenderedHTMLCommon dl dt { float: left; clear: left; width: 20%; }
.jp-RenderedHTMLCommon dl dd { float: left; width: 80%; }
.jp-RenderedHTMLCommon dl dd + dt { padding-top: 40px; }</style>{page}</div>"""  # what JupyterLab says of lists


def test_cards_in_a_notebook(visit):
    """Where a notebook shows a page, its own rules for lists leave the cards as they are: none lies on another."""
    ids = [FIRST_ID, FIRST_ID + 1, FIRST_ID]
    page = logprobs_report(ids, [None, -0.5, -1.5], Words(), title="A text")
    alone, shown = (
        visit(html).eval_on_selector_all(".tiles > div, .tiles dt, .tiles dd", BOXES)
        for html in (page, NOTEBOOK.replace("{page}", re.sub("<meta[^>]*>", "", page)))
    )
    assert alone[0]["height"] > 30
    assert [(box["width"], box["height"]) for box in shown] == [(box["width"], box["height"]) for box in alone]


BOXES = "all => all.map(e => { const r = e.getBoundingClientRect(); return {width: r.width, height: r.height} })"


SURROUNDINGS = """<style>{rules}</style>
<p id="before">before</p><div id="shown">{shown}</div><p id="after">after</p>"""
HOSTILE_RULES = """div { border: 9px solid red; padding: 30px; margin: 40px; float: left; width: 90px }
span { display: block; float: left; padding: 20px; font-size: 40px; background: red; white-space: nowrap }
dl, table { display: none } #shown { all: unset; display: block }"""


def test_a_response_in_a_hostile_page(visit):
    """What a notebook shows of a response looks the same, whatever the page says of div and span, and moves nothing."""
    response = tinkex.SampleResponse([tinkex.SampledSequence(range(90), [-0.3] * 90), tinkex.SampledSequence([7])])
    looks = "all => all.map(e => { const r = e.getBoundingClientRect(); return [r.x, r.y, r.width, r.height] })"
    places, around = [], []
    for rules in ("#shown { all: unset; display: block }", HOSTILE_RULES):
        page = visit(SURROUNDINGS.format(rules=rules, shown=response._repr_html_()))
        places.append(page.eval_on_selector_all("#shown *", looks))
        around.append(page.eval_on_selector_all("#before, #after", looks))
    assert len(places[0]) > 90
    assert places[0] == places[1]
    assert around[0] == around[1]


@pytest.mark.parametrize("size", SIZES)
def test_many_spaces_stay_in_their_card(visit, tmp_path, size):
    """A token of hundreds of spaces is broken like any text: no colour reaches over the edge of its card."""
    made = row(1)
    made["sequences"][0] |= {"tokens": [FIRST_ID] * 3}

    class Spaces(Words):
        def decode(self, ids):
            return " " * 300 * len(ids)

    page = visit(batch_report(write(tmp_path / "out.jsonl", [made]), tokenizer=Spaces()), size)
    card = page.locator("details.card").first.bounding_box()
    ends = page.eval_on_selector_all(".text .t", "all => all.flatMap(e => [...e.getClientRects()].map(r => r.right))")
    assert len(ends) > 3
    assert max(ends) <= card["x"] + card["width"]


def test_bars_have_their_own_colours(visit, report):
    """The page's colours reach the charts: a bar is not black."""
    page = visit(report)
    fills = {"rgb(0, 114, 178)", "rgb(213, 94, 0)", "rgb(0, 128, 106)"}
    found = page.eval_on_selector_all("figure svg path", "all => all.map(e => getComputedStyle(e).fill)")
    assert fills <= set(found)
    assert "rgb(0, 0, 0)" not in found


def test_pointing_at_a_bar(visit, report):
    """Pointing at a bar tells what it stands for, and only then."""
    page = visit(report)
    figure = page.locator("figure", has_text="Time of a row")
    hit = figure.locator(".hit").nth(2)
    tip = hit.locator(".tip")
    assert not tip.is_visible()
    hit.locator("path").hover()
    assert tip.is_visible()
    assert " to " in tip.text_content()
    assert tip.text_content().endswith("rows")
    assert hit.locator("path").get_attribute("aria-label") == tip.text_content()


@pytest.mark.parametrize("size", SIZES)
def test_pointing_at_a_token(visit, size):
    """Pointing at a token tells its log-probability and what else could have stood there, inside the window."""
    html = logprobs_report([FIRST_ID, FIRST_ID + 1], [None, -1.0], Words(), alternatives=[None, [(FIRST_ID + 6, -0.5)]])
    page = visit(html, size)
    page.locator(".text .t").nth(1).hover()
    shown = page.eval_on_selector_all(".text .t", "all => all.map(e => getComputedStyle(e, '::after').content)")
    assert shown[0] == "none"
    assert "36.8 %" in shown[1]
    assert "60.7 %" in shown[1]
    assert "<script>" in shown[1]
    assert page.evaluate("document.documentElement.scrollWidth") <= SIZES[size][0]


def test_nothing_runs(visit, report):
    """What the rows hold is text: no element comes of it, and no script runs even if one were there."""
    page = visit(report)
    page.wait_for_load_state("load")
    assert page.title() == "A run: batch report"
    assert page.locator("script, img, iframe").count() == 0
    policy = page.locator("meta[http-equiv=Content-Security-Policy]").get_attribute("content")
    assert policy.startswith("default-src 'none'")


def test_printing(visit, report):
    """On paper the page is light, whatever the screen is."""
    page = visit(report, scheme="dark")
    page.emulate_media(media="print")
    assert page.eval_on_selector("body", "e => getComputedStyle(e).backgroundColor") == "rgb(255, 255, 255)"
    assert page.eval_on_selector("body", "e => getComputedStyle(e).color") == "rgb(0, 0, 0)"
