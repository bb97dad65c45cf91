"""Weak labels of open water and woods by texture, for scenes whose labels leave them open.

"Not a road" may be forest or lake, and a network that has seen dark water but no dark forest calls
both water; forbidden that, it calls the forest building. Open water is calm: its grey values hardly
vary over 20 m. Where they vary strongly and the ground is not dark or teal (sun glint, rapids),
there is none. Such rough ground, where it is far from every road, dim and brown or green, is wood.
In between nothing is claimed.

The thresholds were set by looking at leaf-off aerial photographs of New England at 1 m; they are
not meant for other imagery without looking again.
"""

from dataclasses import dataclass

import numpy as np

_CELL = 2.0  # m, working resolution
_BLOCK = 11  # cells, the neighbourhood of the texture
_CALM, _ROUGH, _ROUGH_FINE = 5.5, 8.0, 5.0  # standard deviations of grey values 0..255
_LEAST = 10_000.0  # m2, smallest water body
_REMOTE = 60.0  # m from the nearest road


@dataclass(frozen=True)
class Sets:
    """Label sets of one class each, as bits."""

    water: int
    vegetation: int
    road: int


def narrow(image: np.ndarray, labels: np.ndarray, gsd: float, sets: Sets) -> np.ndarray:
    """Narrow label sets that hold water and other classes, by texture and distance from roads.

    Args:
        image: uint8 ``(3, h, w)``, red, green, blue; pure white counts as no data.
        labels: label sets, uint8 ``(h, w)``.
        gsd: metres per pixel, at most 2.
        sets: the classes that the rules speak of.

    Returns:
        A new array. Such sets become ``water`` where the scene is calm and lose it where rough;
        wooded rough places far from roads become ``vegetation``.
    """
    step = max(1, round(_CELL / gsd))
    height, width = (size // step for size in labels.shape)
    cells = image[:, : height * step, : width * step].astype(np.float32)
    cells = cells.reshape(3, height, step, width, step).mean(axis=(2, 4))
    calm, rough, wooded = _textures(cells, _LEAST / (step * gsd) ** 2)
    road = labels[: height * step : step, : width * step : step] == sets.road
    wood = rough & wooded & _far_from(road, _REMOTE / (step * gsd))

    rows = np.minimum(np.arange(labels.shape[0]) // step, height - 1)[:, None]
    cols = np.minimum(np.arange(labels.shape[1]) // step, width - 1)[None]
    undecided = (labels & sets.water != 0) & (labels != sets.water)
    result = labels.copy()
    result[undecided & rough[rows, cols]] &= np.uint8(255 - sets.water)
    result[undecided & wood[rows, cols]] = sets.vegetation
    result[undecided & calm[rows, cols]] = sets.water
    return result


def _textures(cells: np.ndarray, least: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Calm, rough (never both), and dim ground that is brown or green: three bool ``(h, w)``.

    Args:
        cells: float32 ``(3, h, w)``, values 0..255 at about 2 m.
        least: smallest water body, in cells.
    """
    from scipy import ndimage

    empty = ndimage.binary_dilation(cells.min(axis=0) > 250, iterations=6)
    grey = cells.mean(axis=0)
    mean, spread = _mean_and_spread(grey, _BLOCK)
    red, green, blue = (ndimage.uniform_filter(band, _BLOCK) for band in cells)
    calm = (spread < _CALM) & (mean < 110) & (blue >= red - 2) & (green - blue < 14) & ~empty
    calm = ndimage.binary_dilation(ndimage.binary_opening(calm, iterations=3), iterations=4)
    parts, count = ndimage.label(calm & ~empty)
    sizes = ndimage.sum_labels(calm, parts, np.arange(count + 1))
    calm = (sizes > least)[parts] & (parts > 0)

    fine_mean, fine_spread = _mean_and_spread(grey, 5)
    lit = ndimage.minimum_filter(fine_mean, 7) > 38
    rough = (fine_spread > _ROUGH_FINE) & (spread > _ROUGH) & lit & (red > blue - 5)
    rough = ndimage.binary_opening(rough, iterations=2) & ~calm & ~empty
    wooded = (mean < 105) & (np.maximum(red, green) - blue > 4)
    return calm, rough, wooded


def _far_from(road: np.ndarray, cells: float) -> np.ndarray:
    """Where the nearest road is more than so many cells away; nowhere if there is none at all."""
    from scipy import ndimage

    if not road.any():  # the scene may just not have been mapped
        return np.zeros(road.shape, dtype=bool)
    far: np.ndarray = ndimage.distance_transform_edt(~road) > cells
    return far


def _mean_and_spread(grey: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation in a square neighbourhood of ``size`` cells."""
    from scipy import ndimage

    mean = ndimage.uniform_filter(grey, size)
    square = ndimage.uniform_filter(grey * grey, size)
    return mean, np.sqrt(np.maximum(square - mean * mean, 0.0))
