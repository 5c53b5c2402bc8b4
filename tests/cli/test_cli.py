from __future__ import annotations

import ast
import contextlib
import importlib
import json
import pathlib
import subprocess
import sys
import types
from concurrent.futures import Future

import pytest

import tinkex
from tinkex.errors import AuthenticationError, CredentialError, NotFoundError, TinkexError
from tinkex.tokenizers import TokenizerError
from tinkex.types import ModelInput, SampledSequence, SampleResponse, ServerCapabilities, SupportedModel, Timing, Usage

click = pytest.importorskip("click")
pytest.importorskip("rich")
CliRunner = pytest.importorskip("click.testing").CliRunner

from tinkex.cli._app import COMMANDS, App, app, complain, usage_error  # noqa: E402
from tinkex.cli.batch import BatchCommands  # noqa: E402
from tinkex.cli.options import connect  # noqa: E402 - click has to be there first

KEY = "tml-a-secret-key-for-tests"


class Letters:
    """A tokenizer with a token a character; token 0 is special."""

    def encode(self, text):
        return [ord(character) for character in text]

    def decode(self, ids, *, skip_special_tokens=False):
        return "".join("" if token == 0 and skip_special_tokens else chr(token) for token in ids)


class Now(Future):
    """A future that is done."""

    def __init__(self, value):
        super().__init__()
        if isinstance(value, BaseException):
            self.set_exception(value)
        else:
            self.set_result(value)


class Fake:
    """A service and its sampling client, as far as the command line uses them."""

    def __init__(self):
        self.calls = []
        self.closed_with = "never"
        self.models = ["only-model"]
        self.answer = SampleResponse(
            [SampledSequence([ord("h"), ord("i"), 0], [-0.5, -1.0, -0.25], stop_reason="stop")],
            prompt_logprobs=[None, -1.5, -0.5],
            request_id="r-1",
            usage=Usage(3, 3, 0),
            timing=Timing(0.0, 0.1, 0.4, 0.0),
        )

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.closed_with = kind

    def get_server_capabilities(self, *, timeout):
        return ServerCapabilities(SupportedModel(name) for name in self.models)

    def create_sampling_client_async(self, *, retry_config, **options):
        self.calls.append(options)
        return Now(self)

    def get_tokenizer(self):
        return Letters()

    def sample(self, prompt, params, **options):
        self.prompt, self.params, self.options = prompt, params, options
        return Now(self.answer)


@pytest.fixture
def fake(monkeypatch):
    """A service in place of the real one; the target it was opened for is kept."""
    service = Fake()

    def open_service(target, on_sample=None):
        service.target = target
        return service

    monkeypatch.setattr(connect, "open_service", open_service)
    for name in ("TINKER_BASE_URL", "TINKEX_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TINKER_API_KEY", KEY)
    return service


def run(*arguments, **options):
    """Run a command line in this process."""
    return CliRunner().invoke(app, arguments, **options)


def test_sample_prints_the_text(fake):
    """Into a pipe goes the text alone, without special tokens; nothing on stderr."""
    result = run("sample", "abc", "--local")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "hi\n", "")
    assert fake.prompt == ModelInput.from_ints([97, 98, 99])
    assert fake.target.local
    assert fake.closed_with is None


def test_sample_passes_every_option(fake):
    """Each option reaches the call that it belongs to."""
    line = "sample abc --base-model m -m 7 -t 0.5 -n 2 --seed 3 --top-k 5 --top-p 0.9 --stop x --stop y --timeout 9"
    fake.answer = SampleResponse([SampledSequence([104]), SampledSequence([105])])
    result = run(*line.split())
    assert result.stdout == "h\ni\n"
    params = fake.params
    assert (params.max_tokens, params.temperature, params.seed, params.top_k) == (7, 0.5, 3, 5)
    assert (params.top_p, params.stop) == (0.9, ("x", "y"))
    assert fake.options == {
        "num_samples": 2,
        "timeout": 9.0,
        "include_prompt_logprobs": False,
        "topk_prompt_logprobs": 0,
        "topk_sample_logprobs": 0,
    }
    assert fake.calls == [{"base_model": "m", "timeout": 9.0}]


