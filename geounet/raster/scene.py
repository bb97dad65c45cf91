"""Describe a raster without keeping it open, and read patches of it."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from socket import gethostname
from typing import Any

import numpy as np
import rasterio
from rasterio._err import CPLE_BaseError
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window as RasterioWindow

from geounet.errors import SceneError
from geounet.georef import Frame, Georef
from geounet.mirror import mirror_index
from geounet.raster.locate import georeference
from geounet.raster.remote import (
    file_name,
    gdal_name,
    gdal_settings,
    is_remote,
    is_served,
    shown_name,
)
from geounet.tiles import Window

GDAL_CACHE = 64 << 20
"""Bytes of GDAL's block cache, as rasterio wants them (GDAL itself reads small numbers as
megabytes); its default, 5 % of the machine's memory, would count against the job's."""


@dataclass(frozen=True)
class Scene:
    """What a raster is; holds no open handle and can be pickled."""

    uri: str
    """Path or GDAL name."""
    height: int
    """Rows."""
    width: int
    """Columns."""
    bands: int
    """Number of bands, alpha included."""
    dtype: str
    """numpy name of the bands' type."""
    nodata: float | None
    """Nodata value of the first band; None if there is none."""
    georef: Georef
    """Where the scene lies."""
    colors: tuple[str, ...]
    """Colour interpretation per band: ``red``, ``gray``, ``alpha``, ``undefined``, ..."""
    driver: str = "GTiff"
    """The one GDAL driver that may open the scene."""
    notice: str | None = None
    """What the user should know about the georeference; None if nothing."""
    block: tuple[int, int] = (1, 1)
    """Rows and columns of the blocks that the file is compressed in."""
    overviews: tuple[int, ...] = ()
    """Scene pixels per pixel of each overview, from fine to coarse."""

    @property
    def name(self) -> str:
        """File name without the folder."""
        return file_name(self.uri)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.height, self.width

    @property
    def frame(self) -> Frame:
        """Size and place."""
        return Frame(self.height, self.width, self.georef)


def describe(uri: str | Path, driver: str = "GTiff") -> Scene:
    """Read a raster's facts.

    Only ``driver`` may open the file: a VRT that merely carries the name ``.tif`` could read any
    file of the machine, and returns zeros after a failed read.

    Raises:
        SceneError: the file is missing, is not of that format, or holds values that geounet cannot
            use (complex numbers).
    """
    uri = str(uri)
    if not is_remote(uri):
        _check_file(uri)
    with _opened(uri, driver) as dataset:
        if dataset.count == 0:
            raise SceneError(f"{uri}: holds no raster band; name a sub-dataset")
        dtype = dataset.dtypes[0]
        if dtype.startswith("complex"):  # numpy knows no complex integers
            raise SceneError(
                f"{uri}: complex values ({dtype}) cannot be segmented; take the amplitude"
            )
        georef, notice = georeference(dataset)
        return Scene(
            uri=uri,
            height=dataset.height,
            width=dataset.width,
            bands=dataset.count,
            dtype=dtype,
            nodata=dataset.nodata,
            georef=georef,
            colors=tuple(item.name for item in _colors(dataset)),
            driver=driver,
            notice=notice,
            block=dataset.block_shapes[0],
            overviews=tuple(dataset.overviews(1)),
        )


def _check_file(path: str) -> None:
    """Raise what GDAL would say in words of its own, or not at all."""
    try:
        Path(path).stat()
        path.encode()
    except UnicodeEncodeError as error:
        raise SceneError(f"{path}: the name is not UTF-8, as GDAL needs it; rename it") from error
    except FileNotFoundError as error:
        raise SceneError(f"{path}: no such file; check the path") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SceneError(f"{path}: cannot be opened ({reason}); check the path") from error


