"""Nodes on one PostgreSQL database that share a quorum queue.

What a second node brings is seen only while the first leaves room for it. So they are compared as nodes that share a
machine are best run, each as one process (`analysis_workers = 0`), which keeps one processor busy.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import TypedDict

import aio_pika

from benchmarks import serving
from benchmarks.queues import PREFETCH, bodies_of, declare
from core.service import create_graph_service
from core.store.base import ChangeSet

LOOK_SECONDS = 0.02
CLOCK = os.sysconf("SC_CLK_TCK")


class Shared(TypedDict):
    """`seconds` from the first message until the last is committed; the seconds of processor that the `nodes` took
    meanwhile, and all that ran on the machine (`machine`): they share it with the database and the broker."""

    seconds: float
    nodes: float
    machine: float


async def consume(documents: str, folder: str, at: str, database: str, nodes: int, analysis_workers: int = 0) -> Shared:
    """Have so many nodes, each with so many processes that analyse beside its own, empty one queue together."""
    bodies = bodies_of(documents)
    async with await create_graph_service(database) as service:
        await service.write(ChangeSet(records={("connector", "in"): '{"paused": true}'}))
    async with await aio_pika.connect(f"amqp://guest:guest@{at}/") as connection:
        channel = await connection.channel()
        queue = await declare(channel, [])
        with ExitStack() as stack:
            table = [f'url = "amqp://{at}"', f'consume.queue = "{queue}"', f"consume.prefetch = {PREFETCH}"]
            head = ["[hub]", f"analysis_workers = {analysis_workers}", "[connectors.in]", 'kind = "rabbitmq"']
            config = "\n".join([*head, *table, ""])
            running = [
                stack.enter_context(serving.node(Path(folder) / str(number), config, database, _port()))
                for number in range(nodes)
            ]
            await declare(channel, bodies, queue)
            before, own = _busy(), [_cpu(server.pid) for server in running]
            begun = time.perf_counter()
            for server in running:
                _resume(server.url)
            while await _head(running[0].url) < len(bodies):  # noqa: ASYNC110 - a hub announces nothing
                await asyncio.sleep(LOOK_SECONDS)
            seconds = time.perf_counter() - begun
            spent = sum(_cpu(server.pid) - was for server, was in zip(running, own, strict=True))
            busy = _busy() - before
        await channel.queue_delete(queue)
    return {"seconds": seconds, "nodes": spent, "machine": busy}


def _port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def _resume(url: str) -> None:
    request = urllib.request.Request(f"{url}/admin/connectors/in/resume", method="POST")
    with urllib.request.urlopen(request, timeout=30) as response:
        response.read()


async def _head(url: str) -> int:
    """The graph version: the same on every node, as a probe asks the database for it."""

    def ask() -> int:
        with urllib.request.urlopen(f"{url}/readyz", timeout=30) as response:
            version: int = json.load(response)["graph_version"]
            return version

    return await asyncio.to_thread(ask)


def _cpu(pid: int) -> float:
    """Seconds of processor that a process and its children have taken."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    children = [int(c) for tasks in Path(f"/proc/{pid}/task").glob("*/children") for c in tasks.read_text().split()]
    return (int(fields[11]) + int(fields[12])) / CLOCK + sum(map(_cpu, children))


def _busy() -> float:
    """Seconds of processor that the whole machine has taken."""
    user, nice, system, _idle, *_ = map(int, Path("/proc/stat").read_text().splitlines()[0].split()[1:])
    return (user + nice + system) / CLOCK