def test_sample_json_is_all_there_is_on_stdout(fake):
    """--json prints one line of JSON with text, tokens, log-probabilities and the counts."""
    result = run("sample", "abc", "--local", "--json")
    assert result.stdout.count("\n") == 1
    assert json.loads(result.stdout) == {
        "text": "abc",
        "results": [
            {
                "model": "only-model",
                "prompt_tokens": [97, 98, 99],
                "prompt_logprobs": [None, -1.5, -0.5],
                "sequences": [
                    {"text": "hi", "tokens": [104, 105, 0], "logprobs": [-0.5, -1.0, -0.25], "stop_reason": "stop"},
                ],
                "usage": {"prompt_tokens": 3, "sampled_tokens": 3, "prompt_cache_hit_tokens": 0},
                "timing": {"queued": 0.0, "submit": 0.1, "wait": 0.4, "fetch": 0.0},
                "request_id": "r-1",
                "error": None,
            }
        ],
    }


@pytest.mark.parametrize("arguments", [["-"], []])
def test_text_from_standard_input(fake, arguments):
    """A dash or no text at all reads standard input; the last line's end is not part of it."""
    result = run("sample", *arguments, "--local", input="a\nb\n")
    assert result.exit_code == 0
    assert fake.prompt.to_ints() == [97, 10, 98]


def test_text_from_a_file(fake, tmp_path):
    """--file reads a file as UTF-8."""
    file = tmp_path / "prompt.txt"
    file.write_bytes("é".encode())
    assert run("sample", "--local", "--file", str(file)).exit_code == 0
    assert fake.prompt.to_ints() == [233]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["abc"], "Say where to sample"),
        (["abc", "--local", "--base-model", "m"], "--local stands alone"),
        (["abc", "--tokens", "1"], "--tokens stands alone"),
        (["--tokens", "1", "--messages", "[]"], "--messages stands alone"),
        (["abc", "--local", "--chat-template", __file__], "--chat-template is for messages"),
        (["--tokens", "1,x"], "--tokens: '1,x' cannot be read"),
        (["--tokens", "99999999999"], "--tokens: prompt"),
        (["--messages", "[]"], "not a list of messages"),
        (["--messages", "[1]"], "not a list of messages"),
        (["--messages", "[" * 5000], "not JSON"),
        (["--messages", "/no/such/file"], "No such file"),
        (["abc", "--file", __file__, "--local"], "not both"),
        (["", "--local"], "empty"),
        (["abc", "--local", "--file", "/no/such/file"], "/no/such/file"),
        (["abc", "--local", "--temperature", "nan"], "Error: --temperature must"),
        (["abc", "--local", "--temperature", "-1"], "Error: --temperature must"),
        (["abc", "--local", "--max-tokens", "0"], "Error: --max-tokens must"),
        (["abc", "--local", "--max-tokens", "x"], "--max-tokens"),
        (["abc", "--local", "--top-p", "2"], "Error: --top-p must"),
        (["abc", "--local", "--stop", ""], "Error: --stop[0] must"),
        (["abc", "--local", "--no-such-option"], "--no-such-option"),
        (["abc", "--local", "--temprature", "1"], "--temperature"),
        (["a", "b", "--local"], "unexpected extra argument"),
    ],
)
def test_wrong_usage(fake, arguments, words):
    """Wrong usage exits with 2, says what is wrong on stderr, and leaves stdout empty."""
    result = run("sample", *arguments)
    assert result.exit_code == 2
    assert words in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["smaple"], "No such command 'smaple'. Did you mean 'sample'?"),
        (["check-point"], "Did you mean 'checkpoints' or"),
        (["batch", "rnu"], "No such command 'rnu'. Did you mean 'run'?"),
        (["local", "fecth"], "No such command 'fecth'. Did you mean 'fetch'?"),
        (["config", "shwo"], "No such command 'shwo'. Did you mean 'show'?"),
        (["xyzzy"], "No such command 'xyzzy'.\n"),
    ],
)
def test_commands_that_there_are_not(arguments, words):
    """A command that is misspelt is told with what it is close to."""
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert words in result.stderr


def groups_and_commands(command, *path):
    """Each command with what leads to it; groups, too."""
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            yield from groups_and_commands(command.get_command(context, name), *path, name)


def test_every_name_is_told():
    """Whichever command or option is misspelt, the one that is meant is told."""
    told = 0
    for path, command in groups_and_commands(app):
        names = command.list_commands(click.Context(command)) if isinstance(command, click.Group) else []
        for name in [*names, *(max(each.opts, key=len) for each in command.params if isinstance(each, click.Option))]:
            result = run(*path, f"{name}{name[-1]}")
            said = result.stderr.replace(f"{name}{name[-1]}", "")
            assert (result.exit_code, name in said) == (2, True), (path, name, result.stderr)
            told += 1
    assert told > 150


