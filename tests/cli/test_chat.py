"""``tinkex chat``: through a pipe, and typed at a terminal."""

from __future__ import annotations

import json
from concurrent.futures import Future

import pytest

pytest.importorskip("rich")
pytest.importorskip("jinja2")
CliRunner = pytest.importorskip("click.testing").CliRunner
FakeServer = pytest.importorskip("tinkex.testing").FakeServer

from tinkex.cli import chat  # noqa: E402
from tinkex.cli._app import app  # noqa: E402 - click has to be there first
from tinkex.cli.chat import lines  # noqa: E402
from tinkex.cli.chat.dialogue import Dialogue  # noqa: E402
from tinkex.testing import ToyTokenizer  # noqa: E402

TOKENIZER = ToyTokenizer()


def echo(request):
    """Say which messages there were."""
    heard = TOKENIZER.decode(request.prompt.to_ints())
    return "I heard " + heard.replace("<|im_start|>", "[").replace("<|im_end|>\n", "]").replace("\n", "|")


@pytest.fixture(scope="module")
def server():
    """A server whose model says what it was told."""
    with FakeServer(answers=echo) as fake:
        yield fake


@pytest.fixture
def run(server, monkeypatch):
    """Run the command on the server, with what is said on standard input."""
    monkeypatch.setenv("TINKER_BASE_URL", server.url)
    monkeypatch.setenv("TINKER_API_KEY", "tml-test")

    def run(said, *arguments):
        return CliRunner().invoke(app, ["chat", "--base-model", "any/model", *arguments], input=said)

    return run


@pytest.fixture
def typed(run, monkeypatch):
    """Run the command at a terminal, at which these lines are typed; an exception is what happens there."""

    def typed(*said, **options):
        prompts, waiting = [], list(said)

        def typing(prompt):
            prompts.append(prompt)
            if not waiting:
                raise EOFError
            line = waiting.pop(0)
            if isinstance(line, type):
                raise line
            return line

        for module in (chat, lines):
            monkeypatch.setattr(module, "is_interactive", lambda: True)
        monkeypatch.setattr("builtins.input", typing)
        return run("", **options), prompts

    return typed


def test_a_line_a_message(run):
    """From a pipe each line is a message, and the answers are all there is on standard output."""
    result = run("One\n\nTwo\\\nmore\n", "--system", "Be brief.")
    assert result.exit_code == 0
    first, second = result.stdout.splitlines()
    assert first == "I heard [system|Be brief.][user|One][assistant|"
    assert second.startswith("I heard [system|Be brief.][user|One][assistant|I heard ")
    assert second.endswith("[user|Two|more][assistant|")
    assert result.stderr == ""


def test_what_was_said_is_saved(run, tmp_path):
    """Conversations are appended as rows of messages, by a command and at the end."""
    file = tmp_path / "chats.jsonl"
    run(f"One\n/save {file}\n/clear\nTwo\n", "-o", str(file))
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert [[each["role"] for each in row["messages"]] for row in rows] == [["user", "assistant"]] * 2
    assert [row["messages"][0]["content"] for row in rows] == ["One", "Two"]
    assert {row["model"] for row in rows} == {"any/model"}
    assert run(f"One\n/undo\n/save {file}\n").stderr.endswith("tinkex: There is nothing to save yet.\n")
    assert len(file.read_text().splitlines()) == 2
    assert "cannot be saved" in run("One\n/save /no/such/folder/x\n").stderr


def test_taking_back(run):
    """What was taken back is not part of the dialogue, nor of what the model is told next."""
    result = run("One\n/undo\n/undo\n/history\n/system S\nTwo\n/system\nThree\n")
    _, two, three = result.stdout.splitlines()
    assert two == "I heard [system|S][user|Two][assistant|"
    assert three.startswith("I heard [user|Two")
    assert "There is nothing to take back." in result.stderr
    assert result.exit_code == 1


def test_history(run):
    """All that was said, with the system message."""
    assert run("/system S\nOne\n/history\n").stdout.splitlines()[1:3] == ["system: S", "user: One"]


def test_tokens(run):
    """Into a pipe the tokens of the last answer go as lines: id, log-probability, text."""
    cells = [line.split("\t") for line in run("One\n/tokens\n").stdout.splitlines()[1:]]
    assert [TOKENIZER.decode([int(token)]) for token, _, _ in cells[:3]] == ["I", " hea", "rd"]
    assert {len(each) for each in cells} == {3}
    assert run("/tokens\n").stderr == "tinkex: There is no answer yet.\n"


