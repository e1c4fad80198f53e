"""What the broker sends to a consumer, without what senders wrote beside their bodies.

The properties of a message are its sender's. One that the client library cannot read, such as a timestamp in
nanoseconds or a text that is no UTF-8, ends the connection, comes again on the next one, and so holds up its queue for
good. None of them is needed here, so none is looked at.
"""

from __future__ import annotations

import asyncio
import struct
from typing import Any, cast

from aiormq.connection import TCPTransportFactory, TLSTransportFactory, TransportFactory
from pamqp.constants import FRAME_HEADER
from yarl import URL

HEAD = struct.Struct(">BHI")
"""Of a frame: its type, its channel, and the size of its payload (AMQP 0-9-1, 2.3.5); one octet ends it."""
FLAGS = slice(12, 14)
"""Which properties follow, in the payload of a content header (AMQP 0-9-1, 2.3.5.2)."""


class BodiesOnly(TransportFactory):
    """Opens connections on which every message comes without properties."""

    async def create(self, url: URL, **kwargs: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        plain = TLSTransportFactory() if url.scheme == "amqps" else TCPTransportFactory()
        reader, writer = await plain.create(url, **kwargs)
        return cast("asyncio.StreamReader", _Reader(reader)), writer


class _Reader:
    """The part of a StreamReader that frames are read by."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self._read = bytearray()

    def at_eof(self) -> bool:
        return not self._read and self._reader.at_eof()

    async def readexactly(self, size: int) -> bytes:
        while len(self._read) < size:
            self._read += await self._frame()
        found = bytes(self._read[:size])
        del self._read[:size]
        return found

    async def _frame(self) -> bytes:
        head = await self._reader.readexactly(HEAD.size)
        if head.startswith(b"AMQP"):  # a broker of another version says so, in no frame
            return head
        kind, _, size = HEAD.unpack(head)
        rest = bytearray(await self._reader.readexactly(size + 1))
        if kind == FRAME_HEADER:
            rest[FLAGS] = bytes(2)
        return head + rest