def test_every_option_is_named_as_a_flag():
    """A refusal in the words of the library is one of the option, in every command."""
    for path, command in groups_and_commands(app):
        with click.Context(command, info_name=path[-1] if path else "tinkex"):
            for option in [each for each in command.params if isinstance(each, click.Option)]:
                with pytest.raises(click.UsageError, match=f"^{max(option.opts, key=len)} must be"):
                    usage_error(f"{option.name} must be at least 1")


def test_version_as_an_option():
    """Beside the command there is the option that other programs have."""
    result = run("--version")
    assert (result.exit_code, result.stdout) == (0, f"tinkex {tinkex.__version__}\n")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Raise timeout=, or see in stats().", "Raise --timeout, or see in stats()."),
        ('changed="redo" or changed="keep", or', "--changed redo or --changed keep, or"),
        ("Check base_url, and max_tokens=8 (now 9).", "Check --base-url, and max_tokens=8 (now 9)."),
    ],
)
def test_arguments_are_named_as_flags(text, shown, capsys):
    """What an error says of arguments of a call is said of the options of the command."""
    complain(TinkexError(text))
    assert capsys.readouterr().err == f"tinkex: {shown}\n"


def test_binary_input_is_wrong_usage(fake):
    """Input that is not UTF-8 is refused with the place."""
    result = run("sample", "--local", input=b"abc\xff")
    assert result.exit_code == 2
    assert "not UTF-8" in result.stderr


def test_the_client_refusing_a_value_is_wrong_usage(fake):
    """A ValueError from building the request exits with 2."""
    fake.sample = lambda *_, **__: (_ for _ in ()).throw(ValueError("num_samples must be at least 1"))
    result = run("sample", "abc", "--local", "-n", "0")
    assert (result.exit_code, "--num-samples must" in result.stderr) == (2, True)


def test_base_url_alone_takes_the_only_model(fake):
    """Without a model, the server's only one is used."""
    assert run("sample", "abc", "--base-url", "http://127.0.0.1:1").exit_code == 0
    assert fake.calls == [{"base_model": "only-model", "timeout": None}]


@pytest.mark.parametrize(("models", "words"), [(["m1", "m2"], "m1, m2"), ([], "names none")])
def test_base_url_alone_with_a_choice(fake, models, words):
    """With several models, or none, the command asks which."""
    fake.models = models
    result = run("sample", "abc", "--base-url", "http://127.0.0.1:1")
    assert (result.exit_code, words in result.stderr) == (2, True)


def test_base_url_from_the_environment(fake, monkeypatch):
    """TINKER_BASE_URL says where to sample too."""
    monkeypatch.setenv("TINKER_BASE_URL", "http://127.0.0.1:1")
    assert run("sample", "abc").exit_code == 0


def test_model_path_alone_works(fake):
    """Saved weights need no base model."""
    assert run("sample", "abc", "--model-path", "tinker://run/sampler_weights/1").exit_code == 0
    assert fake.calls == [{"model_path": "tinker://run/sampler_weights/1", "timeout": None}]


def test_failure_is_one_line_without_the_key(fake):
    """A failed request exits with 1 and one line; the key is masked even where the server repeats it."""
    fake.answer = AuthenticationError(f"Bad key {KEY}\nreally", 401)
    result = run("sample", "abc", "--local")
    assert result.exit_code == 1
    assert result.stderr.startswith("tinkex: ")
    assert result.stderr.count("\n") == 1
    assert KEY not in result.stderr
    assert fake.closed_with is AuthenticationError


def test_debug_shows_the_traceback_without_the_key(fake, monkeypatch):
    """TINKEX_DEBUG adds the traceback and still masks the key."""
    monkeypatch.setenv("TINKEX_DEBUG", "1")
    monkeypatch.setenv("TINKER_API_KEY", "an-odd-key")
    fake.answer = RuntimeError("an-odd-key is odd")
    result = run("sample", "abc", "--local")
    assert result.exit_code == 1
    assert "Traceback" in result.stderr
    assert "an-odd-key" not in result.stderr


def test_unexpected_error_says_how_to_see_more(fake):
    """A mistake of ours is one line as well, with the way to the traceback."""
    fake.answer = KeyError("x")
    result = run("sample", "abc", "--local")
    assert result.exit_code == 1
    assert "unexpected KeyError" in result.stderr
    assert "TINKEX_DEBUG=1" in result.stderr


