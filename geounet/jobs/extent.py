"""Which part of a scene is asked for: a bounding box, an area of interest, or all of it."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError

from geounet.errors import ConfigError, SceneError
from geounet.raster.area import Area
from geounet.raster.scene import Scene
from geounet.tiles import Window

if TYPE_CHECKING:
    from shapely import Geometry

_SLACK = 1e-6
"""Pixels; a box drawn along pixel edges does not gain a row by rounding."""
_PIECES = 200
"""Straight edges are cut into about so many pieces before they are brought to another CRS."""


@dataclass(frozen=True)
class Extent:
    """What the user asked for; a part is the overlap of box and area where both are given."""

    bbox: tuple[float, float, float, float] | None = None
    """West, south, east, north."""
    bbox_crs: str | None = None
    """CRS of ``bbox``, such as ``EPSG:4326``; None: the scene's own."""
    aoi: str | None = None
    """A file of polygons in any CRS; pixels whose centre lies outside have no data in the results.
    """

    def __post_init__(self) -> None:
        if self.bbox_crs is not None and self.bbox is None:
            raise ConfigError(f"--bbox-crs {self.bbox_crs} needs a --bbox")
        if self.bbox is None:
            return
        west, south, east, north = self.bbox
        if not (all(map(math.isfinite, self.bbox)) and west < east and south < north):
            raise ConfigError(
                f"--bbox {','.join(f'{value:g}' for value in self.bbox)}: give W,S,E,N with W < E"
                " and S < N"
            )


@dataclass(frozen=True)
class Region:
    """A part of a scene, on its own pixels."""

    window: Window
    """The whole pixels that the part touches."""
    area: Area | None = None
    """Where in the window results are wanted; None: everywhere."""

    @property
    def identity(self) -> tuple[int | str, ...]:
        """What tells two regions of a scene apart."""
        window = self.window
        digest = self.area.digest if self.area else ""
        return window.row, window.col, window.height, window.width, digest


def resolve_region(scene: Scene, extent: Extent) -> Region:
    """The pixels that ``extent`` means in a scene.

    Raises:
        ConfigError: an unknown CRS, or a file that holds no polygons.
        SceneError: the scene lies elsewhere, or has no CRS to bring the part to.
    """
    window: Window | None = Window(0, 0, *scene.shape)
    area = None
    if extent.bbox is not None and window:
        import shapely

        box = _in_pixels(scene, shapely.box(*extent.bbox), extent.bbox_crs, "--bbox")
        window = _touched(np.asarray(shapely.bounds(box))).intersection(window)
        if window is None:
            raise SceneError(
                f"{scene.uri}: --bbox does not meet the scene; is it in the scene's CRS? Name"
                " another with --bbox-crs"
            )
    if extent.aoi is not None and window:
        polygons, crs = _read_polygons(extent.aoi)
        polygons = _in_pixels(scene, polygons, crs, extent.aoi)
        import shapely

        window = _touched(shapely.total_bounds(polygons)).intersection(window)
        if window is None:
            raise SceneError(f"{scene.uri}: {extent.aoi} does not meet the scene")
        area = Area(tuple(shapely.to_wkb(polygons)))
    assert window is not None
    return Region(window, area)


def _touched(bounds: np.ndarray) -> Window:
    """The whole pixels that (least col, least row, largest col, largest row) touch."""
    col, row = (int(value) for value in np.floor(bounds[:2] + _SLACK))
    right, bottom = (int(value) for value in np.ceil(bounds[2:] - _SLACK))
    return Window(row, col, max(1, bottom - row), max(1, right - col))


def _in_pixels(scene: Scene, shapes: Any, crs: str | None, name: str) -> Any:
    """Shapes with the scene's columns and rows as coordinates."""
    import shapely

    own = scene.georef.crs
    if crs is not None and own is None:
        raise SceneError(f"{scene.uri}: has no CRS, so {name} cannot be brought to it from {crs}")
    if crs is not None and own is not None:
        try:
            source, target = CRS.from_user_input(crs), CRS.from_wkt(own)
        except CRSError as error:
            raise ConfigError(f"{name}: {crs!r} is no CRS; write it like EPSG:4326") from error
        if source != target:
            to_scene = Transformer.from_crs(source, target, always_xy=True)
            bounds = shapely.bounds(shapely.GeometryCollection(np.atleast_1d(shapes).tolist()))
            longest = max(bounds[2] - bounds[0], bounds[3] - bounds[1])
            shapes = shapely.segmentize(shapes, longest / _PIECES)
            shapes = shapely.transform(shapes, to_scene.transform, interleaved=False)
            if not np.isfinite(shapely.get_coordinates(shapes)).all():
                raise SceneError(f"{scene.uri}: {name} cannot be brought from {crs} to its CRS")
    a, b, c, d, e, f = scene.georef.transform
    inverse = np.linalg.inv([[a, b], [d, e]])
    return shapely.transform(shapes, lambda points: (points - (c, f)) @ inverse.T)


def _read_polygons(path: str) -> "tuple[np.ndarray[Any, np.dtype[Any]], str | None]":
    """The polygons of a vector file of one layer with geometry, one by one, and their CRS."""
    import pyogrio
    import shapely

    try:
        Path(path).stat()
    except FileNotFoundError as error:
        raise ConfigError(f"--aoi {path}: no such file; check the path") from error
    except OSError as error:
        raise ConfigError(
            f"--aoi {path}: cannot be read ({error.strerror}); ask for access"
        ) from error
    try:
        # Tables without geometry do not count: QGIS keeps styles in one, layer_styles.
        layers = [str(name) for name, kind in pyogrio.list_layers(path) if kind is not None]
        if len(layers) > 1:
            names = ", ".join(layers)
            raise ConfigError(f"--aoi {path}: holds the layers {names}; give a file of one layer")
        if not layers:
            raise ConfigError(f"--aoi {path}: holds no polygon")
        meta, _, wkb, _ = pyogrio.raw.read(path, layers[0], columns=[])
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"--aoi {path}: cannot be read ({reason}); give a vector file") from error
    parts: list[Geometry] = [
        part
        for shape in shapely.from_wkb(wkb if wkb is not None else [])
        if shape is not None
        # A mended polygon may be a collection of a multipolygon and lines.
        for part in shapely.get_parts(
            shapely.get_parts(shapely.make_valid(shapely.force_2d(shape)))
        )
        if part.geom_type == "Polygon" and not part.is_empty
    ]
    if not parts:
        raise ConfigError(f"--aoi {path}: holds no polygon")
    return np.array(parts, dtype=object), meta["crs"]