def choose_bands(scene: Scene, names: tuple[str, ...], bidx: tuple[int, ...]) -> tuple[int, ...]:
    """The 1-based bands that feed a model's input bands.

    ``bidx`` wins. Otherwise bands are matched by colour interpretation where the scene names all of
    them, else the scene's first bands, alpha left out, are taken in order.

    Raises:
        SceneError: too few bands, a band that the scene does not have, or one whose values are the
            numbers of colours in a palette, which look like nothing to a network.
    """
    if bidx:
        if len(bidx) != len(names):
            raise SceneError(
                f"{scene.uri}: -b names {len(bidx)} bands but the model needs {len(names)}"
                f" ({', '.join(names)})"
            )
        for band in bidx:
            if not 1 <= band <= scene.bands:
                raise SceneError(f"{scene.uri}: has no band {band}; it has 1 to {scene.bands}")
        _check_colors(scene, bidx)
        return bidx
    if all(scene.colors.count(name) == 1 for name in names):
        return tuple(scene.colors.index(name) + 1 for name in names)
    usable = [i + 1 for i, color in enumerate(scene.colors) if color != ColorInterp.alpha.name]
    _check_colors(scene, tuple(usable[: len(names)]))
    if len(usable) < len(names):
        last = usable[-1] if usable else 1
        example = ",".join(str(band) for band in (usable + [last] * len(names))[: len(names)])
        raise SceneError(
            f"{scene.uri}: has {len(usable)} image band{'s' * (len(usable) != 1)}"
            f" but the model needs {len(names)} ({', '.join(names)});"
            f" choose bands with -b (in a training run bidx), such as -b {example}"
        )
    return tuple(usable[: len(names)])


def _check_colors(scene: Scene, bands: tuple[int, ...]) -> None:
    for band in bands:
        if scene.colors[band - 1] == ColorInterp.palette.name:
            raise SceneError(
                f"{scene.uri}: band {band} holds numbers of a palette, not colours; make a copy in"
                " colours with 'gdal_translate -expand rgb in.tif out.tif'"
            )


@contextmanager
def open_scene(scene: Scene) -> Iterator[Any]:
    """The scene as an open rasterio dataset of its own, closed on leaving.

    After a failed read a dataset may return zeros silently; leaving the context discards it.
    """
    with gdal_environment(scene), open_handle(scene) as dataset:
        yield dataset


def open_handle(scene: Scene, level: int | None = None) -> Any:
    """The scene, or its overview ``level`` (0 is the finest), as a dataset that the caller closes;
    inside :func:`gdal_environment`.

    Raises:
        SceneError: it cannot be opened, or is not what was described.
    """
    options = {} if level is None else {"overview_level": level}
    dataset = _open(scene.uri, scene.driver, options)
    if (level is None and dataset.shape != scene.shape) or dataset.count != scene.bands:
        dataset.close()
        raise SceneError(f"{scene.uri}: has changed since it was described; start again")
    return dataset


@contextmanager
def gdal_environment(scene: Scene, cache_bytes: int = GDAL_CACHE) -> Iterator[None]:
    """GDAL's settings for reading a scene."""
    with _environment(scene.uri, cache_bytes):
        yield


