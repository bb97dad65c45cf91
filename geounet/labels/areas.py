"""Polygons of a vector file on a scene's grid: read, checked, rasterised window by window.

Geometries are brought to the scene's pixel coordinates once, so that a window is a shift by whole
pixels and the result does not depend on how the scene is cut. A pixel belongs to the polygon that
holds its centre.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyogrio
import shapely
from pyogrio.errors import DataLayerError, DataSourceError
from pyogrio.raw import read
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError
from rasterio.features import rasterize
from rasterio.transform import Affine

from geounet.errors import LabelError
from geounet.labels.coding import ANY, IGNORED
from geounet.raster.scene import Scene
from geounet.tiles import Window

_SLIVER = 1.0  # pixels; polygons of different classes may overlap by as much
_TWICE = 0.5  # part of the smaller of two polygons of a class that the other may cover


@dataclass(frozen=True, eq=False)
class Areas:
    """Polygons in a scene's pixel coordinates, each with a code."""

    shapes: np.ndarray
    """shapely polygons ``(n,)``; x = column, y = row, counted from pixel corners."""
    codes: np.ndarray
    """uint8 ``(n,)``."""
    tree: shapely.STRtree
    """Index of ``shapes``."""

    def burn(self, window: Window, background: int) -> np.ndarray:
        """Codes of a window of the scene: uint8 ``(height, width)``."""
        return self._burn(window, self.codes, background)

    def numbers(self, window: Window) -> np.ndarray:
        """Which polygon a pixel belongs to: int32 ``(height, width)``, from 1 on, 0 for none."""
        return self._burn(window, np.arange(1, len(self.codes) + 1, dtype=np.int32), 0)

    def _burn(self, window: Window, values: np.ndarray, background: int) -> np.ndarray:
        box = shapely.box(window.col, window.row, window.col_end, window.row_end)
        near = np.sort(self.tree.query(box))
        if not near.size:
            return np.full((window.height, window.width), background, values.dtype)
        result: np.ndarray = rasterize(
            zip(self.shapes[near], values[near].tolist(), strict=True),
            out_shape=(window.height, window.width),
            fill=background,
            transform=Affine.translation(window.col, window.row),
            dtype=values.dtype.name,
        )
        return result


def read_areas(
    path: Path,
    scene: Scene,
    column: str | None,
    encode: Callable[[str, str], int],
    anywhere: bool = False,
) -> Areas:
    """Read the polygons of all layers of a file, in the pixel coordinates of ``scene``.

    Args:
        path: any format that GDAL reads.
        scene: where they will be drawn.
        column: the attribute that tells the class; None: the value is ``*`` for all.
        encode: value and place of a polygon -> its code.
        anywhere: whether there may be no polygon in the scene: where an area of interest says that
            one looked for them, or nothing is to be left out.

    Raises:
        LabelError: the file cannot be read, lacks the column or a CRS; a geometry is invalid or
            not a polygon; or, unless they may be ``anywhere``, all polygons lie to one side of the
            scene.
    """
    found: list[np.ndarray] = []
    codes: list[int] = []
    for name in _layers(path):
        layer = _read_layer(path, name, column)
        _check_shapes(layer)
        codes += [
            encode(value, f"{layer.where}, feature {fid}")
            for fid, value in zip(layer.fids, layer.values, strict=True)
        ]
        found.append(_to_pixels(_in_crs(layer, scene), scene))
    shapes, owner = single_polygons(np.concatenate([np.empty(0, object), *found]))
    areas = Areas(shapes, np.array(codes, np.uint8)[owner], shapely.STRtree(shapes))
    if not anywhere:
        _check_place(areas, scene, path)
    return areas


