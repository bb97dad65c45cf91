"""Outlines of one strip of a class mask, followed along the cracks between its pixels.

Strategy. The cracks (pixel edges between different classes) of a strip form a planar map on the
integer lattice of pixel corners. ``scan`` runs over the rows once and builds that map: a vertex
stands where a crack turns or where three or more cracks meet, and nowhere else. Vertices are
numbered in row-major order, so the neighbour to the east of ``v`` is ``v + 1`` and to the west
``v - 1``; only the neighbours above and below are stored. ``walk`` then follows every face of the
map with the face on its right-hand side, turning right wherever it can. That separates pixels that
touch at a corner only (4-connectivity). What it yields are *pieces*: closed rings, and open ones
that begin and end where the strip was cut. At the cut, every vertical crack ends in a *seam vertex*
that exists on both sides of the cut but is never written.

Holes find their region without geometry: the top left corner of a hole looks to the nearest crack
on its left in the row above, whose eastern side belongs to the same region. ``walk`` records that
as a *link* between two pieces.

The sum of the confidences over a region, like its area, is a boundary integral. With P(x, y) the
sum of row y left of x, a vertical crack adds P once for every row that it spans, positive where it
is walked down and negative where it is walked up. ``scan`` sums P along each vertical crack, so no
labelled raster is ever needed.
"""

import numpy as np
from numpy.typing import NDArray

from geounet.vector.compiled import inner, kernel

Ints = NDArray[np.int32]
Longs = NDArray[np.int64]
Bytes = NDArray[np.uint8]

EAST, SOUTH, WEST, NORTH = 0, 1, 2, 3
"""Directions of a walk; a right turn adds one."""
END = np.int32(2**31 - 1)
"""Column beyond every row, ends a list of changes."""

NODE = 1
"""Bit of a packed x: three or more cracks meet here."""
PINCH = 2
"""Bit of a packed x: four cracks meet here, so that one ring may pass twice."""

LENGTH, NEXT, SIBLING, REGION, PINCHES = 0, 1, 2, 3, 4
"""Columns of a table of pieces: number of vertices, piece that continues the ring (-1: open,
itself: closed), next piece of the same region, region, number of vertices that carry ``PINCH``."""


@inner
def _changes(row: Bytes, void: int, columns: Ints, classes: Ints) -> int:
    """Columns at which the class changes, and the class from there on; returns how many."""
    width = row.size
    count = 0
    if row[0] != void:
        columns[0] = 0
        classes[0] = row[0]
        count = 1
    x = 1
    while x < width:
        size = min(64, width - x)
        here, before = row[x : x + size], row[x - 1 : x - 1 + size]
        if size == 64:  # one vectorised look at 64 pixels: most hold no change
            differs = np.uint8(0)
            for k in range(64):
                differs = np.uint8(differs | np.uint8(here[k] ^ before[k]))
            if not differs:
                x += 64
                continue
        for k in range(size):
            if here[k] != before[k]:
                columns[count] = x + k
                classes[count] = here[k]
                count += 1
        x += size
    if row[width - 1] != void:
        columns[count] = width
        classes[count] = void
        count += 1
    columns[count] = END
    return count


@inner
def _longer(vertices: Ints, count: int, capacity: int) -> Ints:
    """A larger table that begins with the first ``count`` rows."""
    result = np.empty((capacity, 4), np.int32)
    for k in range(count):
        for m in range(4):
            result[k, m] = vertices[k, m]
    return result


