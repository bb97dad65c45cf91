"""Exact predicates on segments between integer points.

Coordinates stay below 2**28 steps, so that products of two differences fit into int64.
"""

import numpy as np

from geounet.vector.compiled import inner, kernel
from geounet.vector.trace import Ints

Coordinate = np.int64


@inner
def crosses_ray(
    ax: Coordinate, ay: Coordinate, bx: Coordinate, by: Coordinate, x: Coordinate, y: Coordinate
) -> bool:
    """Whether the ray from (x, y) to the right crosses the segment a-b."""
    if (ay > y) == (by > y):
        return False
    return bool(((bx - ax) * (y - ay) - (by - ay) * (x - ax) > 0) == (by > ay))


@kernel
def inside(ring: Ints, count: np.int64, x: Coordinate, y: Coordinate) -> bool:
    """Whether (x, y) lies inside the ring of the first ``count`` points (not repeated)."""
    result = False
    for m in range(count):
        k = m - 1 if m else count - 1
        ax, ay = np.int64(ring[k, 0]), np.int64(ring[k, 1])
        bx, by = np.int64(ring[m, 0]), np.int64(ring[m, 1])
        if (ay > y) != (by > y):
            result ^= ((bx - ax) * (y - ay) - (by - ay) * (x - ax) > 0) == (by > ay)
    return result


@inner
def _side(
    ax: Coordinate, ay: Coordinate, bx: Coordinate, by: Coordinate, x: Coordinate, y: Coordinate
) -> int:
    cross = (bx - ax) * (y - ay) - (by - ay) * (x - ax)
    return 1 if cross > 0 else (-1 if cross < 0 else 0)


@inner
def meet(one: Ints, other: Ints) -> bool:
    """Whether two segments (x0, y0, x1, y1) meet anywhere but in one common end."""
    ax, ay, bx, by = np.int64(one[0]), np.int64(one[1]), np.int64(one[2]), np.int64(one[3])
    cx, cy, dx, dy = np.int64(other[0]), np.int64(other[1]), np.int64(other[2]), np.int64(other[3])
    if (
        max(ax, bx) < min(cx, dx)
        or max(cx, dx) < min(ax, bx)
        or max(ay, by) < min(cy, dy)
        or max(cy, dy) < min(ay, by)
    ):
        return False
    if (ax == dx and ay == dy) or (bx == dx and by == dy):
        cx, cy, dx, dy = dx, dy, cx, cy
    if bx == cx and by == cy:
        ax, ay, bx, by = bx, by, ax, ay
    if ax == cx and ay == cy:  # a common end: do they run the same way?
        ahead = (bx - ax) * (dx - ax) + (by - ay) * (dy - ay) > 0
        return bool(ahead) and _side(ax, ay, bx, by, dx, dy) == 0
    if _side(ax, ay, bx, by, cx, cy) * _side(ax, ay, bx, by, dx, dy) > 0:
        return False
    return _side(cx, cy, dx, dy, ax, ay) * _side(cx, cy, dx, dy, bx, by) <= 0


@inner
def nearest(ring: Ints, count: np.int64, x: Coordinate, y: Coordinate) -> tuple[float, int, int]:
    """Point of a ring that is nearest to (x, y): its place (number of the segment plus the share
    of it that lies before), and its coordinates, rounded.
    """
    best = np.inf
    place, px, py = 0.0, 0, 0
    for k in range(count):
        after = k + 1 if k + 1 < count else 0
        ax, ay = np.float64(ring[k, 0]), np.float64(ring[k, 1])
        dx, dy = ring[after, 0] - ax, ring[after, 1] - ay
        share = min(max(((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy), 0.0), 1.0)
        distance = (ax + share * dx - x) ** 2 + (ay + share * dy - y) ** 2
        if distance < best:
            best = distance
            place = k + share
            px, py = int(np.round(ax + share * dx)), int(np.round(ay + share * dy))
    return place, px, py


@inner
def first_crossing(
    ring: Ints,
    count: np.int64,
    x0: int | Coordinate,
    y0: int | Coordinate,
    x1: int | Coordinate,
    y1: int | Coordinate,
) -> tuple[float, int, int]:
    """Where the way from (x0, y0) to (x1, y1) first crosses a ring: as ``nearest``, the place -1
    where it does not.
    """
    best = np.inf
    place, px, py = -1.0, 0, 0
    dx, dy = np.float64(x1 - x0), np.float64(y1 - y0)
    for k in range(count):
        after = k + 1 if k + 1 < count else 0
        ax, ay = np.float64(ring[k, 0]) - x0, np.float64(ring[k, 1]) - y0
        sx, sy = np.float64(ring[after, 0] - ring[k, 0]), np.float64(ring[after, 1] - ring[k, 1])
        area = dx * sy - dy * sx
        if area == 0:
            continue
        along = (ax * sy - ay * sx) / area
        share = (ax * dy - ay * dx) / area
        if 0 <= along <= 1 and 0 <= share <= 1 and along < best:
            best = along
            place = k + share
            px, py = int(np.round(x0 + along * dx)), int(np.round(y0 + along * dy))
    return place, px, py
