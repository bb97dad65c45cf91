"""Assemble what tiles give into complete rows of the scene, from top to bottom."""

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

from geounet.jobs.predict import Layers, Piece, Share, Work
from geounet.tiles import Window

_CHUNK_BYTES = 32 << 20
_ROWS = 128
# Rows that are put together at once.


class Assembler(Protocol):
    """Takes what a tile gave, a Piece or a Share, and yields the rows that are complete with it."""

    def add(self, part: Any) -> Iterator[Layers]:
        """Take a tile's part."""
        ...


class RowAssembler:
    """Holds the pieces of rows of tiles that are begun and not yet complete; takes them in any
    order.

    Work is handed out in row-major order with a bounded number in flight, so only a few rows of
    tiles are open at a time whatever the size of the scene. Pieces are put side by side some rows
    at a time: whole rows of tiles of a wide scene would be held twice.
    """

    def __init__(self, tile_cols: int) -> None:
        """Rows of tiles are made of ``tile_cols`` of them."""
        self._tile_cols = tile_cols
        self._open: dict[int, list[Piece]] = {}
        self._next = 0

    def add(self, part: Piece) -> Iterator[Layers]:
        """Take a piece; yield the rows of tiles that are now complete and next in order."""
        self._open.setdefault(part.index // self._tile_cols, []).append(part)
        while len(self._open.get(self._next, ())) == self._tile_cols:
            pieces = self._open.pop(self._next)
            self._next += 1
            yield from _side_by_side(pieces)


def _side_by_side(pieces: list[Piece]) -> Iterator[Layers]:
    """The rows of a complete row of tiles, some at a time."""
    owned = [(piece.window, piece.layers) for piece in pieces if piece.window is not None]
    if not owned:
        return
    owned.sort(key=lambda item: item[0].col)
    for top in range(0, owned[0][0].height, _ROWS):
        rows = slice(top, top + _ROWS)
        alike = zip(*(layers for _, layers in owned), strict=True)
        yield Layers(*(_joined(parts, rows) for parts in alike))  # type: ignore[arg-type]


def _joined(parts: tuple[np.ndarray | None, ...], rows: slice) -> np.ndarray | None:
    """Some rows of one layer of neighbouring pieces, or None where it is not asked for."""
    present = [part[..., rows, :] for part in parts if part is not None]
    return np.concatenate(present, axis=-1) if present else None


class BlendAssembler:
    """Adds up weighted probabilities; takes the shares of tiles in the order of their indices.

    The order is fixed because floating-point sums depend on it: so the mask does not depend on the
    number of workers. The sums of one row of tiles are held, and the rows above them that the next
    step still needs.
    """

    def __init__(self, work: Work) -> None:
        """Start above the first row of the region that ``work`` segments."""
        self._work = work
        plan = work.plan
        grid, apron = plan.grid, plan.work.apron
        rows = min(grid.height, grid.patch_shape[0] + 2 * apron)
        self._sums = np.zeros((len(work.decision.ids), rows, grid.width), dtype=np.float32)
        self._top = grid.origin[0]  # working row of the first row of sums
        self._known: list[np.ndarray] = []
        self._row = plan.region.row  # next scene row to finish

    def add(self, part: Share) -> Iterator[Layers]:
        """Take the next share; yield the rows that are complete with it."""
        plan = self._work.plan
        left = part.inside.col - plan.grid.origin[1]
        down = part.inside.row - self._top
        if part.weighted is not None:
            self._sums[:, down : down + part.inside.height, left : left + part.inside.width] += (
                part.weighted
            )
        row, col = divmod(part.index, plan.grid.shape[1])
        if part.window is not None:
            if part.window.col == plan.region.col:
                shape = (part.window.height, plan.region.width)
                self._known.append(np.empty(shape, dtype=bool))
            start = part.window.col - plan.region.col
            self._known[-1][:, start : start + part.window.width] = part.known
        if col == plan.grid.shape[1] - 1:
            yield from self._finish_row(row)

    def _finish_row(self, row: int) -> Iterator[Layers]:
        """All shares of a row of tiles are in: finish what later rows do not add to."""
        plan = self._work.plan
        grid, apron = plan.grid, plan.work.apron
        last = row == grid.shape[0] - 1
        whole = grid.origin[0] + min(grid.height, (row + 1) * grid.core[0] - grid.margin)
        end = plan.region.row_end
        if not last:
            end = min(end, plan.work.rows.owned(0, max(0, whole - apron))[1])
        while self._row < end:
            width = plan.region.width
            count = max(1, _CHUNK_BYTES // (4 * len(self._sums) * width))
            target = Window(self._row, plan.region.col, min(count, end - self._row), width)
            field = plan.work.to_scene(self._sums, self._top, grid.origin[1], target)
            known = self._take_known(target.height)
            self._row += target.height
            yield self._work.finish(field, known)
        keep = max(self._top, whole - 2 * apron)
        if not last and keep > self._top:
            kept = self._sums.shape[1] - (keep - self._top)
            self._sums[:, :kept] = self._sums[:, keep - self._top :]
            self._sums[:, kept:] = 0
            self._top = keep

    def _take_known(self, count: int) -> np.ndarray:
        rows = np.concatenate(self._known)
        self._known = [rows[count:]]
        return rows[:count]


def assembler_for(work: Work) -> Assembler:
    """The assembler for what the workers give."""
    if work.plan.merge == "blend":
        return BlendAssembler(work)
    return RowAssembler(work.plan.grid.shape[1])