def test_interrupt_exits_with_130(fake):
    """Ctrl-C closes the service as after a failure, and exits with 130."""
    fake.answer = KeyboardInterrupt()
    result = run("sample", "abc", "--local", "--json")
    assert (result.exit_code, result.stdout) == (130, "")
    assert fake.closed_with is KeyboardInterrupt


def test_tokenizer_option(fake, tmp_path):
    """--tokenizer replaces the model's own; one that cannot be had is a failure with its name."""
    result = run("sample", "abc", "--local", "--tokenizer", str(tmp_path))
    assert (result.exit_code, str(tmp_path) in result.stderr) == (1, True)


def scored(*logprobs):
    """A response with these log-probabilities of its prompt."""
    return SampleResponse([SampledSequence([0])], prompt_logprobs=logprobs)


def test_logprobs_as_lines(fake):
    """Into a pipe goes a line a token: id, log-probability, text."""
    result = run("logprobs", "a b", "--local", "--timeout", "5")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "97\t-\t'a'\n32\t-1.5000\t' '\n98\t-0.5000\t'b'\n"
    assert fake.options == {"timeout": 5.0, "include_prompt_logprobs": True, "topk_prompt_logprobs": 0}
    assert fake.params.max_tokens == 1


def test_logprobs_json(fake):
    """--json prints tokens with their log-probabilities, the total and the perplexity; minus infinity is -9999.0."""
    fake.answer = scored(None, -1.0, float("-inf"))
    data = json.loads(run("logprobs", "abc", "--local", "--json").stdout)
    assert data["tokens"][:2] == [
        {"token": 97, "text": "a", "logprob": None},
        {"token": 98, "text": "b", "logprob": -1},
    ]
    assert data["tokens"][2]["logprob"] == -9999.0
    assert (data["total"], data["perplexity"]) == (-10_000.0, None)
    printed = run("logprobs", "abc", "--local")
    assert printed.stdout.endswith("99\t-inf\t'c'\n")
    fake.answer = scored(None, -1.0, -0.5)
    data = json.loads(run("logprobs", "abc", "--local", "--json").stdout)
    assert (data["total"], data["perplexity"]) == (-1.5, pytest.approx(2.117, abs=1e-3))
    fake.answer = scored(None, -1.0, None)
    data = json.loads(run("logprobs", "abc", "--local", "--json").stdout)
    assert (data["total"], data["perplexity"]) == (None, None)


def test_logprobs_jsonl(fake):
    """--jsonl prints a line of JSON a token."""
    lines = run("logprobs", "abc", "--local", "--jsonl").stdout.splitlines()
    assert [json.loads(line)["logprob"] for line in lines] == [None, -1.5, -0.5]


def test_logprobs_with_alternatives(fake):
    """--topk shows the likeliest tokens in each place, in lines and in JSON."""
    fake.answer = SampleResponse(
        [SampledSequence([0])], prompt_logprobs=[None, -1.5], topk_prompt_logprobs=[None, [(104, -0.1), (105, -2.5)]]
    )
    assert run("logprobs", "ab", "--local", "--topk", "2").stdout.splitlines()[1].endswith("\t'h' -0.10  'i' -2.50")
    data = json.loads(run("logprobs", "ab", "--local", "--topk", "2", "--json").stdout)
    assert data["tokens"][1]["likeliest"] == [{"text": "h", "logprob": -0.1}, {"text": "i", "logprob": -2.5}]
    assert fake.options["topk_prompt_logprobs"] == 2


def test_logprobs_of_one_token(fake):
    """A single token has no log-probability, and so no perplexity."""
    fake.answer = scored(None)
    data = json.loads(run("logprobs", "a", "--local", "--json").stdout)
    assert (data["total"], data["perplexity"]) == (0, None)


@pytest.mark.parametrize("given", ["504,3575", "[504, 3575]", "504 3575", "file", "-"])
def test_token_ids(fake, tmp_path, given):
    """--tokens takes ids, as they are written or in a file or on standard input, and sends them as they are."""
    file = tmp_path / "ids"
    file.write_text("[504,\n3575]\n")
    result = run("sample", "--local", "--tokens", str(file) if given == "file" else given, input="504,3575")
    assert (result.exit_code, fake.prompt.to_ints()) == (0, [504, 3575])


