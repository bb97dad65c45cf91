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

import numpy as np
from numba import njit
from numpy.typing import NDArray

from geounet.vector.arcs import EDGES, FOLLOW, RING, START, TWIN, Halves, number_starts
from geounet.vector.polygons import Polygons
from geounet.vector.trace import Ints, Longs

CELL = 4
"""Binary logarithm of the cell size of the index of vertices, in pixels."""


def simplify(polygons: Polygons, tolerance: float, threads: int | None = None) -> Polygons:
    """Drop vertices from the outlines of a coverage.

    Args:
        polygons: all polygons of a mask; no vertex but nodes on straight outlines.
        tolerance: in pixels, how far a dropped vertex may lie from the outline that remains.
        threads: borders are divided among them; by default one per core, at most 8.

    Returns:
        The same polygons in the same order, a valid coverage; ``pixels`` and ``confidence`` stay
        those of the exact outlines.
    """
    if tolerance <= 0 or not len(polygons):
        return polygons
    halves = Halves.of(polygons)
    table = halves.table
    starts, _ = number_starts(halves.heads)
    ends = starts[table[:, FOLLOW]]
    sizes = np.diff(polygons.ring_offsets)[table[:, RING]] - 1
    once = np.flatnonzero(table[:, TWIN] < np.arange(len(table)))  # one half of each border
    chain = _chains(starts[once], ends[once], sizes[once] == table[once, EDGES])
    index = index_vertices(polygons.points, polygons.ring_offsets, table, once)
    keep = np.zeros(len(polygons.points), np.bool_)
    threads = threads or min(os.cpu_count() or 1, 8)
    parts = [slice(k, None, threads) for k in range(threads)]

    def reduce(part: slice) -> None:
        reduce_borders(
            once[part], chain[part], tolerance, polygons.points, polygons.ring_offsets, table,
            *index, keep,
        )  # fmt: skip

    with ThreadPoolExecutor(threads) as executor:
        list(executor.map(reduce, parts))
    mirror(table, polygons.ring_offsets, keep)
    points, nodes, ring_offsets = drop(polygons.points, polygons.nodes, polygons.ring_offsets, keep)
    return Polygons(
        polygons.class_id,
        polygons.pixels,
        polygons.confidence,
        points,
        nodes,
        ring_offsets,
        polygons.polygon_offsets,
    )


