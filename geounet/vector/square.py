"""Buildings drawn as a surveyor would: straight walls, right angles where there are any.

Each building gets its own axes: the direction that most of its walls share, further ones where
wings stand at another angle. Its rings are then cut into walls (:mod:`geounet.vector.walls`), each
wall is put where it fits the raw outline best in least squares, and corners are where walls meet.
A wall's offset is the mean of its samples weighted by their length along the wall, which keeps the
raw outline's area. What no straight walls explain better than a circle becomes one; curved parts of
a building keep short walls that follow the curve.
"""

import math
import os
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import shapely

from geounet.vector.axes import best_start, steady_tolerance, turned_axes, wall_samples
from geounet.vector.compiled import inner, kernel, once
from geounet.vector.curves import circle_through, follow_curves, round_ring
from geounet.vector.walls import (
    FREE_PRICE,
    PARALLEL,
    SPREAD,
    cut,
    middle_of,
    places_of,
    prefix_sums,
    rolled,
    sample,
    scatter,
)

STEADY = math.radians(0.3)
"""Axes that turn by less than this need no second search."""

CIRCLE_PRICE = 4.5
"""Price of a circle in prices of a wall along an axis: a little more than a rectangle's."""

CIRCLE_LOSS = 2.0
"""Squared distances that a circle may have where walls have one: walls have more to turn at."""

REACH = 2.5
"""Corners stay this close to the raw outline's, in tolerances."""

JOINED = 2.0
"""Walls that do not meet but end this close, in tolerances, share one vertex."""

LEAST_TOLERANCE = 0.5
"""Pixels; a building that allows for less is narrower than two and has no direction to speak of."""

TINY = 1e-9
"""Weight of samples across a wall, so that a wall of nothing else has a place."""

LARGEST_SHIFT = 0.5
"""Root mean square distance of the raw outline from the walls, in tolerances, that is a failure."""

CHUNK = 256
"""Buildings that a thread squares at a time."""

RETRIES = (1.0, 0.6)
"""Tolerances to square with, in tolerances: what fails with the first is tried with the next."""


def square(polygons: np.ndarray, tolerance: float) -> tuple[np.ndarray, np.ndarray]:
    """Square the raw outlines of buildings.

    Args:
        polygons: ``(n,)`` shapely polygons between pixel corners, in pixel coordinates.
        tolerance: in pixels: how far the raw outline may stray from the true one. Two to three are
            right for masks of networks; smooth outlines are squared with less by themselves.

    Returns:
        ``(squared, done)``: ``(n,)`` polygons, those that could not be squared as they came, and
        bool ``(n,)``, which were squared. Valid; as many holes as before, in their order.
    """
    squared = polygons.copy()
    done = np.zeros(len(polygons), np.bool_)
    for share in RETRIES:
        left = np.flatnonzero(~done)
        if len(left):
            fitted, fits = _squared(polygons[left], share * tolerance)
            fits &= shapely.is_valid(fitted)
            squared[left[fits]] = fitted[fits]
            done[left] = fits
    return squared, done


def _squared(polygons: np.ndarray, tolerance: float) -> tuple[np.ndarray, np.ndarray]:
    """Square polygons on all cores; valid or not."""
    _, points, (ring_offsets, polygon_offsets) = shapely.to_ragged_array(polygons)
    points = np.ascontiguousarray(points[:, :2])

    def work(first: int) -> tuple[np.ndarray, np.ndarray]:
        own = polygon_offsets[first : first + CHUNK + 1]
        moved, ends, fits = square_rings(points, ring_offsets, own, tolerance)
        outlines = shapely.from_ragged_array(
            shapely.GeometryType.POLYGON, moved, (ends, own - own[0])
        )
        return outlines, fits

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        results = list(threads.map(work, range(0, len(polygons), CHUNK)))
    outlines, fits = zip(*results, strict=True)
    return np.concatenate(outlines), np.concatenate(fits)


