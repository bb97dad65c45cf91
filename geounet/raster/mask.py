"""Write a class mask row by row and publish it as a Cloud Optimized GeoTIFF, whole or not."""

import json
import os
import warnings
import zlib
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import rasterio
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.shutil import copy as rasterio_copy
from rasterio.transform import Affine
from rasterio.windows import Window as RasterioWindow

from geounet.errors import OutputError
from geounet.legend import NODATA_ID, Legend
from geounet.raster.attributes import attribute_table, aux_path
from geounet.raster.classes import LEGEND_TAG
from geounet.raster.scene import GDAL_CACHE_MB, Scene

BLOCK = 512
"""Side of the TIFF's blocks."""


class MaskWriter:
    """Takes rows from top to bottom; ``finish`` completes the file, ``publish`` names it.

    A plain GeoTIFF writer that is killed leaves a readable file of zeros under its final name. So
    rows go to a temporary file beside the target, that is copied to a COG under another temporary
    name, read back against a checksum, flushed to the disk, and only then renamed. Leaving the
    context without publishing removes what was written.
    """

    def __init__(self, path: Path, scene: Scene, legend: Legend, tags: dict[str, str]) -> None:
        """Start writing.

        Args:
            path: the final name.
            scene: gives size, transform and CRS.
            legend: gives palette and class names.
            tags: stored as the file's metadata.

        Raises:
            OutputError: the folder cannot be written to.
        """
        self.path = path
        self._legend = legend
        self._shape = scene.shape
        # The process id keeps two runs from writing into each other's file.
        self._rows_path = path.with_name(f".{path.stem}.{os.getpid()}.rows.tif")
        self._cog_path = path.with_name(f".{path.stem}.{os.getpid()}.cog.tif")
        self._aux_path = path.with_name(f".{path.stem}.{os.getpid()}.aux.xml")
        self._pending: list[np.ndarray] = []
        self._pending_rows = 0
        self._row = 0
        self._checksum = 0
        self._env = rasterio.Env(GDAL_CACHEMAX=GDAL_CACHE_MB)
        self._env.__enter__()
        try:
            self._dataset = self._create(scene, tags)
        except (RasterioError, OSError) as error:
            self.__exit__(None, None, None)
            raise _failed(path, error) from error

    def _create(self, scene: Scene, tags: dict[str, str]) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            dataset = rasterio.open(
                self._rows_path, "w", driver="GTiff", height=scene.height, width=scene.width,
                count=1, dtype="uint8", nodata=NODATA_ID, crs=scene.georef.crs,
                transform=Affine(*scene.georef.transform), tiled=True, blockxsize=BLOCK,
                blockysize=BLOCK, compress="LZW", BIGTIFF="IF_SAFER",
            )  # fmt: skip
        dataset.write_colormap(1, {item.id: (*item.color, 255) for item in self._legend})
        dataset.update_tags(**tags)
        names = {str(item.id): item.name for item in self._legend}
        whole = {LEGEND_TAG: json.dumps(self._legend.to_dict())}
        dataset.update_tags(1, CLASS_NAMES=json.dumps(names), **whole, **{
            f"CLASS_{item.id}": item.name for item in self._legend
        })  # fmt: skip
        dataset.set_band_description(1, "class")
        return dataset

    def write_rows(self, rows: np.ndarray) -> None:
        """Append uint8 ``(n, width)`` rows; any n, blocks are completed before they are written."""
        self._checksum = zlib.crc32(np.ascontiguousarray(rows).data, self._checksum)
        self._pending.append(rows)
        self._pending_rows += len(rows)
        at_end = self._row + self._pending_rows == self._shape[0]
        full = self._pending_rows if at_end else self._pending_rows // BLOCK * BLOCK
        if not full:
            return
        block = np.concatenate(self._pending) if len(self._pending) > 1 else self._pending[0]
        where = RasterioWindow(0, self._row, self._shape[1], full)
        try:
            self._dataset.write(block[:full], 1, window=where)
        except RasterioError as error:
            raise _failed(self.path, error) from error
        self._row += full
        self._pending = [block[full:].copy()] if full < len(block) else []
        self._pending_rows = len(block) - full

    def finish(self) -> None:
        """Make the COG and check it; all that remains is the rename.

        Raises:
            OutputError: rows are missing, the disk is full, or the copy does not read back equal.
        """
        if self._row != self._shape[0]:
            raise OutputError(
                f"{self.path}: only {self._row + self._pending_rows} of {self._shape[0]} rows came;"
                " not published"
            )
        try:
            self._dataset.close()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", NotGeoreferencedWarning)
                rasterio_copy(
                    self._rows_path, self._cog_path, driver="COG", COMPRESS="DEFLATE",
                    BLOCKSIZE=BLOCK, OVERVIEW_RESAMPLING="MODE", NUM_THREADS="ALL_CPUS",
                    BIGTIFF="IF_SAFER",
                )  # fmt: skip
                if self._stored_checksum() != self._checksum:
                    raise OutputError(
                        f"{self.path}: does not read back as written; is the disk full?"
                    )
            self._aux_path.write_text(attribute_table(self._legend), encoding="utf-8")
            for part in (self._cog_path, self._aux_path):
                with part.open("rb") as stream:
                    os.fsync(stream.fileno())
        except (RasterioError, OSError) as error:
            raise _failed(self.path, error) from error

    def publish(self) -> None:
        """Give the finished file its final name, after its attribute table.

        Raises:
            OutputError: the file cannot be renamed.
        """
        try:
            self._aux_path.replace(aux_path(self.path))
            self._cog_path.replace(self.path)
        except OSError as error:
            raise _failed(self.path, error) from error

    def _stored_checksum(self) -> int:
        checksum = 0
        with rasterio.open(self._cog_path, driver="GTiff", num_threads="ALL_CPUS") as dataset:
            for row in range(0, self._shape[0], BLOCK):
                height = min(BLOCK, self._shape[0] - row)
                where = RasterioWindow(0, row, self._shape[1], height)
                checksum = zlib.crc32(dataset.read(1, window=where), checksum)
        return checksum

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if hasattr(self, "_dataset"):
            self._dataset.close()
        self._rows_path.unlink(missing_ok=True)
        self._cog_path.unlink(missing_ok=True)
        self._aux_path.unlink(missing_ok=True)
        self._env.__exit__(kind, error, trace)


def read_tags(path: Path) -> dict[str, str]:
    """The metadata of a mask; empty if the file cannot be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path, driver="GTiff") as dataset:
                return dict(dataset.tags())
    except RasterioError:
        return {}


def _failed(path: Path, error: Exception) -> OutputError:
    return OutputError(
        f"{path}: cannot be written ({' '.join(str(error).split())});"
        " choose another folder with -o, or free space"
    )
