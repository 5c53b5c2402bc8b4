from __future__ import annotations

import enum
import json
import pickle
import sys
import tracemalloc
from typing import ClassVar

import pytest

from tinkex.errors import MissingExtraError
from tinkex.tokenizers import ChatTemplateError, TokenizerError, _sandbox, get_tokenizer
from tinkex.tokenizers._find import _LOADS
from tinkex.types import EncodedTextChunk, ImageChunk, ModelInput

tokenizers = pytest.importorskip("tokenizers")

PLAIN = "{{ bos_token }}{% for message in messages %}[{{ message.role }}]{{ message.content }}{% endfor %}"
HELLO = [{"role": "user", "content": "hello"}]
PICTURE = ImageChunk(b"\x89PNG\r\n\x1a\n", "png", expected_tokens=7)


def write_tokenizer(folder):
    """A byte-level tokenizer that puts <s> in front of every text."""
    inner = tokenizers.Tokenizer(tokenizers.models.BPE({}, []))
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    inner = tokenizers.Tokenizer(tokenizers.models.BPE({letter: i for i, letter in enumerate(alphabet)}, []))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = tokenizers.decoders.ByteLevel()
    inner.add_special_tokens(["<s>", "</s>", "<|image_pad|>"])
    inner.post_processor = tokenizers.processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 256)])
    inner.save(str(folder / "tokenizer.json"))


def write(folder, template=PLAIN, **config):
    """A directory as model repositories have it."""
    write_tokenizer(folder)
    config = {"bos_token": "<s>", "eos_token": {"content": "</s>"}, "chat_template": template, **config}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return get_tokenizer(folder)


def text_of(tokenizer, *arguments, **options):
    """The prompt of messages as text."""
    return tokenizer.decode(ModelInput.from_messages(*arguments, **options).to_ints())


def rendered(template, messages=HELLO, **options):
    """What a template makes of messages, for a tokenizer that has a token for each character."""
    return text_of(Letters(), messages, Letters(), chat_template=template, **options)


class Letters:
    """A tokenizer as somebody may write one."""

    def encode(self, text):
        return [ord(letter) for letter in text]

    def decode(self, ids):
        return "".join(map(chr, ids))


def test_special_tokens_come_once(tmp_path):
    """The template writes the BOS token, and encoding adds no second one."""
    tokenizer = write(tmp_path)
    assert ModelInput.from_messages(HELLO, tokenizer).to_ints()[:2] == [256, tokenizer.encode("[")[1]]
    assert text_of(tokenizer, HELLO, tokenizer) == "<s>[user]hello"


def test_path_names_a_tokenizer(tmp_path):
    """A path does as well as a tokenizer."""
    tokenizer = write(tmp_path)
    assert ModelInput.from_messages(HELLO, str(tmp_path)) == ModelInput.from_messages(HELLO, tokenizer)


def test_template_in_a_file_of_its_own_wins(tmp_path):
    """chat_template.jinja goes before tokenizer_config.json."""
    (tmp_path / "chat_template.jinja").write_text("own {{ eos_token }}")
    tokenizer = write(tmp_path)
    assert text_of(tokenizer, HELLO, tokenizer) == "own </s>"


@pytest.mark.parametrize("tools", [None, [{"type": "function", "function": {"name": "f"}}]])
def test_named_templates(tmp_path, tools):
    """Of several templates, tool_use serves calls with tools, and default the others."""
    named = [{"name": "default", "template": "plain"}, {"name": "tool_use", "template": "{{ tools|length }} tool"}]
    tokenizer = write(tmp_path, named)
    assert text_of(tokenizer, HELLO, tokenizer, tools=tools) == ("1 tool" if tools else "plain")


def test_named_templates_without_default(tmp_path):
    """The names that there are stand in the error."""
    tokenizer = write(tmp_path, [{"name": "rag", "template": "x"}])
    with pytest.raises(ChatTemplateError, match=r"templates named rag, and none of them is the default: name one$"):
        ModelInput.from_messages(HELLO, tokenizer)


