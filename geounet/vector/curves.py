"""Round buildings and curved walls, which straight walls along axes would not do justice.

As in :mod:`geounet.vector.walls`, everything is compiled, in pixels and radians.
"""

import math

import numpy as np
from numba import njit

from geounet.vector.axes import wall_samples
from geounet.vector.walls import PLACES, cut, places_of

SAGITTA = 0.2
"""Distance in pixels that a circle's arcs may keep from its chords."""

CURVE_PRICE = 1.5
"""Squared distances that a parabola must save to be drawn, in prices of a wall along an axis."""

GENTLE = math.cos(math.radians(60))
"""Cosine of the largest turn between two walls that approximate a curve."""

CURVE_DETAIL = 1 / 3
"""Tolerance inside curves, in tolerances."""


@njit(cache=True, nogil=True)
def circle_through(samples: np.ndarray) -> tuple[float, float, float]:
    """Centre of the circle through the samples (algebraic least squares) and its squared misfit.

    Kasa, A circle fitting procedure and its error analysis, IEEE Trans. Instrum. Meas. 25, 1976.
    """
    n = len(samples)
    mean_x, mean_y = 0.0, 0.0
    for i in range(n):
        mean_x += samples[i, 0] / n
        mean_y += samples[i, 1] / n
    uu = uv = vv = uz = vz = 0.0
    for i in range(n):
        u, v = samples[i, 0] - mean_x, samples[i, 1] - mean_y
        z = u * u + v * v
        uu, uv, vv, uz, vz = uu + u * u, uv + u * v, vv + v * v, uz + u * z, vz + v * z
    scale = 2 * (uu * vv - uv * uv)
    x = mean_x + (uz * vv - vz * uv) / scale
    y = mean_y + (vz * uu - uz * uv) / scale
    total, squares = 0.0, 0.0
    for i in range(n):
        radius = math.hypot(samples[i, 0] - x, samples[i, 1] - y)
        total += radius
        squares += radius * radius
    return x, y, squares - total * total / n


@njit(cache=True, nogil=True)
def round_ring(x: float, y: float, area: float) -> np.ndarray:
    """Regular polygon around a centre, with the raw ring's area and turning as it did."""
    radius = math.sqrt(abs(area) / math.pi)
    count = max(12, math.ceil(math.pi / math.acos(max(0.0, 1 - SAGITTA / radius))))
    # A polygon on the circle itself would be too small.
    radius = math.sqrt(2 * abs(area) / (count * math.sin(2 * math.pi / count)))
    ring = np.empty((count, 2))
    for k in range(count):
        angle = math.copysign(2 * math.pi * k / count, area)
        ring[k, 0], ring[k, 1] = x + radius * math.cos(angle), y + radius * math.sin(angle)
    return ring


@njit(cache=True, nogil=True)
def _bulge(samples: np.ndarray, first: int, last: int, angle: float) -> float:
    """Squared distances that a parabola saves over a straight wall, about; its sign is its side.

    ``angle`` is the direction in which samples first .. last - 1 run.
    """
    c, s = math.cos(angle), math.sin(angle)
    quarter = (last - first) // 4
    if quarter < 2:
        return 0.0
    middle, ends = 0.0, 0.0
    for i in range(first, last):
        offset = samples[i, 1] * c - samples[i, 0] * s
        if i < first + quarter or i >= last - quarter:
            ends += offset / (2 * quarter)
        else:
            middle += offset / (last - first - 2 * quarter)
    # A parabola's middle half lies half its height above its outer quarters, and 4 / 45 of its
    # squared height is its variance.
    return math.copysign((last - first) * (2 * (middle - ends)) ** 2 * 4 / 45, middle - ends)


@njit(cache=True, nogil=True)
def _curves(samples: np.ndarray, starts: np.ndarray, least: float) -> np.ndarray:
    """Number of the curve, from 1, that each wall belongs to, or 0: int64 ``(w,)``.

    A curve is a run of walls that bulge to the same side and turn gently, and saves ``least``.
    """
    walls = len(starts)
    bulge, angle = np.empty(walls), np.empty(walls)
    for w in range(walls):
        i, j = wall_samples(samples, starts, w)
        angle[w] = math.atan2(samples[j - 1, 1] - samples[i, 1], samples[j - 1, 0] - samples[i, 0])
        bulge[w] = _bulge(samples, i, j, angle[w])
    curve = np.zeros(walls, dtype=np.int64)
    w, count = 0, 0
    while w < walls:
        last, saved = w + 1, abs(bulge[w])
        while (
            last < walls
            and bulge[last] * bulge[w] > 0
            and math.cos(angle[last] - angle[last - 1]) > GENTLE
        ):
            saved += abs(bulge[last])
            last += 1
        if saved > least:
            count += 1
            curve[w:last] = count
        w = last
    return curve


@njit(cache=True, nogil=True)
def follow_curves(
    samples: np.ndarray,
    starts: np.ndarray,
    lines: np.ndarray,
    axes: np.ndarray,
    tolerance: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Cut curves, which the search approximates by few walls, more finely."""
    n, free = len(samples), len(axes)
    curve = _curves(samples, starts, CURVE_PRICE * tolerance**3)
    new_starts, new_lines = np.empty(n, dtype=np.int64), np.empty(n, dtype=np.int64)
    count, w = 0, 0
    while w < len(starts):
        last = w + 1
        while last < len(starts) and curve[w] > 0 and curve[last] == curve[w]:
            last += 1
        new_starts[count], new_lines[count] = starts[w], lines[w]
        count += 1
        if curve[w] > 0:
            end = starts[last] if last < len(starts) else n
            part = samples[starts[w] : end]
            finer, _, _ = cut(part, places_of(part, PLACES), np.empty(0), CURVE_DETAIL * tolerance)
            for k in range(1, len(finer)):
                new_lines[count - 1] = free
                new_starts[count], new_lines[count] = starts[w] + finer[k], free
                count += 1
        w = last
    return new_starts[:count], new_lines[:count]
