"""The cyclic garbage collector, as a process that holds a graph in memory wants it.

A full collection looks at every object that is alive and stops all threads meanwhile: with CPython's defaults that was
a tenth of an ingest's time, and the longest pause of its event loop. Nearly everything here is freed by its reference
count, so looking rarely, and never again at what is there to stay, loses nothing.
"""

from __future__ import annotations

import gc


def collect_rarely() -> None:
    """Exempt what is alive now from collection, and look at what comes after it at longer intervals."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)
