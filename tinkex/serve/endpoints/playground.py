"""The playground: a page on which models are tried out, and the files that it is made of."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from typing import Final

from aiohttp import web

_START: Final = "index.html"
_KINDS: Final = {"html": "text/html", "css": "text/css", "js": "text/javascript"}
_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "Cache-Control": "no-cache",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


def _read() -> Mapping[str, bytes]:
    folder = resources.files("tinkex.serve") / "playground"
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.name.rpartition(".")[2] in _KINDS}


_FILES: Final = _read()


async def playground(request: web.Request) -> web.StreamResponse:
    """Answer ``GET /`` with the page, and ``GET /playground/{file}`` with what it is made of."""
    name = request.match_info.get("file", _START)
    if name not in _FILES:
        raise web.HTTPNotFound
    kind = _KINDS[name.rpartition(".")[2]]
    return web.Response(body=_FILES[name], headers=_HEADERS, content_type=kind, charset="utf-8")
