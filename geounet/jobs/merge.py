"""Assemble pieces, in whatever order they arrive, into complete rows from top to bottom."""

from collections.abc import Iterator

import numpy as np

from geounet.jobs.predict import Piece


class RowAssembler:
    """Holds the rows of tiles that are begun and not yet complete.

    Work is handed out in row-major order with a bounded number in flight, so only a few rows of
    tiles are open at a time whatever the size of the scene.
    """

    def __init__(self, width: int, tile_cols: int) -> None:
        """Rows of ``width`` scene pixels, made of ``tile_cols`` tiles each."""
        self._width = width
        self._tile_cols = tile_cols
        self._open: dict[int, list[Piece]] = {}
        self._next = 0

    def add(self, piece: Piece) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Take a piece; yield each row of tiles that is now complete and next in order.

        Yields:
            mask and confidence, uint8 ``(rows, width)``.
        """
        self._open.setdefault(piece.index // self._tile_cols, []).append(piece)
        while len(self._open.get(self._next, ())) == self._tile_cols:
            pieces = [item for item in self._open.pop(self._next) if item.window is not None]
            self._next += 1
            if pieces:
                yield self._join(pieces)

    @property
    def finished_rows(self) -> int:
        """Rows of tiles that have been yielded."""
        return self._next

    def _join(self, pieces: list[Piece]) -> tuple[np.ndarray, np.ndarray]:
        height = pieces[0].mask.shape[0]
        mask = np.empty((height, self._width), dtype=np.uint8)
        confidence = np.empty((height, self._width), dtype=np.uint8)
        for piece in pieces:
            if piece.window is None:
                continue
            columns = slice(piece.window.col, piece.window.col_end)
            mask[:, columns] = piece.mask
            confidence[:, columns] = piece.confidence
        return mask, confidence