def test_token_ids_need_no_tokenizer(fake):
    """Token ids go out and come back without a tokenizer: the text is null, or shown as ids."""

    def no_tokenizer():
        raise TokenizerError("there is none")

    fake.get_tokenizer = no_tokenizer
    assert run("sample", "--local", "--tokens", "1").stdout == "104 105 0\n"
    (result,) = json.loads(run("sample", "--local", "--tokens", "1", "--json").stdout)["results"]
    assert (result["sequences"][0]["text"], result["sequences"][0]["tokens"]) == (None, [104, 105, 0])
    assert run("logprobs", "--local", "--tokens", "1,2,3").stdout.startswith("1\t-\t''\n")
    assert run("sample", "--local", "text").exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "messages", "tools"),
    [
        (["hi", "--chat"], [{"role": "user", "content": "hi"}], None),
        (["hi", "--system", "s"], [{"role": "system", "content": "s"}, {"role": "user", "content": "hi"}], None),
        (["--messages", '[{"role": "user", "content": "x"}]'], [{"role": "user", "content": "x"}], None),
        (["--messages", '{"messages": [{"role": "user"}], "tools": [7]}'], [{"role": "user"}], [7]),
        (["--messages", "-"], [{"role": "user", "content": "in"}], None),
    ],
)
def test_chat(fake, monkeypatch, tmp_path, arguments, messages, tools):
    """Messages come from --chat, --system and --messages, and are rendered by the model's own template."""
    rendered = []

    def from_messages(messages, tokenizer, **options):
        rendered.append((messages, options))
        return ModelInput.from_ints([7])

    monkeypatch.setattr(ModelInput, "from_messages", from_messages)
    result = run("sample", "--local", "--json", *arguments, input='[{"role": "user", "content": "in"}]')
    assert result.exit_code == 0
    assert rendered[0] == (messages, {"add_generation_prompt": True, "tools": tools, "chat_template": None})
    assert json.loads(result.stdout)["messages"] == messages
    template = tmp_path / "chat.jinja"
    template.write_text("{{ messages }}")
    run(
        "logprobs", "--local", "--chat-template", str(template), *arguments, input='[{"role": "user", "content": "in"}]'
    )
    assert rendered[-1][1] == {"add_generation_prompt": False, "tools": tools, "chat_template": "{{ messages }}"}


def test_jsonl(fake):
    """--jsonl prints a line a sequence, with its model and its place."""
    fake.answer = SampleResponse([SampledSequence([104]), SampledSequence([105])], request_id="r")
    lines = run("sample", "abc", "--base-model", "a", "--base-model", "b", "-n", "2", "--jsonl").stdout.splitlines()
    found = [json.loads(line) for line in lines]
    assert [(row["model"], row["index"], row["text"]) for row in found] == [
        ("a", 0, "h"), ("a", 1, "i"), ("b", 0, "h"), ("b", 1, "i"),
    ]  # fmt: skip
    assert {row["request_id"] for row in found} == {"r"}


def test_several_models(fake):
    """Several models are asked for, and their texts come in the order of the options."""
    path = "tinker://r/sampler_weights/1"
    result = run("sample", "abc", "--model", path, "--base-model", "m", "--model", f"n+{path}", "--model", "m")
    assert (result.exit_code, result.stdout) == (0, "hi\nhi\nhi\n")
    asked = [{name: call[name] for name in ("base_model", "model_path") if name in call} for call in fake.calls]
    assert asked == [{"base_model": "m"}, {"model_path": path}, {"base_model": "n", "model_path": path}]
    assert run("logprobs", "abc", "--base-model", "m", "--base-model", "n").exit_code == 2
    assert run("logprobs", "abc", "--model", "m", "--base-model", "n").exit_code == 2


def test_weights_of_a_base_model(fake):
    """--base-model with --model-path is one model: these weights, which the client is told to be of that model."""
    for command in ("sample", "logprobs"):
        fake.calls.clear()
        options = ["--base-model", "m", "--model-path", "tinker://r/sampler_weights/1"]
        assert run(command, "abc", *options).exit_code == 0
        (call,) = fake.calls
        assert (call["base_model"], call["model_path"]) == ("m", "tinker://r/sampler_weights/1")
    result = run(
        "sample", "abc", "--base-model", "m", "--base-model", "n", "--model-path", "tinker://r/sampler_weights/1"
    )
    assert result.exit_code == 2
    assert "To compare, use --model" in result.stderr


