"""Endpoints about models and their tokenizers: lists, ``/tokenize``, ``/detokenize`` and ``/tokenizer_info``."""

from __future__ import annotations

from aiohttp import web

from tinkex.serve.answers import MODELS, json_answer, read_fields
from tinkex.serve.dialect.chat import MessageFields
from tinkex.serve.dialect.fields import refused
from tinkex.serve.models import background


async def list_models(request: web.Request) -> web.StreamResponse:
    """Answer ``GET /v1/models``."""
    return json_answer({"object": "list", "data": await request.app[MODELS].entries()})


async def show_model(request: web.Request) -> web.StreamResponse:
    """Answer ``GET /v1/models/{name}``, where the name may have slashes."""
    return json_answer(await request.app[MODELS].entry(request.match_info["model"]))


async def tokenize(request: web.Request) -> web.StreamResponse:
    """Answer ``POST /tokenize``, for a text or for messages."""
    fields = await read_fields(request)
    model = await request.app[MODELS].get(fields.text("model"))
    vocabulary = await model.vocabulary()
    shows_texts = fields.flag("return_token_strs")
    text = fields.text("prompt")
    if text is None:
        asked = MessageFields.read(fields)
        fields.close()
        ids = (await asked.prompt(vocabulary))[1].to_ints()
    else:
        special = fields.flag("add_special_tokens", default=True)
        fields.close()
        ids = await background(lambda: vocabulary.encode(text, add_special_tokens=special), size=len(text))
    texts = [vocabulary.pieces.text_of(token, first=at == 0) for at, token in enumerate(ids)] if shows_texts else None
    return json_answer(
        {"count": len(ids), "max_model_len": model.max_context_length, "tokens": ids, "token_strs": texts}
    )


async def detokenize(request: web.Request) -> web.StreamResponse:
    """Answer ``POST /detokenize``; special tokens stay in the text."""
    fields = await read_fields(request)
    model = await request.app[MODELS].get(fields.text("model"))
    ids = fields.token_ids("tokens")
    if ids is None:
        raise refused("tokens", "must be a list of token ids")
    fields.close()
    vocabulary = await model.vocabulary()
    try:
        text = await background(vocabulary.tokenizer.decode, ids, size=len(ids))
    except (OverflowError, ValueError, TypeError, KeyError, IndexError):
        raise refused("tokens", "has ids that the tokenizer does not have") from None
    return json_answer({"prompt": text})


async def tokenizer_info(request: web.Request) -> web.StreamResponse:
    """Answer ``GET /tokenizer_info``: special tokens and chat template, by the names of ``tokenizer_config.json``."""
    model = await request.app[MODELS].get(request.query.get("model"))
    vocabulary = await model.vocabulary()
    return json_answer(
        {
            "tokenizer_class": type(vocabulary.tokenizer).__name__,
            **vocabulary.special_tokens(),
            "model_max_length": model.max_context_length,
            "chat_template": vocabulary.tokenizer.chat_template,
        }
    )
