"""The directions of a building: where its walls run, and the pairs of axes that they share.

As in :mod:`geounet.vector.walls`, everything is in pixels and radians. What runs once a ring is
left to numpy: compiling it would take longer than a town.
"""

import math

import numpy as np
from numba import njit

from geounet.vector.walls import SPREAD, cut, places_of, prefix_sums, rolled, scatter, trimmed

ROUGH = (1.0, 0.5)
"""Tolerances, in tolerances, of the cuts from which a building's axes may come."""

AXIS_SPREAD = math.radians(9.0)
"""Walls this close to an axis take part in finding its direction."""

ALIKE = math.radians(2.0)
"""Axes closer than this lead to the same walls."""

MAX_PAIRS = 3
"""At most this many pairs of axes at right angles in a building."""

MIN_SHARE = 0.2
"""Share of a building's walls that each further pair of axes must explain."""


@njit(cache=True, nogil=True)
def wall_samples(samples: np.ndarray, starts: np.ndarray, wall: int) -> tuple[int, int]:
    """First sample of a wall and the one after its last, without those next to corners."""
    return trimmed(starts[wall], starts[wall + 1] if wall + 1 < len(starts) else len(samples))


@njit(cache=True, nogil=True)
def directions(samples: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Direction (of the total least squares line) and length of each wall, ``(w,)`` each."""
    sums = prefix_sums(samples)
    angle, length = np.empty(len(starts)), np.empty(len(starts))
    for w in range(len(starts)):
        i, j = wall_samples(samples, starts, w)
        xx, xy, yy = scatter(sums, i, j)
        angle[w] = 0.5 * math.atan2(2 * xy, xx - yy)
        length[w] = math.hypot(samples[j - 1, 0] - samples[i, 0], samples[j - 1, 1] - samples[i, 1])
    return angle, length


@njit(cache=True, nogil=True)
def turned_axes(
    samples: np.ndarray, starts: np.ndarray, lines: np.ndarray, axes: np.ndarray
) -> np.ndarray:
    """Turn each pair of axes to the common slope of the walls along it (least squares)."""
    result = axes.copy()
    sums = prefix_sums(samples)
    for pair in range(len(axes) // 2):
        moment, spread = 0.0, 0.0
        for w in range(len(starts)):
            if lines[w] // 2 == pair and lines[w] < len(axes):
                i, j = wall_samples(samples, starts, w)
                xx, xy, yy = scatter(sums, i, j)
                c, s = math.cos(axes[lines[w]]), math.sin(axes[lines[w]])
                spread += xx * c * c + 2 * xy * c * s + yy * s * s
                moment += (yy - xx) * c * s + xy * (c * c - s * s)
        if spread > 0:
            result[2 * pair] += math.atan2(moment, spread)
            result[2 * pair + 1] = result[2 * pair] + math.pi / 2
    return result


def clearest_corner(angle: np.ndarray, length: np.ndarray) -> int:
    """The wall that makes the clearest corner with the one before it."""
    turn = np.abs(np.sin(angle - np.roll(angle, 1)))
    return int(np.argmax(turn * np.minimum(length, np.roll(length, 1))))


def _quarter(angle: np.ndarray) -> np.ndarray:
    """Differences of directions modulo 90 degrees, -45 to 45 degrees."""
    quarter = np.pi / 2
    return (angle + quarter / 2) % quarter - quarter / 2


def find_axes(angle: np.ndarray, length: np.ndarray) -> np.ndarray:
    """Axes that walls share: pairs at right angles, each explaining what those before do not.

    Args:
        angle: ``(w,)`` directions of walls.
        length: ``(w,)`` their lengths.

    Returns:
        ``(2 * pairs,)`` directions: a, a + 90 degrees, b, b + 90 degrees, ...
    """
    off = _quarter(angle[None, :] - angle[:, None])
    near = np.maximum(0.0, 1 - (off / AXIS_SPREAD) ** 2)
    left = length.copy()
    axes: list[float] = []
    for _ in range(MAX_PAIRS):
        support = np.where(left > 0, near @ left, 0.0)
        centre = int(np.argmax(support))
        if support[centre] <= MIN_SHARE * length.sum() * bool(axes):
            break
        own = (np.abs(off[centre]) < AXIS_SPREAD) & (left > 0)
        left[own] = 0.0
        if not axes or own.sum() > 1:
            # A direction's variance falls with the cube of a wall's length.
            axis = angle[centre] + np.average(off[centre][own], weights=length[own] ** 3)
            axes += [axis, axis + np.pi / 2]
    return np.array(axes)


def _alike(axes: np.ndarray, others: np.ndarray) -> bool:
    return len(axes) == len(others) and bool((np.abs(_quarter(axes - others)) < ALIKE).all())


def best_start(
    samples: np.ndarray, axes: np.ndarray, tolerance: float
) -> tuple[np.ndarray, np.ndarray]:
    """Samples rolled to the corner where cutting should start, and the axes if none are given.

    Both come from a cut into free walls. A fine one is led astray by noise, a coarse one takes a
    row of steps for a slope, so that the one is taken from which the cheaper cut follows.
    """
    cheapest, best = np.inf, (samples, axes)
    for share in ROUGH:
        places = places_of(samples, SPREAD * tolerance)
        starts, _, _ = cut(samples, places, np.empty(0), share * tolerance)
        if len(starts) > 1:
            angle, length = directions(samples, starts)
            turned = rolled(samples, starts[clearest_corner(angle, length)])
            own = axes if len(axes) else find_axes(angle, length)
            if cheapest < np.inf and _alike(own, best[1]):
                break
            _, _, cost = cut(turned, places_of(turned, SPREAD * tolerance), own, tolerance)
            if cost < cheapest:
                cheapest, best = cost, (turned, own)
    return best
