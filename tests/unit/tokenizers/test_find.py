from __future__ import annotations

import pathlib
import pickle
import sys
import types

import pytest

from tinkex.errors import MissingExtraError, TinkexError
from tinkex.tokenizers import TokenizerError, get_tokenizer, model_tokenizer, tokenizer_repository
from tinkex.tokenizers._adapters import LoadedTokenizer
from tinkex.tokenizers._find import _LOADS
from tinkex.tokenizers._loading_cache import LoadingCache

tokenizers = pytest.importorskip("tokenizers")
huggingface_hub = pytest.importorskip("huggingface_hub")
constants = pytest.importorskip("huggingface_hub.constants")
errors = pytest.importorskip("huggingface_hub.errors")

WORDS = {"[UNK]": 0, "hello": 1, "world": 2, "<bos>": 3, "<eos>": 4}


def make_inner(*, template=None):
    """A word-level tokenizer of five words."""
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel(WORDS, unk_token="[UNK]"))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    inner.add_special_tokens(["<bos>", "<eos>"])
    if template:
        inner.post_processor = tokenizers.processors.TemplateProcessing(
            single=template, pair=f"{template} $B", special_tokens=[("<bos>", 3), ("<eos>", 4)]
        )
    return inner


def write(folder, *, template=None):
    """A directory as model repositories have it."""
    folder.mkdir(parents=True, exist_ok=True)
    make_inner(template=template).save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(autouse=True)
def hub(tmp_path, monkeypatch):
    """An empty Hugging Face cache, and no network."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    _LOADS._loaded.clear()
    return tmp_path / "hub"


def cache_repository(hub, name, **options):
    """A repository as the Hugging Face cache holds it."""
    repository = hub / f"models--{name.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    return write(repository / "snapshots" / ("0" * 40), **options)


@pytest.mark.parametrize(
    ("model", "repository"),
    [
        ("Qwen/Qwen3-8B", "Qwen/Qwen3-8B"),
        ("Qwen/Qwen3-8B:some-suffix", "Qwen/Qwen3-8B"),
        ("openai/gpt-oss-20b/low", "openai/gpt-oss-20b"),
        ("openai/gpt-oss-20b/low:v2", "openai/gpt-oss-20b"),
        ("gpt2", "gpt2"),
        ("meta-llama/Llama-3.2-1B", "thinkingmachineslabinc/meta-llama-3-instruct-tokenizer"),
        ("meta-llama/Llama-3.1-8B/variant", "thinkingmachineslabinc/meta-llama-3-instruct-tokenizer"),
        ("meta-llama/Llama-2-7b", "meta-llama/Llama-2-7b"),
    ],
)
def test_name_rules(model, repository):
    """Suffix and variant are dropped, and gated Llama 3 goes to its public copy."""
    assert tokenizer_repository(model) == repository


def test_directory_and_file_and_path(tmp_path):
    """A directory, the file in it, and a path object all name the same tokenizer."""
    folder = write(tmp_path / "model")
    for source in (str(folder), folder, str(folder / "tokenizer.json"), folder / "tokenizer.json"):
        assert get_tokenizer(source).encode("hello world") == [1, 2]


def test_relative_directory_wins_over_name(tmp_path, monkeypatch):
    """A name that is a directory here is that directory."""
    write(tmp_path / "org" / "model")
    monkeypatch.chdir(tmp_path)
    assert get_tokenizer("org/model").decode([1, 2]) == "hello world"


@pytest.mark.parametrize(("template", "ids"), [(None, [1]), ("<bos> $A", [3, 1]), ("<bos> $A <eos>", [3, 1, 4])])
def test_special_tokens_policy(tmp_path, template, ids):
    """tokenizer.json alone decides about BOS and EOS, whatever tokenizer_config.json says."""
    (tmp_path / "tokenizer_config.json").write_text('{"add_bos_token": true, "bos_token": "<bos>"}')
    assert get_tokenizer(write(tmp_path, template=template)).encode("hello") == ids


def test_special_tokens_in_text_and_in_decoding(tmp_path):
    """Special tokens written in the text are read as such, kept by decode, and dropped on request."""
    tokenizer = get_tokenizer(write(tmp_path))
    assert tokenizer.encode("hello <eos>") == [1, 4]
    assert tokenizer.decode([1, 4]) == "hello <eos>"
    assert tokenizer.decode((1, 4), skip_special_tokens=True) == "hello"


def test_training_leftovers_never_cut_a_prompt(tmp_path):
    """Truncation and padding stored in a file are not applied."""
    inner = make_inner()
    inner.enable_truncation(1)
    inner.enable_padding(length=7)
    inner.save(str(tmp_path / "tokenizer.json"))
    assert get_tokenizer(tmp_path).encode("hello world") == [1, 2]


def test_cached_repository_needs_no_network(hub):
    """What is in the Hugging Face cache is used offline, under every form of the name."""
    cache_repository(hub, "org/model", template="<bos> $A")
    for name in ("org/model", "org/model/variant", "org/model:suffix"):
        assert get_tokenizer(name).encode("hello") == [3, 1]


def test_cached_repository_asks_nobody(hub, monkeypatch):
    """A cached tokenizer is not looked up again when the network is there."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *_, **__: pytest.fail("asked the network"))
    cache_repository(hub, "org/model")
    assert get_tokenizer("org/model").encode("hello") == [1]


