"""Answers with a digest of their content, so that a browser asks for the same picture only once."""

from __future__ import annotations

import hashlib
from typing import Literal

from starlette.requests import Request
from starlette.responses import Response

__all__ = ["Kind", "answer"]

Kind = Literal[
    "application/json",
    "image/png",
    "image/webp",
    "text/css",
    "text/html",
    "text/javascript",
    "text/plain",
]
"""Media type of an answer."""


def answer(request: Request, content: str | bytes, kind: Kind, status: int = 200) -> Response:
    """An answer; an empty one where the browser has this content already.

    Args:
        request: that is answered.
        content: text or bytes.
        kind: media type.
        status: of the answer.
    """
    data = content if isinstance(content, bytes) else content.encode("utf-8", "backslashreplace")
    if status != 200:
        return Response(data, status, media_type=_full(kind))
    tag = f'"{hashlib.blake2b(data, digest_size=16).hexdigest()}"'
    if request.method in ("GET", "HEAD") and tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers={"ETag": tag})
    return Response(data, media_type=_full(kind), headers={"ETag": tag})


def _full(kind: Kind) -> str:
    return f"{kind}; charset=utf-8" if kind.startswith("text/") else kind