@kernel
def scan(
    mask: Bytes, above: Bytes, confidence: Bytes, void: int, top: int, last: bool
) -> tuple[Ints, Bytes, Longs, int, int, int, int]:
    """Build the planar map of the cracks of a strip.

    Args:
        mask: uint8 (rows, width).
        above: uint8 (width,), the row above the strip; (0,) where the strip is the first.
        confidence: uint8 (rows, width), or (0, 0).
        void: class without polygons, which also surrounds the raster; 256 for none.
        top: row of the raster at which the strip begins.
        last: the raster ends with this strip.

    Returns:
        ``vertices`` int32 (n, 4): x, y, vertex above, vertex below (for a corner without a crack
        above: the upper end of the nearest crack to its left, see ``walk``); ``flags`` uint8 (n,):
        low nibble the directions that have a crack, high nibble the directions yet to be walked;
        ``sums`` int64 (n,) the sum of P along the crack above (empty without confidence); numbers
        of seam vertices at the top (the first vertices) and the bottom (the last ones), of
        vertices to be written, and an upper bound of the number of links.
    """
    rows, width = mask.shape
    weighted = confidence.shape[0] > 0
    upper, lower = np.empty(width + 2, np.int32), np.empty(width + 2, np.int32)
    upper_class, lower_class = np.empty(width + 2, np.int32), np.empty(width + 2, np.int32)
    prefix = np.zeros(width + 2, np.int64)
    arm_top = np.zeros(width + 1, np.int32)  # upper end of the vertical crack at a column
    arm_sum = np.zeros(width + 1, np.int64)
    n_upper = _changes(above, void, upper, upper_class) if above.size else 0
    upper[n_upper] = END
    n_top = n_upper
    capacity = 8 * width + 64
    vertices = np.empty((capacity, 4), np.int32)
    flags = np.empty(capacity, np.uint8)
    sums = np.empty(capacity if weighted else 0, np.int64)
    for j in range(n_top):
        vertices[j, 0], vertices[j, 1], vertices[j, 2] = upper[j], top, -1
        west = upper_class[j - 1] if j else void
        flags[j] = (1 << SOUTH) | ((16 << SOUTH) if west != void else 0)
        arm_top[upper[j]] = j
    count = n_top
    written = 0
    links = 0
    for r in range(rows + 1 if last else rows):
        n_lower = 0
        if r < rows:
            n_lower = _changes(mask[r], void, lower, lower_class)
            if weighted:
                total = np.int64(0)
                x = 0
                for j in range(n_lower):
                    for k in range(x, lower[j]):
                        total += np.int64(confidence[r, k])
                    x = lower[j]
                    prefix[j] = total
        lower[n_lower] = END
        if count + 2 * (n_upper + n_lower) > capacity:
            capacity = 2 * capacity + 2 * (n_upper + n_lower)
            vertices = _longer(vertices, count, capacity)
            more_flags = np.empty(capacity, np.uint8)
            more_sums = np.empty(capacity if weighted else 0, np.int64)
            for k in range(count):  # (loops: array assignments take long to compile)
                more_flags[k] = flags[k]
                if weighted:
                    more_sums[k] = sums[k]
            flags, sums = more_flags, more_sums
        i = 0
        j = 0
        # the pixels around a corner:  a | b   above
        #                              c | d   below
        a = void
        c = void
        west_top = np.int32(-1)  # upper end of the nearest crack to the left in the row above
        while True:
            x = min(upper[i], lower[j])
            if x == END:
                break
            b = a
            d = c
            if upper[i] == x:
                b = upper_class[i]
                i += 1
            if lower[j] == x:
                d = lower_class[j]
                j += 1
            to_west, to_north, to_east, to_south = a != c, a != b, b != d, c != d
            if to_west or to_east or not to_north:  # else a vertical crack passes straight through
                v = count
                count += 1
                vertices[v, 0], vertices[v, 1] = x, top + r
                arms = to_east | (to_south << SOUTH) | (to_west << WEST) | (to_north << NORTH)
                todo = (
                    (to_east and d != void)
                    | ((to_south and c != void) << SOUTH)
                    | ((to_west and a != void) << WEST)
                    | ((to_north and b != void) << NORTH)
                )
                flags[v] = arms | (todo << 4)
                written += (todo & 1) + (todo >> 1 & 1) + (todo >> 2 & 1) + (todo >> 3)
                if to_north:
                    west_top = arm_top[x]
                    vertices[west_top, 3] = v
                    if weighted:
                        sums[v] = arm_sum[x]
                else:
                    links += 1
                vertices[v, 2] = west_top
                if to_south:
                    arm_top[x] = v
                    arm_sum[x] = 0
            else:
                west_top = arm_top[x]
            if weighted and to_south:
                arm_sum[x] += prefix[j - 1]
            a = b
            c = d
        upper, lower = lower, upper
        upper_class, lower_class = lower_class, upper_class
        n_upper = n_lower
    for j in range(n_upper):
        x = upper[j]
        v = count
        count += 1
        vertices[v, 0], vertices[v, 1] = x, top + rows
        vertices[v, 2], vertices[v, 3] = arm_top[x], -1
        vertices[arm_top[x], 3] = v
        flags[v] = (1 << NORTH) | ((16 << NORTH) if upper_class[j] != void else 0)
        if weighted:
            sums[v] = arm_sum[x]
    return vertices[:count], flags[:count], sums[:count], n_top, n_upper, written, links