def single_polygons(shapes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The single polygons in multipolygons and collections, and which of these each is from: houses
    that somebody joined into one feature are houses still.
    """
    parts, owner = shapely.get_parts(shapes, return_index=True)
    parts, inner = shapely.get_parts(parts, return_index=True)
    kept = (shapely.get_type_id(parts) == shapely.GeometryType.POLYGON) & ~shapely.is_empty(parts)
    return parts[kept], owner[inner][kept]


def _layers(path: Path) -> list[str]:
    """The layers that hold geometries."""
    try:
        layers = [name for name, kind in pyogrio.list_layers(path) if kind is not None]
    except (DataSourceError, DataLayerError) as error:
        raise LabelError(f"{path}: cannot be read as polygons ({_line(error)})") from error
    if not layers:
        raise LabelError(f"{path}: holds no layer of polygons; name another file")
    return layers


@dataclass(frozen=True, eq=False)
class _Layer:
    """What a layer holds."""

    where: str
    shapes: np.ndarray
    fids: np.ndarray
    values: list[str]
    crs: str | None


def _read_layer(path: Path, layer: str, column: str | None) -> _Layer:
    where = f"{path}, layer {layer!r}"
    columns = [] if column is None else [column]
    try:
        fields = list(pyogrio.read_info(path, layer=layer)["fields"])
        if column is not None and column not in fields:
            raise LabelError(
                f"{where}: has no column {column!r}; it has {', '.join(fields) or 'none'}"
            )
        facts, fids, wkb, data = read(path, layer=layer, columns=columns, return_fids=True)
    except (DataSourceError, DataLayerError) as error:
        raise LabelError(f"{path}: cannot be read ({_line(error)})") from error
    values = [ANY] * len(fids) if column is None else [_text(value) for value in data[0]]
    try:
        shapes = shapely.from_wkb(wkb)
    except shapely.GEOSException as error:
        raise LabelError(f"{where}: holds a broken geometry ({_line(error)}); mend it") from error
    return _Layer(where, shapes, fids, values, facts["crs"])


def _check_shapes(layer: _Layer) -> None:
    """Refuse what is no valid polygon, by the feature's number."""
    kinds = shapely.get_type_id(layer.shapes)
    for bad, text in (
        (kinds == -1, "has no geometry; delete it"),
        (~np.isin(kinds, (-1, 3, 6)), "is not a polygon; give polygons"),
    ):
        if bad.any():
            raise LabelError(f"{layer.where}: feature {layer.fids[bad][0]} {text}")
    broken = ~shapely.is_valid(layer.shapes)
    if broken.any():
        reason = shapely.is_valid_reason(layer.shapes[broken][0])
        more = f" (and {broken.sum() - 1} more)" if broken.sum() > 1 else ""
        raise LabelError(
            f"{layer.where}: feature {layer.fids[broken][0]}{more} is invalid: {reason};"
            " mend it, in QGIS with 'Fix geometries'"
        )


def _in_crs(layer: _Layer, scene: Scene) -> np.ndarray:
    """The geometries in the scene's CRS."""
    if scene.georef.crs is None:
        if layer.crs is not None:
            raise LabelError(
                f"{layer.where}: has a CRS but the scene {scene.uri} has none; give the scene one"
            )
        return layer.shapes
    if layer.crs is None:
        raise LabelError(f"{layer.where}: has no CRS; assign the one it was drawn in")
    try:
        change = Transformer.from_crs(layer.crs, CRS.from_wkt(scene.georef.crs), always_xy=True)
    except ProjError as error:
        raise LabelError(
            f"{layer.where}: its CRS cannot be brought to that of {scene.uri} ({_line(error)});"
            " assign the one it was drawn in"
        ) from error

    def changed(points: np.ndarray) -> np.ndarray:
        result = np.column_stack(change.transform(*points.T))
        if not np.isfinite(result).all():
            x, y = points[~np.isfinite(result).all(axis=1)][0]
            raise LabelError(
                f"{layer.where}: x {x:.8g}, y {y:.8g} has no place in the CRS of {scene.uri};"
                " is the file's own CRS the one it was drawn in?"
            )
        return result

    moved: np.ndarray = shapely.transform(layer.shapes, changed)
    return moved


def _to_pixels(shapes: np.ndarray, scene: Scene) -> np.ndarray:
    a, b, c, d, e, f, *_ = ~Affine(*scene.georef.transform)

    def pixels(points: np.ndarray) -> np.ndarray:
        x, y = points.T
        return np.column_stack([a * x + b * y + c, d * x + e * y + f])

    moved = shapely.transform(shapes, pixels)
    broken = ~shapely.is_valid(moved)  # by rounding: vertices that all but touch a line
    moved[broken] = shapely.make_valid(moved[broken])
    result: np.ndarray = moved
    return result


def _check_place(areas: Areas, scene: Scene, path: Path) -> None:
    if not areas.shapes.size:
        raise LabelError(f"{path}: holds no polygon")
    left, top, right, bottom = shapely.total_bounds(areas.shapes)
    if left >= scene.width or top >= scene.height or right <= 0 or bottom <= 0:
        raise LabelError(
            f"{path}: its labels lie outside the scene {scene.uri} (columns {left:.0f} to"
            f" {right:.0f}, rows {top:.0f} to {bottom:.0f} of it); check the CRS of both"
        )


def check_inside(areas: Areas, scene: Scene, path: Path) -> None:
    """Refuse polygons that surround a scene without meeting it: they would say that nothing is
    there.

    Raises:
        LabelError: no polygon meets the scene.
    """
    centres = shapely.box(0.5, 0.5, scene.width - 0.5, scene.height - 0.5)
    if not areas.tree.query(centres, predicate="intersects").size:
        raise LabelError(
            f"{path}: none of its {len(areas.shapes)} polygons lies in the scene {scene.uri}; check"
            " the CRS of both, and give an aoi where there is nothing to label, or leave it out"
        )


def check_overlaps(areas: Areas, scene: Scene, path: Path) -> None:
    """Refuse labels that contradict or repeat each other inside the scene.

    Raises:
        LabelError: polygons of different codes share more than a pixel's area; or one of a code
            covers more than half of another of it, as a building that was drawn twice does: which
            of the two a pixel belongs to would be chance.
    """
    first, second = areas.tree.query(areas.shapes, predicate="intersects")
    once = first < second
    first, second = first[once], second[once]
    shapes, sizes = areas.shapes, shapely.area(areas.shapes)
    common = shapely.intersection(shapes[first], shapes[second])
    twice = shapely.area(common) > _TWICE * np.minimum(sizes[first], sizes[second])
    common = shapely.intersection(common, shapely.box(0, 0, scene.width, scene.height))
    overlap = shapely.area(common) > _SLIVER
    same = areas.codes[first] == areas.codes[second]
    _refuse(common[overlap & ~same], "of different classes overlap", "cut one", scene, path)
    again = overlap & same & twice & (areas.codes[first] != IGNORED)
    text = "of one class cover each other by more than half"
    _refuse(common[again], text, "delete or dissolve one", scene, path)


def _refuse(common: np.ndarray, text: str, remedy: str, scene: Scene, path: Path) -> None:
    """Name the pairs of polygons whose common parts, in pixels, are ``common``, if any."""
    if common.size:
        place = shapely.get_coordinates(shapely.point_on_surface(common[0]))
        x, y = scene.georef.to_crs(place)[0]
        raise LabelError(
            f"{path}: {common.size} pair{'s' if common.size > 1 else ''} of polygons {text}, one at"
            f" x {x:.10g}, y {y:.10g} of {scene.name}; {remedy} of each"
        )


def _text(value: object) -> str:
    """An attribute as text; whole numbers without a decimal point, missing ones empty."""
    if value is None or value != value:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
