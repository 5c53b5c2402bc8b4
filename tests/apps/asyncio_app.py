"""An asyncio program that samples: an HTTP service on aiohttp, whose samples are futures of the loop."""

import asyncio
import sys
from collections.abc import AsyncIterator

from aiohttp import web

import tinkex
from tinkex.web import error_response

SAMPLING = web.AppKey("sampling", tinkex.SamplingClient)


async def complete(request: web.Request) -> web.Response:
    """Answer with the tokens that follow those that were sent; a visitor who leaves cancels the sample."""
    try:
        prompt = tinkex.ModelInput.from_ints((await request.json())["tokens"])
    except (KeyError, TypeError, ValueError) as error:
        return web.json_response({"error": str(error)}, status=400)
    params = tinkex.SamplingParams(max_tokens=16)
    try:
        future = request.app[SAMPLING].sample(prompt, params, timeout=30, on_full="raise")
        response = await asyncio.wrap_future(future)
    except tinkex.TinkexError as error:
        status, headers = error_response(error)
        return web.json_response({"error": "sampling failed"}, status=status, headers=headers)
    return web.json_response({"tokens": response.sequences[0].tokens})


async def healthz(_: web.Request) -> web.Response:
    """Answer a health check."""
    return web.json_response({"ok": True})


async def sampling(app: web.Application) -> AsyncIterator[None]:
    """Open the client before the first request, and close it after the last, neither in the loop's thread."""
    service = tinkex.ServiceClient()
    made = service.create_sampling_client_async(base_model="meta-llama/Llama-3.1-8B", timeout=10)
    app[SAMPLING] = await asyncio.wrap_future(made)
    yield
    await asyncio.to_thread(service.close)


if __name__ == "__main__":
    app = web.Application()
    app.cleanup_ctx.append(sampling)
    app.add_routes([web.post("/complete", complete), web.get("/healthz", healthz)])
    # How long aiohttp waits at the end for whoever is connected, also where it no longer reads what they send.
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), handler_cancellation=True, shutdown_timeout=5.0)
