"""Which part of a scene is asked for: a bounding box, an area of interest, or all of it."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pyproj import CRS, Transformer
from pyproj.enums import TransformDirection
from pyproj.exceptions import CRSError

from geounet.errors import ConfigError, SceneError
from geounet.raster.area import Area
from geounet.raster.scene import Scene
from geounet.tiles import Window

_SLACK = 1e-6
"""Pixels; a box drawn along pixel edges does not gain a row by rounding."""
_PIECES = 200
"""Straight edges are cut into about so many pieces before they are brought to another CRS."""
_BEND = 0.25
"""How far a short piece of a scene's border may bulge in another CRS, relative to its length; more
is a seam, such as the 180th meridian, or a pole."""


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
        window = _touched(box, window)
        if window is None:
            raise SceneError(
                f"{scene.uri}: --bbox does not meet the scene; is it in the scene's CRS? Name"
                " another with --bbox-crs"
            )
    if extent.aoi is not None and window:
        polygons, crs = _read_polygons(extent.aoi)
        polygons = _in_pixels(scene, polygons, crs, extent.aoi)
        import shapely

        window = _touched(polygons, window)
        if window is None:
            raise SceneError(f"{scene.uri}: {extent.aoi} does not meet the scene")
        area = Area(tuple(shapely.to_wkb(polygons)))
    assert window is not None
    return Region(window, area)


def _touched(shapes: Any, window: Window) -> Window | None:
    """The whole pixels of a window that the bounds of shapes touch, if any."""
    import shapely

    if not np.size(shapes):
        return None
    bounds = shapely.total_bounds(shapes)
    col, row = (int(value) for value in np.floor(bounds[:2] + _SLACK))
    right, bottom = (int(value) for value in np.ceil(bounds[2:] - _SLACK))
    return Window(row, col, max(1, bottom - row), max(1, right - col)).intersection(window)


def _in_pixels(scene: Scene, shapes: Any, crs: str | None, name: str) -> Any:
    """Shapes with the scene's columns and rows as coordinates, without what lies far from it."""
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
            shapes = _near(scene, np.atleast_1d(shapes), to_scene, source)
            if not len(shapes):
                return shapes
            bounds = shapely.total_bounds(shapes)
            longest = max(bounds[2] - bounds[0], bounds[3] - bounds[1])
            shapes = shapely.segmentize(shapes, longest / _PIECES)
            shapes = shapely.transform(shapes, to_scene.transform, interleaved=False)
            if not np.isfinite(shapely.get_coordinates(shapes)).all():
                raise SceneError(f"{scene.uri}: {name} cannot be brought from {crs} to its CRS")
    a, b, c, d, e, f = scene.georef.transform
    inverse = np.linalg.inv([[a, b], [d, e]])
    return shapely.transform(shapes, lambda points: (points - (c, f)) @ inverse.T)


def _near(scene: Scene, shapes: Any, to_scene: Transformer, source: CRS) -> Any:
    """The parts of shapes that lie around a scene, in their own CRS; all of them where the scene
    cannot be brought there in one piece.

    Pieces of a country's edges are too long for a scene, and the ends of the world have no place in
    most scenes' CRS.
    """
    import shapely

    from geounet.labels.areas import single_polygons

    # The longitudes that mean the same place are a turn apart.
    turn = 2 * math.pi / source.axis_info[0].unit_conversion_factor if source.is_geographic else 0.0
    frame = _frame(scene, to_scene, turn)
    if frame is None:
        return shapes
    found = []
    for turns in (0, -1, 1) if turn else (0,):
        box = shapely.box(*(frame + (turns * turn, 0) * 2))
        shapely.prepare(box)
        within = shapely.covers(box, shapes)
        crossing = shapes[shapely.intersects(box, shapes) & ~within]
        found += [shapes[within], single_polygons(shapely.intersection(crossing, box))[0]]
    return np.concatenate(found)


def _frame(scene: Scene, to_scene: Transformer, turn: float) -> np.ndarray | None:
    """The bounds of a scene in another CRS, with a pad; None where the scene lies on a seam or a
    pole of that CRS, or outside of it.
    """
    import shapely

    border = shapely.segmentize(shapely.box(0, 0, 1, 1), 1 / 256)  # corners are no middles
    points = scene.georef.to_crs(shapely.get_coordinates(border) * scene.shape[::-1])
    back = TransformDirection.INVERSE
    x, y = to_scene.transform(points[:, 0], points[:, 1], direction=back)
    if not np.isfinite([x, y]).all():
        return None
    ring = np.column_stack([np.unwrap(x, period=turn) if turn else x, y])
    before, middle, after = ring[:-2:2], ring[1::2], ring[2::2]
    off = np.hypot(*(middle - (before + after) / 2).T)
    if (off > _BEND * np.hypot(*(after - before).T)).any() or not np.allclose(ring[0], ring[-1]):
        return None
    least, most = ring.min(axis=0), ring.max(axis=0)
    pad = (most - least).max() / 16
    return np.concatenate([least - pad, most + pad])


def _read_polygons(path: str) -> "tuple[np.ndarray[Any, np.dtype[Any]], str | None]":
    """The polygons of a vector file of one layer with geometry, one by one, and their CRS."""
    import pyogrio
    import shapely

    from geounet.labels.areas import single_polygons

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
    shapes = shapely.force_2d(shapely.from_wkb(wkb if wkb is not None else []))
    # A mended polygon may be a collection of a multipolygon and lines.
    polygons, _ = single_polygons(shapely.make_valid(shapes))
    if not len(polygons):
        raise ConfigError(f"--aoi {path}: holds no polygon")
    return polygons, meta["crs"]
