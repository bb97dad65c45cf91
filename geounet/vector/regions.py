"""From pieces of outlines to regions, and from finished regions to polygons.

Strategy. A *pool* holds pieces (see ``trace``) grouped by region. Regions form a union-find forest
and carry sums; each keeps its pieces in a linked list, so that two regions merge in constant time.
A strip's own pool is made by ``group``. Regions that no cut touches are finished and turn into
polygons where they are, in parallel between strips; only the others are carried on (``absorb``, one
strip after the other, work proportional to what is carried). At a cut the open pieces above and
below are tied end to start; a region is finished once no open end is left.

A finished ring is a cycle of pieces. ``rings`` finds each ring's first vertex, and where a ring
touches itself in a corner (``PINCH`` visited twice) it is split there into simple rings, so that
shells and holes are valid.
"""

import numpy as np
from numpy.typing import NDArray

from geounet.vector.compiled import inner, kernel
from geounet.vector.trace import (
    LENGTH,
    NEXT,
    PINCH,
    PINCHES,
    REGION,
    SIBLING,
    Bytes,
    Ints,
    Longs,
)

PARENT, HEAD, TAIL, ENDS, CLASS, LOWEST = 0, 1, 2, 3, 4, 5
"""Columns of a table of regions: union-find parent, first and last piece of its list, open ends,
class, largest y."""


@inner
def root_of(regions: Ints, region: int) -> int:
    """Number under which a region's sums and list are kept."""
    while regions[region, PARENT] != region:
        regions[region, PARENT] = regions[regions[region, PARENT], PARENT]
        region = regions[region, PARENT]
    return region


@inner
def unite(regions: Ints, amounts: Longs, pieces: Ints, one: int, other: int) -> None:
    """Merge two regions; the smaller number stays the root."""
    one, other = root_of(regions, one), root_of(regions, other)
    if one == other:
        return
    one, other = min(one, other), max(one, other)
    regions[other, PARENT] = one
    pieces[regions[one, TAIL], SIBLING] = regions[other, HEAD]
    regions[one, TAIL] = regions[other, TAIL]
    regions[one, ENDS] += regions[other, ENDS]
    regions[one, LOWEST] = max(regions[one, LOWEST], regions[other, LOWEST])
    amounts[one, 0] += amounts[other, 0]
    amounts[one, 1] += amounts[other, 1]


@kernel
def group(
    pieces: Ints, classes: Bytes, lowest: Ints, amounts: Longs, links: Ints
) -> tuple[Ints, Longs, Longs]:
    """Group a strip's pieces into regions.

    Returns:
        ``regions`` int32 (pieces, 6), of which the roots count (``amounts`` are summed there), the
        roots of finished regions in order of their first pixels, and those of the others.
    """
    count = pieces.shape[0]
    regions = np.empty((count, 6), np.int32)
    for p in range(count):
        pieces[p, SIBLING] = -1
        pieces[p, REGION] = p
        regions[p, PARENT] = regions[p, HEAD] = regions[p, TAIL] = p
        regions[p, ENDS] = 2 if pieces[p, NEXT] < 0 else 0
        regions[p, CLASS] = classes[p]
        regions[p, LOWEST] = lowest[p]
    for k in range(links.shape[0]):
        unite(regions, amounts, pieces, links[k, 0], links[k, 1])
    done, rest = np.empty(count, np.int64), np.empty(count, np.int64)
    n_done = n_rest = 0
    for p in range(count):
        if regions[p, PARENT] == p:
            if regions[p, ENDS] == 0:
                done[n_done] = p
                n_done += 1
            else:
                rest[n_rest] = p
                n_rest += 1
    return regions, done[:n_done], rest[:n_rest]


@kernel
def rings(
    finished: Longs, regions: Ints, pieces: Ints, offsets: Longs, points: Ints
) -> tuple[Longs, Longs, Ints, bool]:
    """Describe the rings of finished regions.

    Returns:
        ``records`` int64 (rings, 5), grouped by region: number of the region in ``finished``, sort
        key (y * 2**31 + x of the first vertex), piece in which the ring begins (negative: -1 -
        offset into the loops), vertices of that piece to skip, length; ``ring_offsets`` int64
        (finished + 1,) into the records; ``loops`` int32 (k, 2) points of rings that were split;
        and whether the records are sorted by region and key.
    """
    n_pieces = n_pinches = n_points = 0  # bounds; memory that is not written costs nothing
    for q in range(finished.size):
        piece = regions[finished[q], HEAD]
        while piece >= 0:
            n_pieces += 1
            n_pinches += pieces[piece, PINCHES]
            n_points += pieces[piece, LENGTH]
            piece = pieces[piece, SIBLING]
    records = np.empty((n_pieces + n_pinches, 5), np.int64)
    first = np.zeros(finished.size + 1, np.int64)
    loops = np.empty((n_points if n_pinches > 1 else 0, 2), np.int32)
    n_loops = 0
    n = 0
    ordered = True
    for q in range(finished.size):
        piece = regions[finished[q], HEAD]
        while piece >= 0:
            if pieces[piece, NEXT] >= 0:  # negative: part of a ring already described
                length = np.int64(0)
                pinches = 0
                key = np.int64(2**62)
                begin = piece
                skip = 0
                part = piece
                while True:
                    at = offsets[part]
                    size = pieces[part, LENGTH]
                    alone = pieces[part, NEXT] == part  # closed in its strip: begins at its first
                    for k in range(1 if alone else size):
                        own = (np.int64(points[at + k, 1]) << 31) + (points[at + k, 0] >> 2)
                        if own < key:
                            key, begin, skip = own, part, k
                    length += size
                    pinches += pieces[part, PINCHES]
                    follower = pieces[part, NEXT]
                    pieces[part, NEXT] = -2 - follower
                    part = follower
                    if part == piece:
                        break
                n_new = 1
                if pinches >= 2:
                    ring = np.empty((int(length), 2), np.int32)
                    _gather(begin, int(skip), pieces, offsets, points, ring)
                    parts, order = _split(ring, pinches)
                    n_new = parts.size - 1
                if n_new == 1:
                    records[n, 0], records[n, 1], records[n, 2] = q, key, begin
                    records[n, 3], records[n, 4] = skip, length
                else:
                    for k in range(length):
                        loops[n_loops + k, 0] = ring[order[k], 0]
                        loops[n_loops + k, 1] = ring[order[k], 1]
                    for k in range(n_new):
                        at = n_loops + parts[k]
                        size = parts[k + 1] - parts[k]
                        best = at
                        for m in range(at + 1, at + size):
                            if loops[m, 1] < loops[best, 1] or (
                                loops[m, 1] == loops[best, 1] and loops[m, 0] < loops[best, 0]
                            ):
                                best = m
                        own = (np.int64(loops[best, 1]) << 31) + (loops[best, 0] >> 2)
                        records[n + k, 0], records[n + k, 1], records[n + k, 2] = q, own, -1 - at
                        records[n + k, 3], records[n + k, 4] = best - at, size
                    n_loops += length
                for k in range(max(n, 1), n + n_new):
                    if records[k, 0] == records[k - 1, 0] and records[k, 1] < records[k - 1, 1]:
                        ordered = False
                n += n_new
            piece = pieces[piece, SIBLING]
        first[q + 1] = n
    return records[:n], first, loops[:n_loops], ordered


