"""Chat prompts compared with transformers itself."""

from __future__ import annotations

import json
import pathlib
import subprocess

import pytest
from chat_differences import is_meant_to_differ
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

from tinkex.tokenizers import ChatTemplateError, get_tokenizer
from tinkex.tokenizers._chat_template.prompt import choose_template
from tinkex.types import ModelInput

pytestmark = [pytest.mark.clients, pytest.mark.timeout(600)]  # the first run installs transformers

FIXTURES = pathlib.Path(__file__).parents[1] / "chat_templates"
TODAY = {"date_string": "22 Nov 2026"}


def read(name):
    """One of the fixtures."""
    return json.loads((FIXTURES / name).read_text(encoding="utf-8"))


def run(python, *arguments):
    """What the script says that renders with transformers."""
    command = [python, FIXTURES / "render.py", *arguments]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def write_model(folder, name):
    """A model's repository: its template and special tokens, and a byte-level tokenizer that adds a BOS token."""
    special = read("special_tokens.json")[name]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE({letter: token for token, letter in enumerate(alphabet)}, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens(sorted(set(special.values())))
    first = special.get("bos_token", special["eos_token"])
    known = [(first, inner.token_to_id(first))]
    inner.post_processor = processors.TemplateProcessing(single=f"{first} $A", special_tokens=known)
    inner.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", **special}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "chat_template.jinja").write_text((FIXTURES / f"{name}.jinja").read_text(encoding="utf-8"))


def tokens(tokenizer, messages, tools=None, add_generation_prompt=True, variables=None):
    """The prompt's token ids, or None where the template refuses."""
    try:
        reads = choose_template(tokenizer, None).reads
        options = {name: value for name, value in {**(variables or {}), **TODAY}.items() if name in reads}
        return ModelInput.from_messages(messages, tokenizer, add_generation_prompt, tools, **options).to_ints()
    except ChatTemplateError:
        return None


def test_stored_texts_are_what_transformers_gives(transformers_python):
    """The texts that the fast tests compare with are those of transformers as it is."""
    assert run(transformers_python) == read("expected.json")


@pytest.mark.parametrize("name", read("special_tokens.json"))
def test_token_ids(transformers_python, tmp_path, name):
    """Read from the same files, a conversation has the same token ids, special tokens once."""
    write_model(tmp_path, name)
    expected = run(transformers_python, tmp_path)
    tokenizer = get_tokenizer(tmp_path)
    textual = {key: given for key, given in read("conversations.json").items() if not is_meant_to_differ(name, key)}
    assert {key: tokens(tokenizer, **given) for key, given in textual.items()} == {
        key: expected[key] for key in textual
    }
