"""Assemble pieces, in whatever order they arrive, into complete rows from top to bottom."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from geounet.jobs.predict import Piece


@dataclass
class _Band:
    """A row of tiles in the making; the arrays appear with the first piece that has pixels."""

    missing: int
    mask: np.ndarray | None = None
    confidence: np.ndarray | None = None


class RowAssembler:
    """Holds the rows of tiles that are begun and not yet complete.

    Work is handed out in row-major order with a bounded number in flight, so only a few rows of
    tiles are open at a time whatever the size of the scene.
    """

    def __init__(self, width: int, tile_cols: int) -> None:
        """Rows of ``width`` scene pixels, made of ``tile_cols`` tiles each."""
        self._width = width
        self._tile_cols = tile_cols
        self._open: dict[int, _Band] = {}
        self._next = 0

    def add(self, piece: Piece) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Take a piece; yield each row of tiles that is now complete and next in order.

        Yields:
            mask and confidence, uint8 ``(rows, width)``.
        """
        number = piece.index // self._tile_cols
        band = self._open.setdefault(number, _Band(self._tile_cols))
        band.missing -= 1
        if piece.window is not None:
            if band.mask is None or band.confidence is None:
                band.mask = np.empty((piece.window.height, self._width), dtype=np.uint8)
                band.confidence = np.empty_like(band.mask)
            columns = slice(piece.window.col, piece.window.col_end)
            band.mask[:, columns] = piece.mask
            band.confidence[:, columns] = piece.confidence
        while self._next in self._open and not self._open[self._next].missing:
            done = self._open.pop(self._next)
            self._next += 1
            if done.mask is not None and done.confidence is not None:
                yield done.mask, done.confidence
