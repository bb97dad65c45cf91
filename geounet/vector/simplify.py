"""Simplify shared borders, each once, without gaps, overlaps or crossings.

Strategy. Every border between two nodes is simplified by Douglas and Peucker's method (1973): a
chord replaces a chain of edges if no vertex of the chain is farther from it than the tolerance.
Neighbours share the border, so they agree.

Topology is kept by one more condition: no vertex of the original coverage other than the chain's
own may lie on the chord or between the chord and the chain. If that fails, the chain is divided.
The condition looks at original vertices only, so every border is treated on its own, in any order
and in parallel, and still no two borders can cross:

- An original edge that crossed a chord would enter the space between chord and chain, could leave
  it neither through the chain (the coverage is planar) nor through the straight chord a second
  time, and so would end inside: excluded.
- Of two chords that crossed, one would enter the space under the other and, by the same argument,
  leave it through an original edge, which thus would cross the first chord: excluded.

What remains is that chords coincide. Two borders between the same two nodes therefore keep a vertex
between them each, and a ring without nodes keeps three. All of this is exact, in integers.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from geounet.vector.arcs import FOLLOW, Coverage, Flags, number_starts
from geounet.vector.compiled import inner, kernel
from geounet.vector.polygons import Polygons
from geounet.vector.segments import crosses_ray
from geounet.vector.trace import Ints, Longs

CELL = 4
"""Binary logarithm of the cell size of the index of vertices, in pixels."""


class Vertices(NamedTuple):
    """The vertices of all borders by square cells; a named tuple, which numba takes as it is."""

    entries: Ints
    """(n, 2), cell by cell: place in the cell as y << 16 | x, and position among the points."""
    cells: Longs
    """(cells + 1,) where each cell begins in ``entries``."""
    columns: int
    """Cells per row."""
    left: int
    """First column of cells."""
    top: int
    """First row of cells."""
    shift: int
    """Binary logarithm of the cell size in steps."""


def simplify(polygons: Polygons, tolerance: float, threads: int | None = None) -> Polygons:
    """Drop vertices from the outlines of exact polygons.

    Args:
        polygons: all polygons of a mask; no vertex but nodes on straight outlines.
        tolerance: in pixels, how far a dropped vertex may lie from the outline that remains. The
            corners of a pixel staircase lie up to 1.42 apart across it: from there on it vanishes.
        threads: borders are divided among them; by default one per core, at most 8.

    Returns:
        The same polygons in the same order, a valid coverage; ``pixels`` and ``confidence`` stay
        those of the exact outlines.
    """
    if tolerance <= 0 or not len(polygons):
        return polygons
    return simplify_borders(Coverage.of(polygons), tolerance, threads).polygons()


def simplify_borders(coverage: Coverage, tolerance: float, threads: int | None = None) -> Coverage:
    """:func:`simplify` for a coverage; borders that are fixed stay as they are."""
    free = np.flatnonzero(~coverage.fixed)
    least = _least(coverage)
    shift = CELL + coverage.scale.bit_length() - 1
    index = index_vertices(coverage.points, shift)
    keep = np.repeat(coverage.fixed, np.diff(coverage.offsets))
    threads = threads or min(os.cpu_count() or 1, 8)

    def reduce(part: Longs) -> None:
        reduce_borders(
            part, least, tolerance * coverage.scale, coverage.points, coverage.offsets, index, keep
        )  # fmt: skip

    with ThreadPoolExecutor(threads) as executor:
        list(executor.map(reduce, [np.ascontiguousarray(free[k::threads]) for k in range(threads)]))
    return with_kept(coverage, keep)


def with_kept(coverage: Coverage, keep: Flags) -> Coverage:
    """The coverage with those vertices only, bool (points,); the ends of borders must be kept."""
    sizes = np.add.reduceat(keep, coverage.offsets[:-1], dtype=np.int64)
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
    return replace(coverage, points=coverage.points[keep], offsets=offsets)


def _least(coverage: Coverage) -> NDArray[np.uint8]:
    """How many vertices between its ends each border has to keep: 2 where it is a ring, 1 where
    another border connects the same two nodes, else 0; uint8 (borders,).
    """
    numbers, _ = number_starts(coverage.halves.heads)
    starts = numbers[coverage.first]
    ends = numbers[coverage.halves.table[coverage.first, FOLLOW]]
    pairs = np.minimum(starts, ends).astype(np.int64) << 32 | np.maximum(starts, ends)
    order = np.argsort(pairs, kind="stable")
    same = np.diff(pairs[order]) == 0
    result = np.zeros(len(pairs), np.uint8)
    result[order[1:][same]] = 1
    result[order[:-1][same]] = 1
    result[starts == ends] = 2
    return result


@kernel
def index_vertices(points: Ints, shift: int) -> Vertices:
    """Sort the vertices of all borders into square cells of ``2**shift`` steps."""
    left = right = points[0, 0] >> shift
    top = bottom = points[0, 1] >> shift
    for k in range(points.shape[0]):
        left, right = min(left, points[k, 0] >> shift), max(right, points[k, 0] >> shift)
        top, bottom = min(top, points[k, 1] >> shift), max(bottom, points[k, 1] >> shift)
    columns = right - left + 1
    cells = np.zeros(columns * (bottom - top + 1) + 2, np.int64)
    for k in range(points.shape[0]):
        cells[((points[k, 1] >> shift) - top) * columns + (points[k, 0] >> shift) - left + 2] += 1
    for cell in range(1, cells.size):
        cells[cell] += cells[cell - 1]
    entries = np.empty((points.shape[0], 2), np.int32)
    rest = (1 << shift) - 1
    for k in range(points.shape[0]):
        cell = ((points[k, 1] >> shift) - top) * columns + (points[k, 0] >> shift) - left + 1
        entries[cells[cell], 0] = (points[k, 1] & rest) << 16 | (points[k, 0] & rest)
        entries[cells[cell], 1] = k
        cells[cell] += 1
    return Vertices(entries, cells[:-1], columns, left, top, shift)


@kernel
def reduce_borders(
    borders: Longs,
    least: NDArray[np.uint8],
    tolerance: float,
    points: Ints,
    offsets: Longs,
    index: Vertices,
    keep: Flags,
) -> None:
    """Mark in ``keep``, bool (points,), the vertices that the given borders keep.

    ``least`` uint8 (borders,) is how many vertices between its ends each has to keep.
    """
    stack = np.empty((128, 2), np.int64)
    for number in range(borders.size):
        border = borders[number]
        keep[offsets[border]] = keep[offsets[border + 1] - 1] = True
        stack[0, 0], stack[0, 1] = offsets[border], offsets[border + 1] - 1
        height = 1
        forced = int(least[border])
        while height:
            height -= 1
            i, j = stack[height, 0], stack[height, 1]
            if j - i < 2:
                continue
            far, distance = _farthest(points, i, j)
            if (
                forced <= 0
                and distance <= tolerance * tolerance
                and not is_blocked(points, i, j, distance, index)
            ):
                continue
            keep[far] = True
            if height + 2 > stack.shape[0]:
                more = np.empty((2 * stack.shape[0], 2), np.int64)
                for m in range(height):
                    more[m, 0], more[m, 1] = stack[m, 0], stack[m, 1]
                stack = more
            # the longer part on top, so that the third vertex of a ring is sought there
            if far - i > j - far:
                stack[height, 0], stack[height, 1] = far, j
                stack[height + 1, 0], stack[height + 1, 1] = i, far
            else:
                stack[height, 0], stack[height, 1] = i, far
                stack[height + 1, 0], stack[height + 1, 1] = far, j
            height += 2
            forced -= 1


@inner
def _farthest(points: Ints, i: int, j: int) -> tuple[int, float]:
    """The vertex between i and j that is farthest from the segment i-j; its squared distance."""
    x, y = np.int64(points[i, 0]), np.int64(points[i, 1])
    dx, dy = points[j, 0] - x, points[j, 1] - y
    square = dx * dx + dy * dy
    far = i + 1
    best = -1.0
    for k in range(i + 1, j):
        px, py = points[k, 0] - x, points[k, 1] - y
        along = px * dx + py * dy
        if along <= 0:
            distance = np.float64(px * px + py * py)
        elif along >= square:
            distance = np.float64((px - dx) ** 2 + (py - dy) ** 2)
        else:
            cross = np.float64(dx * py - dy * px)
            distance = cross * cross / square
        if distance > best:
            best = distance
            far = k
    return far, best


@inner
def is_blocked(points: Ints, i: int, j: int, reach: float, index: Vertices) -> bool:
    """Whether another vertex lies on the chord i-j or between it and the chain.

    ``reach`` is the squared distance from the chord of the chain's farthest vertex.
    """
    entries, cells, columns, left, top, shift = index
    ax, ay = np.int64(points[i, 0]), np.int64(points[i, 1])
    bx, by = np.int64(points[j, 0]), np.int64(points[j, 1])
    dx, dy = bx - ax, by - ay
    length = np.sqrt(np.float64(dx * dx + dy * dy))
    band = (np.sqrt(reach) + 1e-6) * length
    wide = band + (1 << shift) * 0.75 * length  # for a cell's centre, half a diagonal more
    x0, x1, y0, y1 = ax, ax, ay, ay
    for k in range(i + 1, j + 1):
        x0, x1 = min(x0, points[k, 0]), max(x1, points[k, 0])
        y0, y1 = min(y0, points[k, 1]), max(y1, points[k, 1])
    half_cell = 1 << (shift - 1)
    for row in range(y0 >> shift, (y1 >> shift) + 1):
        for column in range(x0 >> shift, (x1 >> shift) + 1):
            cx, cy = (column << shift) + half_cell - ax, (row << shift) + half_cell - ay
            if abs(dx * cy - dy * cx) > wide:
                continue
            cell = (row - top) * columns + column - left
            for k in range(cells[cell], cells[cell + 1]):
                x = np.int64((column << shift) + (entries[k, 0] & 0xFFFF))
                y = np.int64((row << shift) + (entries[k, 0] >> 16))
                if x < x0 or x > x1 or y < y0 or y > y1 or i <= entries[k, 1] <= j:
                    continue
                if (x == ax and y == ay) or (x == bx and y == by):
                    continue  # the same node in another border
                cross = dx * (y - ay) - dy * (x - ax)
                if abs(cross) > band:
                    continue
                if cross == 0 and 0 <= (x - ax) * dx + (y - ay) * dy <= dx * dx + dy * dy:
                    return True
                inside = crosses_ray(ax, ay, bx, by, x, y)
                for m in range(i, j):
                    inside ^= crosses_ray(
                        np.int64(points[m, 0]), np.int64(points[m, 1]),
                        np.int64(points[m + 1, 0]), np.int64(points[m + 1, 1]), x, y,
                    )  # fmt: skip
                if inside:
                    return True
    return False
