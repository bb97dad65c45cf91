"""Merge regions that are too small into what surrounds them.

Strategy. The smallest region goes first (ties: the one that comes first). It takes the class with
which it shares the longest border; neighbours of one class count together, because the region
joins them all. Nodata counts for nothing, so an island in nodata stays. If the region now hangs
together with others that are too small, they are one region from here on, and queue up again while
they stay too small. A region that was large enough keeps its class whatever happens around it, so
a decision depends on the cluster of small regions around it alone, never on tiles or strips.

With connectivity 8, regions of one class that meet in a corner count as one wherever their size or
their fate is decided; each stays a polygon of its own.

Afterwards neighbours of equal class are one polygon: the result is the polygonization of the mask
in which the small regions were painted over.
"""

from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from geounet.vector.arcs import (
    BORDER,
    EDGES,
    FOLLOW,
    OWNER,
    RING,
    START,
    TWIN,
    Halves,
    number_starts,
)
from geounet.vector.compiled import inner, kernel
from geounet.vector.polygons import Polygons, assemble
from geounet.vector.trace import Ints, Longs


def sieve(
    polygons: Polygons, min_pixels: Mapping[int, float], connectivity: Literal[4, 8] = 4
) -> Polygons:
    """Merge small regions into their neighbours.

    Args:
        polygons: all polygons of a mask, as the polygonizer makes them.
        min_pixels: class id -> regions with fewer pixels than this are merged.
        connectivity: whether regions of a class that meet in a corner count as one (8).

    Returns:
        Polygons that form a valid coverage of the same pixels. ``pixels`` and ``confidence`` are
        those of all pixels inside, merged ones included.
    """
    least = np.zeros(256)
    for class_id, smallest in min_pixels.items():
        least[class_id] = smallest
    if not np.any(polygons.pixels < least[polygons.class_id]):
        return polygons
    halves = Halves.of(polygons)
    corners = _corners(halves, len(polygons) if connectivity == 8 else 0)
    classes = repaint(
        polygons.class_id, polygons.pixels, least, halves.table, halves.offsets, *corners
    )
    return united(polygons, halves, classes)


def _corners(halves: Halves, count: int) -> tuple[Longs, Ints]:
    """The polygons that have a node in common with each of ``count`` polygons: where they begin,
    int64 (count + 1,), and who they are, int32.
    """
    if not count:
        return np.zeros(1, np.int64), np.empty(0, np.int32)
    starts, _ = number_starts(halves.heads)
    order = np.argsort(starts, kind="stable")
    places, owners = starts[order], halves.table[order, OWNER]
    one, other = [], []
    for step in (1, 2, 3):  # at most four meet in a node
        met = np.flatnonzero((places[step:] == places[:-step]) & (owners[step:] != owners[:-step]))
        one += [owners[met], owners[met + step]]
        other += [owners[met + step], owners[met]]
    keys, values = np.concatenate(one), np.concatenate(other)
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.bincount(keys, minlength=count))])
    return offsets, values[np.argsort(keys, kind="stable")]


def united(polygons: Polygons, halves: Halves, classes: NDArray[np.uint8]) -> Polygons:
    """The polygons with new classes, uint8 (n,), neighbours of equal class as one."""
    region = unite_equal(classes, halves.table)
    starts, count = number_starts(halves.heads)
    points, nodes, ring_offsets, owners = dissolve(
        polygons.points, polygons.ring_offsets, halves.table, region, starts, count
    )
    pixels = np.bincount(region, polygons.pixels, len(region)).astype(np.int64)
    weight = np.bincount(region, polygons.pixels * polygons.confidence, len(region))
    confidence = weight / np.maximum(pixels, 1)
    return assemble(points, nodes, ring_offsets, owners, classes, pixels, confidence)


