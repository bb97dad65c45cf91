"""Which borders neighbouring polygons share.

A *half* is the part of a ring from one node to the next; a ring without nodes is one half that
begins and ends at its first vertex. Two polygons that share a border own one half each, with the
same vertices in opposite order: *twins*. A half is known by its first vertex and the direction in
which it leaves, and its twin leaves where it ends, the way back that it came; so matching halves
takes one look into a hash table each, and no geometry.

A *border* is what two twins have in common, stored once (``Coverage``). Operations on borders
cannot tear neighbours apart.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from geounet.vector.compiled import inner, kernel
from geounet.vector.polygons import Polygons
from geounet.vector.trace import Ints, Longs

Flags = NDArray[np.bool_]

RING, START, EDGES, FOLLOW, TWIN, OWNER, BORDER = 0, 1, 2, 3, 4, 5, 6
"""Columns of a table of halves: ring, position of the first vertex in the ring, number of edges,
half that follows in the ring, half of the neighbour (-1: nodata or outside), polygon, length in
pixels."""


@dataclass(frozen=True)
class Halves:
    """The halves of some polygons, polygon by polygon and ring by ring."""

    table: Ints
    """(n, 7), see the column names."""
    offsets: Longs
    """(polygons + 1,) where the halves of each polygon begin."""
    heads: Longs
    """(n,) y << 32 | x << 2 | direction of the first edge."""

    @classmethod
    def of(cls, polygons: Polygons) -> "Halves":
        """Cut the rings at their nodes and match what is shared.

        Args:
            polygons: all polygons of a coverage, on the lattice (axis-parallel edges).
        """
        table, offsets, heads, tails = cut(
            polygons.points, polygons.nodes, polygons.ring_offsets, polygons.polygon_offsets
        )
        match(heads, tails, table)
        return cls(table, offsets, heads)


@dataclass(frozen=True)
class Coverage:
    """Polygons whose borders are stored once."""

    source: Polygons
    """The polygons as they were; the attributes are taken from there."""
    halves: Halves
    borders: Ints
    """(halves,) number of each half's border."""
    first: Longs
    """(borders,) the half in whose order the border's points stand."""
    points: Ints
    """(k, 2) vertices of the borders, ends included, in pixel corners times ``scale``."""
    offsets: Longs
    """(borders + 1,) where each border begins in ``points``."""
    fixed: Flags
    """(borders,) whether the border has its final form."""
    scale: int = 1
    """Steps per pixel."""

    @classmethod
    def of(cls, polygons: Polygons, scale: int = 1) -> "Coverage":
        """Store each border of exact polygons once, with ``scale`` steps per pixel."""
        halves = Halves.of(polygons)
        first = np.flatnonzero(
            (halves.table[:, TWIN] < 0) | (halves.table[:, TWIN] > np.arange(len(halves.table)))
        )
        borders = np.empty(len(halves.table), np.int32)
        borders[first] = np.arange(len(first))
        points, offsets = lift(first, polygons.points, polygons.ring_offsets, halves.table, scale)
        twins = halves.table[first, TWIN]
        borders[twins[twins >= 0]] = np.flatnonzero(twins >= 0)
        fixed = np.zeros(len(first), np.bool_)
        return cls(polygons, halves, borders, first, points, offsets, fixed, scale)

    def without_exact_points(self) -> "Coverage":
        """The same without the vertices of the source, which are most of its memory; the polygons
        that the borders enclose do not need them.
        """
        return replace(self, source=replace(self.source, points=np.empty((0, 2), np.int32)))

    def polygons(self) -> Polygons:
        """The polygons that these borders enclose, in the order of the source."""
        source = self.source
        points, nodes, ring_offsets = close(
            source.nodes,
            source.ring_offsets,
            self.halves.table,
            self.borders,
            self.first,
            self.points,
            self.offsets,
        )
        return Polygons(
            source.class_id,
            source.pixels,
            source.confidence,
            points,
            nodes,
            ring_offsets,
            source.polygon_offsets,
            self.scale,
        )


@kernel
def lift(
    first: Longs, points: Ints, ring_offsets: Longs, table: Ints, scale: int
) -> tuple[Ints, Longs]:
    """Vertices of the halves ``first``, ends included, and their offsets."""
    offsets = np.zeros(first.size + 1, np.int64)
    for k in range(first.size):
        offsets[k + 1] = offsets[k] + table[first[k], EDGES] + 1
    result = np.empty((offsets[-1], 2), np.int32)
    for k in range(first.size):
        half = first[k]
        base = ring_offsets[table[half, RING]]
        size = ring_offsets[table[half, RING] + 1] - base - 1
        at = int(table[half, START])
        for n in range(offsets[k], offsets[k + 1]):
            result[n, 0] = points[base + at, 0] * scale
            result[n, 1] = points[base + at, 1] * scale
            at += 1
            if at == size:
                at = 0
    return result, offsets


