"""Weak labels of open water by texture, for scenes whose labels leave water open.

"Not a road" may be forest or lake, and a network that has seen dark water but no dark forest calls
both water. Open water is calm: its grey values hardly vary over 20 m. Where they vary strongly and
the ground is not dark or teal (sun glint, rapids), there is none. In between nothing is claimed.
The thresholds were set by looking at leaf-off aerial photographs of New England at 1 m; they are
not meant for other imagery without looking again.
"""

import numpy as np

_CELL = 2.0  # m, working resolution
_BLOCK = 11  # cells, the neighbourhood of the texture
_CALM, _ROUGH, _ROUGH_FINE = 5.5, 8.0, 5.0  # standard deviations of grey values 0..255
_LEAST = 10_000.0  # m2, smallest water body


def narrow_water(image: np.ndarray, labels: np.ndarray, gsd: float, water: int) -> np.ndarray:
    """Narrow label sets that hold water and other classes, by texture.

    Args:
        image: uint8 ``(3, h, w)``, red, green, blue.
        labels: label sets, uint8 ``(h, w)``.
        gsd: metres per pixel, at most 2.
        water: the label set of water alone.

    Returns:
        A new array: such sets become ``water`` where the scene is calm and lose it where rough.
    """
    step = max(1, round(_CELL / gsd))
    height, width = (size // step for size in labels.shape)
    cells = image[:, : height * step, : width * step].astype(np.float32)
    cells = cells.reshape(3, height, step, width, step).mean(axis=(2, 4))
    calm, rough = calm_and_rough(cells, _LEAST / (step * gsd) ** 2)
    rows = np.minimum(np.arange(labels.shape[0]) // step, height - 1)[:, None]
    cols = np.minimum(np.arange(labels.shape[1]) // step, width - 1)[None]
    open_to_water = (labels & water != 0) & (labels != water)
    result = labels.copy()
    result[open_to_water & calm[rows, cols]] = water
    dry = open_to_water & rough[rows, cols]
    result[dry] &= np.uint8(255 - water)
    return result


def calm_and_rough(cells: np.ndarray, least: float) -> tuple[np.ndarray, np.ndarray]:
    """Where there is surely water and where there surely is none.

    Args:
        cells: float32 ``(3, h, w)``, values 0..255 at 2 m; pure white counts as no data.
        least: smallest water body, in cells.

    Returns:
        Two bool ``(h, w)``, never both true.
    """
    from scipy import ndimage

    empty = ndimage.binary_dilation(cells.min(axis=0) > 250, iterations=6)
    grey = cells.mean(axis=0)
    mean, spread = _texture(grey, _BLOCK)
    red, green, blue = (ndimage.uniform_filter(band, _BLOCK) for band in cells)
    calm = (spread < _CALM) & (mean < 110) & (blue >= red - 2) & (green - blue < 14) & ~empty
    calm = ndimage.binary_dilation(ndimage.binary_opening(calm, iterations=3), iterations=4)
    parts, count = ndimage.label(calm & ~empty)
    sizes = ndimage.sum_labels(calm, parts, np.arange(count + 1))
    calm = (sizes > least)[parts] & (parts > 0)

    fine_mean, fine_spread = _texture(grey, 5)
    lit = ndimage.minimum_filter(fine_mean, 7) > 38
    rough = (fine_spread > _ROUGH_FINE) & (spread > _ROUGH) & lit & (red > blue - 5)
    rough = ndimage.binary_opening(rough, iterations=2) & ~calm & ~empty
    return calm, rough


def _texture(grey: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation in a square neighbourhood of ``size`` cells."""
    from scipy import ndimage

    mean = ndimage.uniform_filter(grey, size)
    square = ndimage.uniform_filter(grey * grey, size)
    return mean, np.sqrt(np.maximum(square - mean * mean, 0.0))
