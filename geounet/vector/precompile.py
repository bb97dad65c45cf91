"""Compile the clean-up in other processes while this one follows outlines.

numba compiles a kernel at its first call, one at a time in a process, and stores the result in a
folder that all processes share. So helpers run the clean-up on a small sample: what they compiled
is loaded here once it is needed. Finding right angles and putting them back into the coverage take
half of the time and need nothing that the rest makes; each has a helper of its own.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np

from geounet.georef import Georef
from geounet.vector import holes, outline, refit, sieve, simplify, smooth, square, trace
from geounet.vector.arcs import BORDER, Coverage
from geounet.vector.ends import rebuild
from geounet.vector.grid import make_grid
from geounet.vector.measure import measure_polygons
from geounet.vector.outline import Cleaner
from geounet.vector.polygonize import Polygonizer
from geounet.vector.polygons import Polygons

BORDERS, REFITS, SQUARES = "borders", "refits", "squares"
"""What helpers compile: all that is done with shared borders, but the change of some for right
angles; that; and the search for right angles."""

SIDE, HOUSE = 64, 12
"""Pixels: the sample's side and that of its buildings."""


@dataclass(frozen=True)
class CleaningRules:
    """What a :class:`~geounet.vector.outline.Cleaner` is told, in plain values."""

    min_pixels: Mapping[int, float]
    """Class id -> regions with fewer pixels are merged."""
    tolerance: float
    """Of the simplification in pixels."""
    squared: Collection[int] = ()
    """Ids of the classes whose outlines get right angles."""
    smoothed: Collection[int] = ()
    """Ids of the classes whose outlines are rounded."""
    min_hole: float = 0.0
    """Holes with fewer pixels are filled."""
    connectivity: Literal[4, 8] = 4
    """Of the regions that are too small to stay."""

    def cleaner(self, folder: Path | None) -> Cleaner:
        """A cleaner by these rules that lays batches aside in ``folder``."""
        return Cleaner(
            self.min_pixels, self.tolerance, self.squared, self.smoothed, self.min_hole, folder,
            self.connectivity,
        )  # fmt: skip

    def kernels(self) -> dict[str, list[Any]]:
        """For each part of the work some compiled function that it needs."""
        small = any(pixels > 1 for pixels in self.min_pixels.values())
        borders = [
            kernel
            for kernel, needed in (
                (sieve.repaint, small),
                (holes.fill, self.min_hole > 1),
                (simplify.reduce_borders, self.tolerance > 0),
                (smooth.cut_corners, bool(self.smoothed)),
            )
            if needed
        ]
        if not self.squared:
            return {BORDERS: borders}
        return {BORDERS: borders, REFITS: [refit.fit], SQUARES: [square._square_ring]}


def is_compiled(rules: CleaningRules) -> bool:
    """Whether numba has in its cache all that cleaning by these rules needs."""
    return not any(map(_missing, rules.kernels().values())) and not _missing([trace.scan])


def _missing(kernels: Iterable[Any]) -> bool:
    return any(not _is_cached(kernel) for kernel in kernels)


def _is_cached(kernel: Any) -> bool:
    """Whether numba keeps something of a function, made from its present source.

    There is no public way to ask; numba reads the same index when the function is first called.
    """
    return bool(kernel._cache._cache_file._load_index())


class Precompiler:
    """Helpers at work; leaving the context ends them."""

    def __init__(self, rules: CleaningRules) -> None:
        """Start a helper for each part that is not compiled, if there are cores to run them."""
        self._helpers: list[subprocess.Popen[bytes]] = []
        if (os.cpu_count() or 1) < 2 or getattr(sys, "frozen", False):
            return
        told = json.dumps({**asdict(rules), "min_pixels": list(rules.min_pixels.items())})
        for part, kernels in rules.kernels().items():
            if _missing(kernels):
                command = [sys.executable, "-m", __name__, part, told]
                self._helpers.append(
                    subprocess.Popen(
                        command,
                        stdin=subprocess.DEVNULL,
                        stdout=subprocess.DEVNULL,
                        stderr=subprocess.DEVNULL,
                    )
                )

    def wait(self) -> None:
        """Return once the helpers are done. One that failed costs nothing but time."""
        for helper in self._helpers:
            helper.wait()

    def close(self) -> None:
        """End the helpers, done or not."""
        for helper in self._helpers:
            helper.kill()
            helper.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def load(rules: CleaningRules) -> None:
    """Have numba, and what it has in its cache for these rules, ready before the first polygon.

    What is not in the cache is left to the helpers and to the first rows.
    """
    if is_compiled(rules):
        polygonizer = Polygonizer(2)
        polygonizer.push(np.array([[0, 1]], np.uint8), np.zeros((1, 2), np.uint8))
        polygonizer.finish()
        _cleaned_sample(rules)


