"""Makes the pictures of docs/gallery.rst, on the small local model: ``python docs/gallery/make.py [FOLDER]``.

It needs the ``dev`` extra and Chromium on the PATH, and takes a minute. FOLDER is where the pictures go, by default
that of this file. Prompts and seeds are the same each time; times are not, nor what other processors round otherwise.
"""

from __future__ import annotations

import io
import os
import pathlib
import pty
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, sync_playwright
from rich.console import Console
from rich.text import Text

import tinkex
from tinkex import bulk
from tinkex.report import batch_report, logprobs_report
from tinkex.serve import Gateway

HERE = pathlib.Path(__file__).parent
WIDE, NARROW = (1280, 860), (390, 800)
COLUMNS = 88
QUESTIONS = """What is bread made of?|Why is the sky blue?|What is the capital of Italy?|How many legs has a spider?
Name a river in Europe.|Give me a tip for better sleep.|Why does ice float?|Who walked on the moon?|Why do cats purr?
How do I make tea?|What is 2 + 2?|Where does rain come from?|What do bees make?|Why is the sea salty?|What is a poem?
How far away is the sun?|Who wrote Hamlet?|Name a good name for a dog.|Why do leaves fall?|What is glass made of?"""
TEXT = "The capital of France is Paris, and the capital of Italy is London. Cats purr when they are happy."

Keys = Sequence[tuple[bytes, bytes]]


def reports(client: tinkex.SamplingClient, folder: pathlib.Path) -> None:
    """Write the pages of a batch at two temperatures and of the log-probabilities of a text."""
    tokenizer, answers = client.get_tokenizer(), folder / "answers.jsonl"
    rows: list[dict[str, Any]] = [
        {"id": f"question-{number}", "messages": [{"role": "user", "content": f"{question} Answer in one sentence."}]}
        for number, question in enumerate(re.split(r"[|\n]", QUESTIONS), 1)
    ]
    wrong = {**rows[-1], "id": "question-0", "temperature": -1}
    for temperature in (0.0, 1.0):
        bulk.run(
            [wrong, *rows], answers, {f"temperature {temperature:g}": client}, max_tokens=48, temperature=temperature,
            seed=1, num_samples=1 + int(temperature), topk_sample_logprobs=5, canary=False,
        )  # fmt: skip
    page = batch_report(answers, title="Twenty questions", tokenizer=tokenizer)
    (folder / "report.html").write_text(page, encoding="utf-8")

    tokens = tokenizer.encode(TEXT)
    once = tinkex.SamplingParams(max_tokens=1)
    scored = client.sample(tokens, once, include_prompt_logprobs=True, topk_prompt_logprobs=5).result()
    shown = logprobs_report(tokens, scored.prompt_logprobs or [], tokenizer, alternatives=scored.topk_prompt_logprobs)
    (folder / "logprobs.html").write_text(shown, encoding="utf-8")


def fragment(client: tinkex.SamplingClient) -> str:
    """Return what a notebook shows of a response."""
    asked = client.chat("Why is the sky blue?", max_tokens=32, temperature=0.0, topk_sample_logprobs=4)
    return asked.result()._repr_html_()


class Camera:
    """Takes pictures of pages."""

    def __init__(self, browser: Browser, folder: pathlib.Path) -> None:
        self.browser, self.folder = browser, folder

    def take(
        self, name: str, url: str, act: Callable[[Any], Any] = lambda page: page, size: tuple[int, int] = WIDE,
        scheme: Any = "light",
    ) -> None:  # fmt: skip
        """Open a page, do something there, and take a picture of what that returns: the window, or an element."""
        viewport: Any = {"width": size[0], "height": size[1]}
        scale = 2 if size == NARROW else 1
        context = self.browser.new_context(viewport=viewport, color_scheme=scheme, device_scale_factor=scale)
        page = context.new_page()
        page.goto(url)
        with Image.open(io.BytesIO(act(page).screenshot())) as picture:
            picture.convert("RGB").save(self.folder / name, quality=80, method=6)
        context.close()


def rows_beside(page: Any) -> Any:
    """Return a row of the report with the answers of two models."""
    return page.locator("details:has(.beside)").nth(3)