@pytest.mark.parametrize("form", ["--json", "--jsonl", None])
def test_one_model_of_several_fails(fake, form):
    """A model that fails takes nothing from the others; it is told of on stderr, and the exit code is 1."""
    fake.create_sampling_client_async = lambda *, retry_config, timeout, base_model: Now(
        fake if base_model == "good" else NotFoundError(f"no {base_model}", 404)
    )
    arguments = ["sample", "abc", "--base-model", "bad", "--base-model", "good", *filter(None, [form])]
    result = run(*arguments)
    assert (result.exit_code, "tinkex: bad: no bad" in result.stderr) == (1, True)
    if form == "--json":
        assert [each["error"] and each["error"]["type"] for each in json.loads(result.stdout)["results"]] == [
            "NotFoundError",
            None,
        ]
    elif form == "--jsonl":
        assert [json.loads(line)["model"] for line in result.stdout.splitlines()] == ["bad", "good"]
    else:
        assert result.stdout == "hi\n"


def test_log_probabilities_on_demand(fake):
    """--logprobs, --prompt-logprobs and the top-k options ask for what they show, a line a token."""
    result = run("sample", "abc", "--local", "--logprobs", "--prompt-logprobs")
    assert result.stdout.splitlines() == [
        "97\t-\t'a'", "98\t-1.5000\t'b'", "99\t-0.5000\t'c'",
        "104\t-0.5000\t'h'", "105\t-1.0000\t'i'", "0\t-0.2500\t'\\x00'",
    ]  # fmt: skip
    run("sample", "abc", "--local", "--topk-logprobs", "3", "--topk-prompt-logprobs", "2")
    assert (fake.options["topk_sample_logprobs"], fake.options["topk_prompt_logprobs"]) == (3, 2)
    assert fake.options["include_prompt_logprobs"] is True


def test_no_key_says_how_to_begin(fake, monkeypatch):
    """Without a key the command says where it belongs, and that --local needs none."""
    monkeypatch.delenv("TINKER_API_KEY")
    fake.answer = CredentialError("No API key: pass api_key.")
    result = run("sample", "abc", "--base-model", "m")
    assert result.exit_code == 1
    assert "export TINKER_API_KEY=" in result.stderr
    assert "--local" in result.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell):
    """The lines for each shell come from the command itself."""
    result = run("completion", shell, env={"SHELL": "/bin/tcsh"})
    assert result.exit_code == 0
    assert "_TINKEX_COMPLETE" in result.stdout
    assert run("completion", env={"SHELL": f"/usr/bin/{shell}"}).stdout == result.stdout


def test_completion_for_an_unknown_shell():
    """A shell that cannot be completed for is wrong usage."""
    assert run("completion", env={"SHELL": "/bin/tcsh"}).exit_code == 2


def test_version():
    """The version is the package's, for people and for programs."""
    from tinkex._identity import __version__

    assert run("version").stdout.startswith(f"tinkex {__version__} ")
    assert json.loads(run("version", "--json").stdout)["tinkex"] == __version__


def test_help_lists_what_the_commands_say():
    """The list of commands has the first sentence of each command's own help."""
    help_text = run("--help").stdout
    for name, words in COMMANDS.items():
        assert app.get_command(None, name).get_short_help_str(200) == words
        assert f"  {name}" in help_text


def test_unknown_command():
    """A command that there is none of is wrong usage."""
    assert run("smaple").exit_code == 2


def test_every_command_module_is_listed():
    """Every module of `tinkex.cli.commands` is a command, and so is what `App` names beside it."""
    folder = pathlib.Path(importlib.import_module(app.package).__file__).parent
    found = {file.stem for file in folder.glob("[!_]*.py")}
    assert {*found, *app.packages} == {*COMMANDS}
    assert {*BatchCommands.table} <= {file.stem for file in (folder.parent / "batch").glob("*.py")}


def test_logprobs_as_a_page(fake, tmp_path):
    """With --html the tokens are written as a page as well, coloured."""
    result = run("logprobs", "abc", "--local", "--html", str(tmp_path / "page.html"))
    assert result.stdout.startswith("97\t-\t'a'\n98\t-1.5000")
    assert 'data-tip="c   60.7 %' in (tmp_path / "page.html").read_text()