@inner
def _push(heap: Longs, count: int, key: int) -> None:
    """Put a key on a binary heap of ``count`` keys."""
    at = count
    while at and heap[(at - 1) // 2] > key:
        heap[at] = heap[(at - 1) // 2]
        at = (at - 1) // 2
    heap[at] = key


@inner
def _pop(heap: Longs, count: int) -> int:
    """Take the least key from a binary heap of ``count`` keys."""
    result = int(heap[0])
    key = heap[count - 1]
    at = 0
    while True:
        child = 2 * at + 1
        if child >= count - 1:
            break
        if child + 1 < count - 1 and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= key:
            break
        heap[at] = heap[child]
        at = child
    heap[at] = key
    return result


@inner
def _root(parent: Ints, item: int) -> int:
    while parent[item] != item:
        parent[item] = parent[parent[item]]
        item = parent[item]
    return item


@inner
def _join(one: int, other: int, parent: Ints, area: Longs, sibling: Ints, last: Ints) -> None:
    """Make two roots one region."""
    if one != other:
        parent[other] = one
        area[one] += area[other]
        sibling[last[one]] = other
        last[one] = last[other]


@kernel
def repaint(
    class_id: NDArray[np.uint8],
    pixels: Longs,
    least: NDArray[np.float64],
    table: Ints,
    offsets: Longs,
    corner_offsets: Longs,
    corners: Ints,
) -> NDArray[np.uint8]:
    """The class of each polygon once small ones have been merged; uint8 (n,).

    ``corner_offsets`` is int64 (n + 1,), or (1,) where corners do not count.
    """
    count = class_id.size
    parent = np.arange(count).astype(np.int32)
    last = np.arange(count).astype(np.int32)  # lists of the members of each small region
    sibling = np.full(count, -1, np.int32)
    area = pixels.copy()
    classes = class_id.copy()
    settled = np.empty(count, np.bool_)
    heap = np.empty(count, np.int64)
    n_heap = 0
    cornered = corner_offsets.size > 1
    for k in range(count if cornered else 0):
        for at in range(corner_offsets[k], corner_offsets[k + 1]):
            if classes[corners[at]] == classes[k]:
                one, other = _root(parent, k), _root(parent, corners[at])
                _join(min(one, other), max(one, other), parent, area, sibling, last)
    for k in range(count):
        settled[k] = area[k] >= least[classes[k]]
        if not settled[k] and parent[k] == k:
            _push(heap, n_heap, (area[k] << 32) | k)
            n_heap += 1
    border = np.zeros(256, np.int64)
    while n_heap:
        key = _pop(heap, n_heap)
        n_heap -= 1
        small = key & 0xFFFFFFFF
        if settled[small] or parent[small] != small or area[small] != key >> 32:
            continue
        border[:] = 0
        member = small
        while member >= 0:
            for half in range(offsets[member], offsets[member + 1]):
                if table[half, TWIN] >= 0:
                    other = _root(parent, table[table[half, TWIN], OWNER])
                    if other != small:
                        border[classes[other]] += table[half, BORDER]
            member = sibling[member]
        best = np.argmax(border)
        settled[small] = True
        if border[best] == 0:
            continue  # nodata all around
        classes[small] = best
        joined = False  # to a region that is large enough
        member = small
        while member >= 0:
            for half in range(offsets[member], offsets[member + 1]):
                if table[half, TWIN] >= 0:
                    other = _root(parent, table[table[half, TWIN], OWNER])
                    if other != small and classes[other] == best:
                        if settled[other]:
                            joined = True
                        else:
                            _join(small, other, parent, area, sibling, last)
            if cornered:
                for at in range(corner_offsets[member], corner_offsets[member + 1]):
                    other = _root(parent, corners[at])
                    if other != small and classes[other] == best:
                        if settled[other]:
                            joined = True
                        else:
                            _join(small, other, parent, area, sibling, last)
            member = sibling[member]
        if not joined and area[small] < least[best]:
            settled[small] = False
            _push(heap, n_heap, (area[small] << 32) | small)
            n_heap += 1
    for k in range(count):
        classes[k] = classes[_root(parent, k)]
    return classes


@kernel
def unite_equal(classes: NDArray[np.uint8], table: Ints) -> Ints:
    """Number of the first polygon in each connected region of equal class; int32 (n,)."""
    parent = np.arange(classes.size).astype(np.int32)
    for half in range(table.shape[0]):
        if table[half, TWIN] > half:
            one, other = table[half, OWNER], table[table[half, TWIN], OWNER]
            if classes[one] == classes[other]:
                one, other = _root(parent, one), _root(parent, other)
                parent[max(one, other)] = min(one, other)
    for k in range(classes.size):
        parent[k] = _root(parent, k)
    return parent


@kernel
def dissolve(
    points: Ints, ring_offsets: Longs, table: Ints, region: Ints, starts: Ints, n_starts: int
) -> tuple[Ints, NDArray[np.bool_], Longs, Ints]:
    """Drop borders inside regions and follow the rest.

    ``region`` int32 (polygons,) is equal for polygons to be united; ``starts`` int32 (halves,) is
    the number of each half's first vertex, below ``n_starts``.

    Returns:
        Points, nodes and ring offsets as in ``Polygons``, rings begin at their topmost, then
        leftmost vertex; and the region of each ring.
    """
    count = table.shape[0]
    gone = np.empty(count, np.bool_)
    degree = np.zeros(n_starts, np.uint8)
    for half in range(count):
        twin = table[half, TWIN]
        gone[half] = twin >= 0 and region[table[half, OWNER]] == region[table[twin, OWNER]]
        if not gone[half]:
            degree[starts[half]] += 1
            if twin < 0:  # the other end of a border that only this side knows
                degree[starts[table[half, FOLLOW]]] += 1
    seen = gone.copy()
    stack = np.empty(count, np.int32)
    place = np.full(n_starts, -1, np.int32)  # vertex -> where the half from there is on the stack
    result = np.empty((points.shape[0] + count, 2), np.int32)
    nodes = np.empty(points.shape[0] + count, np.bool_)
    offsets = np.zeros(count + 1, np.int64)
    owners = np.empty(count, np.int32)
    n = 0
    for first in range(count):
        if seen[first]:
            continue
        height = 0
        half = first
        while True:
            at = starts[half]
            if place[at] >= 0:  # met again: split off a loop
                bottom = place[at]
                begin = offsets[n]
                size = _write_loop(
                    stack[bottom:height], points, ring_offsets, table, starts, degree,
                    result[begin:], nodes[begin:],
                )  # fmt: skip
                owners[n] = region[table[first, OWNER]]
                n += 1
                offsets[n] = begin + size
                for k in range(bottom, height):
                    place[starts[stack[k]]] = -1
                height = bottom
            if seen[half]:
                break
            seen[half] = True
            place[at] = height
            stack[height] = half
            height += 1
            half = table[half, FOLLOW]
            while gone[half]:
                half = table[table[half, TWIN], FOLLOW]
    return result[: offsets[n]], nodes[: offsets[n]], offsets[: n + 1], owners[:n]


@inner
def _write_loop(
    loop: Ints,
    points: Ints,
    ring_offsets: Longs,
    table: Ints,
    starts: Ints,
    degree: NDArray[np.uint8],
    result: Ints,
    nodes: NDArray[np.bool_],
) -> int:
    """Write the closed ring of some halves; returns the number of vertices written.

    Vertices at which no third border is left are dropped where the outline runs straight on.
    """
    n = 0
    best = 0
    for k in range(loop.size):
        half = loop[k]
        base = ring_offsets[table[half, RING]]
        size = ring_offsets[table[half, RING] + 1] - base - 1
        before = loop[k - 1]
        last = ring_offsets[table[before, RING]]
        last_size = ring_offsets[table[before, RING] + 1] - last - 1
        last += (table[before, START] + table[before, EDGES] - 1) % last_size
        for m in range(table[half, EDGES]):
            at = base + (table[half, START] + m) % size
            node = False
            if m == 0:
                node = degree[starts[half]] > 2
                upright = points[at, 0] == points[at + 1, 0]
                if not node and upright == (points[last, 0] == points[at, 0]):
                    continue
            result[n, 0], result[n, 1] = points[at, 0], points[at, 1]
            nodes[n] = node
            if result[n, 1] < result[best, 1] or (
                result[n, 1] == result[best, 1] and result[n, 0] < result[best, 0]
            ):
                best = n
            n += 1
    if best:
        turned, turned_nodes = result[:n].copy(), nodes[:n].copy()
        for k in range(n):
            source = (k + best) % n
            result[k, 0], result[k, 1] = turned[source, 0], turned[source, 1]
            nodes[k] = turned_nodes[source]
    result[n, 0], result[n, 1], nodes[n] = result[0, 0], result[0, 1], nodes[0]
    return n + 1