@kernel
def walk(
    mask: Bytes,
    top: int,
    vertices: Ints,
    flags: Bytes,
    sums: Longs,
    n_top: int,
    n_bottom: int,
    written: int,
    max_links: int,
) -> tuple[Ints, Longs, Ints, Bytes, Ints, Longs, Ints, Ints]:
    """Follow every face of the planar map that ``scan`` built; clears ``flags``.

    A closed piece begins at its topmost, then leftmost vertex, because walks begin in that order.

    Returns:
        ``points`` int32 (written, 2): x * 4 + bits (``NODE``, ``PINCH``), y; ``offsets`` int64
        (pieces,) into the points; ``pieces`` int32 (pieces, 5), region and sibling unset;
        ``classes`` uint8 (pieces,); ``lowest`` int32 (pieces,) the largest y; ``amounts`` int64
        (pieces, 2): parts of the pixel count and of the sum of confidences; ``seams`` int32
        (n_top + n_bottom, 2): pieces that begin and end at each seam vertex, -1 for none;
        ``links`` int32 (m, 2): pairs of pieces of the same region.
    """
    count = vertices.shape[0]
    first_bottom = count - n_bottom
    weighted = sums.size > 0
    points = np.empty((written, 2), np.int32)
    bound = written // 4 + n_top + n_bottom + 1
    offsets = np.empty(bound, np.int64)
    pieces = np.empty((bound, 5), np.int32)
    classes = np.empty(bound, np.uint8)
    lowest = np.empty(bound, np.int32)
    amounts = np.zeros((bound, 2), np.int64)
    seams = np.full((n_top + n_bottom, 2), -1, np.int32)
    below_piece = np.empty(count, np.int32)  # piece that walks up to a vertex from below
    links = np.empty((max_links, 2), np.int32)
    n_links = 0
    n = 0
    piece = 0
    for step in range(2 * count):
        # open pieces first, then rings, so that a ring is entered at its topmost left vertex
        start = step if step < count else step - count
        seam = start < n_top or start >= first_bottom
        if seam == (step >= count):
            continue
        for turn in range(1 if seam else 2):
            heading = turn  # a ring leaves its first vertex eastward (shell) or southward (hole)
            if seam:
                heading = SOUTH if start < n_top else NORTH
            if not flags[start] >> (4 + heading) & 1:
                continue
            x, y = vertices[start, 0], vertices[start, 1]
            if heading == NORTH:
                classes[piece] = mask[y - 1 - top, x]
            else:
                classes[piece] = mask[y - top, x - 1 if heading == SOUTH else x]
            offsets[piece] = n
            v = start
            way = heading
            area = np.int64(0)
            weight = np.int64(0)
            bottom = y
            pinches = 0
            closed = False
            if seam:
                seams[start if start < n_top else start - first_bottom + n_top, 0] = piece
            while True:
                flags[v] &= ~(16 << way)
                x, y = vertices[v, 0], vertices[v, 1]
                if n_top <= v < first_bottom:
                    bits = 0
                    arms = flags[v] & 15
                    if arms == 15:
                        bits = NODE | PINCH
                        pinches += 1
                    elif arms == 7 or arms == 11 or arms == 13 or arms == 14:
                        bits = NODE
                    points[n, 0] = x * 4 + bits
                    points[n, 1] = y
                    n += 1
                if way == EAST:
                    v += 1
                elif way == WEST:
                    v -= 1
                elif way == SOUTH:
                    v = vertices[v, 3]
                    area += np.int64(x) * (vertices[v, 1] - y)
                    bottom = max(bottom, vertices[v, 1])
                    if weighted:
                        weight += sums[v]
                else:
                    if weighted:
                        weight -= sums[v]
                    v = vertices[v, 2]
                    area += np.int64(x) * (vertices[v, 1] - y)
                    below_piece[v] = piece
                if v < n_top or v >= first_bottom:
                    seams[v if v < n_top else v - first_bottom + n_top, 1] = piece
                    break
                arms = flags[v] & 15
                if way == WEST and arms == (1 << EAST) | (1 << SOUTH):
                    links[n_links, 0] = piece
                    links[n_links, 1] = vertices[v, 2]
                    n_links += 1
                turned = (way + 1) & 3
                if not arms >> turned & 1:
                    turned = way
                    if not arms >> turned & 1:
                        turned = (way + 3) & 3
                way = turned
                if v == start and way == heading:
                    closed = True
                    break
            pieces[piece, LENGTH] = n - offsets[piece]
            pieces[piece, NEXT] = piece if closed else -1
            pieces[piece, PINCHES] = pinches
            lowest[piece] = bottom
            amounts[piece, 0] = area
            amounts[piece, 1] = weight
            piece += 1
    for k in range(n_links):
        links[k, 1] = below_piece[links[k, 1]]
    return (
        points,
        offsets[:piece],
        pieces[:piece],
        classes[:piece],
        lowest[:piece],
        amounts[:piece],
        seams,
        links[:n_links],
    )
