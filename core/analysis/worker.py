"""Analysis in a process of its own: `python -m core.analysis.worker`.

It reads requests from its standard input and answers each on its standard output, one after the other: a length of
eight bytes, then a pickle. It ends when its input does, or within a second of the process that started it, however
that one ends.
"""

from __future__ import annotations

import gc
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, Final

from core.analysis.analyse import analyse
from core.analysis.source import Source
from core.entities import PackedChunk
from core.packing import packed

LENGTH_BYTES: Final = 8
READY: Final = b"ready"

Task = tuple[Source, frozenset[bytes]]
"""What is read of a document, and the hashes of the chunks already stored of it."""
Result = tuple[PackedChunk, ...] | Exception


def request(batch: Sequence[Task]) -> bytes:
    """As it is sent: plain tuples, which are pickled at a fraction of the cost."""
    return pickle.dumps([(tuple(source), known) for source, known in batch])


def analyse_batch(batch: Sequence[Task]) -> list[Result]:
    """One result for each, in order; what goes wrong with a document is its result, and stays with it."""
    return [_analyse_one(source, known) for source, known in batch]


def _analyse_one(source: Source, known: frozenset[bytes]) -> Result:
    try:
        return tuple([packed(draft) for draft in analyse(source, known)])
    except Exception as error:  # noqa: BLE001  # one document that breaks the analyser must not take its group along
        # Not the error itself, which may be one that cannot be pickled.
        failure = RuntimeError(f"{type(error).__name__}: {error}")
        failure.add_note(traceback.format_exc())
        return failure


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer until the requests end."""
    _send(answers, READY)
    for asked in _received(requests):
        batch = [(Source._make(source), known) for source, known in asked]
        _send(answers, pickle.dumps(analyse_batch(batch)))


def _received(requests: BinaryIO) -> Iterator[list[tuple[tuple[Any, ...], frozenset[bytes]]]]:
    """Each request, until they end: in the middle of one when who asks is killed."""
    while len(head := requests.read(LENGTH_BYTES)) == LENGTH_BYTES:
        size = int.from_bytes(head, "big")
        payload = requests.read(size)
        if len(payload) < size:
            return
        yield pickle.loads(payload)  # noqa: S301  # our parent's


def _send(answers: BinaryIO, payload: bytes) -> None:
    answers.write(len(payload).to_bytes(LENGTH_BYTES, "big"))
    answers.write(payload)
    answers.flush()


def main() -> None:
    # Who stops the hub stops this one by the end of its input, when nothing is needed of it any more.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    # Analysis makes no cycles to speak of, and everything imported is here to stay.
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    # Whatever else is printed here must not get between the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    try:
        serve(sys.stdin.buffer, answers)
    except BrokenPipeError:
        os._exit(1)  # nobody is left to be answered


def _end_with_parent(parent: int) -> None:
    """In the middle of a batch, the end of the input is not noticed."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


if __name__ == "__main__":
    main()