def test_further_files(tmp_path):
    """Further templates stand in a folder beside chat_template.jinja."""
    (tmp_path / "chat_template.jinja").write_text("plain")
    (tmp_path / "additional_chat_templates").mkdir()
    (tmp_path / "additional_chat_templates" / "tool_use.jinja").write_text("{{ tools[0].type }}")
    tokenizer = write(tmp_path)
    with_tools = text_of(tokenizer, HELLO, tokenizer, tools=[{"type": "function", "function": {"name": "f"}}])
    assert (text_of(tokenizer, HELLO, tokenizer), with_tools) == ("plain", "function")


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """A model in the Hugging Face cache, and no network: the folder that its files are in."""
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    _LOADS._loaded.clear()
    model = tmp_path / "hub" / "models--org--model"
    snapshot = model / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text("0" * 40)
    yield snapshot
    _LOADS._loaded.clear()


def test_model_in_the_cache(cached):
    """A model's name leads to its template in the cache; a file that cannot be asked for is not needed then."""
    write(cached)
    tokenizer = get_tokenizer("org/model")
    assert text_of(tokenizer, HELLO, "org/model") == "<s>[user]hello"


def test_template_that_is_out_of_reach(cached):
    """Where the cache has the tokenizer only and there is no network, the error says which file is missing and why."""
    write_tokenizer(cached)
    assert get_tokenizer("org/model").encode("a")[0] == 256
    with pytest.raises(TokenizerError, match=r"tokenizer_config\.json is not in the cache .*HF_HUB_OFFLINE is set"):
        ModelInput.from_messages(HELLO, "org/model")


def test_missing_template(tmp_path):
    """A model without a template is a ValueError that names the tokenizer and what to do."""
    tokenizer = write(tmp_path, None)
    assert tokenizer.chat_template is None
    with pytest.raises(ValueError, match=rf"tokenizer: <tokenizer of {tmp_path}.*has no chat template.*chat_template="):
        ModelInput.from_messages(HELLO, tokenizer)


def test_missing_config(tmp_path):
    """A directory with nothing but tokenizer.json encodes, and has no template."""
    write_tokenizer(tmp_path)
    assert get_tokenizer(tmp_path).chat_template is None


