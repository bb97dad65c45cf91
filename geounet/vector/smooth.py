"""Round the corners of shared borders, the same for both sides.

Strategy. Chaikin's corner cutting (1974): each corner gives way to the chord between two points on
its edges, a quarter of the edge away or less. A corner is cut only if no other vertex lies in the
triangle that this takes off; as for ``simplify``, that keeps borders from crossing whatever the
order (up to the rounding of the new points to a step, which is allowed for by a margin). Nodes
stay, and so do borders that are fixed.
"""

from collections.abc import Collection
from dataclasses import replace

import numpy as np

from geounet.vector.arcs import FOLLOW, OWNER, TWIN, Coverage, Flags, number_starts
from geounet.vector.compiled import kernel
from geounet.vector.simplify import CELL, Vertices, index_vertices, is_blocked, with_kept
from geounet.vector.trace import Ints, Longs

ROUNDS = 2
"""Each round halves the turn that is left at a corner."""
REACH = 4.0
"""Farthest from a corner, in pixels, that it is cut."""


def smooth_borders(coverage: Coverage, classes: Collection[int]) -> Coverage:
    """Round the borders of the polygons of some classes.

    Args:
        coverage: with many steps per pixel.
        classes: class ids; a border is rounded if a polygon on either side is of such a class.
    """
    table = coverage.halves.table
    chosen = np.isin(coverage.source.class_id, list(classes))
    twins = table[coverage.first, TWIN]
    rounded = chosen[table[coverage.first, OWNER]] & ~coverage.fixed
    rounded |= (twins >= 0) & chosen[table[twins, OWNER]] & ~coverage.fixed
    if not rounded.any():
        return coverage
    numbers, count = number_starts(coverage.halves.heads)
    alone = table[:, TWIN] < 0
    degree = np.bincount(numbers, minlength=count)
    degree += np.bincount(numbers[table[alone, FOLLOW]], minlength=count)
    rings = degree[numbers[coverage.first]] == 2
    shift = CELL + coverage.scale.bit_length() - 1
    for turn in range(ROUNDS):
        reach = REACH * coverage.scale / 2**turn
        points, offsets, corners = subdivide(
            coverage.points, coverage.offsets, rounded, rings, reach
        )
        keep = cut_corners(points, corners, index_vertices(points, shift))
        coverage = with_kept(replace(coverage, points=points, offsets=offsets), keep)
    return coverage


@kernel
def subdivide(
    points: Ints, offsets: Longs, rounded: Flags, rings: Flags, reach: float
) -> tuple[Ints, Longs, Flags]:
    """Put a point on either side of each corner of the borders ``rounded``.

    A border that is a ring without nodes (``rings``) is opened in the middle of its first edge, so
    that its first vertex is a corner like the others.

    Returns:
        Points, offsets, and which points are corners.
    """
    result = np.empty((3 * points.shape[0] + 2 * offsets.size, 2), np.int32)
    corners = np.zeros(result.shape[0], np.bool_)
    result_offsets = np.zeros(offsets.size, np.int64)
    n = 0
    for border in range(offsets.size - 1):
        begin, size = offsets[border], offsets[border + 1] - offsets[border]
        if not rounded[border]:
            for k in range(size):
                result[n, 0], result[n, 1] = points[begin + k, 0], points[begin + k, 1]
                n += 1
        else:
            first = n
            for m in range(2):
                result[n, m] = points[begin, m]
                if rings[border]:
                    result[n, m] = (points[begin, m] + points[begin + 1, m]) // 2
            n += 1
            for k in range(1, size if rings[border] else size - 1):
                at = begin + k
                after = at + 1 if k + 1 < size else begin + 1
                for other in (at - 1, after):
                    dx = np.float64(points[other, 0]) - points[at, 0]
                    dy = np.float64(points[other, 1]) - points[at, 1]
                    share = min(0.25, reach / np.sqrt(dx * dx + dy * dy))
                    if other == after:
                        result[n, 0], result[n, 1] = points[at, 0], points[at, 1]
                        corners[n] = True
                        n += 1
                    result[n, 0] = points[at, 0] + np.round(share * dx)
                    result[n, 1] = points[at, 1] + np.round(share * dy)
                    n += 1
            last = first if rings[border] else begin + size - 1
            for m in range(2):
                result[n, m] = result[last, m] if rings[border] else points[last, m]
            n += 1
        result_offsets[border + 1] = n
    return result[:n], result_offsets, corners[:n]


@kernel
def cut_corners(points: Ints, corners: Flags, index: Vertices) -> Flags:
    """Which points stay: all but the corners whose triangle holds no other vertex."""
    keep = np.ones(corners.size, np.bool_)
    for k in range(corners.size):
        if corners[k]:
            dx = np.float64(points[k, 0]) - points[k - 1, 0]
            dy = np.float64(points[k, 1]) - points[k - 1, 1]
            far = dx * dx + dy * dy + 4
            keep[k] = is_blocked(points, k - 1, k + 1, far, index)
    return keep
