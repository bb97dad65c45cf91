"""The range of values of a scene, which training and prediction bring to 0..1."""

from typing import Any

import numpy as np

from geounet.bands import Stretch, percentile_stretch
from geounet.raster.scene import Scene, open_scene, read_window
from geounet.tiles import Window

_WINDOWS, _SIDE = 8, 128  # windows along each axis, and their pixels a side
_ENOUGH = 1 << 16  # valid pixels that percentiles can be told from


def scene_stretch(
    scene: Scene, bands: tuple[int, ...], dtype: str, value_range: tuple[float, float]
) -> Stretch:
    """The model's own value range if the scene has its dtype, else the scene's percentiles.

    Percentiles come from 64 windows on a regular grid over the scene: a decimated read would decode
    the whole file where there are no overviews. Where they hold hardly any data, as in the corner
    of a satellite's track, the grid becomes finer until they do.

    Args:
        scene: the scene.
        bands: 1-based.
        dtype: numpy name of the type that the model knows.
        value_range: lowest and highest value of scenes of that type.
    """
    if scene.dtype == dtype:
        low, high = value_range
        return Stretch((low,) * len(bands), (high,) * len(bands))
    count = _WINDOWS
    with open_scene(scene) as dataset:
        values = _sampled(scene, dataset, bands, count)
        while values.shape[1] < _ENOUGH and count * _SIDE < max(scene.shape):
            count *= 2
            values = _sampled(scene, dataset, bands, count)
    return percentile_stretch(values[:, None], np.ones((1, values.shape[1]), dtype=bool))


def _sampled(scene: Scene, dataset: Any, bands: tuple[int, ...], count: int) -> np.ndarray:
    """The valid values of ``count`` times ``count`` windows: ``(bands, n)``."""
    rows = np.unique(np.linspace(0, max(0, scene.height - _SIDE), count).astype(int))
    cols = np.unique(np.linspace(0, max(0, scene.width - _SIDE), count).astype(int))
    values = []
    for row in rows.tolist():
        for col in cols.tolist():
            height, width = min(_SIDE, scene.height - row), min(_SIDE, scene.width - col)
            data, valid = read_window(dataset, Window(row, col, height, width), bands)
            values.append(data[:, valid])
    return np.concatenate(values, axis=1)
