"""Analysis in processes of their own: the same results, whatever becomes of the processes."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from core.analysis.pool import AnalysisPool
from core.analysis.source import Source
from core.analysis.worker import Result, analyse_batch
from core.model import Document

SENTENCE = "The Ouse at York was measured by Ada Kerrin of the Lowmere Works. "


def batch(*names: str, sentences: int = 100) -> list[tuple[Document, frozenset[bytes]]]:
    return [
        (
            Document.parse({"document_id": name, "content": SENTENCE * sentences, "metadata": {"title": name}}),
            frozenset(),
        )
        for name in names
    ]


def in_this_process(batch: Sequence[tuple[Document, frozenset[bytes]]]) -> list[Result]:
    return analyse_batch([(Source.of(document), known) for document, known in batch])


@pytest.fixture
async def pool() -> AsyncIterator[AnalysisPool]:
    pool = AnalysisPool(2)
    yield pool
    await pool.close()


def children() -> set[int]:
    found: set[int] = set()
    for thread in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # the thread has ended meanwhile
            found.update(map(int, (thread / "children").read_text(encoding="ascii").split()))
    return found


async def running(pool: AnalysisPool) -> set[int]:
    """The processes, once all of them are ready."""
    before = children()
    await pool.analyse(batch("first"))
    await pool.ready()
    return children() - before


async def test_processes_find_what_a_thread_finds(pool: AnalysisPool) -> None:
    assert len(await running(pool)) == 2
    asked = batch("York", "Ulm", "Bath")
    assert await pool.analyse(asked) == in_this_process(asked)


async def test_a_little_text_starts_no_process(pool: AnalysisPool) -> None:
    before = children()
    assert await pool.analyse(batch("York", sentences=1)) == in_this_process(batch("York", sentences=1))
    assert children() == before


async def test_a_process_that_is_killed_takes_no_document_along(pool: AnalysisPool) -> None:
    asked = batch("York", "Ulm", "Bath")
    for pid in await running(pool):
        os.kill(pid, signal.SIGKILL)
    assert await pool.analyse(asked) == in_this_process(asked)
    assert await pool.analyse(asked) == in_this_process(asked), "by processes that were started again"


@pytest.mark.parametrize("kill", [False, True])
async def test_batches_that_are_asked_for_at_once_each_get_their_own_answer(*, kill: bool) -> None:
    pool = AnalysisPool(1)
    (pid,) = await running(pool)
    batches = [batch(f"York {number}", f"Ulm {number}", sentences=200) for number in range(6)]
    answers = [asyncio.create_task(pool.analyse(asked)) for asked in batches]
    await answers[0]
    if kill:
        os.kill(pid, signal.SIGKILL)
    assert await asyncio.gather(*answers) == [in_this_process(asked) for asked in batches]
    await pool.close()


async def test_the_rest_of_an_answer_that_nobody_waits_for_any_more_is_given_to_nobody_else() -> None:
    pool = AnalysisPool(1)
    (pid,) = await running(pool)
    dropped = asyncio.create_task(pool.analyse(batch("Bath", sentences=10_000)))
    before = _written(pid)
    while _written(pid) < before + 250_000:  # noqa: ASYNC110  a process tells nobody that it answers
        await asyncio.sleep(0)
    dropped.cancel()
    async with asyncio.timeout(60):
        assert await pool.analyse(batch("York")) == in_this_process(batch("York"))
    await pool.close()


def _written(pid: int) -> int:
    """Bytes, whatever took them."""
    return int(Path(f"/proc/{pid}/io").read_text(encoding="ascii").split()[3])


async def test_whoever_leaves_while_others_wait_behind_leaves_them_their_own_answers() -> None:
    pool = AnalysisPool(1)
    (pid,) = await running(pool)
    # Small enough to be sent at once, all of them.
    batches = [batch(f"York {number}", *["Ulm"] * number, sentences=30) for number in range(6)]
    answers = [asyncio.create_task(pool.analyse(asked)) for asked in batches]
    await answers[0]
    for left in (2, 4):
        answers[left].cancel()
    for kept in (1, 3, 5):
        assert await answers[kept] == in_this_process(batches[kept])
    assert await pool.analyse(batch("Bath")) == in_this_process(batch("Bath"))
    assert pid in children(), "by the process that had been asked"
    await pool.close()


async def test_a_document_that_ends_its_process_takes_none_along_that_waits_behind_it() -> None:
    pool = AnalysisPool(1, patience=2.0)
    await running(pool)
    healthy = batch("York", "Ulm", "Bath", sentences=20)
    poison = batch("longer than the patience", sentences=500_000)
    ended, *answers = await asyncio.gather(pool.analyse(poison), *(pool.analyse([each]) for each in healthy))
    assert "longer than 2 seconds" in str(ended[0])
    assert [answer for (answer,) in answers] == in_this_process(healthy)
    await pool.close()


async def test_a_process_that_hangs_while_it_starts_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.analysis.pool.START_SECONDS", 1.0)
    pool = AnalysisPool(1)
    before = children()
    first = asyncio.create_task(pool.analyse(batch("York")))
    while not (started := children() - before):  # noqa: ASYNC110  a process tells nobody that it is there
        await asyncio.sleep(0.001)
    for pid in started:
        os.kill(pid, signal.SIGSTOP)
    assert await first == in_this_process(batch("York"))
    await pool.ready()
    assert await pool.analyse(batch("York")) == in_this_process(batch("York")), "in a thread"
    assert not started & children()
    await pool.close()


async def test_nothing_is_imported_from_the_current_directory(
    pool: AnalysisPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pickle.py").write_text("raise SystemExit('imported from the current directory')")
    monkeypatch.chdir(tmp_path)
    assert len(await running(pool)) == 2


async def test_documents_whose_process_is_killed_again_and_again_are_analysed_all_the_same(pool: AnalysisPool) -> None:
    asked = batch("York", "Ulm", "Bath")
    for _ in range(3):
        for pid in await running(pool) or children():
            os.kill(pid, signal.SIGKILL)
        assert await pool.analyse(asked) == in_this_process(asked)


async def test_a_process_ends_with_the_one_that_started_it_even_in_the_middle_of_a_batch(tmp_path: Path) -> None:
    script = tmp_path / "starts.py"
    script.write_text(
        "import asyncio, pathlib, sys\n"
        "from core.analysis.pool import AnalysisPool\n"
        "from core.model import Document\n"
        "async def main():\n"
        "    pool = AnalysisPool(1)\n"
        "    text = 'Ada Kerrin founded the Lowmere Works. ' * 200_000\n"
        "    await pool.analyse([(Document.parse({'document_id': 'a', 'content': text[:10_000]}), frozenset())])\n"
        "    await pool.ready()\n"
        "    children = [each.read_text() for each in pathlib.Path('/proc/self/task').glob('*/children')]\n"
        "    print(''.join(children).split()[0], flush=True)\n"
        "    await pool.analyse([(Document.parse({'document_id': 'b', 'content': text}), frozenset())] * 20)\n"
        "asyncio.run(main())\n"
    )
    root = Path(__file__).parents[2]
    parent = await asyncio.create_subprocess_exec(
        sys.executable, str(script), stdout=asyncio.subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(root)}
    )
    assert parent.stdout is not None
    child = int(await parent.stdout.readline())
    parent.kill()
    await parent.wait()
    async with asyncio.timeout(30):
        while _is_alive(child):  # noqa: ASYNC110  a process tells nobody but its parent that it ends
            await asyncio.sleep(0.1)


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_a_process_that_hangs_is_replaced() -> None:
    pool = AnalysisPool(1, patience=3.0)
    (pid,) = await running(pool)
    os.kill(pid, signal.SIGSTOP)
    asked = batch("York", "Ulm")
    assert await pool.analyse(asked) == in_this_process(asked)
    assert pid not in children()
    await pool.close()


async def test_a_signal_to_all_processes_of_the_hub_leaves_them_at_work(pool: AnalysisPool) -> None:
    pids = await running(pool)
    for pid in pids:
        os.kill(pid, signal.SIGTERM)
        os.kill(pid, signal.SIGINT)
    asked = batch("York", "Ulm")
    assert await pool.analyse(asked) == in_this_process(asked)
    assert pids <= children()


async def test_a_closed_pool_leaves_no_process_behind() -> None:
    pool = AnalysisPool(1)
    pids = await running(pool)
    await pool.close()
    assert pids
    assert not pids & children()