def read_window(
    dataset: Any, window: Window, bands: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Read a window that lies inside the raster.

    A pixel is valid if any of the bands has data there (nodata value, mask band or alpha) and every
    band is finite: black is often both nodata and a colour, but never in all bands at once.

    Returns:
        ``(bands, height, width)`` of the scene's dtype, and bool ``(height, width)``, True where
        the scene has data.
    """
    where = RasterioWindow(window.col, window.row, window.width, window.height)
    try:
        data = dataset.read(list(bands), window=where)
        valid = _validity(dataset, where, bands)
    except RasterioError as error:
        raise _unreadable(dataset.name, window, error) from error
    if data.dtype.kind == "f":
        finite = np.isfinite(data).all(axis=0)
        valid &= finite
    return data, valid


def read_values(dataset: Any, window: Window, bands: tuple[int, ...]) -> np.ndarray:
    """Only the values of :func:`read_window`."""
    where = RasterioWindow(window.col, window.row, window.width, window.height)
    try:
        data: np.ndarray = dataset.read(list(bands), window=where)
    except RasterioError as error:
        raise _unreadable(dataset.name, window, error) from error
    return data


def read_valid(dataset: Any, window: Window, bands: tuple[int, ...]) -> np.ndarray:
    """Only the validity of :func:`read_window`; reads no values where a mask alone decides."""
    if np.dtype(dataset.dtypes[0]).kind == "f":
        return read_window(dataset, window, bands)[1]
    where = RasterioWindow(window.col, window.row, window.width, window.height)
    try:
        return _validity(dataset, where, bands)
    except RasterioError as error:
        raise _unreadable(dataset.name, window, error) from error


def read_patch(
    dataset: Any, window: Window, bands: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Read a window that may overhang the raster, mirrored at the raster's edges.

    The part that is needed is read once, clipped to the raster, and then indexed; rasterio's
    boundless reads are slower and cannot mirror.

    Returns:
        As :func:`read_window`, of the whole window.
    """
    rows = mirror_index(window.row, window.height, dataset.height)
    cols = mirror_index(window.col, window.width, dataset.width)
    top, left = int(rows.min()), int(cols.min())
    inside = Window(top, left, int(rows.max()) + 1 - top, int(cols.max()) + 1 - left)
    data, valid = read_window(dataset, inside, bands)
    if inside == window:
        return data, valid
    at = np.ix_(rows - top, cols - left)
    return data[:, at[0], at[1]], valid[at]


def _validity(dataset: Any, where: RasterioWindow, bands: tuple[int, ...]) -> np.ndarray:
    flags = [dataset.mask_flag_enums[band - 1] for band in bands]
    if any(MaskFlags.all_valid in item for item in flags):
        alpha = alpha_beside(dataset, bands)
        if alpha is None:
            return np.ones((int(where.height), int(where.width)), dtype=bool)
        return np.asarray(dataset.read(alpha, window=where) != 0)
    if all(MaskFlags.per_dataset in item for item in flags):
        bands = bands[:1]  # one mask serves all bands
    masks = dataset.read_masks(list(dict.fromkeys(bands)), window=where)
    return np.asarray(np.any(masks, axis=0))


def alpha_beside(dataset: Any, bands: tuple[int, ...]) -> int | None:
    """The alpha band, unless it is one of ``bands``: it says where they have data, where GDAL makes
    no mask of it, as it does for uint8 and uint16 alone.
    """
    if dataset.count == len(set(bands)):  # of most scenes, whose windows should not wait for more
        return None
    colors = _colors(dataset)
    alpha = colors.index(ColorInterp.alpha) + 1 if ColorInterp.alpha in colors else None
    return None if alpha in bands else alpha


def _colors(dataset: Any) -> tuple[ColorInterp, ...]:
    """What the bands show. rasterio takes any colour for a failure, and raises what GDAL last
    complained of in this thread: of another scene, maybe. Doing so, it forgets that.
    """
    with suppress(CPLE_BaseError):
        return tuple(dataset.colorinterp)
    return tuple(dataset.colorinterp)


@contextmanager
def _opened(uri: str, driver: str) -> Iterator[Any]:
    with _environment(uri, GDAL_CACHE), _open(uri, driver, {}) as dataset:
        yield dataset


@contextmanager
def _environment(uri: str, cache_bytes: int) -> Iterator[None]:
    with (
        rasterio.Env(GDAL_CACHEMAX=cache_bytes, **gdal_settings(uri)),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield


def _open(uri: str, driver: str, options: dict[str, Any]) -> Any:
    try:
        return rasterio.open(gdal_name(uri), driver=driver, sharing=False, **options)
    except RasterioError as error:
        if not is_remote(uri) and not os.path.exists(uri):  # noqa: PTH110 (Path.exists may raise)
            # It was there when it was described, maybe on another machine.
            raise SceneError(
                f"{uri}: not found on {gethostname()}; is its folder shared with all workers?"
            ) from error
        hint = (
            "is the address right, and may it be read?"
            if is_remote(uri)
            else "is it a GeoTIFF, complete and readable?"
        )
        raise SceneError(
            f"{uri}: cannot be opened as {driver} ({_reason(error)}); {hint}"
        ) from error


def _unreadable(name: str, window: Window, error: Exception) -> SceneError:
    shown, reason = shown_name(name), _reason(error)
    hint = "the file is truncated or damaged, fetch it again"
    if is_served(name):
        query = name.partition("?")[2]
        reason = reason.replace(f"?{query}", "") if query else reason
        hint = "the server did not answer, or the file there is damaged; try again"
    return SceneError(
        f"{shown}: rows {window.row}..{window.row_end - 1},"
        f" columns {window.col}..{window.col_end - 1} cannot be read ({reason}); {hint}"
    )


def _reason(error: BaseException) -> str:
    """GDAL's own words, on one line; rasterio often hides them in the chain of causes."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split())
