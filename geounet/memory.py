"""Memory: what stays in the processor's cache, and keeping or giving back what is freed."""

import ctypes
import sys
from collections.abc import Iterator
from typing import Any

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # glibc's malloc.h
_KEEP = 1 << 30  # bytes
_CACHED_PIXELS = 1 << 15


def cached_rows(height: int, width: int) -> Iterator[slice]:
    """Slices of rows, small enough for a few float32 layers of them to stay in a core's cache.

    Arithmetic of several steps over a large array is bound by the memory otherwise.
    """
    count = max(1, _CACHED_PIXELS // max(1, width))
    return (slice(row, min(row + count, height)) for row in range(0, height, count))


def release() -> None:
    """Return freed memory to the system where the C library keeps it (glibc, Arrow).

    Large arrays that come and go beside small ones that stay leave holes, which glibc keeps for
    later: half a gigabyte in a run over 400 megapixels. Elsewhere this does nothing.
    """
    arrow = sys.modules.get("pyarrow")
    if arrow is not None:
        arrow.default_memory_pool().release_unused()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


class Releaser:
    """Calls :func:`release` once in so many pixels: what is freed is soon asked for again, page by
    page, but in the holes between the arrays that stay more and more is lost.
    """

    def __init__(self, pixels: int) -> None:
        """Release once in ``pixels``."""
        self._every, self._since = pixels, 0

    def passed(self, pixels: int) -> None:
        """So many more are done."""
        self._since += pixels
        if self._since >= self._every:
            release()
            self._since = 0


def keep_freed() -> None:
    """Let glibc keep freed arrays for the next ones instead of giving them to the kernel.

    Every new large buffer is otherwise mapped afresh and zeroed page by page, which takes longer
    than filling a patch does; a forward of torch, which frees its activations layer by layer, takes
    half as long again. Other C libraries do without.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt: Any = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)  # only the main arena grows without bound
        mallopt(_M_MMAP_THRESHOLD, _KEEP)
        mallopt(_M_TRIM_THRESHOLD, _KEEP)