@pytest.mark.parametrize("line", ["/etc/hosts is what?", "/", "//", "/Help"])
def test_messages_that_begin_with_a_slash(run, line):
    """Only a word of small letters behind the slash is a command."""
    assert f"[user|{line}]" in run(line + "\n").stdout


def test_no_such_command(run):
    """A command that there is not is said to be none, and not told to the model; the chat goes on."""
    result = run("/nope\nOne\n/quit\nTwo\n")
    assert result.stderr == "tinkex: There is no command /nope: /help lists them.\n"
    assert len(result.stdout.splitlines()) == 1
    assert result.exit_code == 1
    assert run("/sytem S\n").stderr == "tinkex: There is no command /sytem: did you mean /system?\n"
    listed = run("/help\n").stdout
    assert all(f"/{name}" in listed for name in ("system", "undo", "tokens", "history", "clear", "save", "quit"))


def test_thinking_stays_out_of_a_pipe(run, server, monkeypatch):
    """What the model thinks is shown at a terminal only; calls of tools that it has not are told in a line each."""
    calls = '<tool_call>\nno JSON\n</tool_call><tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'
    monkeypatch.setattr(server, "answers", f"<think>\nHm\n</think>\n\nYes{calls}")
    assert run("One\n").stdout.splitlines() == ["Yes", 'add({"a": 1})', "no JSON"]


def test_thinking_at_a_terminal(typed, server, monkeypatch):
    """At a terminal it stands before the answer."""
    monkeypatch.setattr(server, "answers", "<think>\nHm\n</think>\n\nYes")
    assert typed("One")[0].stdout.split() == ["Hm", "Yes"]


def test_an_answer_that_fails(run, server):
    """An error is a line on standard error, and the message is taken back."""
    server.fail_next("asample", 400, {"detail": "too rude"})
    result = run("One\nTwo\n")
    assert "too rude" in result.stderr
    assert result.stdout.startswith("I heard [user|Two]")
    assert result.exit_code == 1


def test_wrong_usage(run, tmp_path):
    """Wrong values are usage errors, and a model without a chat format is told before anything is said."""
    assert run("One\n", "-t", "-1").exit_code == 2
    assert run(b"\xff\xfe\n").exit_code == 2
    (tmp_path / "bad").write_bytes(b"\xff")
    assert run("One\n", "--chat-template", str(tmp_path / "bad")).exit_code == 2
    (tmp_path / "broken").write_text("{% for %}")
    broken = run("One\n", "--chat-template", str(tmp_path / "broken"))
    assert (broken.exit_code, broken.stdout) == (1, "")


def test_a_template_of_ones_own(run, tmp_path):
    """--chat-template writes the conversation in another way."""
    (tmp_path / "t").write_text("{% for m in messages %}({{ m.content }}){{ '<|im_end|>\n' }}{% endfor %}")
    assert run("One\n", "--chat-template", str(tmp_path / "t")).stdout == "I heard (One)]\n"


def test_typing(typed):
    """At a terminal a line that goes on is prompted for; Ctrl-C drops a line, and Ctrl-D leaves."""
    result, prompts = typed("One\\", KeyboardInterrupt, "Two\\", "more", EOFError)
    assert prompts == ["> ", "... ", "> ", "... ", "> "]
    assert "[user|Two|more]" in result.stdout


def test_errors_do_not_end_a_chat_at_a_terminal(typed):
    """What went wrong was seen there: the exit code is that of leaving."""
    assert typed("/nope")[0].exit_code == 0


def test_ctrl_c_ends_an_answer(typed, monkeypatch):
    """The sample is cancelled, the message taken back, and the chat goes on."""
    futures = []

    class Interrupted(Future):
        def result(self):
            raise KeyboardInterrupt

    def sample(messages):
        futures.append(Interrupted())
        return futures[-1]

    dialogue = Dialogue("m", sample)
    with pytest.raises(KeyboardInterrupt):
        dialogue.say("One")
    assert futures[0].cancelled()
    assert dialogue.messages == []
    saying = iter([KeyboardInterrupt])
    real = Dialogue.say
    monkeypatch.setattr(
        Dialogue, "say", lambda self, text: _raise(error) if (error := next(saying, None)) else real(self, text)
    )
    result, _ = typed("One", "Two")
    assert "[user|Two" in result.stdout
    assert "[user|One" not in result.stdout
    assert result.exit_code == 0


def test_ctrl_c_ends_a_chat_through_a_pipe(run, monkeypatch):
    """Nobody types there: the command ends, and says so by its exit code; what was said is saved."""
    monkeypatch.setattr(Dialogue, "say", lambda self, text: _raise(KeyboardInterrupt))
    assert run("One\nTwo\n").exit_code == 130


def _raise(error):
    raise error
