"""The memory of this process."""

from __future__ import annotations

import ctypes
import sys


def give_back() -> None:
    """Hand what was freed back to the system, after work that took much for a while. glibc keeps it for the next time
    otherwise: a fifth of what the index of a large store takes. Elsewhere it does nothing."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
