"""Reading what a caller sends, within bounds: bytes, JSON, models and NDJSON lines.

The hub decompresses by itself (the server is told not to), so that a cap counts decompressed bytes, a bomb stops at the
cap and a compressed body that ends too early is seen as such.
"""

from __future__ import annotations

import asyncio
import difflib
import json
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from typing import Any, TypeVar

from aiohttp import hdrs, web
from aiohttp.web_protocol import RequestPayloadError
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from core.errors import Busy, InvalidInput
from core.wording import first_mistake, json_type
from hub.web.problems import BodyTooLarge, Malformed, SlowBody, UnsupportedMediaType

M = TypeVar("M", bound=BaseModel)

IDLE_SECONDS = 30.0
"""How long the hub waits for the next bytes of a body."""
PIECE = 256 * 1024
"""The most that is decompressed at once, bytes."""
ENCODINGS = ("gzip", "deflate")
SECOND_LOOK_BYTES = 1024 * 1024
"""Up to this size a body that does not parse may be read a second time, to say better what is wrong with it."""


class BodyBudget:
    """How many bytes of bodies all calls together hold. What does not fit is refused, to be tried again."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0

    def take(self, size: int) -> None:
        """Raises Busy when the budget is used up."""
        if self.held + size > self.limit:
            raise Busy("too many large bodies are being read at once", retry_after=2.0)
        self.held += size

    def release(self, size: int) -> None:
        self.held -= size


# ---------------------------------------------------------------- bytes


async def pieces(request: web.Request) -> AsyncIterator[bytes]:
    """The body, decompressed, in pieces of bounded size.

    Raises Malformed for a broken or cut-off compression or framing, UnsupportedMediaType for one we do not know,
    SlowBody when the caller stops sending, ConnectionError when they are gone.
    """
    encoding = request.headers.get(hdrs.CONTENT_ENCODING, "identity").strip().lower()
    if encoding == "identity":
        async for chunk in _chunks(request):
            yield chunk
        return
    if encoding not in ENCODINGS:
        raise UnsupportedMediaType(
            f"the encoding {encoding[:40]!r} is not one of {', '.join(ENCODINGS)}", field=hdrs.CONTENT_ENCODING
        )
    unpack = _Unpack(encoding)
    async for chunk in _chunks(request):
        for piece in unpack.feed(chunk):
            yield piece
            # A small chunk can unpack into many megabytes; the other calls get their turn in between.
            await asyncio.sleep(0)
    unpack.finish()


async def _chunks(request: web.Request) -> AsyncIterator[bytes]:
    while True:
        try:
            async with asyncio.timeout(IDLE_SECONDS):
                chunk = await request.content.readany()
        except TimeoutError:
            raise SlowBody(f"no byte of the body came for {IDLE_SECONDS:g} seconds") from None
        except RequestPayloadError:
            raise Malformed("the framing of the body is broken", field="body") from None
        if not chunk:
            return
        yield chunk


class _Unpack:
    """Incremental gzip (RFC 1952, several members) and deflate (RFC 9110: the zlib format)."""

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding
        self._window = zlib.MAX_WBITS | 16 if encoding == "gzip" else zlib.MAX_WBITS
        self._member = zlib.decompressobj(self._window)
        self._started = False

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        while chunk:
            if self._member.eof:
                self._member = zlib.decompressobj(self._window)
            self._started = True
            try:
                piece = self._member.decompress(chunk, PIECE)
            except zlib.error:
                raise Malformed(f"the body is not {self._encoding}, as its header says", field="body") from None
            chunk = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
            if piece:
                yield piece
        # What the last call left inside, where the input was used up at exactly a full piece.
        while not self._member.eof and (piece := self._member.decompress(b"", PIECE)):
            yield piece

    def finish(self) -> None:
        if self._started and not self._member.eof:
            raise Malformed(f"the {self._encoding} body ends too early", field="body")


async def read_bytes(request: web.Request, cap: int, budget: BodyBudget, *, within: float | None = None) -> bytes:
    """The whole body, decompressed. Its length is taken from the budget, and is the caller's to release.

    Raises BodyTooLarge over `cap` bytes, SlowBody when it is not whole `within` seconds, and what `pieces` and the
    budget raise; then nothing is taken.
    """
    _check_size(request.content_length or 0, cap)
    if request.content.is_eof() and hdrs.CONTENT_ENCODING not in request.headers:
        # It came with the head, as small bodies do: the cheap way.
        whole = request.content.read_nowait()
        budget.take(len(whole))
        return whole
    body = bytearray()
    try:
        async with asyncio.timeout(within):
            async for piece in pieces(request):
                budget.take(len(piece))
                body += piece
                _check_size(len(body), cap)
    except TimeoutError:
        budget.release(len(body))
        raise SlowBody(f"the body was not whole after {within:g} seconds") from None
    except BaseException:
        budget.release(len(body))
        raise
    return bytes(body)


def _check_size(size: int, cap: int) -> None:
    if size > cap:
        raise BodyTooLarge(f"the body is larger than {cap:,} bytes", field="body")


# ---------------------------------------------------------------- JSON


def require_media_type(request: web.Request, *accepted: str) -> None:
    """Refuse a body that does not say it is one of `accepted` (any `+json` passes for JSON), in UTF-8."""
    if request.headers.get(hdrs.CONTENT_TYPE) in accepted:
        return
    media = request.content_type
    if media not in accepted and not ("application/json" in accepted and media.endswith("+json")):
        sent = request.headers.get(hdrs.CONTENT_TYPE, "")[:80]
        raise UnsupportedMediaType(
            f"send {' or '.join(accepted)}, not {sent or 'a body without a type'}", field=hdrs.CONTENT_TYPE
        )
    charset = request.charset
    if charset is not None and charset.lower() not in {"utf-8", "utf8", "us-ascii"}:
        raise UnsupportedMediaType(f"JSON is UTF-8, not {charset[:40]}", field=hdrs.CONTENT_TYPE)


def parse_json(text: bytes, *, lone_surrogates: bool = False) -> object:
    """A JSON value, strictly: UTF-8, no NaN, at most 200 levels. Raises Malformed.

    With `lone_surrogates` those pass when the text is small enough to look twice: for a model that refuses them itself,
    and so can name the field that they are in.
    """
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError as error:
        if lone_surrogates and len(text) <= SECOND_LOOK_BYTES and b"\\u" in text:
            try:
                return json.loads(text, parse_constant=_refuse_constant)
            except (ValueError, RecursionError):
                pass  # the first reader's message is the one that is raised
        raise Malformed(f"the body is not JSON: {error}", field="body") from None


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def parse_object(text: bytes) -> dict[str, Any]:
    """A JSON object. Raises Malformed, or InvalidInput for any other JSON."""
    value = parse_json(text)
    if not isinstance(value, dict):
        raise InvalidInput(f"must be a JSON object, not {json_type(value)}", field="body")
    return value


def validate(model: type[M], value: Mapping[str, Any]) -> M:
    """The value as a model. Raises InvalidInput with the dotted path of the first thing that is wrong."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        mistake = first_mistake(error)
        if mistake.kind == "extra_forbidden":
            raise unknown_field(mistake.field, list(model.model_fields)) from None
        raise InvalidInput(mistake.reason, field=mistake.field) from None


def unknown_field(field: str, known: list[str]) -> InvalidInput:
    """The refusal of a name that means nothing here, with the nearest one that does."""
    near = difflib.get_close_matches(field[:100], known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
    return InvalidInput(f"is not known here; {hint}", field=field[:200])


# ---------------------------------------------------------------- NDJSON


async def lines(source: AsyncIterator[bytes], cap: int) -> AsyncGenerator[tuple[int, bytes | None], None]:
    """The lines of a body with their numbers from 1, blank ones left out; None stands for a line over `cap` bytes.

    Never holds more than one line and one piece.
    """
    number = 1
    buffer = bytearray()
    skipping = False
    async for piece in source:
        start = 0
        while (end := piece.find(b"\n", start)) >= 0:
            buffer += piece[start:end]
            start = end + 1
            if skipping or len(buffer) > cap:
                yield number, None
            elif buffer.strip():
                yield number, bytes(buffer)
            buffer.clear()
            skipping = False
            number += 1
        if not skipping:
            buffer += piece[start:]
        if len(buffer) > cap:
            buffer.clear()
            skipping = True
    if skipping:
        yield number, None
    elif buffer.strip():
        yield number, bytes(buffer)