@pytest.fixture
def local(monkeypatch):
    """A stand-in for the embedded model."""
    module = importlib.import_module("tinkex.local")
    calls = types.SimpleNamespace(served=[])

    def fetch_model(gguf=None, progress=None):
        progress(1, 98_000_000)
        progress(2, 98_000_000)
        return pathlib.Path("/cache/model.gguf")

    class Server(contextlib.nullcontext):
        url, base_model, runtime = "http://127.0.0.1:5", "tiny", "numpy"

        def __init__(self, gguf, *, port, on_sample):
            super().__init__()
            calls.served.append((str(gguf), port))

        def start(self):
            calls.started = True

    monkeypatch.setattr(module, "fetch_model", fetch_model)
    monkeypatch.setattr(module, "LocalServer", Server)
    return calls


def test_local_fetch(local):
    """Fetching prints the path on stdout, and says once on stderr that it downloads."""
    result = run("local", "fetch")
    assert result.stdout == "/cache/model.gguf\n"
    assert result.stderr == "Downloading the local model (98 MB)\n"


def test_local_path(local, monkeypatch):
    """The path is printed where the model is there; else the way to fetch it, and exit code 1."""
    module = importlib.import_module("tinkex.local")
    monkeypatch.setattr(module, "find_model", lambda: pathlib.Path("/cache/model.gguf"))
    assert run("local", "path").stdout == "/cache/model.gguf\n"
    monkeypatch.setattr(module, "find_model", lambda: None)
    result = run("local", "path")
    assert (result.exit_code, "tinkex local fetch" in result.stderr) == (1, True)


@pytest.mark.parametrize("line", ["local fetch", "local path", "sample x --local", "models --local", "doctor --local"])
def test_local_without_its_extra(local, monkeypatch, line):
    """Without the extra of the local model every command that needs it says what to install."""
    module = importlib.import_module("tinkex.local")

    def lacks_a_package(*_, **__):
        raise ModuleNotFoundError("No module named 'platformdirs'", name="platformdirs")

    monkeypatch.setattr(module, "find_model", lacks_a_package)
    monkeypatch.setattr(module, "fetch_model", lacks_a_package)
    result = run(*line.split())
    assert (result.exit_code, result.stdout) == (1, "")
    assert "platformdirs, which is not installed. Run: pip install 'tinkex[local]'" in result.stderr


def test_local_serve(local, monkeypatch):
    """Serving prints the URL and goes on until it is interrupted."""
    serve = importlib.import_module("tinkex.cli.commands.local")

    def interrupt(server):
        raise KeyboardInterrupt

    monkeypatch.setattr(serve.signal, "signal", lambda *_: None)
    monkeypatch.setattr(serve, "wait_while_running", interrupt)
    result = run("local", "serve", "--port", "8123", "--gguf", __file__)
    assert (result.exit_code, result.stdout) == (130, "http://127.0.0.1:5\n")
    assert local.served == [(__file__, 8123)]


def test_help_imports_nothing_heavy():
    """The help text needs neither the client nor rich, and so comes at once."""
    script = (
        "import sys; sys.argv = ['tinkex', '--help']\n"
        "from tinkex.cli import main\n"
        "try: main()\n"
        "finally: print(sorted(m.partition('.')[0] for m in sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(ast.literal_eval(done.stderr))
    assert "logprobs" in done.stdout
    assert not loaded & {
        "rich",
        "requests",
        "urllib3",
        "numpy",
        "tokenizers",
        "aiohttp",
        "tenacity",
        "asyncio",
        "orjson",
    }


def test_garbage_is_collected():
    """Garbage is not looked for while a command is imported, and is while it runs."""
    script = (
        "import gc, sys; from tinkex.cli import main, _app; seen = []\n"
        "get = _app.App.get_command\n"
        "_app.App.get_command = lambda *args: seen.append(gc.isenabled()) or get(*args)\n"
        "sys.argv = ['tinkex', 'version']\n"
        "try: main()\n"
        "finally: print(seen, gc.isenabled(), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr == "[False] True\n"


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_without_the_extra(missing):
    """Without click or rich the command says what to install, and exits with 2."""
    script = (
        "import importlib.util as u; find = u.find_spec\n"
        f"u.find_spec = lambda name, *rest: None if name == {missing!r} else find(name, *rest)\n"
        "from tinkex.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"needs {missing}. Run: pip install 'tinkex[cli]'" in done.stderr


def test_app_is_one_group():
    """Commands hang on one group, which owns the exit codes."""
    assert isinstance(app, App)
