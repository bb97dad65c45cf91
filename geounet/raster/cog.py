"""Write a raster row by row and publish it as a Cloud Optimized GeoTIFF, whole or not at all."""

import os
import warnings
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
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
from geounet.georef import Frame
from geounet.raster.attributes import aux_path
from geounet.raster.scene import GDAL_CACHE

BLOCK = 512
"""Side of the TIFF's blocks."""


@dataclass(frozen=True)
class Layout:
    """What a raster file holds."""

    frame: Frame
    """Size and place."""
    dtype: str
    """numpy name of the type that rows come in."""
    nodata: float
    """Value of pixels without data."""
    describe: Callable[[Any], None]
    """Called with the new rasterio dataset, to name bands and set palette and tags."""
    count: int = 1
    """Bands."""
    overviews: str = "MODE"
    """How overviews are resampled."""
    creation: Mapping[str, Any] = field(default_factory=dict)
    """Further creation options of GDAL's GTiff and COG drivers."""
    aux: str | None = None
    """Text of the ``.aux.xml`` file beside the raster; None: there is none."""


class CogWriter:
    """Takes rows from top to bottom; ``finish`` completes the file, ``publish`` names it.

    A plain GeoTIFF writer that is killed leaves a readable file of zeros under its final name. So
    rows go to a temporary file beside the target, that is copied to a COG under another temporary
    name, read back against a checksum, flushed to the disk, and only then renamed. Leaving the
    context without publishing removes what was written.
    """

    def __init__(self, path: Path, layout: Layout) -> None:
        """Start writing.

        Args:
            path: the final name.
            layout: what the file holds.

        Raises:
            OutputError: the folder cannot be written to.
        """
        self.path = path
        self._layout = layout
        self._shape = layout.frame.height, layout.frame.width
        # The process id keeps two runs from writing into each other's file.
        self._rows_path = path.with_name(f".{path.stem}.{os.getpid()}.rows.tif")
        self._cog_path = path.with_name(f".{path.stem}.{os.getpid()}.cog.tif")
        self._aux_path = path.with_name(f".{path.stem}.{os.getpid()}.aux.xml")
        self._pending: list[np.ndarray] = []
        self._pending_rows = 0
        self._row = 0
        self._checksums = [0] * layout.count
        self._env = rasterio.Env(GDAL_CACHEMAX=GDAL_CACHE)
        self._env.__enter__()
        try:
            self._dataset = self._create()
        except (RasterioError, OSError) as error:
            self.__exit__(None, None, None)
            raise _failed(path, error) from error

    def _create(self) -> Any:
        layout, frame = self._layout, self._layout.frame
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            dataset = rasterio.open(
                self._rows_path, "w", driver="GTiff", height=frame.height, width=frame.width,
                count=layout.count, dtype=layout.dtype, nodata=layout.nodata, crs=frame.georef.crs,
                transform=Affine(*frame.georef.transform), tiled=True, blockxsize=BLOCK,
                blockysize=BLOCK, compress="LZW", BIGTIFF="IF_SAFER", interleave="band",
                **layout.creation,
            )  # fmt: skip
        layout.describe(dataset)
        return dataset

    def write_rows(self, rows: np.ndarray) -> None:
        """Append ``(n, width)`` or ``(bands, n, width)`` rows; any n, blocks are completed before
        they are written.
        """
        rows = rows.reshape(self._layout.count, -1, self._shape[1])
        for band, values in enumerate(rows):
            own = np.ascontiguousarray(values)
            self._checksums[band] = zlib.crc32(own.data, self._checksums[band])
        self._pending.append(rows)
        self._pending_rows += rows.shape[1]
        at_end = self._row + self._pending_rows == self._shape[0]
        full = self._pending_rows if at_end else self._pending_rows // BLOCK * BLOCK
        if not full:
            return
        block = np.concatenate(self._pending, axis=1) if len(self._pending) > 1 else rows
        where = RasterioWindow(0, self._row, self._shape[1], full)
        try:
            self._dataset.write(block[:, :full], window=where)
        except RasterioError as error:
            raise _failed(self.path, error) from error
        self._row += full
        self._pending_rows = block.shape[1] - full
        self._pending = [block[:, full:].copy()] if self._pending_rows else []

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
                    BLOCKSIZE=BLOCK, OVERVIEW_RESAMPLING=self._layout.overviews,
                    NUM_THREADS="ALL_CPUS", BIGTIFF="IF_SAFER", **self._layout.creation,
                )  # fmt: skip
                if self._stored_checksums() != self._checksums:
                    raise OutputError(
                        f"{self.path}: does not read back as written; is the disk full?"
                    )
            parts = [self._cog_path]
            if self._layout.aux is not None:
                self._aux_path.write_text(self._layout.aux, encoding="utf-8")
                parts.append(self._aux_path)
            for part in parts:
                with part.open("rb") as stream:
                    os.fsync(stream.fileno())
        except (RasterioError, OSError) as error:
            raise _failed(self.path, error) from error

    def publish(self) -> None:
        """Give the finished file its final name, after what belongs beside it.

        Raises:
            OutputError: the file cannot be renamed.
        """
        try:
            if self._layout.aux is not None:
                self._aux_path.replace(aux_path(self.path))
            self._cog_path.replace(self.path)
        except OSError as error:
            raise _failed(self.path, error) from error

    def _stored_checksums(self) -> list[int]:
        checksums = [0] * self._layout.count
        with rasterio.open(self._cog_path, driver="GTiff", num_threads="ALL_CPUS") as dataset:
            for row in range(0, self._shape[0], BLOCK):
                height = min(BLOCK, self._shape[0] - row)
                where = RasterioWindow(0, row, self._shape[1], height)
                for band, values in enumerate(dataset.read(window=where)):
                    checksums[band] = zlib.crc32(values, checksums[band])
        return checksums

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


def _failed(path: Path, error: Exception) -> OutputError:
    return OutputError(
        f"{path}: cannot be written ({' '.join(str(error).split())});"
        " choose another folder with -o, or free space"
    )
