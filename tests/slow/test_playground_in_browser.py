"""The playground in a real browser: what is sent, what is seen, and what a model's answer cannot do."""

from __future__ import annotations

import pytest
from browsing import SIZES, chromium, ink_and_paper
from gateways import MODEL, TOKENIZER, says, serving

import tinkex
from tinkex.serve import Gateway

pytestmark = pytest.mark.slow
HOSTILE = "<img src=x onerror=\"document.title='pwned'\"><script>document.title='pwned'</script>"
CONTROLS = "button, input, select, textarea, summary, label.check, .switch label"


@pytest.fixture(scope="module")
def browser():
    """A browser without a window."""
    with chromium() as opened:
        yield opened


@pytest.fixture
def visit(browser):
    """Open the page of a gateway; at the end it must have asked nothing of others, and broken no policy."""
    requests, complaints, contexts, urls = [], [], [], []

    def visit(asking, size="wide", scheme="light", **options):
        width, height = SIZES[size]
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme, **options)
        context.set_default_timeout(20_000)
        contexts.append(context)
        page = context.new_page()
        urls.append(asking.url + "/")
        page.on("request", lambda request: requests.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(asking.url)
        return page

    yield visit
    for context in contexts:
        context.close()
    assert [url for url in requests if not url.startswith(tuple(urls))] == []
    assert [text for text in complaints if not text.startswith("Failed to load resource")] == []


def send(page, text="Hi", answers=1):
    """Send a prompt, and wait for so many new answers."""
    before = page.locator(".answer").count()
    page.fill("#prompt", text)
    page.click("#send")
    page.locator(".answer").nth(before + answers - 1).wait_for()


def prompts(asking):
    """The prompts that the server was asked to sample, as text."""
    return [TOKENIZER.decode(body["prompt"]["chunks"][0]["tokens"]) for body in asking.sampled()]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_fits(visit, size, scheme):
    """With answers and a token's detail the page fits the screen, what can be hit is large, and text stands out."""
    with serving(says("word " * 30 + "w" * 300), models=[MODEL, "other/" + "model-" * 20]) as asking:
        page = visit(asking, size, scheme)
        page.select_option("#model-1", index=2)
        if size == "narrow":
            page.click("summary")
        send(page, "long " * 100, answers=2)
        page.locator(".tokens .t").nth(3).click()
        assert page.evaluate("document.documentElement.scrollWidth") <= SIZES[size][0]
        boxes = [control.bounding_box() for control in page.locator(CONTROLS).all() if control.is_visible()]
        large = [box for box in boxes if box["width"] > 30]  # a checkbox is hit by its label
        assert len(large) > 20
        assert [box for box in large if box["height"] < 44 or box["width"] < 44] == []
        ink, paper = ink_and_paper(page)
        assert (ink < paper) == (scheme == "light")
        assert abs(ink - paper) > 500
        columns = [column.bounding_box() for column in page.locator(".columns > section").all()]
        assert (columns[0]["y"] == columns[1]["y"]) == (size == "wide")


def test_many_spaces_stay_in_their_card(visit):
    """A token of many spaces is broken like any text: no colour reaches over the edge of the answer."""

    def spaced(route):
        response = route.fetch()
        body = response.json()
        for token in body["choices"][0]["logprobs"]["content"]:
            token |= {"token": " " * 60, "bytes": [32] * 60}
        route.fulfill(response=response, json=body)

    with serving(says("abcdef"), models=[MODEL]) as asking:
        page = visit(asking, "narrow")
        page.route("**/v1/chat/completions", spaced)
        send(page)
        card = page.locator(".columns > section").first.bounding_box()
        ends = page.eval_on_selector_all(
            ".tokens .t", "all => all.flatMap(e => [...e.getClientRects()].map(r => r.right))"
        )
        assert len(ends) > 10
        assert max(ends) <= card["x"] + card["width"]


def test_the_detail_hides_no_token_on_a_phone(visit):
    """The token that is tapped is seen above its detail, and so are those that are stepped to."""
    with serving(says("word " * 60), models=[MODEL]) as asking:
        page = visit(asking, "narrow")
        send(page)
        tokens = page.locator(".tokens .t")
        tokens.nth(3).click()
        for place in (3, 4):
            page.wait_for_function(
                "at => document.querySelectorAll('.tokens .t')[at].ariaSelected == 'true'", arg=place
            )
            token, detail = tokens.nth(place).bounding_box(), page.locator("#detail").bounding_box()
            assert 0 <= token["y"] < token["y"] + token["height"] <= detail["y"]
            page.click("#later")


def test_a_chat_goes_on(visit):
    """The next message is sent with what was said before, the answer that was picked, and the system message."""
    with serving(says("First.<|im_end|>"), models=[MODEL]) as asking:
        page = visit(asking)
        page.fill("#system", "Be brief.")
        send(page, "One?")
        assert page.input_value("#prompt") == ""
        send(page, "Two?")
        turns = ["system\nBe brief.", "user\nOne?", "assistant\nFirst.", "user\nTwo?"]
        assert (
            prompts(asking)[1]
            == "".join(f"<|im_start|>{turn}<|im_end|>\n" for turn in turns) + "<|im_start|>assistant\n"
        )
        page.click("#clear")
        assert page.locator(".answer").count() == 0


def test_the_answer_to_go_on_from(visit):
    """Of several answers the picked one is what the model is told that it said; each model has its own."""
    with serving(says("One.<|im_end|>"), models=[MODEL, "fake/other"]) as asking:
        page = visit(asking)
        page.fill("#n", "2")
        page.select_option("#model-1", "fake/other")
        page.route("**/v1/chat/completions", lambda route: numbered(route, page))
        send(page, answers=4)
        page.locator("[type=radio][name^=picked]").nth(3).check()
        page.unroute("**/v1/chat/completions")
        send(page, answers=4)
        assert sorted("A0" in prompt for prompt in prompts(asking)[2:]) == [False, True]
        assert sorted("B1" in prompt for prompt in prompts(asking)[2:]) == [False, True]


def numbered(route, page):
    """Answer for the gateway, with texts that tell the model and the number of the answer."""
    response = route.fetch()
    body = response.json()
    for choice in body["choices"]:
        choice["message"]["content"] = f"{'B' if 'other' in body['model'] else 'A'}{choice['index']}"
    route.fulfill(response=response, json=body)


def test_sent_before_the_models_are_known(visit):
    """What is sent while the list of models is on its way goes once it is there."""
    with serving(says("Hi."), models=[MODEL]) as asking:
        page = visit(asking)
        held = []
        page.route("**/v1/models", lambda route: held.append(route))  # noqa: PLW0108 - playwright marks what it is given
        page.reload()
        page.fill("#prompt", "Hi")
        page.click("#send")
        assert (page.locator(".answer").count(), len(held)) == (0, 1)
        for route in held:
            route.continue_()
        page.locator(".answer").first.wait_for()


def test_parameters_are_sent(visit):
    """Each parameter reaches the server; those left empty are not sent."""
    with serving(says("Hi."), models=[MODEL]) as asking:
        page = visit(asking)
        with page.expect_request("**/v1/chat/completions") as bare:
            send(page)
        asked = {"max_tokens": 128, "logprobs": True, "top_logprobs": 5}
        assert bare.value.post_data_json == {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], **asked}
        page.fill("#temperature", "0.5")
        page.fill("#max_tokens", "7")
        page.fill("#top_p", "0.9")
        page.fill("#seed", "-3")
        page.fill("#n", "2")
        page.fill("#stop", "\\n\nEND")
        page.check("[name=mode][value=text]", force=True)
        send(page, answers=2)
        _, full = asking.sampled()
        assert full["num_samples"] == 2
        expected = {"temperature": 0.5, "max_tokens": 7, "top_p": 0.9, "seed": -3, "stop": ["\n", "END"]}
        assert {name: full["sampling_params"][name] for name in expected} == expected
        page.fill("#temperature", "-1")
        page.click("#send")
        assert page.evaluate("document.activeElement.id") == "temperature"
        assert len(asking.sampled()) == 2


