"""Label sets of a scene that is trained on, read window by window from a mask or from polygons."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from geounet.labels.areas import Areas
from geounet.labels.coding import IGNORED, coding_for
from geounet.labels.source import LabelFiles, LabelSource, find_labels
from geounet.legend import Legend
from geounet.raster.scene import Scene
from geounet.tiles import Window
from geounet.train.sources import SourceConfig


@dataclass(frozen=True, eq=False)
class SetReader:
    """Label sets of a scene; holds no open file and can be pickled."""

    source: LabelSource
    table: np.ndarray
    """Code -> label set: uint8 ``(256,)``."""

    @property
    def areas(self) -> Areas | None:
        """The polygons that the labels are made of; None for masks."""
        return self.source.areas

    def read(self, window: Window) -> np.ndarray:
        """Sets of a window inside the scene, uint8 ``(h, w)``: bit ``i`` where class ``i`` is
        allowed, 0 where ignored.

        Raises:
            LabelError: the file cannot be read, or holds a value that is not named.
        """
        with self.source.opened() as labels:
            sets: np.ndarray = self.table[labels.read(window)]
        return sets


def find_sets(scene: Scene, source: SourceConfig, data: Path, legend: Legend) -> SetReader:
    """The labels of a scene: its mask or its polygons.

    Args:
        scene: the scene.
        source: what it belongs to.
        data: folder that the files of labels are relative to.
        legend: the classes.

    Raises:
        LabelError: the polygons cannot be used, see :mod:`geounet.labels.areas`.
    """
    coding = coding_for(
        source.labels, legend, source.polygons.outside if source.polygons else (), strict=True
    )
    table = np.zeros(256, np.uint8)
    table[: len(coding.sets)] = coding.allowed(legend) @ np.left_shift(1, np.arange(len(legend)))
    table[IGNORED] = 0
    return SetReader(find_labels(_files(Path(scene.uri), source, data), scene, coding), table)


def mask_of(image: Path, source: SourceConfig, data: Path) -> Path:
    """Where an image's mask lies: where ``masks`` says, else ``NAME_mask.tif`` beside it."""
    if source.masks:
        return data / source.masks.replace("{stem}", image.stem)
    return image.with_name(f"{image.stem}_mask.tif")


def _files(image: Path, source: SourceConfig, data: Path) -> LabelFiles:
    def place(name: str) -> Path | None:
        return data / name.replace("{stem}", image.stem) if name else None

    areas, settings = (place(source.aoi), place(source.ignore)), source.polygons
    if settings is None:
        return LabelFiles(mask_of(image, source, data), None, *areas)
    path = data / settings.path.replace("{stem}", image.stem)
    return LabelFiles(path, settings.column or None, *areas)