def test_not_cached_and_offline(hub):
    """The error names the model, the place looked at, why the network was not asked, and what helps."""
    with pytest.raises(TokenizerError) as caught:
        get_tokenizer("meta-llama/Llama-3.2-1B")
    for part in (
        "meta-llama/Llama-3.2-1B",
        "meta-llama-3-instruct-tokenizer",
        str(hub),
        "HF_HUB_OFFLINE",
        "local path",
    ):
        assert part in str(caught.value)


def test_failure_is_tried_again(hub):
    """A failed load is not remembered."""
    with pytest.raises(TokenizerError):
        get_tokenizer("org/model")
    cache_repository(hub, "org/model")
    assert get_tokenizer("org/model").encode("hello") == [1]


@pytest.fixture(autouse=True)
def reachable(monkeypatch):
    """A hub that can be reached, as far as it is only asked whether a file is there."""
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", lambda _: None)


def test_a_hub_that_cannot_be_reached(hub, monkeypatch):
    """A hub that cannot be reached is told of at once: the download, which would try for long, is not begun."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *_, **__: pytest.fail("began to download"))

    def no_way(url):
        assert url.endswith("/org/model/resolve/v1/tokenizer.json")
        raise ConnectionError("no way there")

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", no_way)
    with pytest.raises(TokenizerError, match="cannot be reached"):
        get_tokenizer("org/model", revision="v1")


def http_error(kind):
    """An error of huggingface_hub, without the response it is usually made from."""
    error = kind.__new__(kind)
    Exception.__init__(error, "made up")
    return error


@pytest.mark.parametrize(
    ("kind", "hint"),
    [
        ("GatedRepoError", "HF_TOKEN"),
        ("RepositoryNotFoundError", "check the name"),
        ("RemoteEntryNotFoundError", "not run"),
        ("LocalEntryNotFoundError", "connect once"),
    ],
)
def test_hub_errors_say_what_helps(monkeypatch, kind, hint):
    """Each way of not getting a file has its own next step."""
    error = http_error(getattr(errors, kind))

    def download(*_, **__):
        raise error

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    with pytest.raises(TokenizerError, match=hint) as caught:
        get_tokenizer("org/model")
    assert "org/model" in str(caught.value)


def test_revision_is_pinned(monkeypatch, tmp_path):
    """A revision reaches the download and has its own place among the loaded ones."""
    folder = write(tmp_path / "fetched")
    asked = []

    def download(repository, name, *, revision):
        asked.append((repository, name, revision))
        return str(folder / name)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    pinned = get_tokenizer("org/model", revision="v1")
    assert pinned is get_tokenizer("org/model", revision="v1")
    assert pinned is not get_tokenizer("org/model")
    assert asked[0] == ("org/model", "tokenizer.json", "v1")


@pytest.mark.parametrize("name", ["", "a b", "tinker://run/weights/x", "https://host/x", "a/b/c/d", "../../etc"])
def test_names_that_are_none(name):
    """What can be no model name is refused without asking anybody."""
    with pytest.raises(TokenizerError):
        get_tokenizer(name)


@pytest.mark.parametrize(
    "name", ["..", ".", "../..", "a/..", "~/a", "/dev/null", "./a", "a--b", "-a", "a" * 97, "\x1b[2J", "a\n"]
)
def test_names_are_never_paths(name, tmp_path, monkeypatch):
    """What a server calls a model is a name: it is neither opened as a file nor looked for as a folder."""
    monkeypatch.chdir(write(tmp_path))
    monkeypatch.setattr(pathlib.Path, "stat", lambda *_: pytest.fail("a file was looked for"))
    with pytest.raises(TokenizerError, match="neither a model name") as caught:
        model_tokenizer(name)
    assert str(caught.value).isprintable()


def test_a_folder_of_a_models_name_is_not_taken_for_it(tmp_path, monkeypatch, hub):
    """A folder that is called like a model is taken when the user names it, not when a server does."""
    (tmp_path / "org" / "model").mkdir(parents=True)
    write(tmp_path / "org" / "model")
    monkeypatch.chdir(tmp_path)
    assert get_tokenizer("org/model").encode("hello") == [1]
    with pytest.raises(TokenizerError, match=r"not in the cache"):
        model_tokenizer("org/model")


@pytest.mark.parametrize("name", ["TML/whatever", "thinkingmachines/whatever"])
def test_models_of_their_own_format(name):
    """Models without a public tokenizer.json are refused with the way out."""
    with pytest.raises(TokenizerError, match="pass the object"):
        get_tokenizer(name)


def test_directory_with_another_format(tmp_path):
    """A directory without tokenizer.json says what it has instead."""
    (tmp_path / "tiktoken.model").write_text("")
    with pytest.raises(TokenizerError, match=r"There is tiktoken\.model"):
        get_tokenizer(tmp_path)


def test_missing_path(tmp_path):
    """A path that is not there is named."""
    with pytest.raises(TokenizerError, match=r"nowhere\.json: No such file"):
        get_tokenizer(str(tmp_path / "nowhere.json"))


@pytest.mark.parametrize("content", ["", "{}", "not json", '{"model": 3}'])
def test_broken_file(tmp_path, content):
    """A file that is no tokenizer is named in the error."""
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(TokenizerError, match=r"tokenizer\.json"):
        get_tokenizer(tmp_path)


def test_changed_file_is_read_again(tmp_path):
    """A file written anew is not served from memory."""
    first = get_tokenizer(write(tmp_path))
    second = get_tokenizer(write(tmp_path, template="<bos> $A"))
    assert (first.encode("hello"), second.encode("hello")) == ([1], [3, 1])


def test_gguf_goes_to_the_local_model(tmp_path, monkeypatch):
    """A .gguf file is read by the embedded model's own loader."""
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF")
    monkeypatch.setitem(sys.modules, "tinkex.local", types.SimpleNamespace(load_tokenizer=lambda path: Spelling()))
    assert get_tokenizer(file).encode("ab") == [97, 98]


