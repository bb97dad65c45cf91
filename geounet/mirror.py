"""Mirrored index maps for patches that overhang the raster, and the trim that undoes a margin."""

import numpy as np

from geounet.errors import ConfigError


def mirror_index(start: int, length: int, size: int) -> np.ndarray:
    """Map positions ``start .. start + length`` of an endless mirrored axis into ``0 .. size``.

    The axis is reflected about the centres of its first and last pixel, so the edge pixel is not
    repeated (as ``numpy.pad(mode="reflect")``), any number of times: an overhang may be larger than
    the raster, down to one pixel.

    Args:
        start: first position, may be negative.
        length: number of positions.
        size: pixels along the axis, >= 1.

    Returns:
        int64 array of shape ``(length,)`` with values in ``0 .. size - 1``.
    """
    if size < 1:
        raise ConfigError(f"cannot mirror an axis of {size} pixels")
    if size == 1:
        return np.zeros(length, dtype=np.int64)
    period = 2 * (size - 1)
    position = np.arange(start, start + length, dtype=np.int64) % period
    return np.minimum(position, period - position)


def trim(array: np.ndarray, top: int, left: int, height: int, width: int) -> np.ndarray:
    """The ``height`` x ``width`` view of ``array``'s last two axes that starts at (top, left)."""
    return array[..., top : top + height, left : left + width]
