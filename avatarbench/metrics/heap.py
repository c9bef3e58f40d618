"""Memory that the C library holds back after large buffers were freed."""

from __future__ import annotations

import ctypes
import sys


def return_free_memory() -> None:
    """Give the heap's free pages back to the system. Does nothing where the C library is not glibc.

    glibc's aligned allocation leaves a small gap beside each activation it frees, and the next one of the same size no
    longer fits (glibc bug 14581, mended in 2.38): over thousands of frames the heap grows though nothing is held.
    """
    if not sys.platform.startswith("linux"):
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
    if trim is not None:
        trim(0)