@kernel
def close(
    nodes: Flags,
    ring_offsets: Longs,
    table: Ints,
    borders: Ints,
    first: Longs,
    points: Ints,
    offsets: Longs,
) -> tuple[Ints, Flags, Longs]:
    """Rings from borders, turned to begin at their topmost, then leftmost vertex.

    ``nodes`` and ``ring_offsets`` belong to the polygons from which ``table`` was made. Returns
    points, nodes and ring offsets as in ``Polygons``.
    """
    result_offsets = np.zeros(ring_offsets.size, np.int64)
    for half in range(table.shape[0]):
        size = offsets[borders[half] + 1] - offsets[borders[half]] - 1
        result_offsets[table[half, RING] + 1] += size
    for ring in range(ring_offsets.size - 1):
        result_offsets[ring + 1] += result_offsets[ring] + 1
    result = np.empty((result_offsets[-1], 2), np.int32)
    result_nodes = np.empty(result_offsets[-1], np.bool_)
    turned = np.empty((64, 2), np.int32)
    turned_nodes = np.empty(64, np.bool_)
    half = 0
    for ring in range(ring_offsets.size - 1):
        size = result_offsets[ring + 1] - result_offsets[ring] - 1
        if size > turned.shape[0]:
            turned = np.empty((2 * size, 2), np.int32)
            turned_nodes = np.empty(2 * size, np.bool_)
        n = 0
        best = 0
        while half < table.shape[0] and table[half, RING] == ring:
            border = borders[half]
            begin, end = offsets[border], offsets[border + 1]
            forward = first[border] == half
            for k in range(end - begin - 1):
                at = begin + k if forward else end - 1 - k
                turned[n, 0], turned[n, 1] = points[at, 0], points[at, 1]
                turned_nodes[n] = k == 0 and nodes[ring_offsets[ring] + table[half, START]]
                if turned[n, 1] < turned[best, 1] or (
                    turned[n, 1] == turned[best, 1] and turned[n, 0] < turned[best, 0]
                ):
                    best = n
                n += 1
            half += 1
        begin = result_offsets[ring]
        for k in range(size + 1):
            at = (best + k) % size
            result[begin + k, 0], result[begin + k, 1] = turned[at, 0], turned[at, 1]
            result_nodes[begin + k] = turned_nodes[at]
    return result, result_nodes, result_offsets


@inner
def _direction(points: Ints, one: int, other: int) -> int:
    """East 0, south 1, west 2, north 3."""
    if points[other, 0] != points[one, 0]:
        return 0 if points[other, 0] > points[one, 0] else 2
    return 1 if points[other, 1] > points[one, 1] else 3


@inner
def _key(points: Ints, at: int, direction: int) -> int:
    return int((np.int64(points[at, 1]) << 32) | (np.int64(points[at, 0]) << 2) | direction)


@kernel
def cut(
    points: Ints, nodes: np.ndarray, ring_offsets: Longs, polygon_offsets: Longs
) -> tuple[Ints, Longs, Longs, Longs]:
    """Cut rings at nodes; twins are unset (-1). Returns the table, its offsets per polygon, the
    keys under which each half is known and those of their twins.
    """
    total = 0
    for ring in range(ring_offsets.size - 1):
        own = 0
        for k in range(ring_offsets[ring], ring_offsets[ring + 1] - 1):
            own += nodes[k]
        total += max(own, 1)
    table = np.empty((total, 7), np.int32)
    heads, tails = np.empty(total, np.int64), np.empty(total, np.int64)
    offsets = np.zeros(polygon_offsets.size, np.int64)
    n = 0
    for polygon in range(polygon_offsets.size - 1):
        for ring in range(polygon_offsets[polygon], polygon_offsets[polygon + 1]):
            base = ring_offsets[ring]
            size = ring_offsets[ring + 1] - base - 1
            begin = n
            start = 0
            while start < size and not nodes[base + start]:
                start += 1
            if start == size:
                start = 0
            at = start
            while True:  # one half
                table[n, RING], table[n, START], table[n, TWIN] = ring, at, -1
                table[n, OWNER], table[n, FOLLOW] = polygon, n + 1
                heads[n] = _key(points, base + at, _direction(points, base + at, base + at + 1))
                edges = 0
                border = 0
                while True:
                    after = at + 1
                    border += abs(points[base + after, 0] - points[base + at, 0]) + abs(
                        points[base + after, 1] - points[base + at, 1]
                    )
                    edges += 1
                    before = at
                    at = after if after < size else 0
                    if at == start or nodes[base + at]:
                        break
                tails[n] = _key(points, base + at, _direction(points, base + at, base + before))
                table[n, EDGES], table[n, BORDER] = edges, border
                n += 1
                if at == start:
                    break
            table[n - 1, FOLLOW] = begin
        offsets[polygon + 1] = n
    return table, offsets, heads, tails


@kernel
def match(heads: Longs, tails: Longs, table: Ints) -> None:
    """Set the twins: the half whose head is this one's tail."""
    size = 16
    while size < 2 * heads.size:
        size *= 2
    slots = np.full(size, -1, np.int32)
    for half in range(heads.size):
        slot = slot_of(heads[half], size)
        while slots[slot] >= 0:
            slot = (slot + 1) & (size - 1)
        slots[slot] = half
    for half in range(heads.size):
        slot = slot_of(tails[half], size)
        while slots[slot] >= 0 and heads[slots[slot]] != tails[half]:
            slot = (slot + 1) & (size - 1)
        table[half, TWIN] = slots[slot]


@inner
def slot_of(key: int, size: int) -> int:
    """Place of a key in a hash table whose size is a power of two."""
    mixed = np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)
    return int(np.int64((mixed >> np.uint64(24)) & np.uint64(size - 1)))


@kernel
def number_starts(heads: Longs) -> tuple[Ints, int]:
    """Number the points at which halves begin: int32 (n,), and how many there are."""
    size = 16
    while size < 2 * heads.size:
        size *= 2
    slots = np.full(size, -1, np.int32)
    result = np.empty(heads.size, np.int32)
    count = 0
    for half in range(heads.size):
        key = heads[half] >> 2
        slot = slot_of(key, size)
        while slots[slot] >= 0 and heads[slots[slot]] >> 2 != key:
            slot = (slot + 1) & (size - 1)
        if slots[slot] < 0:
            slots[slot] = half
            result[half] = count
            count += 1
        else:
            result[half] = result[slots[slot]]
    return result, count