@pytest.mark.parametrize("content", ["{", "[]", b"\xff"])
def test_broken_config(tmp_path, content):
    """A configuration that cannot be read is named."""
    tokenizer = write(tmp_path)
    (tmp_path / "tokenizer_config.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(TokenizerError, match=r"tokenizer_config\.json"):
        ModelInput.from_messages(HELLO, tokenizer)


def test_tokenizer_objects_bring_their_template():
    """An object of the caller's needs only encode and chat_template; its special tokens are used as well."""

    class Own(Letters):
        chat_template = "{{ bos_token }}{{ messages[0].content }}"
        special_tokens_map: ClassVar = {"bos_token": "^", "additional_special_tokens": ["!"]}

    assert text_of(Own(), HELLO, Own()) == "^hello"


@pytest.mark.parametrize("bos", ["^", {"content": "^", "lstrip": False}, tokenizers.AddedToken("^")])
@pytest.mark.parametrize("known", [None, {"eos_token": "$"}, {"bos_token": "BOS"}])
def test_special_tokens_of_objects(bos, known):
    """Special tokens are those of special_tokens_map, and attributes where it has none, in every form."""

    class Own(Letters):
        chat_template = "{{ bos_token }}{{ messages[0].content }}"
        special_tokens_map = {**known, "bos_token": bos} if known and "bos_token" in known else known
        bos_token = "?" if known and "bos_token" in known else bos

    assert text_of(Own(), HELLO, Own()) == "^hello"


def test_special_tokens_of_transformers():
    """A tokenizer of transformers, which logs an error where a token that is not set is asked for, is not asked."""

    class Own(Letters):
        chat_template = "{{ bos_token }}{{ messages[0].content }}"
        special_tokens_map: ClassVar = {"eos_token": "$"}
        apply_chat_template = bos_token = property(lambda self: print)

    assert text_of(Own(), HELLO, Own()) == "hello"


def test_special_tokens_are_not_added_by_objects():
    """An object that can leave special tokens away is asked to."""

    class Own(Letters):
        chat_template = "{{ messages[0].content }}"

        def encode(self, text, add_special_tokens=True):
            return [ord("^")] * add_special_tokens + super().encode(text)

    assert text_of(Own(), HELLO, Own()) == "hello"


def test_keywords_that_a_tokenizer_ignores():
    """A tokenizer that takes any keyword, as those of transformers do, is told not to add special tokens."""

    class Own(Letters):
        chat_template = "<s>{{ messages[0].content }}"

        def encode(self, text, add_special_tokens=True, **others):
            return [*([0] if add_special_tokens else []), *super().encode(text)]

    assert ModelInput.from_messages([{"role": "user", "content": "a"}], Own()).to_ints() == Letters().encode("<s>a")


def test_jinja_as_chat_templates_need_it():
    """Block tags leave no line breaks, JSON is not escaped for HTML, loops can be left, reasoning has all its names."""
    assert rendered("  {% if true %}\nx\n  {% endif %}\ny") == "x\ny"
    assert rendered("{{ {'b': '<ü>', 'a': 1}|tojson }}") == '{"b": "<ü>", "a": 1}'
    assert rendered("{{ [1]|tojson(indent=2) }}") == "[\n  1\n]"
    assert rendered("{{ '%s %d%%'|format('a', 5) }}{{ '%s' % 'b' }}{{ '100% 20000'|indent(1) }}") == "a 5%b100% 20000"
    assert rendered("{% for i in range(9) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}") == "01"
    assert rendered("a{% generation %}b{% endgeneration %}c") == "abc"
    message = {"role": "assistant", "content": None, "thinking": "hm"}
    template = "{{ messages[0].reasoning_content }} {{ messages[0].content is defined }}"
    assert rendered(template, [message]) == "hm True"


def test_today(monkeypatch):
    """strftime_now formats the date of the clock."""
    monkeypatch.setattr(_sandbox.environment, "SYSTEM_CLOCK", type("Clock", (), {"wall": lambda: 0.0}))
    assert rendered("{{ strftime_now('%Y') }}") in ("1970", "1969")


def test_template_variables_reach_the_template():
    """Further keywords are variables of the template, before the special tokens of the same name."""
    assert rendered("{{ enable_thinking }} {{ bos_token }}", enable_thinking=False, bos_token="^") == "False ^"


@pytest.mark.parametrize("asked", [True, False])
def test_generation_prompt(asked):
    """The template is told whether to end with the header of an answer."""
    assert rendered("{{ add_generation_prompt }}", add_generation_prompt=asked) == str(asked)


@pytest.mark.parametrize(
    ("template", "complaint"),
    [
        ("{% if %}", "tokenizer: .* broken in line 1"),
        ("{{ raise_exception('Roles must alternate') }}", "messages: .* refuses them: Roles must alternate"),
        ("{{ messages[0].nothing.more }}", "failed on these messages: UndefinedError"),
        ("{% include 'file' %}", "was stopped"),
        ("{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}", "RecursionError"),
    ],
)
def test_what_a_template_does_wrong(template, complaint):
    """A template that is broken, fails or refuses says which of these, and on whose behalf."""
    with pytest.raises(ChatTemplateError, match=complaint):
        rendered(template)


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.append(1) }}",
        "{{ messages[0].clear() }}",
        "{% set ns = namespace() %}{% set ns.__class__ = 1 %}",
        "{{ 'a' * 10 ** 10 }}",
        "{{ 2 ** (10 ** 9) }}",
        "{{ 'a'.ljust(10 ** 9) }}",
        "{{ '%999999999d' % 1 }}",
        "{{ '%999999999d'|format(1) }}",
        "{{ 'a'|center(10 ** 9) }}",
        "{{ [1]|batch(10 ** 9, 'x')|list }}",
        "{% set ns = namespace(s='a') %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
        "{% set ns = namespace(s=['a']) %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
        "{% for i in range(99999) %}{{ 'a' * 1000 }}{% endfor %}",
        "{{ ('a' * 9999)|replace('a', 'b' * 9999) }}",
        "{{ ('a' * 9999)|join('b' * 9999) }}",
        "{% set ns = namespace(x=3) %}{% for i in range(20) %}{% set ns.x = ns.x * ns.x %}{% endfor %}",
        "{{ 1|round(999999, 'ceil') }}",
    ],
)
def test_hostile_template(template):
    """A template gets at nothing but its data, changes none of it, and cannot fill the memory."""
    with pytest.raises(ChatTemplateError, match="was stopped"):
        rendered(template)


