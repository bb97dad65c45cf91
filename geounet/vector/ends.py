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
BESIDE = 128
"""Steps between points of two outlines that are taken for one."""
NEAR = 3 * 256
"""Steps: how far from an old end of a border the outlines of two buildings may be led on to each
other."""


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
    wanted: Ints,
) -> tuple[bool, int, int, int, float, int, int]:
    """Lead the border that ends where ``half`` begins on to a new ring.

    Switches off the segments that this cuts and lists them in ``off``. ``wanted`` int32 (k, 2) is
    the closed ring that the border will be part of, (0, 2) if it is none: a building's wall is led
    on in its own direction.

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
    met, met_x, met_y = meeting(ring, n_ring, wanted, x, y)
    if (at_x == x and at_y == y) or inside(ring, n_ring, x, y) != shell:
        if not grid.active[begin if end == HEAD else begin - 1]:
            return failed  # cut at the other end already
        if met >= 0:
            place, at_x, at_y = met, met_x, met_y
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
            ring, n_ring, np.int64(points[one, 0]), np.int64(points[one, 1]),
            np.int64(points[two, 0]), np.int64(points[two, 1]),
        )  # fmt: skip
        if place >= 0 and (at_x != points[two, 0] or at_y != points[two, 1]):
            if met >= 0:
                place, at_x, at_y = met, met_x, met_y
            return True, border, end, taken, place % n_ring, at_x, at_y
    for k in range(taken):
        grid.active[off[n_off + k]] = True
    return failed


@inner
def meeting(
    ring: Ints, n_ring: np.int64, wanted: Ints, x: np.int64, y: np.int64
) -> tuple[float, int, int]:
    """Where a wall of the closed ring ``wanted``, drawn out a little, meets a ring next to (x, y):
    as ``nearest``, the place -1 where none does.
    """
    best = np.float64(NEAR) * NEAR
    place, px, py = -1.0, 0, 0
    for k in range(wanted.shape[0] - 1):
        dx, dy = wanted[k + 1, 0] - wanted[k, 0], wanted[k + 1, 1] - wanted[k, 1]
        more = NEAR / max(np.sqrt(np.float64(dx) * dx + np.float64(dy) * dy), 1.0)
        for far in range(2):  # seen from either end
            sign = 1 - 2 * far
            at, after = wanted[k + far], wanted[k + 1 - far]
            own, own_x, own_y = first_crossing(
                ring, n_ring, at[0] - int(sign * more * dx), at[1] - int(sign * more * dy),
                after[0] + int(sign * more * dx), after[1] + int(sign * more * dy),
            )  # fmt: skip
            distance = np.float64(own_x - x) ** 2 + np.float64(own_y - y) ** 2
            if own >= 0 and distance < best:
                best = distance
                place, px, py = own, own_x, own_y
    corner = int(np.round(place) % n_ring)
    if place >= 0 and max(abs(ring[corner, 0] - px), abs(ring[corner, 1] - py)) <= BESIDE:
        place, px, py = float(corner), int(ring[corner, 0]), int(ring[corner, 1])
    return place, px, py


@inner
def new_place(replaced: Longs, border: int, forward: bool, step: int | np.int64) -> int:
    """Place among the new points of a border's point after so many steps from either end."""
    return int(replaced[border, 0] + step if forward else replaced[border, 1] - 1 - step)


@inner
def append_border(
    border: int,
    forward: bool,
    points: Ints,
    offsets: Longs,
    ends: Longs,
    ring: Ints,
    count: np.int64,
) -> np.int64:
    """Add a border that was not replaced, as it is with its new ``ends``, to a ring of ``count``
    points; its last point is left to the border that follows. Returns the new count.
    """
    begin, last = offsets[border], offsets[border + 1] - 1
    end = HEAD if forward else TAIL
    if ends[border, end, 0] >= 0:
        ring[count, 0], ring[count, 1] = ends[border, end, 1], ends[border, end, 2]
        count += 1
        end = NONE
    for p in range(last - begin):
        at = begin + p if forward else last - p
        gone = at - begin < ends[border, HEAD, 0] or last - at < ends[border, TAIL, 0]
        x, y = points[at, 0], points[at, 1]
        again = p == 0 and end == NONE and ring[count - 1, 0] == x and ring[count - 1, 1] == y
        if not (gone or again):
            ring[count, 0], ring[count, 1] = x, y
            count += 1
    return count


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
