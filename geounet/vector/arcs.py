"""Which borders neighbouring polygons share.

A *half* is the part of a ring from one node to the next; a ring without nodes is one half that
begins and ends at its first vertex. Two polygons that share a border own one half each, with the
same vertices in opposite order: *twins*. A half is known by its first vertex and the direction in
which it leaves, and its twin leaves where it ends, the way back that it came; so matching halves
takes one look into a hash table each, and no geometry.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit

from geounet.vector.polygons import Polygons
from geounet.vector.trace import Ints, Longs

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


@njit(cache=True, nogil=True)
def _direction(points: Ints, one: int, other: int) -> int:
    """East 0, south 1, west 2, north 3."""
    if points[other, 0] != points[one, 0]:
        return 0 if points[other, 0] > points[one, 0] else 2
    return 1 if points[other, 1] > points[one, 1] else 3


@njit(cache=True, nogil=True)
def _key(points: Ints, at: int, direction: int) -> int:
    return int((np.int64(points[at, 1]) << 32) | (np.int64(points[at, 0]) << 2) | direction)


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
def slot_of(key: int, size: int) -> int:
    """Place of a key in a hash table whose size is a power of two."""
    mixed = np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)
    return int(np.int64((mixed >> np.uint64(24)) & np.uint64(size - 1)))


@njit(cache=True, nogil=True)
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