def test_tokens_and_their_alternatives(visit):
    """A tap on a token, and the arrow keys from there, show its probability and what else could have stood there."""
    with serving(says("ab\n🙂<|im_end|>"), models=[MODEL]) as asking:
        page = visit(asking)
        send(page)
        tokens = page.locator(".tokens .t")
        assert tokens.all_text_contents() == ["a", "b", "\n", "·", "·", "·", "🙂", "<|im_end|>"]
        assert page.locator(".words").text_content() == "ab\n🙂"
        tokens.nth(0).click()
        assert page.locator("#detail-token").text_content() == '"a"'
        assert "%" in page.locator("#detail-score").text_content()
        assert page.locator("#alternatives li").count() == 5
        assert page.locator("#alternatives .sampled .mono").text_content() == '"a"'
        page.locator(".tokens [tabindex='0']").focus()
        page.keyboard.press("ArrowRight")
        assert page.locator("#detail-token").text_content() == '"b"'
        page.keyboard.press("ArrowRight")
        assert page.locator("#detail-token").text_content() == '"\\n"'
        assert page.evaluate("document.activeElement.getAttribute('aria-label')") == '"\\n"'
        page.click("#later")
        assert page.locator("#detail-token").text_content() == "bytes f0"
        page.keyboard.press("Escape")
        assert not page.locator("#detail").is_visible()
        assert page.evaluate("document.activeElement.className").startswith("t")
        page.uncheck("#coloured")
        assert not tokens.nth(0).is_visible()
        assert page.locator(".words").bounding_box()["width"] > 50


