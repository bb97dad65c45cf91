"""Round buildings and curved walls, which straight walls along axes would not do justice.

As in :mod:`geounet.vector.walls`, everything is in pixels and radians.
"""

import math

import numpy as np

from geounet.vector.axes import wall_samples
from geounet.vector.walls import SPREAD, cut, places_of

SAGITTA = 0.2
"""Distance in pixels that a circle's arcs may keep from its chords."""

CURVE_PRICE = 1.5
"""Squared distances that a parabola must save to be drawn, in prices of a wall along an axis."""

GENTLE = math.cos(math.radians(50))
"""Cosine of the largest turn between two walls that approximate a curve."""

CURVE_DETAIL = 1 / 3
"""Tolerance inside curves, in tolerances."""


def circle_through(samples: np.ndarray) -> tuple[np.ndarray, float]:
    """Centre ``(2,)`` of the circle through the samples (algebraic least squares), squared misfit.

    Kasa, A circle fitting procedure and its error analysis, IEEE Trans. Instrum. Meas. 25, 1976.
    """
    points = samples[:, :2]
    mean = points.mean(axis=0)
    moved = points - mean
    squares = (moved * moved).sum(axis=1)
    centre = mean + np.linalg.solve(2 * moved.T @ moved, moved.T @ squares)
    radius = np.hypot(*(points - centre).T)
    return centre, float(((radius - radius.mean()) ** 2).sum())


def round_ring(centre: np.ndarray, area: float) -> np.ndarray:
    """Regular polygon around a centre, with the raw ring's area and turning as it did."""
    radius = math.sqrt(abs(area) / math.pi)
    count = max(12, math.ceil(math.pi / math.acos(max(0.0, 1 - SAGITTA / radius))))
    # A polygon on the circle itself would be too small.
    radius = math.sqrt(2 * abs(area) / (count * math.sin(2 * math.pi / count)))
    angle = math.copysign(2 * math.pi / count, area) * np.arange(count)
    return centre + radius * np.column_stack([np.cos(angle), np.sin(angle)])


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
    bulge, angle = _bulges(samples, starts)
    ends = np.append(starts[1:], len(samples))
    new_starts: list[int] = []
    new_lines: list[int] = []
    w = 0
    while w < len(starts):
        last = _end_of_run(bulge, angle, w)
        # That several walls bulge to the same side by chance is less likely than that one does.
        if np.abs(bulge[w:last]).sum() * (last - w) > CURVE_PRICE * tolerance**3:
            part = samples[starts[w] : ends[last - 1]]
            finer, _, _ = cut(
                part,
                places_of(part, CURVE_DETAIL * SPREAD * tolerance),
                np.empty(0),
                CURVE_DETAIL * tolerance,
            )
            if len(finer) > last - w:
                new_starts += (starts[w] + finer).tolist()
                new_lines += [free] * len(finer)
                w = last
                continue
        new_starts += starts[w:last].tolist()
        new_lines += lines[w:last].tolist()
        w = last
    return np.array(new_starts), np.array(new_lines)


def _end_of_run(bulge: np.ndarray, angle: np.ndarray, first: int) -> int:
    """The wall after those from ``first`` on that bulge to the same side and turn gently."""
    last = first + 1
    while (
        last < len(bulge)
        and bulge[last] * bulge[first] > 0
        and math.cos(angle[last] - angle[last - 1]) > GENTLE
    ):
        last += 1
    return last


def _bulges(samples: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each wall the squared distances that a parabola saves, about, and its direction.

    The sign of the former says to which side the wall bulges; ``(w,)`` each.
    """
    bulge, angle = np.zeros(len(starts)), np.empty(len(starts))
    for w in range(len(starts)):
        first, last = wall_samples(samples, starts, w)
        x, y = samples[last - 1, :2] - samples[first, :2]
        angle[w] = math.atan2(y, x)
        quarter = (last - first) // 4
        if quarter < 2:
            continue
        offset = samples[first:last, 1] * math.cos(angle[w]) - samples[first:last, 0] * math.sin(
            angle[w]
        )
        middle = offset[quarter:-quarter].mean()
        height = middle - (offset[:quarter].mean() + offset[-quarter:].mean()) / 2
        # A parabola's middle half lies half its height above its outer quarters, and 4 / 45 of
        # its squared height is its variance.
        bulge[w] = math.copysign((last - first) * (2 * height) ** 2 * 4 / 45, height)
    return bulge, angle
