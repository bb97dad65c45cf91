"""Labels read window by window on a scene's grid, whatever they are made of."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import rasterio
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.transform import Affine, array_bounds
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform_bounds
from rasterio.windows import Window as RasterioWindow

from geounet.errors import LabelError
from geounet.labels.areas import Areas, check_inside, check_overlaps, read_areas
from geounet.labels.coding import IGNORED, LabelCoding
from geounet.memory import cached_rows
from geounet.raster.scene import Scene, describe, open_scene
from geounet.tiles import Window

_SAME = 1e-3  # pixels; grids whose corners differ by less are one grid
_NOWHERE = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
_RASTERS = (".tif", ".tiff")


@dataclass(frozen=True)
class LabelFiles:
    """Where the labels of one scene lie."""

    path: Path
    """A GeoTIFF of label values, or polygons in any format that GDAL reads."""
    column: str | None = None
    """Attribute of the polygons that holds the value; None: all have the value ``*``."""
    aoi: Path | None = None
    """Polygons outside of which labels are ignored."""
    ignore: Path | None = None
    """Polygons inside of which labels are ignored."""

    @property
    def polygons(self) -> bool:
        """Whether the labels are polygons."""
        return is_polygons(self.path)


def is_polygons(path: Path) -> bool:
    """Whether labels at ``path`` are polygons, by its suffix."""
    return path.suffix.lower() not in _RASTERS


class _Reader(Protocol):
    def __call__(self, window: Window) -> np.ndarray: ...


@dataclass(frozen=True, eq=False)
class Labels:
    """The open labels of a scene."""

    coding: LabelCoding
    """What the codes mean."""
    areas: Areas | None
    """The polygons that the labels are made of; None for rasters."""
    _codes: _Reader
    _aoi: Areas | None
    _ignore: Areas | None

    def read(self, window: Window) -> np.ndarray:
        """Codes of a window inside the scene: uint8 ``(height, width)``, 255 where ignored.

        Raises:
            LabelError: the file cannot be read, or holds a value that is not named.
        """
        codes = self._codes(window)
        if self._aoi is not None:
            codes[self._aoi.burn(window, 0) == 0] = IGNORED
        if self._ignore is not None:
            codes[self._ignore.burn(window, 0) == 1] = IGNORED
        return codes


@dataclass(frozen=True, eq=False)
class LabelSource:
    """The labels of a scene without an open file: polygons are in memory, rasters are opened anew.

    Can be pickled.
    """

    files: LabelFiles
    """Where the labels lie."""
    scene: Scene
    """On whose grid they are read."""
    coding: LabelCoding
    """What their values mean."""
    areas: Areas | None
    """The polygons that the labels are made of; None for rasters."""
    aoi: Areas | None
    """Polygons outside of which labels are ignored; None: nowhere."""
    ignore: Areas | None
    """Polygons inside of which labels are ignored; None: nowhere."""

    @contextmanager
    def opened(self) -> Iterator[Labels]:
        """The labels, to be read.

        Raises:
            LabelError: a raster's values are no integers, it lies elsewhere, or its place is
                unknown and its size differs.
            SceneError: a raster cannot be opened.
        """
        with ExitStack() as stack:
            reader: _Reader
            if self.areas is not None:
                reader = partial(self.areas.burn, background=self.coding.outside)
            else:
                path = self.files.path
                dataset = stack.enter_context(_on_grid(path, self.scene, self.coding))
                reader = _RasterReader(dataset, str(path), self.coding)
            yield Labels(self.coding, self.areas, reader, self.aoi, self.ignore)


def find_labels(files: LabelFiles, scene: Scene, coding: LabelCoding) -> LabelSource:
    """Labels on the grid of ``scene``, their polygons read and checked.

    A scene without any labelled polygon is a mistake, unless an area of interest says that one
    looked for them there.

    Raises:
        LabelError: see :mod:`geounet.labels.areas`.
    """
    aoi, ignore = (
        read_areas(path, scene, None, lambda value, where: 1, anywhere) if path else None
        for path, anywhere in ((files.aoi, False), (files.ignore, True))
    )
    if aoi is not None and files.aoi is not None:
        check_inside(aoi, scene, files.aoi)
    areas = None
    if files.polygons:
        areas = read_areas(files.path, scene, files.column, coding.code, aoi is not None)
        if aoi is None:
            check_inside(areas, scene, files.path)
        check_overlaps(areas, scene, files.path)
    return LabelSource(files, scene, coding, areas, aoi, ignore)


@contextmanager
def open_labels(files: LabelFiles, scene: Scene, coding: LabelCoding) -> Iterator[Labels]:
    """Open labels on the grid of ``scene``; those of another grid or CRS take the nearest pixel.

    Raises:
        LabelError: see :func:`find_labels` and :meth:`LabelSource.opened`.
        SceneError: a raster cannot be opened.
    """
    with find_labels(files, scene, coding).opened() as labels:
        yield labels


@contextmanager
def _on_grid(path: Path, scene: Scene, coding: LabelCoding) -> Iterator[Any]:
    """The labels' dataset, wrapped so that it has the scene's grid."""
    own = describe(path)
    if np.dtype(own.dtype).kind not in "iu":
        raise LabelError(f"{path}: labels must be integers, these are {own.dtype}")
    with open_scene(own) as dataset:
        if _same_grid(own, scene):
            yield dataset
            return
        if own.georef.crs is None or scene.georef.crs is None:
            without = path if own.georef.crs is None else scene.uri
            raise LabelError(
                f"{path}: {own.height} x {own.width} pixels do not fit the {scene.height} x"
                f" {scene.width} of {scene.uri}, and {without} has no CRS to place it by"
            )
        _check_place(own, scene)
        fill = _unused(dataset, coding)
        with WarpedVRT(
            dataset, crs=scene.georef.crs, transform=Affine(*scene.georef.transform),
            height=scene.height, width=scene.width, resampling=Resampling.nearest,
            src_nodata=fill, nodata=fill,
            # A tolerance that shows would make a pixel depend on how the scene is cut; 0 fails.
            tolerance=1e-9,
        ) as warped:  # fmt: skip
            yield warped


def _same_grid(own: Scene, scene: Scene) -> bool:
    """Whether both have the same pixels; a raster that is nowhere at all fits by its size, one
    without a CRS by its transform.
    """
    if own.shape != scene.shape:
        return False
    if any(item.georef.crs is None and item.georef.transform == _NOWHERE for item in (own, scene)):
        return True
    if not _same_crs(own.georef.crs, scene.georef.crs):
        return False
    corners = np.array([[0, 0], [scene.width, 0], [0, scene.height]])
    shift = own.georef.to_crs(corners) - scene.georef.to_crs(corners)
    return bool(np.abs(shift).max() < _SAME * abs(scene.georef.determinant) ** 0.5)


def _same_crs(one: str | None, other: str | None) -> bool:
    """False where both are given and differ."""
    if one is None or other is None or one == other:
        return True
    return bool(rasterio.CRS.from_wkt(one) == rasterio.CRS.from_wkt(other))


def _check_place(own: Scene, scene: Scene) -> None:
    def bounds(item: Scene) -> tuple[float, float, float, float]:
        box = array_bounds(item.height, item.width, Affine(*item.georef.transform))
        left, bottom, right, top = transform_bounds(item.georef.crs, scene.georef.crs, *box)
        return min(left, right), min(bottom, top), max(left, right), max(bottom, top)

    left, bottom, right, top = bounds(own)
    west, south, east, north = bounds(scene)
    if left >= east or right <= west or bottom >= north or top <= south:
        raise LabelError(
            f"{own.uri}: its labels lie outside the scene {scene.uri} (x {left:.8g} to {right:.8g},"
            f" y {bottom:.8g} to {top:.8g} in its CRS); check the CRS of both"
        )


def _unused(dataset: Any, coding: LabelCoding) -> int:
    """A value that means nothing, for the places that the labels do not cover."""
    limits = np.iinfo(dataset.dtypes[0])
    # Then from the top down: the small values are those that somebody may have used unnamed.
    rest = range(limits.max, limits.min - 1, -1)
    for value in chain((dataset.nodata, 255, limits.max, limits.min), rest):
        if value is not None and str(int(value)) not in coding.codes and value <= limits.max:
            return int(value)
    raise LabelError(f"{dataset.name}: no value is left for places without labels")


@dataclass(frozen=True, eq=False)
class _RasterReader:
    """Values of a raster to codes."""

    dataset: Any
    name: str
    coding: LabelCoding

    def __call__(self, window: Window) -> np.ndarray:
        where = RasterioWindow(window.col, window.row, window.width, window.height)
        try:
            values = self.dataset.read(1, window=where)
        except RasterioError as error:
            raise LabelError(
                f"{self.name}: rows {window.row}..{window.row_end - 1} cannot be read"
                f" ({' '.join(str(error).split())}); the file is damaged, fetch it again"
            ) from error
        if values.dtype == np.uint8:
            counts = np.zeros(256, np.int64)
            for rows in cached_rows(*values.shape):  # bincount makes a copy eight times as large
                counts += np.bincount(values[rows].ravel(), minlength=256)
            present = np.flatnonzero(counts)
            table = np.full(256, IGNORED, np.uint8)
            table[present] = [self._code(value) for value in present.tolist()]
            codes: np.ndarray = table[values]
            return codes
        present, places = np.unique(values, return_inverse=True)
        found = np.array([self._code(value) for value in present.tolist()], np.uint8)
        return found[places].reshape(values.shape)

    def _code(self, value: int) -> int:
        if str(value) in self.coding.codes or value not in (255, self.dataset.nodata):
            return self.coding.code(str(value), self.name)
        return IGNORED
