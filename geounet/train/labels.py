"""Label sets of scenes whose labels are polygons, rasterised on the scene's grid."""

from pathlib import Path

import numpy as np

from geounet.errors import ConfigError
from geounet.labels.coding import IGNORED, coding_for
from geounet.labels.source import LabelFiles, open_labels
from geounet.legend import Legend
from geounet.raster.scene import describe
from geounet.tiles import Window
from geounet.train.config import SourceConfig


def polygon_labels(image: Path, source: SourceConfig, data: Path, legend: Legend) -> np.ndarray:
    """Label sets of a scene, uint8 ``(h, w)``: bit ``i`` where class ``i`` is allowed, 0 ignored.

    Args:
        image: the scene.
        source: with ``polygons``.
        data: folder that the files of polygons are relative to.
        legend: the classes.

    Raises:
        LabelError: the polygons cannot be used, see :mod:`geounet.labels.areas`.
    """
    settings = source.polygons
    if settings is None:
        raise ConfigError(f"source {source.name!r}: has no polygons")

    def place(name: str) -> Path | None:
        return data / name.replace("{stem}", image.stem) if name else None

    files = LabelFiles(
        data / settings.path.replace("{stem}", image.stem),
        settings.column or None,
        place(settings.aoi),
        place(settings.ignore),
    )
    coding = coding_for(source.labels, legend, settings.outside, strict=True)
    bits = np.zeros(256, np.uint8)
    powers = np.left_shift(1, np.arange(len(legend)))
    bits[: len(coding.sets)] = coding.allowed(legend) @ powers
    bits[IGNORED] = 0
    scene = describe(image)
    with open_labels(files, scene, coding) as labels:
        sets: np.ndarray = bits[labels.read(Window(0, 0, scene.height, scene.width))]
    return sets