def square_rings(
    points: np.ndarray, ring_offsets: np.ndarray, polygon_offsets: np.ndarray, tolerance: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Square buildings in flat columns; whether the results are valid polygons is not looked at.

    Args:
        points: float64 ``(m, 2)`` vertices of closed rings (the first repeated) in pixels.
        ring_offsets: ``(rings + 1,)``, where each ring begins among the points.
        polygon_offsets: ``(n + 1,)``, where each building begins among the rings, its shell first;
            may be a slice of a longer list.
        tolerance: in pixels.

    Returns:
        ``points`` and ``ring_offsets`` of as many rings, turning as they did, and bool ``(n,)``,
        which buildings were squared; the rings of others are as they came.
    """
    done = np.ones(len(polygon_offsets) - 1, dtype=np.bool_)
    ends = ring_offsets.tolist()
    result: list[np.ndarray] = []
    for building, (first, last) in enumerate(pairwise(polygon_offsets.tolist())):
        axes = np.empty(0)
        for ring in range(first, last):
            fitted, axes = _square_ring(points[ends[ring] : ends[ring + 1]], axes, tolerance)
            if not len(fitted):
                done[building] = False
                del result[len(result) - (ring - first) :]
                result += [points[ends[k] : ends[k + 1]] for k in range(first, last)]
                break
            result.append(fitted)
    offsets = np.cumsum([0, *map(len, result)])
    return np.concatenate([points[:0], *result]), offsets, done


@kernel
def _square_ring(
    ring: np.ndarray, axes: np.ndarray, tolerance: float
) -> tuple[np.ndarray, np.ndarray]:
    """Square a closed ring along given axes, or find its own where none are given; returns both.

    The ring is empty where there are no walls to be found, or none that fit.
    """
    ring = ring[:-1]
    area = _signed_area(ring)
    samples = sample(ring)
    # Small buildings have small features: the tolerance is at most a quarter of a square's side.
    tolerance = min(tolerance, abs(area) / len(samples))
    if tolerance < LEAST_TOLERANCE:
        return ring[:0], axes
    own, x, y = len(axes) == 0, ring[0, 0], ring[0, 1]
    _shift(samples, -x, -y)  # large coordinates would cost the sums of squares their digits
    samples = rolled(samples, _far_sample(samples))
    tolerance = steady_tolerance(samples, tolerance)
    samples, axes = best_start(samples, axes, tolerance)
    places = places_of(samples, SPREAD * tolerance)
    starts, lines, cost = cut(samples, places, axes, tolerance)
    if cost < np.inf and own:
        turned = turned_axes(samples, starts, lines, axes)
        if _farthest_turn(turned, axes) > STEADY:
            starts, lines, cost = cut(samples, places, turned, tolerance)
            turned = turned_axes(samples, starts, lines, turned)
        axes = turned
    price, free = tolerance**3, len(axes)
    misfit = cost - price * _walls_price(lines, free)
    middle_x, middle_y, loss = circle_through(samples)
    if loss < CIRCLE_LOSS * misfit and loss + CIRCLE_PRICE * price < cost < np.inf:
        return _closed(round_ring(x + middle_x, y + middle_y, area)), axes
    if not misfit <= (LARGEST_SHIFT * tolerance) ** 2 * len(samples):
        return ring[:0], axes
    starts, lines = follow_curves(samples, starts, lines, free, tolerance)
    fitted = _corners(samples, starts, _place(samples, starts, lines, axes), tolerance)
    _shift(fitted, x, y)
    return _closed(fitted), axes


@inner
def _closed(ring: np.ndarray) -> np.ndarray:
    """The ring with its first vertex repeated; nothing if it has less than three."""
    count = len(ring) + 1 if len(ring) > 2 else 0
    result = np.empty((count, 2))
    for i in range(count):
        result[i, 0], result[i, 1] = ring[i % len(ring), 0], ring[i % len(ring), 1]
    return result


@inner
def _shift(points: np.ndarray, x: float, y: float) -> None:
    for i in range(len(points)):
        points[i, 0] += x
        points[i, 1] += y


@once
def _signed_area(ring: np.ndarray) -> float:
    total = 0.0
    for i in range(len(ring)):
        x, y = ring[i - 1, 0] - ring[0, 0], ring[i - 1, 1] - ring[0, 1]
        total += x * (ring[i, 1] - ring[i - 1, 1]) - y * (ring[i, 0] - ring[i - 1, 0])
    return total / 2


@once
def _far_sample(samples: np.ndarray) -> int:
    """The sample farthest from the centre: it lies at a corner."""
    x, y = middle_of(samples)
    far, best = -1.0, 0
    for i in range(len(samples)):
        distance = (samples[i, 0] - x) ** 2 + (samples[i, 1] - y) ** 2
        if distance > far:
            far, best = distance, i
    return best


@once
def _farthest_turn(turned: np.ndarray, axes: np.ndarray) -> float:
    most = 0.0
    for k in range(len(axes)):
        most = max(most, abs(turned[k] - axes[k]))
    return most


@once
def _walls_price(lines: np.ndarray, free: int) -> float:
    """Price of walls in prices of a wall along an axis."""
    total = 0.0
    for line in lines:
        total += FREE_PRICE if line == free else 1.0
    return total


@inner
def _place(
    samples: np.ndarray, starts: np.ndarray, lines: np.ndarray, axes: np.ndarray
) -> np.ndarray:
    """The walls' lines, ``(w, 4)``: a point on each and its direction as a unit vector."""
    result = np.empty((len(starts), 4))
    sums = prefix_sums(samples)
    for w in range(len(starts)):
        first, last = wall_samples(samples, starts, w)
        if lines[w] < len(axes):
            angle = axes[lines[w]]
        else:
            xx, xy, yy = scatter(sums, first, last)
            angle = 0.5 * math.atan2(2 * xy, xx - yy)
        c, s = math.cos(angle), math.sin(angle)
        x, y, total = 0.0, 0.0, 0.0
        for i in range(first, last):
            weight = abs(samples[i, 2] * c + samples[i, 3] * s) + TINY
            x += samples[i, 0] * weight
            y += samples[i, 1] * weight
            total += weight
        result[w, 0], result[w, 1] = x / total, y / total
        result[w, 2], result[w, 3] = c, s
    return result


@kernel
def _corners(
    samples: np.ndarray, starts: np.ndarray, walls: np.ndarray, tolerance: float
) -> np.ndarray:
    """Ring ``(v, 2)`` through the corners of consecutive walls.

    Where two lines hardly turn or meet far from the raw corner, the walls end at their points
    nearest to it: in one vertex between them, or in two if these are far apart.
    """
    ring = np.empty((2 * len(walls), 2))
    count = 0
    for w in range(len(walls)):
        x0, y0, c0, s0 = walls[w - 1, 0], walls[w - 1, 1], walls[w - 1, 2], walls[w - 1, 3]
        x1, y1, c1, s1 = walls[w, 0], walls[w, 1], walls[w, 2], walls[w, 3]
        x = samples[starts[w], 0] - samples[starts[w], 2] / 2
        y = samples[starts[w], 1] - samples[starts[w], 3] / 2
        along0 = (x - x0) * c0 + (y - y0) * s0
        along1 = (x - x1) * c1 + (y - y1) * s1
        cross = c0 * s1 - s0 * c1
        if abs(cross) > PARALLEL:
            meet = ((x1 - x0) * s1 - (y1 - y0) * c1) / cross
            if abs(meet - along0) <= REACH * tolerance:
                ring[count, 0], ring[count, 1] = x0 + meet * c0, y0 + meet * s0
                count += 1
                continue
        ring[count, 0], ring[count, 1] = x0 + along0 * c0, y0 + along0 * s0
        other_x, other_y = x1 + along1 * c1, y1 + along1 * s1
        if math.hypot(ring[count, 0] - other_x, ring[count, 1] - other_y) < JOINED * tolerance:
            ring[count, 0] = (ring[count, 0] + other_x) / 2
            ring[count, 1] = (ring[count, 1] + other_y) / 2
        else:
            count += 1
            ring[count, 0], ring[count, 1] = other_x, other_y
        count += 1
    return ring[:count].copy()