def test_embedded_model_by_name(tmp_path, monkeypatch):
    """The embedded model's name means its cached file; without one it is a name like any other."""
    file = tmp_path / "model.gguf"
    local = types.SimpleNamespace(load_tokenizer=lambda path: Spelling(), find_model=lambda environ: None)
    monkeypatch.setitem(sys.modules, "tinkex.local", local)
    with pytest.raises(TokenizerError, match="not in the cache"):
        get_tokenizer("HuggingFaceTB/SmolLM2-135M-Instruct")
    local.find_model = lambda environ: file
    assert get_tokenizer("HuggingFaceTB/SmolLM2-135M-Instruct").encode("ab") == [97, 98]


class Spelling:
    """A tokenizer as somebody may write one: a token a character."""

    def encode(self, text):
        return [ord(character) for character in text]

    def decode(self, ids):
        return "".join(map(chr, ids))


def test_objects_are_adapted():
    """Plain lists and Encoding objects come out as lists of int; an adapted tokenizer is left as it is."""
    own = get_tokenizer(Spelling())
    assert (own.encode("ab"), own.decode([97, 98])) == ([97, 98], "ab")
    assert get_tokenizer(own) is own
    library = get_tokenizer(make_inner(template="<bos> $A"))
    assert (library.encode("hello"), library.decode([3, 1])) == ([3, 1], "hello")


