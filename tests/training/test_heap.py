"""Programs that run for long stay small: free memory goes back to the system, and threads share what is free."""

from __future__ import annotations

import ctypes
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from dpo.heap import trim_heap

GLIBC = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is another one")
# As many threads as a server has at work, all alive while glibc says how many arenas there are.
ARENAS = """
import ctypes, sys, threading
from dpo.heap import limit_arenas
libc = ctypes.CDLL("libc.so.6")
libc.fopen.restype = libc.malloc.restype = ctypes.c_void_p
limited = limit_arenas(int(sys.argv[1])) if len(sys.argv) > 1 else None
begun, done = threading.Barrier(13), threading.Barrier(13)
def request():
    libc.malloc(50_000)
    begun.wait()
    done.wait()
for _ in range(12):
    threading.Thread(target=request).start()
begun.wait()
file = ctypes.c_void_p(libc.fopen(b"arenas.xml", b"w"))
libc.malloc_info(0, file)
libc.fclose(file)
done.wait()
print(limited, open("arenas.xml").read().count("<heap nr="))
"""


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@GLIBC
def test_free_memory_below_a_block_that_lives_on_is_given_back() -> None:
    libc = ctypes.CDLL("libc.so.6")
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.restype, libc.free.argtypes = None, [ctypes.c_void_p]
    size, count = 64 * 1024, 2000  # from the heap, not from the kernel
    *blocks, last = [libc.malloc(size) for _ in range(count + 1)]
    for block in blocks:
        ctypes.memset(block, 1, size)
    for block in blocks:
        libc.free(block)
    before = resident()
    assert trim_heap()
    assert before - resident() > size * count / 2
    libc.free(last)


@GLIBC
def test_threads_share_what_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def arenas(*most: str) -> str:
        command = [sys.executable, "-c", ARENAS, *most]
        return subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout.strip()

    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.delenv("MALLOC_ARENA_MAX", raising=False)
    assert int(arenas().split()[1]) > 2 and arenas("2") == "True 2"
    monkeypatch.setenv("MALLOC_ARENA_MAX", "3")
    assert arenas("2") == "False 3"
