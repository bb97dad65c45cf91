"""From exact outlines to those on a map: sieved, squared, simplified, smoothed, gapless."""

import os
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from geounet.errors import ConfigError
from geounet.memory import release
from geounet.vector.arcs import OWNER, TWIN, Coverage
from geounet.vector.holes import fill_holes
from geounet.vector.polygons import Polygons
from geounet.vector.refit import NOTHING, SCALE, Outlines, in_steps, joined, refit
from geounet.vector.shelf import Shelf
from geounet.vector.sieve import sieve
from geounet.vector.simplify import simplify_borders
from geounet.vector.smooth import smooth_borders
from geounet.vector.square import square
from geounet.vector.trace import Longs

LEAST_SQUARING = 2.0
"""Tolerance of squaring in pixels where the simplification's is smaller."""
CHUNK = 512
"""Buildings squared by one call."""


class Cleaner:
    """Clean polygons as they come out of a :class:`~geounet.vector.polygonize.Polygonizer`.

    A polygon can be cleaned once all of its neighbours are there. All batches are laid aside on the
    disk until :meth:`finish`, unless there is nothing to do: then they pass straight through.
    """

    def __init__(
        self,
        min_pixels: Mapping[int, float],
        tolerance: float,
        squared: Collection[int] = (),
        smoothed: Collection[int] = (),
        min_hole: float = 0.0,
        folder: Path | None = None,
        connectivity: Literal[4, 8] = 4,
    ) -> None:
        """
        Args:
            min_pixels: class id -> regions with fewer pixels are merged, see ``sieve``; classes
                that are not named keep all.
            tolerance: of the simplification in pixels, see ``simplify``; 0 keeps the exact outline.
            squared: ids of the classes whose outlines get right angles, see ``square``.
            smoothed: ids of the classes whose outlines are rounded, see ``smooth``.
            min_hole: holes with fewer pixels are filled, see ``fill_holes``.
            folder: where the batches are laid aside, see ``Shelf``.
            connectivity: of the regions that are too small to stay, see ``sieve``.
        """
        if not tolerance >= 0:
            raise ConfigError(f"simplification tolerance {tolerance} must be >= 0 pixels")
        for class_id, pixels in min_pixels.items():
            if not 0 <= class_id <= 255 or not pixels >= 0:
                raise ConfigError(f"min_pixels {class_id}: {pixels} must be >= 0 for ids 0 .. 255")
        self._min_pixels = dict(min_pixels)
        self._tolerance = tolerance
        self._squared = sorted(squared)
        self._smoothed = sorted(smoothed)
        if not min_hole >= 0:
            raise ConfigError(f"min_hole {min_hole} must be >= 0 pixels")
        self._min_hole = min_hole
        self._connectivity = connectivity
        small = any(pixels > 1 for pixels in [*min_pixels.values(), min_hole])
        self._idle = tolerance == 0 and not (small or self._squared or self._smoothed)
        self._shelf = Shelf(folder)

    def push(self, polygons: Polygons) -> Polygons:
        """Add a batch; returns the polygons that are clean."""
        if self._idle:
            return polygons
        if len(polygons):
            self._shelf.append(polygons)
        return Polygons.empty()

    def finish(self) -> Polygons:
        """The polygons that are left, in the polygonizer's order."""
        polygons = sieve(self._shelf.take(), self._min_pixels, self._connectivity)
        polygons = fill_holes(polygons, self._min_hole)
        if not len(polygons):
            return polygons
        finer = np.isin(polygons.class_id, self._squared + self._smoothed).any()
        coverage = _with_edge_kept(Coverage.of(polygons, SCALE if finer else 1))
        del polygons
        rows, outlines = self._right_angled(coverage)
        # Only the borders are needed from here on, and they are a fraction of the exact polygons.
        coverage = coverage.without_exact_points()
        release()
        coverage = refit(coverage, rows, outlines)[0]
        release()
        if self._tolerance:
            coverage = simplify_borders(coverage, self._tolerance)
        if self._smoothed:
            coverage = smooth_borders(coverage, self._smoothed)
        return coverage.polygons()

    def _right_angled(self, coverage: Coverage) -> tuple[Longs, Outlines]:
        """Which polygons can have right angles, int64 (k,), and their outlines then."""
        inland = np.ones(len(coverage.source), bool)
        inland[_edge_owners(coverage)] = False
        rows = np.flatnonzero(np.isin(coverage.source.class_id, self._squared) & inland)
        tolerance = max(self._tolerance, LEAST_SQUARING)

        def chunk(begin: int) -> tuple[Longs, Outlines]:
            own = rows[begin : begin + CHUNK]
            squared, done = square(coverage.source.take(own).to_shapely(), tolerance)
            return own[done], in_steps(squared[done])

        with ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as executor:
            parts = list(executor.map(chunk, range(0, len(rows), CHUNK)))
        done, outlines = zip(*parts, strict=True) if parts else ((), ())
        return np.concatenate([rows[:0], *done]), joined([NOTHING, *outlines])

    def close(self) -> None:
        """Drop what has not been finished."""
        self._shelf.close()


def _edge_owners(coverage: Coverage) -> np.ndarray:
    """The polygons with a border against nodata or the mask's edge, int (k,)."""
    table = coverage.halves.table
    return np.unique(table[table[:, TWIN] < 0, OWNER])


def _with_edge_kept(coverage: Coverage) -> Coverage:
    """The coverage whose borders against nodata and the mask's edge are final: polygons cover the
    pixels with data, all of them and no other.
    """
    edge = coverage.halves.table[coverage.first, TWIN] < 0
    return replace(coverage, fixed=coverage.fixed | edge)
