"""The range of values of a scene, which training and prediction bring to 0..1."""

import numpy as np

from geounet.bands import Stretch, percentile_stretch
from geounet.raster.scene import Scene, open_scene, read_window
from geounet.tiles import Window

_WINDOWS, _SIDE = 8, 128  # windows along each axis, and their pixels a side


def scene_stretch(
    scene: Scene, bands: tuple[int, ...], dtype: str, value_range: tuple[float, float]
) -> Stretch:
    """The model's own value range if the scene has its dtype, else the scene's percentiles.

    Percentiles come from up to 64 windows on a regular grid over the scene: a decimated read would
    decode the whole file where there are no overviews.

    Args:
        scene: the scene.
        bands: 1-based.
        dtype: numpy name of the type that the model knows.
        value_range: lowest and highest value of scenes of that type.
    """
    if scene.dtype == dtype:
        low, high = value_range
        return Stretch((low,) * len(bands), (high,) * len(bands))
    rows = np.unique(np.linspace(0, max(0, scene.height - _SIDE), _WINDOWS).astype(int))
    cols = np.unique(np.linspace(0, max(0, scene.width - _SIDE), _WINDOWS).astype(int))
    values, known = [], []
    with open_scene(scene) as dataset:
        for row in rows.tolist():
            for col in cols.tolist():
                height, width = min(_SIDE, scene.height - row), min(_SIDE, scene.width - col)
                data, valid = read_window(dataset, Window(row, col, height, width), bands)
                values.append(data.reshape(len(bands), 1, -1))
                known.append(valid.reshape(1, -1))
    return percentile_stretch(np.concatenate(values, axis=2), np.concatenate(known, axis=1))
