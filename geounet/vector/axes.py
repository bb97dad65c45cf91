"""The directions of a building: where its walls run, and the pairs of axes that they share.

As in :mod:`geounet.vector.walls`, everything is compiled, in pixels and radians.
"""

import math

import numpy as np

from geounet.vector.compiled import inner, kernel, once
from geounet.vector.walls import (
    FREE_PRICE,
    SPREAD,
    cut,
    places_of,
    prefix_sums,
    rolled,
    scatter,
    trimmed,
)

ROUGH = (1.0, 0.5)
"""Tolerances, in tolerances, of the cuts from which a building's axes may come."""

AXIS_SPREAD = math.radians(9.0)
"""Walls this close to an axis take part in finding its direction."""

NOISE = 8.0
"""The tolerance is at most so many times the noise of an outline."""

FINEST = 1.25
"""Pixels; no noise asks for a smaller tolerance."""

ALIKE = math.radians(2.0)
"""Axes closer than this lead to the same walls."""

MAX_PAIRS = 3
"""At most this many pairs of axes at right angles in a building."""

MIN_SHARE = 0.2
"""Share of a building's walls that each further pair of axes must explain."""


@inner
def wall_samples(samples: np.ndarray, starts: np.ndarray, wall: int) -> tuple[int, int]:
    """First sample of a wall and the one after its last, without those next to corners."""
    return trimmed(starts[wall], starts[wall + 1] if wall + 1 < len(starts) else len(samples))


@inner
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


@inner
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


@once
def steady_tolerance(samples: np.ndarray, tolerance: float) -> float:
    """The tolerance, or less where the outline is smoother than it allows for.

    What a fine cut into free walls leaves over is noise: 0.25 pixels (root mean square) for the
    steps of a straight wall, 0.35 once a network has drawn it.
    """
    fine = ROUGH[-1] * tolerance
    # (a global array would count as another type, and all that takes it be compiled once more)
    starts, _, cost = cut(samples, places_of(samples, SPREAD * tolerance), np.empty(0), fine)
    if len(starts) == 0:
        return tolerance
    squares = max(0.0, cost - FREE_PRICE * fine**3 * len(starts))
    noise = math.sqrt(squares / len(samples))
    return min(tolerance, max(NOISE * noise, FINEST))


@once
def clearest_corner(angle: np.ndarray, length: np.ndarray) -> int:
    """The wall that makes the clearest corner with the one before it."""
    most, best = -1.0, 0
    for w in range(len(angle)):
        clear = abs(math.sin(angle[w] - angle[w - 1])) * min(length[w], length[w - 1])
        if clear > most:
            most, best = clear, w
    return best


@inner
def _quarter(angle: float) -> float:
    """A difference of directions modulo 90 degrees, -45 to 45 degrees."""
    quarter = math.pi / 2
    return (angle + quarter / 2) % quarter - quarter / 2


@kernel
def find_axes(angle: np.ndarray, length: np.ndarray) -> np.ndarray:
    """Axes that walls share: pairs at right angles, each explaining what those before do not.

    Args:
        angle: ``(w,)`` directions of walls.
        length: ``(w,)`` their lengths.

    Returns:
        ``(2 * pairs,)`` directions: a, a + 90 degrees, b, b + 90 degrees, ...
    """
    axes = np.empty(2 * MAX_PAIRS)
    left = length.copy()
    total, found = 0.0, 0
    for i in range(len(length)):
        total += length[i]
    for _ in range(MAX_PAIRS):
        support, centre = 0.0, 0.0
        for i in range(len(angle)):
            own = 0.0
            for j in range(len(angle)):
                near = _quarter(angle[j] - angle[i]) / AXIS_SPREAD
                own += left[j] * max(0.0, 1 - near * near)
            if left[i] > 0 and own > support:
                support, centre = own, angle[i]
        if support == 0 or (found > 0 and support < MIN_SHARE * total):
            break
        shift, weight, walls = 0.0, 0.0, 0
        for i in range(len(angle)):
            off = _quarter(angle[i] - centre)
            if abs(off) < AXIS_SPREAD and left[i] > 0:
                # A direction's variance falls with the cube of a wall's length.
                shift += off * length[i] ** 3
                weight += length[i] ** 3
                walls += 1
                left[i] = 0.0
        if found == 0 or walls > 1:
            axes[found] = centre + shift / weight
            axes[found + 1] = axes[found] + math.pi / 2
            found += 2
    return axes[:found].copy()


@inner
def _alike(axes: np.ndarray, others: np.ndarray) -> bool:
    alike = len(axes) == len(others)
    for k in range(len(axes)):
        alike = alike and abs(_quarter(axes[k] - others[k])) < ALIKE
    return alike


@once
def best_start(
    samples: np.ndarray, axes: np.ndarray, tolerance: float
) -> tuple[np.ndarray, np.ndarray]:
    """Samples rolled to the corner where cutting should start, and the axes if none are given.

    Both come from a cut into free walls. A fine one is led astray by noise, a coarse one takes a
    row of steps for a slope, so that the one is taken from which the cheaper cut follows.
    """
    cheapest, best, found = np.inf, samples, axes
    places = places_of(samples, SPREAD * tolerance)
    for share in ROUGH:
        starts, _, _ = cut(samples, places, np.empty(0), share * tolerance)
        if len(starts) > 1:
            angle, length = directions(samples, starts)
            own = axes if len(axes) > 0 else find_axes(angle, length)
            if cheapest < np.inf and _alike(own, found):
                break
            turned = rolled(samples, starts[clearest_corner(angle, length)])
            _, _, cost = cut(turned, places_of(turned, SPREAD * tolerance), own, tolerance)
            if cost < cheapest:
                cheapest, best, found = cost, turned, own
    return best, found
