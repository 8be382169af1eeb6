"""Bodies of requests: bounded in bytes, kept in memory only; photographs bounded in pixels."""

from __future__ import annotations

import io
from collections.abc import AsyncGenerator, Mapping
from urllib.parse import parse_qsl

from PIL import Image
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from pipeline.errors import BadImage
from pipeline.images.decode import open_original

__all__ = [
    "MAX_FORM_BYTES",
    "MAX_PHOTOGRAPH_BYTES",
    "MAX_PIXELS",
    "Upload",
    "open_upload",
    "read_fields",
    "read_upload",
]

MAX_FORM_BYTES = 1 << 18
"""Bytes of a form without a file: SQL, options."""

MAX_PHOTOGRAPH_BYTES = 32 << 20
"""Bytes of a photograph that is uploaded."""

MAX_PIXELS = 50_000_000
"""Pixels of a photograph that is uploaded: more than most cameras have, and 150 MB when decoded."""

MAX_FIELDS = 200


class _InMemory(MultiPartParser):
    """Files stay in memory: none is longer than what was read."""

    spool_max_size = 2 * MAX_PHOTOGRAPH_BYTES


class Upload(Exception):
    """An upload cannot be used; the message says why.

    Args:
        message: one line.
        status: of the answer.
    """

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


async def read_body(request: Request, limit: int) -> bytes:
    """The body of a request.

    Raises:
        Upload: when it is longer than the limit.
    """
    too_long = Upload(f"a request of this kind has at most {limit / (1 << 20):,.4g} MB", 413)
    try:
        if int(request.headers.get("content-length", "0")) > limit:
            raise too_long
    except ValueError as error:
        raise Upload("Content-Length is no number") from error
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise too_long
        parts.append(part)
    return b"".join(parts)


async def read_fields(request: Request) -> dict[str, str]:
    """The fields of a form without files, as browsers send it.

    Raises:
        Upload: when it is too long, or another kind of form.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise Upload("expected a form (application/x-www-form-urlencoded)", 415)
    body = await read_body(request, MAX_FORM_BYTES)
    try:
        pairs = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict"
        )
    except ValueError as error:
        raise Upload("the form cannot be read") from error
    return dict(pairs)


async def read_upload(request: Request) -> tuple[bytes, Mapping[str, str]]:
    """The bytes of the file `photograph` of a form, and the form's other fields.

    Raises:
        Upload: when it is too long, no such form, or has no file.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        raise Upload("expected a form with a file (multipart/form-data)", 415)
    body = await read_body(request, MAX_PHOTOGRAPH_BYTES)

    async def stream() -> AsyncGenerator[bytes, None]:
        yield body

    try:
        form = await _InMemory(request.headers, stream(), max_files=1, max_fields=20).parse()
    except (MultiPartException, HTTPException, KeyError, ValueError) as error:
        raise Upload("the form cannot be read") from error
    try:
        found = form.get("photograph")
        if not isinstance(found, UploadFile) or not (data := await found.read()):
            raise Upload("choose a photograph first")
        return data, {name: value for name, value in form.items() if isinstance(value, str)}
    finally:
        await form.close()


def open_upload(data: bytes) -> Image.Image:
    """Decode a photograph, if it has no more pixels than `MAX_PIXELS`.

    Raises:
        Upload: when it has more, or cannot be decoded.
    """
    try:
        with Image.open(io.BytesIO(data)) as header:
            width, height = header.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        width = height = 0  # what is wrong with it, the decoder says better
    if width * height > MAX_PIXELS:
        raise Upload(
            f"the photograph has {width:,} x {height:,} pixels; at most {MAX_PIXELS:,} are taken", 413
        )
    try:
        return open_original(data)
    except BadImage as error:
        raise Upload(f"the file cannot be used: {error}") from error
