"""Index of the segments of a coverage that changes.

The segments of the borders as they were are numbered like their first points; new ones follow.
Each is listed in the square cells that its bounding box touches: borders run along the axes, and
new segments are short. Segments are switched off rather than removed.
"""

from typing import NamedTuple

import numpy as np

from geounet.vector.arcs import Flags
from geounet.vector.compiled import inner, kernel
from geounet.vector.segments import inside, meet
from geounet.vector.trace import Ints, Longs


class Grid(NamedTuple):
    """The index; a named tuple, which numba takes as it is."""

    points: Ints
    """(2 * points,) x and y of the borders' points in steps: a segment's lie side by side."""
    fresh: Ints
    """(extra, 4) x0, y0, x1, y1 of new segments in steps."""
    active: Flags
    """(points + extra,) whether a segment is part of the coverage."""
    heads: Ints
    """(rows, columns) first entry of each cell, -1 for none."""
    entries: Ints
    """(k, 2) segment, next entry of the cell."""
    counts: Longs
    """Segments, entries."""
    frame: Longs
    """Binary logarithm of the cell size in steps, first column and row of cells."""


@kernel
def make_grid(points: Ints, offsets: Longs, extra: int, shift: int) -> Grid:
    """Index the borders' segments, with room for ``extra`` more."""
    left, top = points[0, 0], points[0, 1]
    right, bottom = left, top
    for k in range(points.shape[0]):
        left, right = min(left, points[k, 0]), max(right, points[k, 0])
        top, bottom = min(top, points[k, 1]), max(bottom, points[k, 1])
    frame = np.empty(3, np.int64)
    frame[0], frame[1], frame[2] = shift, (left >> shift) - 1, (top >> shift) - 1
    rows, columns = (bottom >> shift) - frame[2] + 2, (right >> shift) - frame[1] + 2
    flat = points.reshape(points.size)
    active = np.zeros(points.shape[0] + extra, np.bool_)
    n_entries = 0
    for border in range(offsets.size - 1):
        for k in range(offsets[border], offsets[border + 1] - 1):
            active[k] = True
            n_entries += cells_of(flat[2 * k : 2 * k + 4], shift)
    heads = np.empty((rows, columns), np.int32)
    for row in range(rows):
        for column in range(columns):
            heads[row, column] = -1
    grid = Grid(
        flat,
        np.empty((extra, 4), np.int32),
        active,
        heads,
        np.empty((n_entries + 4 * extra + 64, 2), np.int32),  # what is not used takes no memory
        np.zeros(2, np.int64),
        frame,
    )
    for k in range(points.shape[0]):
        if active[k]:
            enter(grid, k)
    grid.counts[0] = points.shape[0]
    return grid


@inner
def cells_of(segment: Ints, shift: int) -> int:
    """How many cells a segment is listed in."""
    columns = abs((segment[2] >> shift) - (segment[0] >> shift)) + 1
    rows = abs((segment[3] >> shift) - (segment[1] >> shift)) + 1
    return int(columns * rows)


@inner
def with_room(grid: Grid, entries: int) -> Grid:
    """The same index with room for so many more entries."""
    if grid.counts[1] + entries <= grid.entries.shape[0]:
        return grid
    longer = np.empty((2 * grid.entries.shape[0] + entries, 2), np.int32)
    for k in range(grid.counts[1]):
        longer[k, 0], longer[k, 1] = grid.entries[k, 0], grid.entries[k, 1]
    return Grid(grid.points, grid.fresh, grid.active, grid.heads, longer, grid.counts, grid.frame)


@inner
def segment_of(grid: Grid, number: int) -> Ints:
    """x0, y0, x1, y1 of a segment in steps."""
    own = grid.points.size // 2
    segment: Ints = grid.points[2 * number : 2 * number + 4]
    if number >= own:
        segment = grid.fresh[number - own]
    return segment


@inner
def append(grid: Grid, segment: Ints) -> None:
    """Add a segment; there must be room for it."""
    number = grid.counts[0]
    for m in range(4):
        grid.fresh[number - grid.points.size // 2, m] = segment[m]
    grid.active[number] = True
    grid.counts[0] += 1
    enter(grid, number)


@inner
def enter(grid: Grid, number: int) -> None:
    """List a segment in its cells."""
    segment = segment_of(grid, number)
    shift, left, top = grid.frame
    x0, x1 = min(segment[0], segment[2]) >> shift, max(segment[0], segment[2]) >> shift
    y0, y1 = min(segment[1], segment[3]) >> shift, max(segment[1], segment[3]) >> shift
    for row in range(y0 - top, y1 - top + 1):
        for column in range(x0 - left, x1 - left + 1):
            at = grid.counts[1]
            grid.entries[at, 0], grid.entries[at, 1] = number, grid.heads[row, column]
            grid.heads[row, column] = at
            grid.counts[1] += 1


@kernel
def window(grid: Grid, x0: int, y0: int, x1: int, y1: int) -> tuple[int, int, int, int]:
    """Rows and columns of the cells that a box touches, the ends excluded."""
    shift, left, top = grid.frame
    rows, columns = grid.heads.shape
    return (
        max((y0 >> shift) - top, 0),
        min((y1 >> shift) - top + 1, rows),
        max((x0 >> shift) - left, 0),
        min((x1 >> shift) - left + 1, columns),
    )


@inner
def is_met(grid: Grid, segment: Ints) -> bool:
    """Whether a segment meets an active one anywhere but in a common end."""
    x0, x1 = min(segment[0], segment[2]), max(segment[0], segment[2])
    y0, y1 = min(segment[1], segment[3]), max(segment[1], segment[3])
    row0, row1, column0, column1 = window(grid, x0, y0, x1, y1)
    for row in range(row0, row1):
        for column in range(column0, column1):
            entry = grid.heads[row, column]
            while entry >= 0:
                number = grid.entries[entry, 0]
                if grid.active[number] and meet(segment, segment_of(grid, number)):
                    return True
                entry = grid.entries[entry, 1]
    return False


@inner
def changes_side(
    grid: Grid,
    old: Ints,
    n_old: np.int64,
    new: Ints,
    n_new: np.int64,
    skip: Longs,
    n_skip: np.int64,
) -> bool:
    """Whether an active vertex lies inside one of two rings only.

    The first ``n_skip`` rows of ``skip``, int64 (k, 2), are vertices on either ring.
    """
    x0, x1, y0, y1 = old[0, 0], old[0, 0], old[0, 1], old[0, 1]
    for k in range(n_old):
        x0, x1 = min(x0, old[k, 0]), max(x1, old[k, 0])
        y0, y1 = min(y0, old[k, 1]), max(y1, old[k, 1])
    for k in range(n_new):
        x0, x1 = min(x0, new[k, 0]), max(x1, new[k, 0])
        y0, y1 = min(y0, new[k, 1]), max(y1, new[k, 1])
    row0, row1, column0, column1 = window(grid, x0, y0, x1, y1)
    for row in range(row0, row1):
        for column in range(column0, column1):
            entry = grid.heads[row, column]
            while entry >= 0:
                number = grid.entries[entry, 0]
                entry = grid.entries[entry, 1]
                if not grid.active[number]:
                    continue
                segment = segment_of(grid, number)
                for end in range(0, 4, 2):
                    x, y = np.int64(segment[end]), np.int64(segment[end + 1])
                    if x < x0 or x > x1 or y < y0 or y > y1:
                        continue
                    known = False
                    for k in range(n_skip):
                        known |= skip[k, 0] == x and skip[k, 1] == y
                    if not known and inside(old, n_old, x, y) != inside(new, n_new, x, y):
                        return True
    return False