def test_a_text_is_completed_and_scored(visit):
    """In text mode the prompt is continued as it stands, and scored with it where that is wanted."""
    with serving(says(" ü."), models=[MODEL]) as asking:
        page = visit(asking)
        page.check("[name=mode][value=text]", force=True)
        page.check("#echo")
        send(page, "Ö is")
        assert prompts(asking) == ["Ö is"]
        assert page.locator(".tokens .t.prompt").all_text_contents() == ["·", "Ö", " ", "i", "s"]
        assert page.locator(".tokens .t:not(.prompt)").all_text_contents() == [" ", "·", "ü", "."]
        assert "4 tokens" in page.locator(".answer").text_content()
        page.locator(".tokens .t").first.click()
        assert "no log-probability" in page.locator("#detail-score").text_content()
        page.select_option("#logprobs", "")
        page.uncheck("#echo")
        send(page, "Ö is")
        assert page.locator("#text-turns .answer").first.locator(".words").text_content() == " ü."
        assert asking.sampled()[1].get("topk_sample_logprobs", 0) == 0


def test_what_a_model_answers_is_text(visit):
    """Nothing that a model, its name or an error says becomes an element, or runs."""
    with serving(says(HOSTILE), models=[MODEL, HOSTILE]) as asking:
        page = visit(asking)
        page.select_option("#model-1", HOSTILE)
        page.fill("#max_tokens", "200")
        send(page, HOSTILE, answers=2)
        assert page.locator(".words").first.text_content() == HOSTILE
        assert "".join(page.locator(".tokens").first.locator(".t").all_text_contents()) == HOSTILE
        page.locator(".tokens .t").nth(4).click()
        asking.server.fail_next("asample", status=400, body={"detail": HOSTILE})
        page.select_option("#model-1", "")
        page.fill("#prompt", HOSTILE)
        page.click("#send")
        page.locator(".failed strong").wait_for()
        assert HOSTILE in page.locator(".failed", has=page.locator("strong")).text_content()
        assert page.locator("img, script:not([src])").count() == 0
        assert page.title() == "Playground · tinkex"


def test_markup_is_refused_by_the_policy(browser):
    """Not even where a mistake in the page would ask for it is a text taken as markup."""
    with serving(says("Hi."), models=[MODEL]) as asking, browser.new_context() as context:
        page = context.new_page()
        page.goto(asking.url)
        tries = "() => { try { document.body.innerHTML = '<b>'; return true } catch { return false } }"
        assert page.evaluate(tries) is False


