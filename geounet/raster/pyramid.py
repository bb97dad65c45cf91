"""A raster and its overviews, compressed block by block while the rows come in.

Each level takes rows from top to bottom, hands complete rows of blocks to GDAL for compression, and
their halves to the next level. So when the last row has come, all that is left to do is to place
the blocks.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, BinaryIO

import numpy as np
from rasterio.io import MemoryFile
from rasterio.transform import Affine

from geounet.memory import cached_rows
from geounet.raster.tiff import Block, read_blocks

BLOCK = 256
"""Side of the blocks in pixels. A row of blocks of every level waits in memory; blocks twice as
large would be written in a seventh less time."""
_HALVED = 64
# Rows that are halved at once, an even number: halves of more would take memory and save no time.
_ANY_PLACE = Affine.scale(2)
# Of the files that blocks are taken from only the blocks stay, and rasterio warns of files that lie
# nowhere. Silencing it is no way out, as Python's filters belong to all threads at once.

Halve = Callable[[np.ndarray, float], np.ndarray]
"""``(bands, height, width)`` and the value without data to half the rows and columns, rounded up.
"""


class LevelWriter:
    """Takes the rows of one resolution and of all coarser ones."""

    def __init__(
        self,
        shape: tuple[int, int],
        encode: Callable[[np.ndarray], Future[list[memoryview]]],
        reduce: Callable[[np.ndarray], np.ndarray],
        spool: BinaryIO,
    ) -> None:
        """Overviews are made down to one block.

        Args:
            shape: rows and columns.
            encode: begins to compress ``(bands, n, width)`` of at most a block's rows.
            reduce: rows to those of the next level.
            spool: where compressed blocks are put; all levels share it.
        """
        self.shape = shape
        self.blocks: list[Block] = []
        """Where the blocks lie in the spool."""
        self.row = 0
        """Rows that are written."""
        self.coarser: LevelWriter | None = None
        if max(shape) > BLOCK:
            half = -(-shape[0] // 2), -(-shape[1] // 2)
            self.coarser = LevelWriter(half, encode, reduce, spool)
        self._encode, self._reduce, self._spool = encode, reduce, spool
        self._strip: np.ndarray | None = None
        self.pending_rows = 0
        """Rows that wait for a block to be complete."""

    def write(self, rows: np.ndarray) -> None:
        """Append ``(bands, n, width)`` rows; any n, but no more than the raster has."""
        assert self.row + self.pending_rows + rows.shape[1] <= self.shape[0]
        taken = 0
        while taken < rows.shape[1]:
            strip_rows = min(BLOCK, self.shape[0] - self.row)
            part = rows[:, taken : taken + strip_rows - self.pending_rows]
            taken += part.shape[1]
            if part.shape[1] == strip_rows:  # nothing waits, nothing has to
                self._write_strip(part)
                continue
            if self._strip is None:
                self._strip = np.empty((len(rows), BLOCK, self.shape[1]), rows.dtype)
            self._strip[:, self.pending_rows : self.pending_rows + part.shape[1]] = part
            self.pending_rows += part.shape[1]
            if self.pending_rows == strip_rows:
                self.pending_rows = 0
                self._write_strip(self._strip[:, :strip_rows])

    def _write_strip(self, strip: np.ndarray) -> None:
        """Put a row of blocks into the spool: it is compressed while it is halved."""
        encoded = self._encode(strip)
        if self.coarser:
            for row in range(0, strip.shape[1], _HALVED):
                self.coarser.write(self._reduce(strip[:, row : row + _HALVED]))
        for block in encoded.result():
            self.blocks.append((self._spool.tell(), len(block)))
            self._spool.write(block)
        self.row += strip.shape[1]

    def levels(self) -> "list[LevelWriter]":
        """Itself and the coarser ones."""
        return [self, *(self.coarser.levels() if self.coarser else ())]


def compressed(rows: np.ndarray, creation: Mapping[str, Any]) -> list[memoryview]:
    """The blocks of ``(bands, n, width)`` rows as GDAL writes them, n at most a block's side.

    Raises:
        RasterioError: GDAL's.
    """
    count, height, width = rows.shape
    with MemoryFile() as file:
        with file.open(
            driver="GTiff", count=count, height=height, width=width, dtype=rows.dtype.name,
            transform=_ANY_PLACE, **creation,
        ) as dataset:  # fmt: skip
            dataset.write(rows)
        return read_blocks(memoryview(bytes(file.getbuffer())))


def most_frequent(rows: np.ndarray, nodata: float) -> np.ndarray:
    """Half the resolution: the value that most of four pixels have, the first of equals; pixels
    without data count only where all are.

    Args:
        rows: uint8 ``(bands, height, width)``.
        nodata: value without data.
    """
    rows = _even(rows)
    result = np.empty((len(rows), rows.shape[1] // 2, rows.shape[2] // 2), np.uint8)
    for part in cached_rows(*result.shape[1:]):
        own = rows[:, 2 * part.start : 2 * part.stop]
        # Two neighbours as one number, so that the processor takes many at a time.
        top, bottom = own[:, ::2].view(np.uint16), own[:, 1::2].view(np.uint16)
        low = top & 0xFF
        result[:, part] = low
        mixed = np.nonzero((top != bottom) | (low != top >> 8))
        if len(mixed[0]):
            corners = [own[:, down::2, right::2][mixed] for down in (0, 1) for right in (0, 1)]
            result[:, part][mixed] = _vote(corners, nodata)
    return result


def _vote(corners: list[np.ndarray], nodata: float) -> np.ndarray:
    """The most frequent of four values, the first of equals."""
    winner = np.full(corners[0].shape, nodata, corners[0].dtype)
    for value in reversed(corners):
        np.copyto(winner, value, where=value != nodata)
    for number in (2, 1, 0):
        value = corners[number]
        again = np.logical_or.reduce([value == other for other in corners[number + 1 :]])
        np.copyto(winner, value, where=again & (value != nodata))
    return winner


def average(rows: np.ndarray, nodata: float) -> np.ndarray:
    """Half the resolution: the mean of those of four pixels that have data.

    Args:
        rows: uint8 or float32 ``(bands, height, width)``.
        nodata: value without data, may be NaN.
    """
    rows = _even(rows)
    result = np.empty((len(rows), rows.shape[1] // 2, rows.shape[2] // 2), rows.dtype)
    for part in cached_rows(*result.shape[1:]):
        own = rows[:, 2 * part.start : 2 * part.stop]
        corners = [own[:, down::2, right::2] for down in (0, 1) for right in (0, 1)]
        known = [~np.isnan(item) if np.isnan(nodata) else item != nodata for item in corners]
        total = sum(np.where(k, c, np.float32(0)) for k, c in zip(known, corners, strict=True))
        count = np.sum(known, axis=0)
        mean = total / np.maximum(count, 1)
        mean = np.rint(mean) if rows.dtype.kind == "u" else mean
        result[:, part] = np.where(count > 0, mean, nodata)
    return result


def _even(rows: np.ndarray) -> np.ndarray:
    """Rows and columns of even number, contiguous; the last of an odd number twice."""
    pad = [(0, 0), *((0, size % 2) for size in rows.shape[1:])]
    padded = np.pad(rows, pad, mode="edge") if pad[1][1] or pad[2][1] else rows
    return np.ascontiguousarray(padded)
