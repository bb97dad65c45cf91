"""Write a raster row by row and publish it as a Cloud Optimized GeoTIFF, whole or not at all."""

import os
import warnings
import zlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import rasterio
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import MemoryFile
from rasterio.transform import Affine
from rasterio.windows import Window as RasterioWindow

from geounet.errors import OutputError
from geounet.georef import Frame
from geounet.raster.attributes import aux_path
from geounet.raster.pyramid import BLOCK, Halve, LevelWriter, compressed, most_frequent
from geounet.raster.scene import GDAL_CACHE
from geounet.raster.tiff import (
    COUNTS,
    OFFSETS,
    Directory,
    Level,
    overview_of,
    read_directory,
    write_cog,
)
from geounet.scratch import scratch_folder

_STRIP_BYTES = 32 << 20
# Of the rows of blocks that are read back at the same time.


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
    halve: Halve = most_frequent
    """How overviews are made."""
    creation: Mapping[str, Any] = field(default_factory=dict)
    """Further creation options of GDAL's GTiff driver."""
    aux: str | None = None
    """Text of the ``.aux.xml`` file beside the raster; None: there is none."""


class CogWriter:
    """Takes rows from top to bottom; ``finish`` completes the file, ``publish`` names it.

    A plain GeoTIFF writer that is killed leaves a readable file of zeros under its final name. So
    compressed blocks, of the raster and of its overviews, go to a file in a hidden folder beside
    the target while the rows come in. In the end they are put behind their directories in a second
    one, which is read back against a checksum, flushed to the disk, and only then renamed. Leaving
    the context without publishing removes what was written; after a kill, the next run does.
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
        self._rows = 0
        self._checksums = [[0] * layout.count for _ in range(0, self._shape[0], BLOCK)]
        self._creation = {
            "tiled": True, "blockxsize": BLOCK, "blockysize": BLOCK, "compress": "DEFLATE",
            "interleave": "pixel", "num_threads": "ALL_CPUS", **layout.creation,
        }  # fmt: skip
        with ExitStack() as stack:
            scratch = stack.enter_context(scratch_folder(path.parent, "raster"))
            self._cog_path, self._aux_path = scratch / "raster.tif", scratch / "raster.aux.xml"
            stack.enter_context(rasterio.Env(GDAL_CACHEMAX=GDAL_CACHE))
            try:
                self._blocks = stack.enter_context((scratch / "blocks").open("w+b"))
                self._directory = self._described()
            except (RasterioError, OSError) as error:
                raise _failed(path, error) from error
            # One thread for all levels: it has GDAL's own threads compress one after the other, or
            # the rows of all of them would wait in GDAL's block cache at once.
            self._pool = stack.enter_context(ThreadPoolExecutor(1))
            self._open = stack.pop_all()
        self._level = LevelWriter(
            self._shape,
            lambda rows: self._pool.submit(compressed, rows, self._creation),
            lambda rows: layout.halve(rows, layout.nodata),
            self._blocks,
        )

    def _described(self) -> Directory:
        """The file's directory, by GDAL: it writes one without blocks."""
        layout, frame = self._layout, self._layout.frame
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with MemoryFile() as file:
                with file.open(
                    driver="GTiff", height=frame.height, width=frame.width, count=layout.count,
                    dtype=layout.dtype, nodata=layout.nodata, crs=frame.georef.crs,
                    transform=Affine(*frame.georef.transform), SPARSE_OK=True, **self._creation,
                ) as dataset:  # fmt: skip
                    layout.describe(dataset)
                directory = read_directory(file.getbuffer())
        return {tag: item for tag, item in directory.items() if tag not in (OFFSETS, COUNTS)}

    def write_rows(self, rows: np.ndarray) -> None:
        """Append ``(n, width)`` or ``(bands, n, width)`` rows; any n.

        Raises:
            OutputError: the disk is full.
        """
        rows = rows.reshape(self._layout.count, -1, self._shape[1])
        taken = 0
        while taken < rows.shape[1]:  # a row of blocks at most
            strip, begun = divmod(self._rows, BLOCK)
            part = rows[:, taken : taken + BLOCK - begun]
            self._checksums[strip] = _continued(self._checksums[strip], part)
            self._rows, taken = self._rows + part.shape[1], taken + part.shape[1]
        try:
            self._level.write(rows)
        except (RasterioError, OSError) as error:
            raise _failed(self.path, error) from error

    def finish(self) -> None:
        """Put the file together and check it; all that remains is the rename.

        Raises:
            OutputError: rows are missing, the disk is full, or the file does not read back equal.
        """
        level = self._level
        if level.row != self._shape[0]:
            raise OutputError(
                f"{self.path}: only {level.row + level.pending_rows} of {self._shape[0]} rows came;"
                " not published"
            )
        fine, *coarse = level.levels()
        levels = [Level(self._directory, fine.blocks)]
        for item in coarse:
            levels.append(Level(overview_of(self._directory, *item.shape), item.blocks))
        try:
            with self._cog_path.open("wb") as target:
                write_cog(target, levels, self._blocks)
            if self._stored_checksums() != self._checksums:
                raise OutputError(f"{self.path}: does not read back as written; is the disk full?")
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

    def _stored_checksums(self) -> list[list[int]]:
        """Those of the file's rows of blocks, which are read side by side as far as memory goes."""
        starts = range(0, self._shape[0], BLOCK)
        row_bytes = self._layout.count * self._shape[1] * np.dtype(self._layout.dtype).itemsize
        readers = max(1, min(os.cpu_count() or 1, _STRIP_BYTES // (BLOCK * row_bytes)))
        checksums = list(self._checksums)
        with warnings.catch_warnings(), ThreadPoolExecutor(readers) as pool:
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            shares = [starts[reader::readers] for reader in range(readers)]
            for reader, found in enumerate(pool.map(self._read_back, shares)):
                checksums[reader::readers] = found
        return checksums

    def _read_back(self, starts: range) -> list[list[int]]:
        """The checksums of the rows of blocks that start at these rows."""
        checksums = []
        strip = np.empty((self._layout.count, BLOCK, self._shape[1]), self._layout.dtype)
        with rasterio.open(self._cog_path, driver="GTiff") as dataset:
            for row in starts:
                height = min(BLOCK, self._shape[0] - row)
                where = RasterioWindow(0, row, self._shape[1], height)
                dataset.read(window=where, out=strip[:, :height])
                checksums.append(_continued([0] * len(strip), strip[:, :height]))
        return checksums

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()


def _continued(checksums: list[int], rows: np.ndarray) -> list[int]:
    """The bands' checksums with further ``(bands, n, width)`` rows."""
    return [
        zlib.crc32(np.ascontiguousarray(values).data, checksum)
        for values, checksum in zip(rows, checksums, strict=True)
    ]


def _failed(path: Path, error: Exception) -> OutputError:
    return OutputError(
        f"{path}: cannot be written ({' '.join(str(error).split())});"
        " choose another folder with -o, or free space"
    )