def _chains(starts: Ints, ends: Ints, closed: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """How many vertices between its ends each border has to keep: 2 where it is a ring, 1 where
    another border connects the same two nodes, else 0; uint8 (n,).
    """
    low, high = np.minimum(starts, ends).astype(np.int64), np.maximum(starts, ends)
    pairs = low << 32 | high
    order = np.argsort(pairs, kind="stable")
    same = np.diff(pairs[order]) == 0
    parallel = np.zeros(len(pairs), np.bool_)
    parallel[order[1:][same]] = True
    parallel[order[:-1][same]] = True
    result = parallel.astype(np.uint8)
    result[closed | (starts == ends)] = 2
    return result


@njit(cache=True, nogil=True)
def index_vertices(
    points: Ints, ring_offsets: Longs, table: Ints, once: Longs
) -> tuple[Ints, Longs, int, int, int]:
    """Sort the vertices of the borders ``once`` into square cells.

    Returns:
        Vertices int32 (n, 4): x, y, half, position in the half, cell by cell; offsets int64
        (cells + 1,); cells per row, and the first column and row of cells.
    """
    left, top = points[:, 0].min() >> CELL, points[:, 1].min() >> CELL
    columns = (points[:, 0].max() >> CELL) - left + 1
    rows = (points[:, 1].max() >> CELL) - top + 1
    offsets = np.zeros(np.int64(columns) * rows + 2, np.int64)
    for count in range(2):
        if count == 1:
            for cell in range(1, offsets.size):
                offsets[cell] += offsets[cell - 1]
            entries = np.empty((offsets[-1], 4), np.int32)
        for k in range(once.size):
            half = once[k]
            base = ring_offsets[table[half, RING]]
            size = ring_offsets[table[half, RING] + 1] - base - 1
            at = int(table[half, START])
            for m in range(table[half, EDGES] + 1):
                x, y = points[base + at, 0], points[base + at, 1]
                cell = np.int64((y >> CELL) - top) * columns + (x >> CELL) - left
                if count == 0:
                    offsets[cell + 2] += 1
                else:
                    place = offsets[cell + 1]
                    entries[place, 0], entries[place, 1] = x, y
                    entries[place, 2], entries[place, 3] = half, m
                    offsets[cell + 1] += 1
                at += 1
                if at == size:
                    at = 0
    return entries, offsets[:-1], columns, left, top


@njit(cache=True, nogil=True)
def reduce_borders(
    once: Longs,
    least: NDArray[np.uint8],
    tolerance: float,
    points: Ints,
    ring_offsets: Longs,
    table: Ints,
    entries: Ints,
    cells: Longs,
    columns: int,
    left: int,
    top: int,
    keep: NDArray[np.bool_],
) -> None:
    """Mark the vertices that the borders ``once`` keep, on their own side only.

    ``least`` uint8 (borders,) is how many vertices between its ends each has to keep; ``keep``
    bool (m,) holds one flag per point, set here; the rest is the index of all vertices.
    """
    stack = np.empty((128, 2), np.int64)
    chain = np.empty((64, 2), np.int64)
    for k in range(once.size):
        half = once[k]
        count = table[half, EDGES] + 1
        if chain.shape[0] < count:
            chain = np.empty((2 * count, 2), np.int64)
        base = ring_offsets[table[half, RING]]
        size = ring_offsets[table[half, RING] + 1] - base - 1
        start = np.int64(table[half, START])
        for m in range(count):
            at = base + (start + m) % size
            chain[m, 0], chain[m, 1] = points[at, 0], points[at, 1]
        keep[base + start] = True
        keep[base + (start + count - 1) % size] = True
        stack[0, 0], stack[0, 1] = 0, count - 1
        height = 1
        forced = np.int64(least[k])
        while height:
            height -= 1
            i, j = stack[height, 0], stack[height, 1]
            if j - i < 2:
                continue
            far, distance = _farthest(chain, i, j)
            if (
                forced <= 0
                and distance <= tolerance * tolerance
                and not _blocked(chain, i, j, half, distance, entries, cells, columns, left, top)
            ):
                continue
            keep[base + (start + far) % size] = True
            if height + 2 > stack.shape[0]:
                more = np.empty((2 * stack.shape[0], 2), np.int64)
                for m in range(height):
                    more[m, 0], more[m, 1] = stack[m, 0], stack[m, 1]
                stack = more
            # the longer part last, so that the third vertex of a ring is sought there
            if far - i > j - far:
                stack[height, 0], stack[height, 1] = far, j
                stack[height + 1, 0], stack[height + 1, 1] = i, far
            else:
                stack[height, 0], stack[height, 1] = i, far
                stack[height + 1, 0], stack[height + 1, 1] = far, j
            height += 2
            forced -= 1


@njit(cache=True, nogil=True)
def _farthest(chain: Longs, i: int, j: int) -> tuple[int, float]:
    """The vertex between i and j that is farthest from the segment i-j; its squared distance."""
    x, y = chain[i, 0], chain[i, 1]
    dx, dy = chain[j, 0] - x, chain[j, 1] - y
    square = dx * dx + dy * dy
    far = i + 1
    best = -1.0
    for k in range(i + 1, j):
        px, py = chain[k, 0] - x, chain[k, 1] - y
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


@njit(cache=True, nogil=True)
def _blocked(
    chain: Longs,
    i: int,
    j: int,
    half: int,
    reach: float,
    entries: Ints,
    cells: Longs,
    columns: int,
    left: int,
    top: int,
) -> bool:
    """Whether another vertex lies on the chord i-j or between it and the chain.

    ``reach`` is the squared distance from the chord of the chain's farthest vertex.
    """
    ax, ay, bx, by = chain[i, 0], chain[i, 1], chain[j, 0], chain[j, 1]
    dx, dy = bx - ax, by - ay
    length = np.sqrt(np.float64(dx * dx + dy * dy))
    band = (np.sqrt(reach) + 1e-6) * length
    wide = band + (1 << CELL) * 0.75 * length  # for a cell's centre, half a diagonal more
    x0, x1, y0, y1 = ax, ax, ay, ay
    for k in range(i + 1, j + 1):
        x0, x1 = min(x0, chain[k, 0]), max(x1, chain[k, 0])
        y0, y1 = min(y0, chain[k, 1]), max(y1, chain[k, 1])
    half_cell = 1 << (CELL - 1)
    for row in range(y0 >> CELL, (y1 >> CELL) + 1):
        for column in range(x0 >> CELL, (x1 >> CELL) + 1):
            cx, cy = (column << CELL) + half_cell - ax, (row << CELL) + half_cell - ay
            if abs(dx * cy - dy * cx) > wide:
                continue
            cell = (row - top) * columns + column - left
            for k in range(cells[cell], cells[cell + 1]):
                x, y = np.int64(entries[k, 0]), np.int64(entries[k, 1])
                if x < x0 or x > x1 or y < y0 or y > y1:
                    continue
                if entries[k, 2] == half and i <= entries[k, 3] <= j:
                    continue
                if (x == ax and y == ay) or (x == bx and y == by):
                    continue
                cross = dx * (y - ay) - dy * (x - ax)
                if abs(cross) > band:
                    continue
                if cross == 0 and 0 <= (x - ax) * dx + (y - ay) * dy <= dx * dx + dy * dy:
                    return True
                # parity of what a ray to the right crosses: the chord, then the chain
                inside = False
                if (ay > y) != (by > y):
                    inside = (cross > 0) == (dy > 0)
                for m in range(i, j):
                    if (chain[m, 1] > y) != (chain[m + 1, 1] > y) and chain[m, 0] > x:
                        inside = not inside
                if inside:
                    return True
    return False


@njit(cache=True, nogil=True)
def mirror(table: Ints, ring_offsets: Longs, keep: NDArray[np.bool_]) -> None:
    """Copy the flags of each border to the neighbour's side, and to the rings' last points."""
    for half in range(table.shape[0]):
        twin = table[half, TWIN]
        if 0 <= twin < half:
            base = ring_offsets[table[half, RING]]
            size = ring_offsets[table[half, RING] + 1] - base - 1
            other = ring_offsets[table[twin, RING]]
            other_size = ring_offsets[table[twin, RING] + 1] - other - 1
            count = table[half, EDGES] + 1
            for m in range(count):
                keep[other + (table[twin, START] + count - 1 - m) % other_size] = keep[
                    base + (table[half, START] + m) % size
                ]


@njit(cache=True, nogil=True)
def drop(
    points: Ints, nodes: NDArray[np.bool_], ring_offsets: Longs, keep: NDArray[np.bool_]
) -> tuple[Ints, NDArray[np.bool_], Longs]:
    """Rings of the kept points, turned to begin at their topmost, then leftmost vertex."""
    rings = ring_offsets.size - 1
    offsets = np.zeros(rings + 1, np.int64)
    for ring in range(rings):
        offsets[ring + 1] = offsets[ring] + 1
        for k in range(ring_offsets[ring], ring_offsets[ring + 1] - 1):
            offsets[ring + 1] += keep[k]
    result = np.empty((offsets[-1], 2), np.int32)
    result_nodes = np.empty(offsets[-1], np.bool_)
    for ring in range(rings):
        base = ring_offsets[ring]
        size = ring_offsets[ring + 1] - base - 1
        first = -1
        for k in range(base, base + size):
            if keep[k] and (
                first < 0
                or points[k, 1] < points[first, 1]
                or (points[k, 1] == points[first, 1] and points[k, 0] < points[first, 0])
            ):
                first = k
        n = offsets[ring]
        for m in range(size + 1):
            k = base + (first - base + m) % size
            if keep[k]:
                result[n, 0], result[n, 1] = points[k, 0], points[k, 1]
                result_nodes[n] = nodes[k]
                n += 1
    return result, result_nodes, offsets
