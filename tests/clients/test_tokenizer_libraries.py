"""Tokenizers of other libraries, and prompts that transformers begins, in environments of their own."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess

import pytest
from chat_families import FAMILIES

from tinkex.tokenizers import ChatTemplateError, get_tokenizer
from tinkex.types import ModelInput

pytestmark = [pytest.mark.clients, pytest.mark.timeout(900)]

ROOT = pathlib.Path(__file__).resolve().parents[2]
LIBRARIES = (
    "attrs", "jinja2", "mistral-common==1.13.1", "sentencepiece==0.2.3", "tiktoken==0.14.0", "transformers==5.24.0",
)  # fmt: skip
SCRIPT = r"""
import json, pathlib, shutil, tempfile
import mistral_common, sentencepiece, tiktoken
from mistral_common.tokens.tokenizers.tekken import Tekkenizer
from transformers.tokenization_mistral_common import MistralCommonBackend
from tinkex.types import ModelInput

data = pathlib.Path(mistral_common.__file__).parent / "data"
folder = tempfile.mkdtemp()
shutil.copy(data / "tekken_240911.json", folder + "/tekken.json")


class Wrapped:
    def __init__(self, inner):
        self.inner = inner

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def encode(self, text):
        return self.inner.encode(text, bos=False, eos=False)

    def decode(self, ids):
        return self.inner.decode(ids)


def outcome(tokenizer, template):
    messages = [{"role": "user", "content": "Hi"}]
    try:
        return ModelInput.from_messages(messages, tokenizer, chat_template=template).to_ints()
    except Exception as error:
        return f"{type(error).__name__}: {error}"


ranks = {bytes([number]): number for number in range(256)}
tik = tiktoken.Encoding("t", pat_str=r"\w+|\s|[^\w\s]", mergeable_ranks=ranks, special_tokens={"<|end|>": 256})
piece = sentencepiece.SentencePieceProcessor(model_file=str(data / "tokenizer.model.v1"))
template = "<s>[INST]{{ messages[0].content }}[/INST]"
print(json.dumps({
    "MistralCommonBackend": outcome(MistralCommonBackend.from_pretrained(folder), template),
    "itself": outcome(MistralCommonBackend.from_pretrained(folder), None),
    "Tekkenizer": outcome(Wrapped(Tekkenizer.from_file(data / "tekken_240911.json")), template),
    "sentencepiece": outcome(piece, template),
    "tiktoken": outcome(tik, "{{ messages[0].content }}<|end|>"),
}))
"""
BEGINNINGS = r"""
import json, sys
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

config = json.load(open(sys.argv[1] + "/tokenizer_config.json", encoding="utf-8"))
special = {name: text for name, text in config.items() if name.endswith("_token")}
tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_file(sys.argv[1] + "/tokenizer.json"), **special)
tokenizer.chat_template = config["chat_template"]
made = []
for messages in json.load(sys.stdin):
    try:
        made.append(tokenizer.apply_chat_template(messages, continue_final_message=True, return_dict=False))
    except Exception as error:
        made.append(None)
print(json.dumps(made))
"""


def run(python, script, *arguments, given=None):
    """What a script prints in another environment."""
    command = [python, "-W", "ignore", "-c", script, *arguments]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, input=json.dumps(given), env=environ, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def test_tokenizers_that_read_no_control_tokens(environment_with):
    """Those of mistral-common and sentencepiece are refused with the way out; tiktoken is told to read them."""
    found = run(environment_with("tokenizer-libraries", LIBRARIES), SCRIPT)
    assert found.pop("tiktoken") == [72, 105, 256]
    itself = found.pop("itself")
    assert "ModelInput.from_ints(tokenizer.apply_chat_template(messages)['input_ids'])" in itself
    assert [text.partition(":")[0] for text in found.values()] == ["TokenizerError"] * 3
    assert all("takes <s> in a text for letters, not for its token 1" in text for text in found.values())


QUESTION = {"role": "user", "content": "Rain in Oslo?"}
BEGUN = [
    [QUESTION, {"role": "assistant", "content": content}] for content in ("Sure, ", "Sure", " No", "a\n\nb\n", "1. x")
]


@pytest.mark.parametrize("family", FAMILIES)
def test_beginnings_as_transformers_has_them(transformers_python, families, family):
    """A prompt that ends in the last message has the tokens that transformers gives it."""
    tokenizer = get_tokenizer(str(families / family))
    own = []
    for messages in BEGUN:
        try:
            own.append(ModelInput.from_messages(messages, tokenizer, continue_final_message=True).to_ints())
        except ChatTemplateError:
            own.append(None)
    assert own == run(transformers_python, BEGINNINGS, str(families / family), given=BEGUN)
