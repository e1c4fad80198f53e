"""Analysis in processes of their own: the same results, whatever becomes of the processes."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core.analysis.pool import AnalysisPool
from core.analysis.worker import Task, analyse_batch
from core.model import Document

SENTENCE = "The Ouse at York was measured by Ada Kerrin of the Lowmere Works. "


def batch(*names: str, sentences: int = 100) -> list[Task]:
    return [
        (
            Document.parse({"document_id": name, "content": SENTENCE * sentences, "metadata": {"title": name}}),
            frozenset(),
        )
        for name in names
    ]


@pytest.fixture
async def pool() -> AsyncIterator[AnalysisPool]:
    pool = AnalysisPool(2)
    yield pool
    await pool.close()


def children() -> set[int]:
    return {
        int(child)
        for task in Path("/proc/self/task").iterdir()
        for child in (task / "children").read_text(encoding="ascii").split()
    }


async def running(pool: AnalysisPool) -> set[int]:
    """The processes, once all of them are ready."""
    before = children()
    await pool.analyse(batch("first"))
    await pool.ready()
    return children() - before


async def test_processes_find_what_a_thread_finds(pool: AnalysisPool) -> None:
    assert len(await running(pool)) == 2
    asked = batch("York", "Ulm", "Bath")
    assert await pool.analyse(asked) == analyse_batch(asked)


async def test_a_little_text_starts_no_process(pool: AnalysisPool) -> None:
    before = children()
    assert await pool.analyse(batch("York", sentences=1)) == analyse_batch(batch("York", sentences=1))
    assert children() == before


async def test_a_process_that_is_killed_takes_no_document_along(pool: AnalysisPool) -> None:
    asked = batch("York", "Ulm", "Bath")
    for pid in await running(pool):
        os.kill(pid, signal.SIGKILL)
    assert await pool.analyse(asked) == analyse_batch(asked)
    assert await pool.analyse(asked) == analyse_batch(asked), "by processes that were started again"


async def test_a_process_that_hangs_is_replaced() -> None:
    pool = AnalysisPool(1, patience=1.0)
    (pid,) = await running(pool)
    os.kill(pid, signal.SIGSTOP)
    asked = batch("York", "Ulm")
    assert await pool.analyse(asked) == analyse_batch(asked)
    assert pid not in children()
    await pool.close()


async def test_a_signal_to_all_processes_of_the_hub_leaves_them_at_work(pool: AnalysisPool) -> None:
    pids = await running(pool)
    for pid in pids:
        os.kill(pid, signal.SIGTERM)
        os.kill(pid, signal.SIGINT)
    asked = batch("York", "Ulm")
    assert await pool.analyse(asked) == analyse_batch(asked)
    assert pids <= children()


async def test_a_closed_pool_leaves_no_process_behind() -> None:
    pool = AnalysisPool(1)
    pids = await running(pool)
    await pool.close()
    assert pids
    assert not pids & children()