def _cleaned_sample(rules: CleaningRules) -> Polygons:
    classes = {*rules.squared, *rules.smoothed, *list(rules.min_pixels)[:1]}
    cleaner = rules.cleaner(None)
    cleaner.push(_sample(sorted(classes)[:3]))
    return cleaner.finish()


def _sample(classes: Collection[int]) -> Polygons:
    """Land with a building and a speck of each class in it, as the polygonizer would yield them."""
    rings = [_box(0, 0, SIDE, SIDE)]
    owners = [next(value for value in range(256) if value not in classes)]
    for number, class_id in enumerate(classes):
        top = 2 + (HOUSE + 6) * number
        rings += [_box(4, top, 2 * HOUSE, HOUSE), _box(4, top + HOUSE + 2, 1, 1)]
        owners += [class_id, class_id]
    count = len(rings)
    shells = np.stack(rings)
    holes_first = np.concatenate([shells[:1], shells[1:, ::-1], shells[1:]])
    sizes = np.array([np.ptp(ring[:, 0]) * np.ptp(ring[:, 1]) for ring in rings], np.int64)
    sizes[0] -= sizes[1:].sum()
    return Polygons(
        np.array(owners, np.uint8),
        sizes,
        np.full(count, np.nan),
        np.ascontiguousarray(holes_first.reshape(-1, 2)),
        np.zeros(5 * len(holes_first), np.bool_),
        np.arange(0, 5 * len(holes_first) + 1, 5),
        np.concatenate([np.zeros(1, np.int64), np.arange(count, 2 * count)]),
    )


def _box(left: int, top: int, width: int, height: int) -> np.ndarray:
    x, y = left + np.array([0, width, width, 0, 0]), top + np.array([0, 0, height, height, 0])
    return np.column_stack([x, y]).astype(np.int32)


def _compile_borders(rules: CleaningRules) -> None:
    """Run everything but what makes right angles, which other helpers compile."""
    from unittest.mock import patch  # imports asyncio, which nothing but a helper should wait for

    with patch.object(outline, "square", _as_they_are), patch.object(outline, "refit", _unchanged):
        polygons = _cleaned_sample(rules)
    polygons = polygons.take(np.arange(len(polygons)))
    transform = (1.0, 0.0, 0.0, 0.0, -1.0, 0.0)
    polygons.to_wkb(transform)
    measure_polygons(polygons, Georef("EPSG:32633", transform, "plane", 1.0, 1.0))


def _as_they_are(polygons: np.ndarray, tolerance: float) -> tuple[np.ndarray, np.ndarray]:
    return polygons, np.ones(len(polygons), np.bool_)


def _unchanged(coverage: Coverage, *_: np.ndarray) -> tuple[Coverage, None]:
    return coverage, None


def _compile_refits(_: CleaningRules) -> None:
    """Fit no building at all into a coverage of one segment."""
    longs, offsets = np.empty(0, np.int64), np.zeros(1, np.int64)
    ints, table = np.empty(0, np.int32), np.empty((0, BORDER + 1), np.int32)
    flags, degree = np.empty(0, np.bool_), np.empty(0, np.uint8)
    points, ends = np.array([[0, 0], [1, 0]], np.int32), np.array([0, 2])
    grid = make_grid(points, ends, 1, refit.CELL)
    replaced, moved, fresh = refit.fit(
        longs, flags, points[:0], offsets, offsets, table, offsets, ints, degree, ints, longs,
        points, ends, grid,
    )[1:]  # fmt: skip
    rebuild(points, ends, replaced, moved, fresh)


def _compile_squares(rules: CleaningRules) -> None:
    square.square(_sample([1]).to_shapely()[1:], outline.LEAST_SQUARING)


_PARTS: Mapping[str, Callable[[CleaningRules], None]] = {
    BORDERS: _compile_borders,
    REFITS: _compile_refits,
    SQUARES: _compile_squares,
}


def _main(part: str, told: str) -> None:
    facts = json.loads(told)
    facts["min_pixels"] = dict(facts["min_pixels"])
    _PARTS[part](CleaningRules(**facts))


if __name__ == "__main__":
    _main(*sys.argv[1:])