def test_numpy_ids_are_taken(tmp_path):
    """Arrays of ids decode like lists, and come back from an adapted tokenizer as plain integers."""
    numpy = pytest.importorskip("numpy")
    assert get_tokenizer(write(tmp_path)).decode(numpy.array([1, 2])) == "hello world"
    own = get_tokenizer(types.SimpleNamespace(encode=lambda text: numpy.array([5]), decode=str))
    assert [type(token) for token in own.encode("x")] == [int]


@pytest.mark.parametrize("candidate", [None, 3, b"name", object(), Spelling, ["org/model"]])
def test_not_a_tokenizer(candidate):
    """Anything else is a TypeError that names the argument."""
    with pytest.raises(TypeError, match="tokenizer"):
        get_tokenizer(candidate)


def test_bad_text_and_ids(tmp_path):
    """Text and ids of the wrong kind are refused by name."""
    tokenizer = get_tokenizer(write(tmp_path))
    with pytest.raises(TypeError, match="text"):
        tokenizer.encode(b"hello")
    with pytest.raises(ValueError, match="text"):
        tokenizer.encode("hello \ud800")
    with pytest.raises(ValueError, match="token ids"):
        tokenizer.decode([-1])
    with pytest.raises(TypeError):
        tokenizer.decode([1.0])


@pytest.mark.parametrize("missing", ["tokenizers", "huggingface_hub"])
def test_missing_extra(hub, monkeypatch, missing):
    """Without the extra, the error says what to install."""
    cache_repository(hub, "org/model")
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'tinkex\[tokenizers\]'") as caught:
        get_tokenizer("org/model")
    assert isinstance(caught.value, TokenizerError)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_loaded_tokenizer_travels(tmp_path):
    """A loaded tokenizer pickles; the error is a TinkexError that does."""
    copy = pickle.loads(pickle.dumps(get_tokenizer(write(tmp_path))))
    assert copy.encode("hello world") == [1, 2]
    error = pickle.loads(pickle.dumps(TokenizerError("no")))
    assert isinstance(error, TinkexError)
    assert str(error) == "no"


def test_failure_reaches_the_caller_and_is_forgotten():
    """A load that fails raises its own error, an interrupt too, and the next caller tries anew."""
    store = LoadingCache(size=2)

    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.get("key", interrupted)
    with pytest.raises(ZeroDivisionError):
        store.get("key", lambda: 1 // 0)
    assert store.get("key", lambda: "loaded") == "loaded"


def test_waiter_gets_the_failure_of_the_load():
    """Whoever waited for a load that was interrupted elsewhere gets an ordinary error."""
    store = LoadingCache(size=2)

    def interrupted():
        shared.append(store._loading["key"])
        raise KeyboardInterrupt

    shared = []
    with pytest.raises(KeyboardInterrupt):
        store.get("key", interrupted)
    assert isinstance(shared[0].exception(timeout=0), InterruptedError)


def test_store_drops_the_one_used_longest_ago():
    """The store stays bounded, and use keeps a thing in it."""
    store = LoadingCache(size=2)
    store.get("a", lambda: 1)
    store.get("b", lambda: 2)
    store.get("a", lambda: 3)
    store.get("c", lambda: 4)
    assert list(store._loaded.items()) == [("a", 1), ("c", 4)]


def test_child_does_not_wait_for_the_parents_load():
    """A load under way at a fork is dropped in the child, which loads for itself."""
    store = LoadingCache(size=2)

    def as_in_a_child():
        store.reset_after_fork()
        return store.get("key", lambda: "child")

    assert store.get("key", as_in_a_child) == "child"


def test_long_texts_keep_no_thread_waiting(monkeypatch):
    """A long text is encoded in the way that lets other threads run meanwhile, with the same ids."""
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 1, "b": 2}, unk_token="a"))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    batches = []

    class Watched:
        def encode(self, text, **options):
            return inner.encode(text, **options)

        def encode_batch(self, texts, **options):
            batches.append(len(texts))
            return inner.encode_batch(texts, **options)

    tokenizer = LoadedTokenizer("watched", Watched(), None)
    assert tokenizer.encode("a b") == [1, 2]
    assert batches == []
    assert tokenizer.encode("a b " * 10_000) == [1, 2] * 10_000
    assert batches == [1]
