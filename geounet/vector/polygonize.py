"""Class mask in, exact polygons out, row by row."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from geounet.errors import ConfigError
from geounet.legend import NODATA_ID
from geounet.vector.carry import Carry, Pool
from geounet.vector.polygons import Polygons, order_by, sorted_order
from geounet.vector.regions import CLASS, LOWEST, copy_rings, group, rings
from geounet.vector.trace import Bytes, Ints, Longs, scan, walk

STRIP = 128
"""Fewest rows that are worth a thread of their own."""


@dataclass(frozen=True)
class _Batch:
    """Polygons and what orders them."""

    polygons: Polygons
    lowest: Ints
    """(n,) y of the lowest edge of each."""


@dataclass(frozen=True)
class _Strip:
    """A strip after tracing."""

    done: _Batch
    pool: Pool
    rest: Longs
    seams: Ints
    n_top: int


class Polygonizer:
    """Turn a class mask into polygons, rows pushed from top to bottom.

    The polygons are the 4-connected regions of equal class, with a vertex wherever the outline
    turns and wherever three or more regions meet (nodata and the outside count as one), so that
    they form a valid coverage. They come out as soon as the row below their last one has been
    seen, ordered by the last row of each, then by its first pixel in row-major order; neither the
    polygons nor their order depends on how the rows are cut into pushes or on ``threads``.

    With ``connectivity=8`` the polygons are the same: regions that hang together by a corner only
    are split there, because one ring that touches itself in a corner would be invalid.
    """

    def __init__(
        self,
        width: int,
        *,
        nodata: int | None = NODATA_ID,
        connectivity: Literal[4, 8] = 4,
        threads: int | None = None,
    ) -> None:
        """
        Args:
            width: columns of the mask.
            nodata: class without polygons; None if every class has them.
            connectivity: 4 or 8, see above.
            threads: strips traced at once; by default one per core, at most 8.
        """
        if width < 1:
            raise ConfigError(f"width {width} must be at least 1")
        if nodata is not None and not 0 <= nodata <= 255:
            raise ConfigError(f"nodata {nodata} must lie in 0 .. 255")
        if connectivity not in (4, 8):
            raise ConfigError(f"connectivity {connectivity} must be 4 or 8")
        self.width = width
        self.rows = 0
        """Rows pushed so far."""
        self._void = 256 if nodata is None else nodata
        self._threads = threads or min(os.cpu_count() or 1, 8)
        self._above = np.empty(0, np.uint8)
        self._weighted: bool | None = None
        self._carry = Carry()
        self._finished = False

    def push(
        self, mask: NDArray[np.uint8], confidence: NDArray[np.uint8] | None = None
    ) -> Polygons:
        """Add rows.

        Args:
            mask: uint8 (rows, width), any number of rows.
            confidence: uint8 (rows, width), 255 = certain; given with every push or with none.

        Returns:
            The polygons that these rows finished.
        """
        weights = self._checked(mask, confidence)
        if not len(mask):
            return Polygons.empty()
        step = max(STRIP, -(-len(mask) // self._threads))
        jobs = []
        for begin in range(0, len(mask), step):
            above = mask[begin - 1] if begin else self._above
            rows = slice(begin, begin + step)
            jobs.append((mask[rows], above, weights[rows], self.rows + begin, False))
        self._above = mask[-1].copy()
        self.rows += len(mask)
        if len(jobs) == 1:
            return self._joined([self._trace(*jobs[0])])
        with ThreadPoolExecutor(self._threads) as executor:
            return self._joined(list(executor.map(lambda job: self._trace(*job), jobs)))

    def finish(self) -> Polygons:
        """The polygons that reach the last row. Nothing can be pushed afterwards."""
        if self._finished:
            raise ConfigError("the polygonizer is finished; make a new one for another mask")
        self._finished = True
        if not self.rows:
            return Polygons.empty()
        nothing = np.empty((0, self.width), np.uint8)
        weights = np.empty((1 if self._weighted else 0, self.width), np.uint8)
        result = self._joined([self._trace(nothing, self._above, weights, self.rows, True)])
        self._carry = Carry()
        return result

    def _checked(
        self, mask: NDArray[np.uint8], confidence: NDArray[np.uint8] | None
    ) -> NDArray[np.uint8]:
        """The confidence, or an array without rows; raises where the arguments do not fit."""
        if self._finished:
            raise ConfigError("the polygonizer is finished; make a new one for another mask")
        if mask.dtype != np.uint8 or mask.ndim != 2 or mask.shape[1] != self.width:
            raise ConfigError(
                f"mask {mask.dtype} {mask.shape} must be uint8 of shape (rows, {self.width})"
            )
        weighted = confidence is not None
        if self._weighted is None:
            self._weighted = weighted
        if weighted != self._weighted:
            raise ConfigError("confidence must be given with every push or with none")
        if confidence is None:
            return np.empty((0, self.width), np.uint8)
        if confidence.dtype != np.uint8 or confidence.shape != mask.shape:
            raise ConfigError(
                f"confidence {confidence.dtype} {confidence.shape} must be uint8 {mask.shape}"
            )
        return confidence

    def _trace(self, mask: Bytes, above: Bytes, confidence: Bytes, top: int, last: bool) -> _Strip:
        """Trace one strip and finish what lies inside it (no shared state: runs in threads)."""
        mask = np.ascontiguousarray(mask)
        confidence = np.ascontiguousarray(confidence)
        vertices, flags, sums, n_top, n_bottom, written, n_links = scan(
            mask, np.ascontiguousarray(above), confidence, self._void, top, last
        )
        points, offsets, pieces, classes, lowest, amounts, seams, links = walk(
            mask, top, vertices, flags, sums, n_top, n_bottom, written, n_links
        )
        regions, done, rest = group(pieces, classes, lowest, amounts, links)
        pool = Pool(points, offsets, pieces, regions, amounts)
        return _Strip(self._finish(pool, done), pool, rest, seams, n_top)

    def _finish(self, pool: Pool, finished: Longs) -> _Batch:
        """Turn finished regions into polygons, ordered."""
        if not len(finished):
            return _Batch(Polygons.empty(), np.empty(0, np.int32))
        records, first, loops, ordered = rings(
            finished, pool.regions, pool.pieces, pool.offsets, pool.points
        )
        if not ordered:
            key = records[:, 1]
            records = records[order_by(records[:, 0], key >> 31, key & (2**31 - 1))]
        lowest = pool.regions[finished, LOWEST]
        keys = records[first[:-1], 1]
        corners = np.column_stack([keys & (2**31 - 1), keys >> 31]).astype(np.int32)
        order = sorted_order(lowest, corners)
        points, nodes, ring_offsets, polygon_offsets = copy_rings(
            order, first, records, loops, pool.pieces, pool.offsets, pool.points
        )
        roots = finished[order]
        pixels, weight = pool.amounts[roots].T
        confidence = weight / (255 * pixels) if self._weighted else np.full(len(roots), np.nan)
        class_id = pool.regions[roots, CLASS].astype(np.uint8)
        polygons = Polygons(
            class_id, pixels.copy(), confidence, points, nodes, ring_offsets, polygon_offsets
        )
        return _Batch(polygons, lowest[order])

    def _joined(self, strips: list[_Strip]) -> Polygons:
        """Tie strips, top to bottom, to what is open; everything that this finished, ordered."""
        batches = []
        for strip in strips:
            finished = self._carry.absorb(strip.pool, strip.rest, strip.seams, strip.n_top)
            batches.append(self._finish(self._carry.pool, finished))
            self._carry.tidy(finished)
            batches.append(strip.done)
        polygons = Polygons.concat([batch.polygons for batch in batches])
        lowest = np.concatenate([batch.lowest for batch in batches])
        if len(polygons) < 2:
            return polygons
        begins = polygons.points[polygons.ring_offsets[polygons.polygon_offsets[:-1]]]
        order = sorted_order(lowest, begins)
        return polygons if np.all(np.diff(order) == 1) else polygons.take(order)
