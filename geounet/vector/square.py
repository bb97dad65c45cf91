"""Buildings drawn as a surveyor would: straight walls, right angles where there are any.

Each building gets its own axes: the direction that most of its walls share, further ones where
wings stand at another angle. Its rings are then cut into walls (:mod:`geounet.vector.walls`), each
wall is put where it fits the raw outline best in least squares, and corners are where walls meet.
A wall's offset is the mean of its samples weighted by their length along the wall, which keeps the
raw outline's area. What no straight walls explain better than a circle becomes one; curved parts of
a building keep short walls that follow the curve.
"""

import math

import numpy as np
import shapely
from numba import njit

from geounet.vector.axes import best_start, turned_axes, wall_samples
from geounet.vector.curves import circle_through, follow_curves, round_ring
from geounet.vector.walls import (
    FREE_PRICE,
    PARALLEL,
    SPREAD,
    cut,
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

REACH = 4.0
"""Corners stay this close to the raw outline's, in tolerances."""

JOINED = 2.0
"""Walls that do not meet but end this close, in tolerances, share one vertex."""

LEAST_TOLERANCE = 0.5
"""Pixels; a building that allows for less is narrower than two and has no direction to speak of."""

TINY = 1e-9
"""Weight of samples across a wall, so that a wall of nothing else has a place."""

LARGEST_SHIFT = 0.5
"""Mean distance between raw and squared outline, in tolerances, beyond which squaring failed."""

FARTHEST = 2.0
"""Distance of a squared corner from the raw outline, in tolerances, beyond which it failed."""

RETRIES = (1.0, 0.6)
"""Tolerances to square with, in tolerances: what fails with the first is tried with the next."""


def square(polygons: np.ndarray, tolerance: float) -> tuple[np.ndarray, np.ndarray]:
    """Square the raw outlines of buildings.

    Args:
        polygons: ``(n,)`` shapely polygons between pixel corners, in pixel coordinates.
        tolerance: in pixels: how far the raw outline may stray from the true one. Two to three are
            right for masks of networks.

    Returns:
        ``(squared, done)``: ``(n,)`` polygons, those that could not be squared as they came, and
        bool ``(n,)``, which were squared. Valid, holes kept.
    """
    squared = polygons.copy()
    done = np.zeros(len(polygons), dtype=np.bool_)
    for share in RETRIES:
        left = np.flatnonzero(~done)
        fitted = np.array(
            [_fitted(polygon, share * tolerance) for polygon in polygons[left]], dtype=object
        )
        close = _close(polygons[left], fitted, tolerance)
        squared[left[close]] = fitted[close]
        done[left] = close
    return squared, done


def _fitted(polygon: shapely.Polygon, tolerance: float) -> shapely.Polygon | None:
    rings = [shapely.get_coordinates(ring)[:-1] for ring in shapely.get_rings(polygon)]
    fitted = square_building(rings, tolerance)
    return None if fitted is None else shapely.Polygon(fitted[0], fitted[1:])


def _close(raw: np.ndarray, fitted: np.ndarray, tolerance: float) -> np.ndarray:
    """Which fitted polygons are valid and near the raw ones, on average and at each vertex."""
    close: np.ndarray = shapely.is_valid(fitted)
    raw, fitted = raw[close], fitted[close]
    shift = shapely.area(shapely.symmetric_difference(raw, fitted)) / shapely.length(fitted)
    points, owner = shapely.get_coordinates(fitted, return_index=True)
    strays = shapely.distance(shapely.points(points), shapely.boundary(raw)[owner])
    farthest = np.zeros(len(raw))
    np.maximum.at(farthest, owner, strays)
    close[close] = (shift <= LARGEST_SHIFT * tolerance) & (farthest <= FARTHEST * tolerance)
    return close


def square_building(rings: list[np.ndarray], tolerance: float) -> list[np.ndarray] | None:
    """Square the rings of one building, without a look at the result's validity.

    Args:
        rings: shell and holes, float64 ``(m, 2)`` each, between pixel corners in pixel coordinates,
            last vertex not repeated.
        tolerance: in pixels.

    Returns:
        As many rings, turning as they did; None where a ring is too small to have walls.
    """
    axes = np.empty(0)
    result: list[np.ndarray] = []
    origin = rings[0].mean(axis=0)
    for ring in rings:
        fitted, axes = _square_ring(ring - origin, axes, tolerance)
        if len(fitted) < 3:
            return None
        result.append(fitted + origin)
    return result


def _square_ring(
    ring: np.ndarray, axes: np.ndarray, tolerance: float
) -> tuple[np.ndarray, np.ndarray]:
    """Square a ring along given axes, or find its own where none are given; returns both.

    The ring is empty where there are no walls to be found.
    """
    area = _signed_area(ring)
    samples = sample(ring)
    # Small buildings have small features: the tolerance is at most a quarter of a square's side.
    tolerance = min(tolerance, abs(area) / len(samples))
    if tolerance < LEAST_TOLERANCE:
        return ring[:0], axes
    own = len(axes) == 0
    from_centre = samples[:, :2] - samples[:, :2].mean(axis=0)
    samples = rolled(samples, int(np.argmax((from_centre**2).sum(axis=1))))
    samples, axes = best_start(samples, axes, tolerance)
    places = places_of(samples, SPREAD * tolerance)
    starts, lines, cost = cut(samples, places, axes, tolerance)
    if cost == np.inf:
        return ring[:0], axes
    if own:
        turned = turned_axes(samples, starts, lines, axes)
        if np.abs(turned - axes).max() > STEADY:
            starts, lines, cost = cut(samples, places, turned, tolerance)
            turned = turned_axes(samples, starts, lines, turned)
        axes = turned
    price, free = tolerance**3, len(axes)
    centre, loss = circle_through(samples)
    walls_loss = cost - price * np.where(lines == free, FREE_PRICE, 1.0).sum()
    if loss < CIRCLE_LOSS * walls_loss and loss + CIRCLE_PRICE * price < cost:
        return round_ring(centre, area), axes
    starts, lines = follow_curves(samples, starts, lines, free, tolerance)
    return _corners(samples, starts, _place(samples, starts, lines, axes), tolerance), axes


def _signed_area(ring: np.ndarray) -> float:
    x, y = ring.T
    return float(np.roll(x, 1) @ y - np.roll(y, 1) @ x) / 2


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
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
