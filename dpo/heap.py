"""The heap of the C library, where that is glibc: kept small in programs that run for long (no torch here)."""

from __future__ import annotations

import ctypes
import functools
import os
import platform

_ARENA_MAX = -8  # M_ARENA_MAX in glibc's malloc.h


@functools.cache
def _glibc() -> ctypes.CDLL | None:
    """The C library; None where it is another one, or has none of glibc's functions."""
    if platform.libc_ver()[0] != "glibc":
        return None
    try:
        library = ctypes.CDLL("libc.so.6")
    except OSError:
        return None
    return library if hasattr(library, "malloc_trim") and hasattr(library, "mallopt") else None


def trim_heap() -> bool:
    """Give the free pages of glibc's heap back to the system; whether there were any.

    Does nothing elsewhere; an allocator that is preloaded (jemalloc, tcmalloc) goes on as it was.
    """
    library = _glibc()
    return library is not None and bool(library.malloc_trim(0))


def limit_arenas(most: int) -> bool:
    """Let the threads of this process share at most `most` arenas of glibc's heap; whether it was told so.

    Else there come to be eight for each processor, and what a request needed once stays free in the one of its
    thread, where no other thread finds it.  To be called before threads begin; `MALLOC_ARENA_MAX`, if it is set, holds.
    """
    library = _glibc()
    if library is None or "MALLOC_ARENA_MAX" in os.environ:
        return False
    return bool(library.mallopt(_ARENA_MAX, most))