@inner
def _gather(piece: int, skip: int, pieces: Ints, offsets: Longs, points: Ints, ring: Ints) -> None:
    """Copy the ring of described pieces that begins ``skip`` vertices into ``piece``."""
    n = 0
    part = piece
    at = offsets[part] + skip
    end = offsets[part] + pieces[part, LENGTH]
    while n < ring.shape[0]:
        while at < end and n < ring.shape[0]:
            ring[n, 0], ring[n, 1] = points[at, 0], points[at, 1]
            n += 1
            at += 1
        part = -2 - pieces[part, NEXT]
        at = offsets[part]
        end = at + pieces[part, LENGTH]


@inner
def _split(ring: Ints, pinches: int) -> tuple[Longs, Ints]:
    """Split a ring at the corners that it visits twice.

    Walking the ring with a stack of vertices, a corner met again closes a loop: what lies on the
    stack above its first visit is taken off.

    Returns:
        Offsets int64 (loops + 1,) and the order int32 (n,) of the ring's vertices, loop by loop.
    """
    size = 16
    while size < 3 * pinches:
        size *= 2
    slots = np.full(size, -1, np.int64)  # open addressing: corner -> position of its first visit
    count = ring.shape[0]
    stack = np.empty(count, np.int32)
    depth = np.empty(count, np.int32)  # position -> place on the stack
    order = np.empty(count, np.int32)
    parts = np.zeros(pinches + 2, np.int64)
    n_parts = 0
    n = 0
    height = 0
    for k in range(count):
        if ring[k, 0] & PINCH:
            slot = (np.int64(ring[k, 1]) * 2654435761 + np.int64(ring[k, 0]) * 40503) & (size - 1)
            while slots[slot] >= 0 and (
                ring[slots[slot], 0] != ring[k, 0] or ring[slots[slot], 1] != ring[k, 1]
            ):
                slot = (slot + 1) & (size - 1)
            if slots[slot] < 0:
                slots[slot] = k
            else:
                bottom = depth[slots[slot]]
                for m in range(bottom, height):
                    order[n] = stack[m]
                    n += 1
                height = bottom
                n_parts += 1
                parts[n_parts] = n
        depth[k] = height
        stack[height] = k
        height += 1
    for m in range(height):
        order[n] = stack[m]
        n += 1
    n_parts += 1
    parts[n_parts] = n
    return parts[: n_parts + 1], order


@kernel
def copy_rings(
    order: Longs,
    first: Longs,
    records: Longs,
    loops: Ints,
    pieces: Ints,
    offsets: Longs,
    points: Ints,
) -> tuple[Ints, NDArray[np.bool_], Longs, Longs]:
    """Write the rings of the polygons ``order`` into flat columns (see ``Polygons``)."""
    total = np.int64(0)
    for k in range(records.shape[0]):
        total += records[k, 4] + 1
    result = np.empty((total, 2), np.int32)
    nodes = np.empty(total, np.bool_)
    ring_offsets = np.zeros(records.shape[0] + 1, np.int64)
    polygon_offsets = np.zeros(order.size + 1, np.int64)
    n = np.int64(0)
    ring = 0
    for k in range(order.size):
        for record in range(first[order[k]], first[order[k] + 1]):
            source, skip, size = records[record, 2], records[record, 3], records[record, 4]
            if source >= 0:
                _gather(source, skip, pieces, offsets, points, result[n : n + size])
            else:
                at = -1 - source
                for m in range(size):
                    place = at + (skip + m) % size
                    result[n + m, 0], result[n + m, 1] = loops[place, 0], loops[place, 1]
            for m in range(n, n + size):
                nodes[m] = result[m, 0] & 1 != 0
                result[m, 0] >>= 2
            result[n + size, 0], result[n + size, 1] = result[n, 0], result[n, 1]
            nodes[n + size] = nodes[n]
            n += size + 1
            ring += 1
            ring_offsets[ring] = n
        polygon_offsets[k + 1] = ring
    return result, nodes, ring_offsets, polygon_offsets
