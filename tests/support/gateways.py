"""A gateway in front of a fake server, a tokenizer in which prompts can be read, and requests as clients send them."""

from __future__ import annotations

import contextlib
import json

import requests
import tokenizers
from serving import KEY, make_service

from tinkex import SampledSequence, SampleResponse
from tinkex.serve import Gateway
from tinkex.testing import FakeServer, expected_logprobs
from tinkex.types import TopkLogprobs

SPECIAL = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<think>", "</think>", "<tool_call>", "</tool_call>"]
SPECIAL += ["<|image_pad|>"]
CHATML = (
    "{% if tools %}Tools: {{ tools | tojson }}\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.reasoning_content %}<think>\n{{ m.reasoning_content }}\n</think>\n\n{% endif %}{{ m.content or '' }}"
    "{% for c in m.tool_calls or [] %}{{ '\n' if m.content or not loop.first }}<tool_call>\n"
    '{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments }}}\n</tool_call>{% endfor %}'
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    "{% if enable_thinking is defined and not enable_thinking and add_generation_prompt %}<think>\n\n</think>\n\n"
    "{% endif %}"
)
PICTURES = (
    "{% for m in messages %}<|im_start|>{% if m.content is string %}{{ m.content }}{% else %}"
    "{% for p in m.content %}{% if p.type == 'image' %}<|image_pad|>{% else %}{{ p.text }}{% endif %}{% endfor %}"
    "{% endif %}<|im_end|>{% endfor %}"
)
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="  # one pixel
MODEL = "fake/model"
USER = [{"role": "user", "content": "Hi"}]


class Bytes:
    """A byte-level tokenizer with the control tokens of ChatML."""

    def __init__(self, template=CHATML):
        alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
        inner = tokenizers.Tokenizer(tokenizers.models.BPE({letter: i for i, letter in enumerate(alphabet)}, []))
        inner.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        inner.decoder = tokenizers.decoders.ByteLevel()
        inner.add_special_tokens(SPECIAL)
        self.backend_tokenizer = inner
        self.chat_template = template
        self.special_tokens_map = {"eos_token": "<|endoftext|>"}

    def encode(self, text, add_special_tokens=True):
        return self.backend_tokenizer.encode(text, add_special_tokens=add_special_tokens).ids

    def decode(self, ids, skip_special_tokens=False):
        return self.backend_tokenizer.decode(ids, skip_special_tokens=skip_special_tokens)


TOKENIZER = Bytes()
END = TOKENIZER.encode("<|im_end|>")[0]


def write_tokenizer(folder, template=CHATML):
    """Write the tokenizer, as programs in other processes read it."""
    folder.mkdir()
    TOKENIZER.backend_tokenizer.save(str(folder / "tokenizer.json"))
    config = {"chat_template": template, **TOKENIZER.special_tokens_map}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def says(text, **changes):
    """Answers that sample a text, with the fake server's scores."""

    def answer(request):
        most = request.sampling_params.max_tokens
        tokens, prompt = TOKENIZER.encode(text)[:most], request.prompt.to_ints()
        k, p = request.topk_sample_logprobs, request.topk_prompt_logprobs
        sequence = SampledSequence(
            tokens, expected_logprobs(tokens), TopkLogprobs([_row(t, k) for t in tokens]) if k else None,
            changes.get("stop_reason", "stop"),
        )  # fmt: skip
        return SampleResponse(
            [sequence] * request.num_samples,
            [None, *expected_logprobs(prompt[1:])] if request.include_prompt_logprobs else None,
            TopkLogprobs([None, *(_row(token, p) for token in prompt[1:])]) if p else None,
            prompt_cache_hit_tokens=len(prompt) // 2,
        )

    return answer


def _row(token, k):
    score = expected_logprobs([token])[0]
    return [((token + rank) % 256 if rank else token, score - rank) for rank in range(k)]


class Asking:
    """A gateway as a client sees it, and the fake server behind it."""

    def __init__(self, server, service, gateway, key=None):
        self.server, self.service, self.url = server, service, gateway.url
        self.headers = {} if key is None else {"Authorization": f"Bearer {key}"}

    def post(self, path, body, **headers):
        return requests.post(self.url + path, json=body, headers={**self.headers, **headers}, timeout=60)

    def get(self, path, **headers):
        return requests.get(self.url + path, headers={**self.headers, **headers}, timeout=60)

    def complete(self, prompt="Hi", **body):
        return self.post("/v1/completions", {"model": MODEL, "prompt": prompt, **body})

    def chat(self, messages=USER, **body):
        return self.post("/v1/chat/completions", {"model": MODEL, "messages": messages, **body})

    def choice(self, response):
        """The only choice of an answer that is well."""
        assert response.status_code == 200, response.text
        (choice,) = response.json()["choices"]
        return choice

    def error(self, response):
        """The status of an error, and its object."""
        return response.status_code, response.json()["error"]

    def sampled(self):
        """What the fake server was asked to sample, in the order of arrival."""
        return [json.loads(request.body) for request in self.server.requests_to("asample")]


def events(response):
    """The events of an answer that streams; the last is the mark of the end."""
    assert response.headers["Content-Type"].startswith("text/event-stream")
    return [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]


@contextlib.contextmanager
def serving(answers=None, *, models=None, served=None, tokenizer=TOKENIZER, key=None, settings=None, **options):
    """A gateway on a fake server: `models` are the server's, `served` the gateway's."""
    names = ("max_tokens", "api_key", "host", "allowed_hosts")
    gateway_options = {name: options.pop(name) for name in names if name in options}
    with FakeServer(answers=answers, models=models, **options) as server:
        service = make_service(server, api_key=KEY, **(settings or {}))
        try:
            with Gateway(service, served, tokenizer=tokenizer, **gateway_options) as gateway:
                yield Asking(server, service, gateway, key)
        finally:
            service.close(timeout=0.0, cancel_pending=True)
