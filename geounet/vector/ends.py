"""Ends of borders that meet a building whose rings are replaced."""

import numpy as np
from numpy.typing import NDArray

from geounet.vector.arcs import FOLLOW, TWIN
from geounet.vector.compiled import inner, kernel
from geounet.vector.grid import Grid
from geounet.vector.segments import first_crossing, inside, nearest
from geounet.vector.trace import Ints, Longs

NONE, HEAD, TAIL = -1, 0, 1
"""Ends of a border."""
FARTHEST = 64
"""A border may lose this many edges where it ends inside a squared building."""


@inner
def attach(
    half: int,
    shell: bool,
    ring: Ints,
    n_ring: np.int64,
    table: Ints,
    before: Ints,
    degree: NDArray[np.uint8],
    borders: Ints,
    first: Longs,
    points: Ints,
    offsets: Longs,
    replaced: Longs,
    grid: Grid,
    off: Longs,
    n_off: np.int64,
) -> tuple[bool, int, int, int, float, int, int]:
    """Lead the border that ends where ``half`` begins on to a new ring.

    Switches off the segments that this cuts and lists them in ``off``.

    Returns:
        Whether it worked; the border, which end of it, how many points it loses there, and where
        it now ends: place on the ring (see ``nearest``), x, y.
    """
    failed = (False, NONE, NONE, 0, 0.0, 0, 0)
    if degree[half] != 3:
        return failed
    twin, other = table[half, TWIN], table[before[half], TWIN]
    if twin >= 0:
        leaving = table[twin, FOLLOW]
        if other >= 0 and borders[before[other]] != borders[leaving]:
            return failed
        border = borders[leaving]
        end = HEAD if first[border] == leaving else TAIL
    elif other >= 0:
        border = borders[before[other]]
        end = TAIL if first[border] == before[other] else HEAD
    else:
        return failed
    if replaced[border, 0] >= 0:
        return failed
    begin, step = offsets[border], 1
    if end == TAIL:
        begin, step = offsets[border + 1] - 1, -1
    size = offsets[border + 1] - offsets[border]
    x, y = np.int64(points[begin, 0]), np.int64(points[begin, 1])
    place, at_x, at_y = nearest(ring, n_ring, x, y)
    if (at_x == x and at_y == y) or inside(ring, n_ring, x, y) != shell:
        if not grid.active[begin if end == HEAD else begin - 1]:
            return failed  # cut at the other end already
        return True, border, end, 0, place % n_ring, at_x, at_y
    taken = 0
    while taken < FARTHEST:
        if taken + 1 >= size:
            break
        edge = begin + taken if end == HEAD else begin - taken - 1
        if not grid.active[edge]:
            break
        grid.active[edge] = False
        off[n_off + taken] = edge
        one, two = begin + step * taken, begin + step * (taken + 1)
        taken += 1
        place, at_x, at_y = first_crossing(
            ring, n_ring, points[one, 0], points[one, 1], points[two, 0], points[two, 1]
        )
        if place >= 0 and (at_x != points[two, 0] or at_y != points[two, 1]):
            return True, border, end, taken, place % n_ring, at_x, at_y
    for k in range(taken):
        grid.active[off[n_off + k]] = True
    return failed


@inner
def ascending(places: NDArray[np.float64], count: int) -> bool:
    """Whether places on a ring follow each other all the way round once."""
    falls = 0
    for k in range(count):
        falls += places[(k + 1) % count] <= places[k]
    return count < 2 or falls == 1


@inner
def turning(ring: Ints, count: np.int64) -> int:
    """Twice the signed area of a ring."""
    area = np.int64(0)
    for k in range(1, count - 1):
        area += np.int64(ring[k, 0] - ring[0, 0]) * (ring[k + 1, 1] - ring[0, 1])
        area -= np.int64(ring[k, 1] - ring[0, 1]) * (ring[k + 1, 0] - ring[0, 0])
    return int(area)


@kernel
def rebuild(
    points: Ints, offsets: Longs, replaced: Longs, ends: Longs, new_points: Ints
) -> tuple[Ints, Longs]:
    """The borders' points and offsets after the changes that ``fit`` describes."""
    result = np.empty((points.shape[0] + new_points.shape[0] + 2 * offsets.size, 2), np.int32)
    result_offsets = np.zeros(offsets.size, np.int64)
    n = 0
    for border in range(offsets.size - 1):
        if replaced[border, 0] >= 0:
            for k in range(replaced[border, 0], replaced[border, 1]):
                result[n, 0], result[n, 1] = new_points[k, 0], new_points[k, 1]
                n += 1
        else:
            begin, end = offsets[border], offsets[border + 1]
            if ends[border, HEAD, 0] >= 0:
                result[n, 0], result[n, 1] = ends[border, HEAD, 1], ends[border, HEAD, 2]
                begin += ends[border, HEAD, 0]
                n += 1
                if points[begin, 0] == result[n - 1, 0] and points[begin, 1] == result[n - 1, 1]:
                    begin += 1
            if ends[border, TAIL, 0] >= 0:
                end -= ends[border, TAIL, 0]
            for k in range(begin, end):
                result[n, 0], result[n, 1] = points[k, 0], points[k, 1]
                n += 1
            if ends[border, TAIL, 0] >= 0:
                x, y = ends[border, TAIL, 1], ends[border, TAIL, 2]
                if result[n - 1, 0] != x or result[n - 1, 1] != y:
                    result[n, 0], result[n, 1] = x, y
                    n += 1
        result_offsets[border + 1] = n
    return result[:n], result_offsets
