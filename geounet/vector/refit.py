"""Put squared buildings back into their coverage, so that the land around follows.

Strategy. A building's new rings replace the borders of its old ones. Where other borders end at the
old ring, they are led on to the new one: a border that now ends outside the building goes on to the
nearest point of the wall; one that now ends inside is cut off where it enters. A border that is the
wall of another building goes on in that wall's own new direction.

Buildings that share a wall are fitted one after the other: the wall is drawn with the first and
stays; the next replaces the rest of its rings, from one end of what stays to the other.

A building is accepted only if the coverage stays planar and keeps its topology: no new segment
meets any segment of another border, and no other vertex changes sides between the old rings and
the new ones. Otherwise it keeps its old outline. Buildings are tried in order, each against what
the ones before have made of the coverage; both conditions look at a few cells of an index of
segments and are exact, in integers of 1/256 pixel.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray

from geounet.memory import release
from geounet.vector.arcs import FOLLOW, OWNER, RING, TWIN, Coverage, Flags, number_starts
from geounet.vector.compiled import kernel
from geounet.vector.ends import (
    BESIDE,
    FARTHEST,
    HEAD,
    NEAR,
    append_border,
    ascending,
    attach,
    new_place,
    rebuild,
    turning,
)
from geounet.vector.grid import Grid, append, cells_of, changes_side, is_met, make_grid, with_room
from geounet.vector.segments import meet, nearest
from geounet.vector.trace import Ints, Longs

SCALE = 256
"""Steps per pixel of squared outlines."""
CELL = 4
"""Binary logarithm of the cell size of the index of segments, in pixels."""


class Outlines(NamedTuple):
    """Polygons in steps, in flat columns."""

    points: Ints
    """(m, 2), vertices of closed rings."""
    rings: Longs
    """(rings + 1,) where each ring begins among the points."""
    polygons: Longs
    """(k + 1,) where each polygon begins among the rings; empty where rounding spoiled it."""


NOTHING = Outlines(np.empty((0, 2), np.int32), np.zeros(1, np.int64), np.zeros(1, np.int64))
"""No polygon."""


def refit(coverage: Coverage, buildings: Longs, outlines: Outlines) -> tuple[Coverage, Flags]:
    """Replace the outlines of buildings.

    Args:
        coverage: exact borders, ``SCALE`` steps per pixel.
        buildings: int64 (k,) rows of the polygons to replace.
        outlines: of as many polygons with as many rings each as the old one, in the same order.

    Returns:
        The new coverage, in which the borders of replaced buildings are fixed, and bool (k,)
        which ones were replaced.
    """
    if not len(buildings):
        return coverage, np.empty(0, np.bool_)
    points, ring_offsets, polygon_offsets = outlines
    table = coverage.halves.table
    rings = np.diff(coverage.source.polygon_offsets)[buildings]
    numbers, count = number_starts(coverage.halves.heads)
    alone = table[:, TWIN] < 0  # a border that only this side knows ends here as well
    degree = np.bincount(numbers, minlength=count)
    degree += np.bincount(numbers[table[alone, FOLLOW]], minlength=count)
    before = np.empty(len(table), np.int32)
    before[table[:, FOLLOW]] = np.arange(len(table))
    halves = np.diff(coverage.halves.offsets)[buildings].sum()
    shift = CELL + coverage.scale.bit_length() - 1
    grid = make_grid(coverage.points, coverage.offsets, int(len(points) + 4 * halves + 64), shift)
    accepted, replaced, ends, fresh = fit(
        buildings,
        np.diff(polygon_offsets) == rings,
        points,
        ring_offsets,
        polygon_offsets,
        table,
        coverage.halves.offsets,
        before,
        degree[numbers].astype(np.uint8),
        coverage.borders,
        coverage.first,
        coverage.points,
        coverage.offsets,
        grid,
    )
    del grid  # more than all the rest
    release()
    moved, offsets = rebuild(coverage.points, coverage.offsets, replaced, ends, fresh)
    fixed = coverage.fixed | (replaced[:, 0] >= 0)
    return replace(coverage, points=moved, offsets=offsets, fixed=fixed), accepted


def in_steps(outlines: NDArray[np.object_]) -> Outlines:
    """Shapely polygons in pixels, object (k,), valid, as outlines in steps."""
    if not len(outlines):
        return NOTHING
    _, coordinates, (rings, polygons) = shapely.to_ragged_array(outlines)
    steps = np.round(coordinates * SCALE).astype(np.int32)
    rounded = shapely.from_ragged_array(
        shapely.GeometryType.POLYGON, steps.astype(np.float64), (rings, polygons)
    )
    rounded[~shapely.is_valid(rounded)] = shapely.Polygon()
    _, coordinates, (rings, polygons) = shapely.to_ragged_array(rounded)
    return Outlines(coordinates.astype(np.int32), rings.astype(np.int64), polygons.astype(np.int64))


def joined(parts: Sequence[Outlines]) -> Outlines:
    """All of them, in their order; at least one part, which may be ``NOTHING``."""
    points, rings, polygons = zip(*parts, strict=True)
    return Outlines(np.concatenate(points), _continued(rings), _continued(polygons))


def _continued(offsets: Sequence[Longs]) -> Longs:
    sizes = np.concatenate([np.zeros(1, np.int64), *map(np.diff, offsets)])
    return np.cumsum(sizes)


@kernel
def fit(
    buildings: Longs,
    usable: Flags,
    new_points: Ints,
    new_rings: Longs,
    new_polygons: Longs,
    table: Ints,
    half_offsets: Longs,
    before: Ints,
    degree: NDArray[np.uint8],
    borders: Ints,
    first: Longs,
    points: Ints,
    offsets: Longs,
    grid: Grid,
) -> tuple[Flags, Longs, Longs, Ints]:
    """Try the buildings one after the other.

    ``before`` is the inverse of ``FOLLOW``; ``degree`` uint8 (halves,) how many borders end where
    each half begins.

    Returns:
        Which buildings were accepted; for each border where its new points lie, int64 (borders,
        2), -1 for the old ones; its new ends, int64 (borders, 2, 4): points taken off at the head
        and the tail, the point put there (x, y; the number is -1 where nothing changes), and the
        segment from there to the rest of the border (-1 for none); and the new points, int32
        (n, 2).
    """
    accepted = np.zeros(buildings.size, np.bool_)
    replaced = np.empty((offsets.size - 1, 2), np.int64)
    ends = np.empty((offsets.size - 1, 2, 4), np.int64)
    rank = np.full(half_offsets.size - 1, -1, np.int64)  # polygon -> building yet to be fitted
    for k in range(buildings.size):
        rank[buildings[k]] = k if usable[k] else -1
    for border in range(offsets.size - 1):
        replaced[border, 0] = replaced[border, 1] = -1
        for m in range(4):
            ends[border, 0, m] = ends[border, 1, m] = -1
    most = 0
    total = 0
    for k in range(buildings.size):
        halves = half_offsets[buildings[k] + 1] - half_offsets[buildings[k]]
        size = new_rings[new_polygons[k + 1]] - new_rings[new_polygons[k]] + 3 * halves
        old = 0
        for half in range(half_offsets[buildings[k]], half_offsets[buildings[k] + 1]):
            old += offsets[borders[half] + 1] - offsets[borders[half]]
        most = max(most, max(size, old) + (FARTHEST + 2) * halves + 4)
        total += size
    result = np.empty((total, 2), np.int32)
    n_result = 0
    old_ring, ring = np.empty((most, 2), np.int32), np.empty((most, 2), np.int32)
    fresh = np.empty((most, 4), np.int32)  # new segments of the building at hand
    off = np.empty(most, np.int64)  # segments that it switches off
    places, spots = np.empty(most), np.empty((most, 2), np.int64)
    skip = np.empty((2 * most, 2), np.int64)
    staged = np.empty((most, 6), np.int64)  # border, end, points taken off, x, y, new segment
    for k in range(buildings.size):
        if not usable[k]:
            continue
        rank[buildings[k]] = -1
        n_off = n_fresh = n_staged = np.int64(0)
        start = n_result
        good = True
        half = half_offsets[buildings[k]]
        last = half_offsets[buildings[k] + 1]
        for number in range(new_polygons[k], new_polygons[k + 1]):
            begin = half
            while half < last and table[half, RING] == table[begin, RING]:
                half += 1
            n_old = n_skip = np.int64(0)
            for h in range(begin, half):
                border = borders[h]
                good &= replaced[border, 0] < start  # else on both sides of this building
                if replaced[border, 0] >= 0:  # a wall shared with a building that is done: it stays
                    size = replaced[border, 1] - replaced[border, 0]
                    good &= n_old + size <= most and n_skip + size <= most
                    for p in range(size if good else 0):
                        at = new_place(replaced, border, first[border] == h, p)
                        skip[n_skip, 0], skip[n_skip, 1] = result[at, 0], result[at, 1]
                        n_skip += 1
                        if p < size - 1:
                            old_ring[n_old, 0], old_ring[n_old, 1] = result[at, 0], result[at, 1]
                            n_old += 1
                    continue
                for end in range(2):
                    if ends[border, end, 3] >= 0 and grid.active[ends[border, end, 3]]:
                        off[n_off] = ends[border, end, 3]
                        n_off += 1
                        grid.active[ends[border, end, 3]] = False
                for p in range(offsets[border], offsets[border + 1] - 1):
                    if grid.active[p]:
                        off[n_off] = p
                        n_off += 1
                        grid.active[p] = False
                n_old = append_border(
                    border, first[border] == h, points, offsets, ends, old_ring, n_old
                )
            n_ring = np.int64(0)
            for p in range(new_rings[number], new_rings[number + 1] - 1):
                if (
                    n_ring == 0
                    or new_points[p, 0] != ring[n_ring - 1, 0]
                    or (new_points[p, 1] != ring[n_ring - 1, 1])
                ):
                    ring[n_ring, 0], ring[n_ring, 1] = new_points[p, 0], new_points[p, 1]
                    n_ring += 1
            shell = number == new_polygons[k]
            good = bool(good and n_ring >= 3 and (turning(ring, n_ring) > 0) == shell)
            if not good:
                break
            noded = degree[begin] != 2 or half > begin + 1
            for h in range(begin, half):
                if not noded:
                    break
                wall = h if replaced[borders[h], 0] >= 0 else before[h]
                border = borders[wall]
                if replaced[border, 0] >= 0:  # a wall that stays ends here
                    forward = (first[border] == wall) == (wall == h)
                    end = new_place(replaced, border, forward, np.int64(0))
                    x, y = int(result[end, 0]), int(result[end, 1])
                    place, at_x, at_y = nearest(ring, n_ring, np.int64(x), np.int64(y))
                    away = max(abs(at_x - x), abs(at_y - y))
                    reach = NEAR if place == np.floor(place) else 2 * BESIDE
                    good = bool(good and away <= reach)
                    places[h - begin] = place % n_ring
                    spots[h - begin, 0], spots[h - begin, 1] = x, y
                    continue
                owner = np.int64(-1)  # the building that the border belongs to
                if table[h, TWIN] >= 0:
                    owner = rank[table[table[h, TWIN], OWNER]]
                if owner < 0 and table[before[h], TWIN] >= 0:
                    owner = rank[table[table[before[h], TWIN], OWNER]]
                wanted = new_points[:0]
                if owner >= 0:
                    number_of = new_polygons[owner]
                    wanted = new_points[new_rings[number_of] : new_rings[number_of + 1]]
                found, border, end, taken, place, x, y = attach(
                    h, shell, ring, n_ring, table, before, degree, borders, first, points, offsets,
                    replaced, grid, off, n_off, wanted,
                )  # fmt: skip
                good &= found
                if not found:
                    break
                n_off += max(taken, 0)
                places[h - begin], spots[h - begin, 0], spots[h - begin, 1] = place, x, y
                at = offsets[borders[h]] if first[borders[h]] == h else offsets[borders[h] + 1] - 1
                skip[n_skip, 0], skip[n_skip, 1] = points[at, 0], points[at, 1]
                skip[n_skip + 1, 0], skip[n_skip + 1, 1] = x, y
                n_skip += 2
                staged[n_staged, 0], staged[n_staged, 1], staged[n_staged, 2] = border, end, taken
                staged[n_staged, 3], staged[n_staged, 4], staged[n_staged, 5] = x, y, -1
                n_staged += 1
                # the segment that leads the border on
                at = offsets[border] + taken if end == HEAD else offsets[border + 1] - 1 - taken
                if points[at, 0] != x or points[at, 1] != y:
                    fresh[n_fresh, 0], fresh[n_fresh, 1] = x, y
                    fresh[n_fresh, 2], fresh[n_fresh, 3] = points[at, 0], points[at, 1]
                    staged[n_staged - 1, 5] = n_fresh
                    n_fresh += 1
            good = good and ascending(places, half - begin if noded else 0)
            if not good:
                break
            for h in range(begin, half):
                if replaced[borders[h], 0] >= 0:
                    continue
                from_place, to_place = 0.0, np.float64(n_ring)
                from_x, from_y = np.int64(ring[0, 0]), np.int64(ring[0, 1])
                to_x, to_y = from_x, from_y
                if noded:
                    after = h - begin + 1 if h + 1 < half else 0
                    from_place, to_place = places[h - begin], places[after]
                    if to_place <= from_place:
                        to_place += n_ring
                    from_x, from_y = spots[h - begin, 0], spots[h - begin, 1]
                    to_x, to_y = spots[after, 0], spots[after, 1]
                where = n_result
                result[n_result, 0], result[n_result, 1] = from_x, from_y
                n_result += 1
                corner = int(np.floor(from_place)) + 1
                while corner < to_place:
                    at = int(corner % n_ring)
                    if ring[at, 0] != result[n_result - 1, 0] or (
                        ring[at, 1] != result[n_result - 1, 1]
                    ):
                        result[n_result, 0], result[n_result, 1] = ring[at, 0], ring[at, 1]
                        n_result += 1
                    corner += 1
                if n_result - where > 1 and (
                    result[n_result - 1, 0] == to_x and result[n_result - 1, 1] == to_y
                ):
                    n_result -= 1
                result[n_result, 0], result[n_result, 1] = to_x, to_y
                n_result += 1
                for p in range(where, n_result - 1):
                    fresh[n_fresh, 0], fresh[n_fresh, 1] = result[p, 0], result[p, 1]
                    fresh[n_fresh, 2], fresh[n_fresh, 3] = result[p + 1, 0], result[p + 1, 1]
                    same = fresh[n_fresh, 0] == fresh[n_fresh, 2]
                    good &= not (same and fresh[n_fresh, 1] == fresh[n_fresh, 3])
                    n_fresh += 1
                border = borders[h]
                if first[border] != h:
                    for p in range((n_result - where) // 2):
                        q = n_result - 1 - p
                        for m in range(2):
                            one, other = result[where + p, m], result[q, m]
                            result[where + p, m], result[q, m] = other, one
                # noted right away: a border on both sides of this building spoils it
                replaced[border, 0], replaced[border, 1] = where, n_result
            n_ring = np.int64(0)
            for h in range(begin, half):  # with the walls that stay
                border = borders[h]
                size = replaced[border, 1] - replaced[border, 0]
                good &= n_ring + size <= most
                for p in range(size - 1 if good else 0):
                    at = new_place(replaced, border, first[border] == h, p)
                    ring[n_ring, 0], ring[n_ring, 1] = result[at, 0], result[at, 1]
                    n_ring += 1
            good = bool(good and (turning(ring, n_ring) > 0) == shell)
            good = good and not changes_side(grid, old_ring, n_old, ring, n_ring, skip, n_skip)
            if not good:
                break
        for one in range(n_fresh if good else 0):
            good = good and not is_met(grid, fresh[one])
            for other in range(one):
                good = good and not meet(fresh[one], fresh[other])
        if good:
            accepted[k] = True
            for m in range(n_staged):
                for q in range(3):
                    ends[staged[m, 0], staged[m, 1], q] = staged[m, 2 + q]
                number = staged[m, 5]
                ends[staged[m, 0], staged[m, 1], 3] = number + grid.counts[0] if number >= 0 else -1
            needed = 0
            for one in range(n_fresh):
                needed += cells_of(fresh[one], grid.frame[0])
            grid = with_room(grid, needed)
            for one in range(n_fresh):
                append(grid, fresh[one])
        else:
            n_result = start
            for m in range(n_off):
                grid.active[off[m]] = True
            for h in range(half_offsets[buildings[k]], last):
                if replaced[borders[h], 0] >= start:
                    replaced[borders[h], 0] = replaced[borders[h], 1] = -1
    return accepted, replaced, ends, result[:n_result]