def test_a_key_is_asked_for(visit):
    """Where the gateway has keys, the page asks for one, keeps it nowhere, and says when it is not known."""
    with serving(says("Hi."), models=[MODEL], api_key="the-key") as asking:
        page = visit(asking)
        page.locator("#key-form").wait_for()
        page.fill("#key", "another")
        page.keyboard.press("Enter")
        page.get_by_text("The one given is not known.").wait_for()
        page.fill("#key", "the-key")
        page.keyboard.press("Enter")
        page.locator("#key-form").wait_for(state="hidden")
        page.locator("#prompt:focus").wait_for()
        send(page)
        kept = "JSON.stringify([location.href, document.cookie, {...localStorage}, {...sessionStorage}, history.state])"
        assert "the-key" not in page.evaluate(kept)
        page.reload()
        page.locator("#key-form").wait_for()


def test_errors_are_told_in_words(visit):
    """A server that fails, a model that is none, and a gateway that is gone are told, each in its column."""
    with serving(says("Hi."), models=[MODEL]) as asking:
        page = visit(asking)
        page.select_option("#model-1", label="another name…")
        page.fill("#name-1", "no/such")
        send(page)
        assert "There is no such model." in page.locator(".failed strong").text_content()
        send(page, "More")
        page.select_option("#model-1", "")
        page.fill("#max_tokens", "0")
        page.fill("#prompt", "Hi")
        page.keyboard.press("Control+Enter")
        page.get_by_text("The request is refused.").first.wait_for()
        page.fill("#max_tokens", "5")
        page.route("**/v1/**", lambda route: route.abort())
        page.click("#send")
        page.get_by_text("The gateway does not answer.").first.wait_for()
        page.unroute("**/v1/**")
        page.route("**/v1/**", lambda route: route.fulfill(status=502, body="<h1>Bad gateway</h1>"))
        page.click("#send")
        page.get_by_text("perhaps a proxy").first.wait_for()
        assert page.input_value("#prompt") == "Hi"


def test_on_the_small_model(visit):
    """The small model answers on the page as a server's does, with log-probabilities that add up."""
    with tinkex.ServiceClient.local() as service, Gateway(service) as gateway:
        page = visit(gateway)
        page.check("[name=mode][value=text]", force=True)
        page.fill("#temperature", "0")
        page.fill("#max_tokens", "1")
        send(page, "The capital of France is")
        assert page.locator(".tokens .t").all_text_contents() == [" Paris"]
        page.locator(".tokens .t").click()
        shares = [text.split()[0] for text in page.locator("#alternatives li > :nth-child(2)").all_text_contents()]
        assert sorted(map(float, shares), reverse=True) == list(map(float, shares))
        assert 50 < float(shares[0]) < sum(map(float, shares)) <= 100


def test_cancelling(visit):
    """A prompt under way can be cancelled; the next one can be sent."""
    with serving(says("Hi."), models=[MODEL]) as asking:
        page = visit(asking)
        asking.server.hold()
        page.fill("#prompt", "Hi")
        page.click("#send")
        page.get_by_text("Sampling…").first.wait_for()
        assert page.locator("#send").is_disabled()
        page.click("#stop-button")
        page.locator(".failed strong").wait_for()
        assert page.locator(".failed strong").text_content() == "Cancelled."
        asking.server.release()
        send(page)


def test_every_control_has_a_name(visit):
    """Readers of the screen are told what each control is for; answers are announced."""
    with serving(says("Hi."), models=[MODEL]) as asking:
        page = visit(asking)
        send(page)
        page.locator(".tokens .t").first.click()
        name = "e.ariaLabel || [...(e.labels || [])].map(l => l.innerText).join('') || e.textContent.trim()"
        found = page.eval_on_selector_all(
            "button, input, select, textarea, [role=listbox]", f"all => all.map(e => {name})"
        )
        assert len(found) > 20
        assert "" not in found
        assert page.locator("#status[role=status]").text_content() == f"{MODEL} answered: Hi."
