#!/usr/bin/env bash
# Where a token reaches across the end of the prompt, lm-eval leaves the beginning of a choice out of its score: of "//a" after "http:" only "a" is
# scored, if the vocabulary has "://", and of "/b" everything. Whoever compares choices behind a bracket, a colon or a quotation mark gets a
# log-likelihood of other parts of each. It would be right to score the token that both are part of. Exits with 1 if that has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
install=("$folder/venv/bin/pip" install --quiet --disable-pip-version-check)
"${install[@]}" "jinja2==3.1.6" "numpy==2.4.6" "pyyaml==6.0.4" "requests==2.34.2" "tqdm==4.70.1"
"${install[@]}" --no-deps "lm_eval==0.4.13" "tokenizers==0.23.3"  # its other dependencies, such as datasets, are not needed for this
HF_HOME="$folder/home" "$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata
import sys

from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from tokenizers import Tokenizer, models

letters = sorted(set("http:/ab"))
vocabulary = {piece: number for number, piece in enumerate([*letters, "//", "://"])}
tokenizer = Tokenizer(models.BPE(vocabulary, [("/", "/"), (":", "//")]))


class Shown(TemplateLM):
    """A model that shows what it is to score."""

    backend = "causal"
    tokenizer_name = "small"
    eot_token_id = 0

    def tok_encode(self, string, **options):
        return tokenizer.encode(string).ids

    def _loglikelihood_tokens(self, requests, **options):
        return [[tokenizer.id_to_token(token) for token in scored] for _, _, scored in requests]

    def loglikelihood_rolling(self, requests, **options):
        raise NotImplementedError

    def generate_until(self, requests, **options):
        raise NotImplementedError


print("lm_eval", importlib.metadata.version("lm_eval"), "tokenizers", importlib.metadata.version("tokenizers"))
choices = ["//a", "/b"]
requests = [Instance("loglikelihood", {}, ("http:", choice), number) for number, choice in enumerate(choices)]
scored = Shown().loglikelihood(requests)
for choice, tokens in zip(choices, scored, strict=True):
    print("after 'http:' the choice", repr(choice), "is scored as", tokens)
changed = scored != [["a"], ["/", "b"]]
print("changed" if changed else "as found: the first choice is scored without its slashes")
sys.exit(changed)
PYTHON