def point_at_token(page: Any) -> Any:
    """Point at a token, so that its alternatives are seen."""
    page.locator(".text .t").nth(13).hover()
    return page


def ask(page: Any) -> Any:
    """Ask in the playground, where there is room two models, and tap on a token."""
    page.locator("#model-1 option").nth(2).wait_for(state="attached")
    if page.viewport_size["width"] == WIDE[0]:
        page.select_option("#model-1", index=2)
    page.eval_on_selector("#parameters", "details => { details.open = true }")
    for name, value in (("max_tokens", "40"), ("temperature", "0.7"), ("seed", "1")):
        page.fill(f"#{name}", value)
    page.eval_on_selector("#parameters", "details => { details.open = innerWidth > 1000 }")
    page.fill("#prompt", "Why do cats purr? Answer in one sentence.")
    page.click("#send")
    page.locator(".answer .tokens .t").nth(9).wait_for()
    page.locator("#stop-button").wait_for(state="hidden")
    page.locator(".answer .tokens .t").nth(4).click()
    return page


def terminal(command: Sequence[str], keys: Keys = ()) -> str:
    """Run a command at a terminal, press keys where they are waited for, and return what stands there at the end."""
    process, end = pty.fork()
    if process == 0:
        os.environ |= {"TERM": "xterm-256color", "COLUMNS": str(COLUMNS), "LINES": "40"}
        os.execv(sys.executable, [sys.executable, "-m", "tinkex", *command])  # noqa: S606 - no shell is wanted
    seen, waiting = b"", list(keys)
    while True:
        try:
            seen += os.read(end, 65536)
        except OSError:  # it has ended
            break
        if waiting and seen.endswith(waiting[0][0]):
            os.write(end, waiting.pop(0)[1])
    os.waitpid(process, 0)
    text = seen.decode().replace("\x1b[?25l", "").replace("\x1b[?25h", "")
    text = re.sub(r"[^\n]*\r\n\r\x1b\[1A\x1b\[2K", "", text)  # what was shown while something was waited for
    return text.replace("\r", "")


def drawing(title: str, command: Sequence[str], keys: Keys = ()) -> str:
    """Draw a command and what it shows at a terminal."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(Text(f"$ {title}"))
    console.print(Text.from_ansi(terminal(command, keys)))
    drawn = console.export_svg(title="", unique_id="terminal")
    return re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL)  # no font is fetched


SAMPLE = ["sample", "--local", "--chat", "--colors", "-t", "0.3", "--seed", "1", "-m", "48", "Why do cats purr?"]
CHAT = ["chat", "--local", "-t", "0.3", "--seed", "1", "-m", "48"]
TALK = [(b"> ", b"Why is the sky blue?\r"), (b"> ", b"/tokens\r"), (b"> ", b"\x04")]


def main(folder: pathlib.Path) -> None:
    """Make all of them."""
    with (
        tempfile.TemporaryDirectory() as place,
        tinkex.ServiceClient.local() as service,
        sync_playwright() as playwright,
    ):
        pages = pathlib.Path(place)
        client = service.create_sampling_client(base_model=service.local_model)
        reports(client, pages)
        (folder / "response.html").write_text(fragment(client), encoding="utf-8")
        path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        camera = Camera(browser, folder)
        report, logprobs = (pages / "report.html").as_uri(), (pages / "logprobs.html").as_uri()
        camera.take("report.webp", report)
        camera.take("report_narrow.webp", report, size=NARROW)
        camera.take("report_dark.webp", report, scheme="dark")
        camera.take("side_by_side.webp", report, rows_beside)
        camera.take("logprobs.webp", logprobs, point_at_token, size=(1000, 560))
        twice = {"smollm2": service.local_model, "smollm2-again": service.local_model}
        with Gateway(service, twice) as gateway:
            camera.take("playground.webp", gateway.url, ask)
            camera.take("playground_narrow.webp", gateway.url, ask, size=NARROW, scheme="dark")
        browser.close()
    (folder / "sample.svg").write_text(
        drawing(f"tinkex {' '.join(SAMPLE[:-1])} '{SAMPLE[-1]}'", SAMPLE), encoding="utf-8"
    )
    (folder / "chat.svg").write_text(drawing(f"tinkex {' '.join(CHAT)}", CHAT, TALK), encoding="utf-8")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
