"""Separable resampling whose result depends on absolute pixel positions alone.

Libraries resize an array as a whole, so a pixel's value shifts with the window it was cut from.
Tiles must agree with each other, so here every output pixel's taps follow from its position on the
whole axis: whichever window it is computed in, it gets the same value.

The filter is a triangle: bilinear interpolation when enlarging, and when shrinking the same
triangle stretched over the pixels that an output pixel covers (antialiased).
"""

import math
from dataclasses import dataclass

import numpy as np

from geounet.errors import ConfigError


@dataclass(frozen=True)
class Axis:
    """One axis of ``size_in`` pixels resampled to ``size_out`` pixels over the same extent."""

    size_in: int
    """Pixels before, >= 1."""
    size_out: int
    """Pixels after, >= 1."""

    def __post_init__(self) -> None:
        if self.size_in < 1 or self.size_out < 1:
            raise ConfigError(f"cannot resample {self.size_in} pixels to {self.size_out}")

    @property
    def step(self) -> float:
        """Input pixels per output pixel."""
        return self.size_in / self.size_out

    @property
    def reach(self) -> int:
        """Input pixels to either side of an output pixel's centre that take part in it."""
        return math.ceil(max(1.0, self.step))

    def taps(self, start: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Input pixels and weights of the output pixels ``start .. start + count``.

        Returns:
            int64 ``(count, k)`` indices into the input axis and float32 ``(count, k)`` weights that
            sum to 1; taps beyond the axis have weight 0.
        """
        center = (np.arange(start, start + count) + 0.5) * self.step - 0.5
        support = max(1.0, self.step)
        first = np.floor(center - support).astype(np.int64) + 1
        index = first[:, None] + np.arange(int(np.ceil(2 * support)))
        weight = np.maximum(0.0, 1.0 - np.abs(index - center[:, None]) / support)
        weight[(index < 0) | (index >= self.size_in)] = 0.0
        weight /= weight.sum(axis=1, keepdims=True)
        return np.clip(index, 0, self.size_in - 1), weight.astype(np.float32)

    def source(self, start: int, count: int) -> tuple[int, int]:
        """First and one past the last input pixel that ``count`` outputs from ``start`` need."""
        index, weight = self.taps(start, count)
        used = index[weight > 0]
        return int(used.min()), int(used.max()) + 1

    def owned(self, start: int, end: int) -> tuple[int, int]:
        """The input pixels whose centres fall into the output pixels ``start .. end``.

        Consecutive output ranges own consecutive input ranges: a partition of one axis carries over
        to the other. A range may own nothing where the output is much finer than the input.
        """
        return self._first_centre(start), self._first_centre(end)

    def _first_centre(self, position: int) -> int:
        # Integer arithmetic: floating point would assign a centre that lies on an edge twice.
        doubled = 2 * position * self.size_in - self.size_out
        return max(0, min(self.size_in, -(-doubled // (2 * self.size_out))))

    @property
    def inverse(self) -> "Axis":
        """The axis from output back to input."""
        return Axis(self.size_out, self.size_in)


def resample_axis(
    array: np.ndarray, axis: int, taps: tuple[np.ndarray, np.ndarray], origin: int
) -> np.ndarray:
    """Apply taps along one axis.

    Args:
        array: any shape; along ``axis`` it holds the input pixels from position ``origin`` on.
        axis: the axis.
        taps: from :meth:`Axis.taps`; every tap with a weight must lie inside ``array``.
        origin: position of the array's first pixel on the input axis.

    Returns:
        float32, ``axis`` replaced by the taps' output pixels.
    """
    index, weight = taps
    local = np.clip(index - origin, 0, array.shape[axis] - 1)
    shape = [1] * array.ndim
    shape[axis] = -1
    out: np.ndarray | None = None
    for tap in range(index.shape[1]):
        if not weight[:, tap].any():
            continue
        term = np.take(array, local[:, tap], axis=axis).astype(np.float32)
        term *= weight[:, tap].reshape(shape)
        if out is None:
            out = term
        else:
            out += term
    if out is None:
        raise ConfigError("taps without weight: the output range lies outside the axis")
    return out
