"""Round buildings and curved walls, which straight walls along axes would not do justice.

As in :mod:`geounet.vector.walls`, everything is compiled, in pixels and radians.
"""

import math

import numpy as np

from geounet.vector.axes import wall_samples
from geounet.vector.compiled import once
from geounet.vector.walls import SPREAD, cut, middle_of, places_of

SAGITTA = 0.2
"""Distance in pixels that a circle's arcs may keep from its chords."""

CURVE_PRICE = 1.5
"""Squared distances that a parabola must save to be drawn, in prices of a wall along an axis."""

GENTLE = math.cos(math.radians(50))
"""Cosine of the largest turn between two walls that approximate a curve."""

CURVE_DETAIL = 1 / 3
"""Tolerance inside curves, in tolerances."""


@once
def circle_through(samples: np.ndarray) -> tuple[float, float, float]:
    """Centre x, y of the circle through the samples (algebraic least squares), squared misfit.

    Kasa, A circle fitting procedure and its error analysis, IEEE Trans. Instrum. Meas. 25, 1976.
    """
    n = len(samples)
    mean_x, mean_y = middle_of(samples)
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


@once
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


@once
def follow_curves(
    samples: np.ndarray, starts: np.ndarray, lines: np.ndarray, free: int, tolerance: float
) -> tuple[np.ndarray, np.ndarray]:
    """Cut curves, which the search approximates by few walls, more finely.

    Args:
        samples: ``(n, 4)``.
        starts: ``(w,)`` first samples of walls.
        lines: ``(w,)`` indices of their axes.
        free: index that means no axis.
        tolerance: in pixels.

    Returns:
        New ``starts`` and ``lines``.
    """
    n, walls, fine = len(samples), len(starts), CURVE_DETAIL * tolerance
    bulge, angle = _bulges(samples, starts)
    new_starts, new_lines = np.empty(n, np.int64), np.empty(n, np.int64)
    count, w = 0, 0
    while w < walls:
        last, saved = w + 1, abs(bulge[w])
        while (
            last < walls
            and bulge[last] * bulge[w] > 0
            and math.cos(angle[last] - angle[last - 1]) > GENTLE
        ):
            saved += abs(bulge[last])
            last += 1
        finer = starts[:0]
        # That several walls bulge to the same side by chance is less likely than that one does.
        if saved * (last - w) > CURVE_PRICE * tolerance**3:
            part = samples[starts[w] : starts[last] if last < walls else n]
            finer, _, _ = cut(part, places_of(part, SPREAD * fine), np.empty(0), fine)
        curved = len(finer) > last - w
        for k in range(len(finer) if curved else last - w):
            new_starts[count] = starts[w] + finer[k] if curved else starts[w + k]
            new_lines[count] = free if curved else lines[w + k]
            count += 1
        w = last
    return new_starts[:count], new_lines[:count]


@once
def _bulges(samples: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each wall the squared distances that a parabola saves, about, and its direction.

    The sign of the former says to which side the wall bulges; ``(w,)`` each.
    """
    bulge, angle = np.zeros(len(starts)), np.empty(len(starts))
    for w in range(len(starts)):
        first, last = wall_samples(samples, starts, w)
        x, y = samples[last - 1, 0] - samples[first, 0], samples[last - 1, 1] - samples[first, 1]
        angle[w] = math.atan2(y, x)
        c, s = math.cos(angle[w]), math.sin(angle[w])
        quarter = (last - first) // 4
        if quarter < 2:
            continue
        middle, ends = 0.0, 0.0
        for i in range(first, last):
            offset = samples[i, 1] * c - samples[i, 0] * s
            if i < first + quarter or i >= last - quarter:
                ends += offset / (2 * quarter)
            else:
                middle += offset / (last - first - 2 * quarter)
        # A parabola's middle half lies half its height above its outer quarters, and 4 / 45 of
        # its squared height is its variance.
        saved = (last - first) * (2 * (middle - ends)) ** 2 * 4 / 45
        bulge[w] = math.copysign(saved, middle - ends)
    return bulge, angle
