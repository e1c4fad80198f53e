"""The interpreter, as a process that holds a graph in memory and commits in a thread beside its event loop wants it."""

from __future__ import annotations

import gc
import sys

SWITCH_SECONDS = 0.0005


def collect_rarely() -> None:
    """Exempt what is alive now from garbage collection, and look at what comes after it at longer intervals.

    A full collection looks at every object that is alive and stops all threads meanwhile: with CPython's defaults that
    was a tenth of an ingest's time, and the longest pause of its event loop. Nearly everything here is freed by its
    reference count, so looking rarely, and never again at what is there to stay, loses nothing.
    """
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)


def switch_often() -> None:
    """Have a busy thread let others run sooner.

    A commit lets go of the interpreter at each statement, a dozen times, and gets it back only when the thread that has
    it gives it up: with CPython's default of 5 ms, a commit of 3 ms takes ten times as long beside a busy event loop.
    """
    sys.setswitchinterval(SWITCH_SECONDS)
