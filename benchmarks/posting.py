"""A client that posts documents as fast as a server takes them. It costs little, so that it is not what is measured."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict
from urllib.parse import urlsplit

from benchmarks.corpus import read_documents


class Posted(TypedDict):
    """`seconds` for all; `latencies_ms` of each call."""

    seconds: float
    latencies_ms: list[float]


async def post(documents: str, url: str, concurrency: int) -> Posted:
    """Every document once, over `concurrency` connections, each of which waits for its answer before the next call."""
    address = urlsplit(url)
    requests = iter([_request(address.netloc, document) for document in read_documents(Path(documents))])
    latencies: list[float] = []
    begun = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(concurrency):
            tasks.create_task(_post_some(address.hostname or "", address.port or 80, requests, latencies))
    return {"seconds": time.perf_counter() - begun, "latencies_ms": latencies}


def _request(host: str, document: dict[str, object]) -> bytes:
    body = json.dumps(document).encode()
    head = f"POST /documents HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return f"{head}\r\n\r\n".encode() + body


async def _post_some(host: str, port: int, requests: Iterator[bytes], latencies: list[float]) -> None:
    reader, writer = await asyncio.open_connection(host, port)
    for request in requests:
        begun = time.perf_counter()
        writer.write(request)
        await _read_success(reader)
        latencies.append((time.perf_counter() - begun) * 1000)
    writer.close()


async def _read_success(reader: asyncio.StreamReader) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    _, found, rest = head.partition("content-length:")
    body = await reader.readexactly(int(rest.split("\r\n", 1)[0])) if found else b""
    if not head.startswith("http/1.1 200"):
        raise RuntimeError(f"{head.splitlines()[0]}: {body.decode(errors='replace')[:500]}")
