"""The rasters that a segmentation writes: the class mask, and the probabilities of the classes."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from geounet.decision import STEPS, Storage
from geounet.georef import Frame
from geounet.legend import NODATA_ID, Legend
from geounet.raster.attributes import attribute_table
from geounet.raster.classes import LEGEND_TAG
from geounet.raster.cog import CogWriter, Layout
from geounet.raster.pyramid import average


class MaskWriter(CogWriter):
    """Writes uint8 ``(n, width)`` rows of class ids, with palette and class names."""

    def __init__(self, path: Path, frame: Frame, legend: Legend, tags: dict[str, str]) -> None:
        """Start writing.

        Args:
            path: the final name.
            frame: size and place.
            legend: gives palette and class names.
            tags: stored as the file's metadata.

        Raises:
            OutputError: the folder cannot be written to.
        """

        def describe(dataset: Any) -> None:
            dataset.write_colormap(1, {item.id: (*item.color, 255) for item in legend})
            dataset.update_tags(**tags)
            names = {str(item.id): item.name for item in legend}
            whole = {LEGEND_TAG: json.dumps(legend.to_dict())}
            dataset.update_tags(1, CLASS_NAMES=json.dumps(names), **whole, **{
                f"CLASS_{item.id}": item.name for item in legend
            })  # fmt: skip
            dataset.set_band_description(1, "class")

        super().__init__(
            path, Layout(frame, "uint8", NODATA_ID, describe, aux=attribute_table(legend))
        )


class ProbabilityWriter(CogWriter):
    """Writes ``(classes, n, width)`` rows, a band per class that is described by its name.

    uint8 values carry a scale of 1/254, so that readers that heed it see probabilities; float16
    has half the size of float32 on the disk, and readers see float32.
    """

    def __init__(
        self, path: Path, frame: Frame, legend: Legend, tags: dict[str, str], storage: Storage
    ) -> None:
        """Start writing.

        Args:
            path: the final name.
            frame: size and place.
            legend: class ``i`` is band ``i + 1``.
            tags: stored as the file's metadata.
            storage: number format.

        Raises:
            OutputError: the folder cannot be written to.
        """

        def describe(dataset: Any) -> None:
            dataset.update_tags(**tags)
            for band, item in enumerate(legend, 1):
                dataset.set_band_description(band, item.name)
            if storage == "uint8":
                dataset.scales = (1 / STEPS,) * len(legend)

        half = storage == "float16"
        # GDAL before 3.11 has no half type of its own, but stores float32 in 16 bits.
        layout = Layout(
            frame, "float32" if half else "uint8", np.nan if half else NODATA_ID, describe,
            count=len(legend), halve=average, creation={"NBITS": 16} if half else {},
        )  # fmt: skip
        super().__init__(path, layout)

    def write_rows(self, rows: np.ndarray) -> None:
        """Append uint8 or float16 ``(classes, n, width)`` rows."""
        super().write_rows(rows if rows.dtype == np.uint8 else rows.astype(np.float32))


def read_tags(path: Path) -> dict[str, str]:
    """The metadata of a mask; empty if the file cannot be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path, driver="GTiff") as dataset:
                return dict(dataset.tags())
    except RasterioError:
        return {}