@pytest.mark.parametrize(
    "call",
    ["('a' * 9999).replace('a', 'b' * 9999)", "('a' * 9999).join('b' * 9999)", "('\\t' * 9999).expandtabs(9999)"],
)
def test_texts_are_measured_before_they_are_made(call):
    """What would be too long is not made first and refused then."""
    tracemalloc.start()
    try:
        with pytest.raises(ChatTemplateError, match="was stopped"):
            rendered("{{ " + call + " }}")
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


def test_texts_are_put_together_as_ever():
    """Measuring changes nothing of what a template writes."""
    template = (
        "{{ ['a', 1]|join('-') }} {{ '-'.join('ab') }} {{ 'aa'|replace('a', 'b', 1) }} {{ 'aa'.replace('a', 'b', 1) }}"
    )
    assert rendered(template + " {{ 2.6|round }} {{ 7 * 6 }} {{ 'a\tb'.expandtabs(2) }}") == "a-1 a-b ba ba 3.0 42 a b"


class Hurried:
    """A timer on which every look costs a tenth of a second."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        self.now += 0.1
        return self.now


@pytest.mark.parametrize(
    "template",
    [
        "{% for i in range(99) %}{% for j in range(99) %}{% endfor %}{% endfor %}",
        "{% for i in range(9999)|map('abs') %}{% endfor %}",
        "{% macro twice(n) %}{% if n %}{{ twice(n - 1) }}{{ twice(n - 1) }}{% endif %}{% endmacro %}{{ twice(50) }}",
    ],
)
def test_endless_template(template):
    """A template that goes on for longer than a second of its thread is stopped."""
    with pytest.raises(_sandbox.SecurityError, match="too long"), _sandbox.limited_time(Hurried()):
        _sandbox.Sandbox().from_string(template).render()


@pytest.mark.parametrize(
    ("messages", "kind", "complaint"),
    [
        ("hello", TypeError, "messages must be a list of dicts such as"),
        ({"role": "user"}, TypeError, r"messages must be .* got \{'role': 'user'\}"),
        (["hello"], TypeError, r"messages\[0\] must be a dict such as"),
        ([], ValueError, "messages must not be empty"),
        ([*HELLO, {"content": "x"}], ValueError, r"messages\[1\] has no role, only content"),
        ([{"role": "user", "content": b"x"}], TypeError, r"messages\[0\]\.content must be plain data"),
        ([{"role": "user", "content": [{"x": object()}]}], TypeError, r"messages\[0\]\.content\[0\]\.x must be plain"),
        ([{"role": "user", 1: "x"}], TypeError, r"messages\[0\] must have strings as keys"),
        ([{"role": "user", "content": "\ud800"}], ValueError, "lone surrogate"),
    ],
)
def test_bad_messages(messages, kind, complaint):
    """What is no conversation is refused by the name of the part that is wrong."""
    with pytest.raises(kind, match=complaint):
        rendered("{{ messages[0].content }}", messages)


class Role(enum.StrEnum):
    """A role as a program may have it."""

    USER = "user"


def test_subclasses_of_plain_data():
    """A name from an enumeration is the text it stands for, and a template gets nothing more of it."""
    message = {
        "role": Role.USER,
        "content": "x",
        "tool_calls": [{"name": "f", "arguments": {"type": "image", "of": (1, 2.5, True)}}],
    }
    template = "{{ messages[0].role.name is defined }} {{ messages|tojson }}"
    expected = (
        '[{"role": "user", "content": "x", "tool_calls": [{"name": "f",'
        ' "arguments": {"type": "image", "of": [1, 2.5, true]}}]}]'
    )
    assert rendered(template, [message]) == f"False {expected}"


def test_bad_tools():
    """Tools are JSON schemas: a function is not turned into one."""
    with pytest.raises(TypeError, match=r"tools\[0\] must be a dict such as"):
        rendered("{{ tools }}", tools=[len])


@pytest.mark.parametrize("missing", ["jinja2", "jinja2.sandbox"])
def test_missing_extra(monkeypatch, missing):
    """Without jinja2, the error says what to install."""
    for name in [name for name in sys.modules if name.startswith("tinkex.tokenizers._sandbox")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("tinkex.tokenizers._sandbox")
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'tinkex\[chat\]'"):
        rendered("{{ messages }}")


PARTS = "{% for part in messages[0].content %}{{ '<|image_pad|>' if part.type == 'image' else part.text }}{% endfor %}"


def picture_message(*parts):
    """A message with pictures, and texts between them."""
    content = [{"type": "text", "text": part} if isinstance(part, str) else part for part in parts]
    return [{"role": "user", "content": content}]


def test_pictures_take_their_places(tmp_path):
    """A picture stands where the template has written its placeholder."""
    tokenizer = write(tmp_path, PARTS)
    part = {"type": "image", "image": PICTURE}
    first, picture, second, last = ModelInput.from_messages(picture_message("a", part, "b", part), tokenizer).chunks
    assert [tokenizer.decode(chunk.tokens) for chunk in (first, second)] == ["a", "b"]
    assert (picture, last) == (PICTURE, PICTURE)
    assert all(isinstance(chunk, EncodedTextChunk) for chunk in (first, second))


@pytest.mark.parametrize(
    ("parts", "complaint"),
    [
        (({"type": "image"},), r"messages\[0\]\.content\[0\] needs one picture and has 0"),
        (("a", {"type": "image_url", "image_url": {"url": "http://host/x.png"}}), r"content\[1\] needs one picture"),
        (("<|image_pad|>", {"type": "image", "image": PICTURE}), r"content\[1\] is one of 1 pictures.*2 places"),
    ],
)
def test_pictures_without_a_place(tmp_path, parts, complaint):
    """A picture that is none, or whose place is not certain, is refused by name."""
    with pytest.raises(ValueError, match=complaint):
        ModelInput.from_messages(picture_message(*parts), write(tmp_path, PARTS))


def test_picture_for_a_text_model(tmp_path):
    """A template that leaves no place for pictures is no reason to drop one."""
    message = picture_message("a", {"type": "image", "image": PICTURE})
    with pytest.raises(ValueError, match=r"messages\[0\]\.content\[1\] is a picture, but the chat template leaves no"):
        ModelInput.from_messages(message, write(tmp_path, "{{ messages[0].content[0].text }}"))


def test_tokenizer_travels_with_its_template(tmp_path):
    """A tokenizer that was pickled before its template was asked for still finds it."""
    copy = pickle.loads(pickle.dumps(write(tmp_path)))
    assert text_of(copy, HELLO, copy) == "<s>[user]hello"
    error = pickle.loads(pickle.dumps(ChatTemplateError("no")))
    assert isinstance(error, ValueError | TokenizerError)
