"""The memory of this process, as the C library manages it where that is glibc; elsewhere nothing is done."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""glibc's names in malloc.h, with an `M` before them."""
_KEPT_BYTES = 8 * 2**20
_MAPPED_BYTES = 32 * 2**20


def keep_little() -> None:
    """Have memory that is freed go back to the system. By default up to 64 MB are kept for each thread that once freed
    a large array, and questions free some all the time."""
    library = _glibc()
    if library is not None:
        # What is larger is mapped by itself, which costs as much again as filling it. Unless it is set, this one moves.
        library.mallopt(_MMAP_THRESHOLD, _MAPPED_BYTES)
        library.mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)


def give_back() -> None:
    """Hand back at once what is free between what is in use, after work that took much for a while."""
    library = _glibc()
    if library is not None:
        library.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None
