"""How large a polygon is on the ground, and how it lies.

A projected scene that is true to scale is measured in its plane. Degrees and Web Mercator metres
are not lengths on the ground, so such scenes are measured along geodesics of the CRS's ellipsoid
(Karney, Algorithms for geodesics, J. Geodesy 87, 2013, by way of pyproj). A scene without CRS is
measured in pixels: the only unit it has.
"""

from functools import lru_cache

import numpy as np
import shapely
from pyproj import CRS, Geod, Transformer

from geounet.georef import Georef


def measure(geometries: np.ndarray, georef: Georef) -> tuple[np.ndarray, np.ndarray]:
    """Area and perimeter of polygons.

    Args:
        geometries: ``(n,)`` shapely polygons in the CRS of ``georef`` (without a CRS: in the
            coordinates of its transform).
        georef: says how lengths are measured.

    Returns:
        ``(area, perimeter)``, float64 ``(n,)``, in m2 and m; without a CRS in pixels and pixel
        sides. The perimeter counts the rings of holes, as shapely's ``length`` does.
    """
    if len(geometries) == 0:
        return np.zeros(0), np.zeros(0)
    if georef.surface == "ellipsoid":
        return _on_ellipsoid(geometries, str(georef.crs))
    if georef.surface == "plane":
        return shapely.area(geometries) * georef.unit**2, shapely.length(geometries) * georef.unit
    return _in_pixels(geometries, georef)


def _in_pixels(geometries: np.ndarray, georef: Georef) -> tuple[np.ndarray, np.ndarray]:
    """Undo the transform's linear part, so that a pixel is a unit square whatever its shape."""
    a, b, _, d, e, _ = georef.transform
    inverse = np.linalg.inv(np.array([[a, b], [d, e]], dtype=np.float64))
    pixels = shapely.transform(geometries, lambda points: points @ inverse.T)
    return shapely.area(pixels), shapely.length(pixels)


def _on_ellipsoid(geometries: np.ndarray, crs: str) -> tuple[np.ndarray, np.ndarray]:
    """Sum the geodesic areas (shells less holes) and perimeters of the rings."""
    transformer, geod, degrees = _geodesy(crs)
    _, coords, (ring_ends, polygon_ends) = shapely.to_ragged_array(geometries)
    lon, lat = transformer.transform(coords[:, 0], coords[:, 1])
    lon, lat = np.asarray(lon) * degrees, np.asarray(lat) * degrees
    rings = len(ring_ends) - 1
    ring_area, ring_length = np.empty(rings), np.empty(rings)
    for ring in range(rings):
        # The last vertex repeats the first, and the geodesic polygon closes by itself.
        own = slice(ring_ends[ring], ring_ends[ring + 1] - 1)
        area, ring_length[ring] = geod.polygon_area_perimeter(lon[own], lat[own])
        ring_area[ring] = -abs(area)
    shells = polygon_ends[:-1]
    ring_area[shells] *= -1
    return np.add.reduceat(ring_area, shells), np.add.reduceat(ring_length, shells)


@lru_cache(maxsize=16)
def _geodesy(crs: str) -> tuple[Transformer, Geod, float]:
    """Transformer to longitude and latitude, ellipsoid, and degrees per unit of that longitude.

    The datum is the CRS's own: no shift, hence no loss of accuracy. Some old CRSs use grads.
    """
    source = CRS.from_user_input(crs).to_2d()
    geodetic = source.geodetic_crs
    geod = source.get_geod()
    if geodetic is None or geod is None:
        raise ValueError(f"CRS {source.name!r} has no ellipsoid")
    degrees = float(np.degrees(geodetic.axis_info[0].unit_conversion_factor))
    return Transformer.from_crs(source, geodetic.to_2d(), always_xy=True), geod, degrees


def orientation(geometries: np.ndarray) -> np.ndarray:
    """Direction of the longer side of each polygon's minimum rotated rectangle.

    Args:
        geometries: ``(n,)`` shapely polygons, y pointing north.

    Returns:
        float64 ``(n,)``, degrees clockwise from north, 0 <= value < 180.
    """
    sides = _rectangle_sides(geometries)
    longer = np.argmax(np.hypot(sides[..., 0], sides[..., 1]), axis=1)
    along = sides[np.arange(len(sides)), longer]
    angle = np.degrees(np.arctan2(along[:, 0], along[:, 1])) % 180.0
    # A tiny negative angle rounds up to 180 itself, which means 0.
    return np.where(angle >= 180.0, 0.0, angle)


def rectangularity(geometries: np.ndarray) -> np.ndarray:
    """Share of its minimum rotated rectangle that each polygon fills.

    Args:
        geometries: ``(n,)`` shapely polygons of positive area.

    Returns:
        float64 ``(n,)``, 0 < value <= 1; 1 for a rectangle.
    """
    sides = _rectangle_sides(geometries)
    box = np.abs(sides[:, 0, 0] * sides[:, 1, 1] - sides[:, 0, 1] * sides[:, 1, 0])
    share: np.ndarray = np.minimum(shapely.area(geometries) / box, 1.0)
    return share


def _rectangle_sides(geometries: np.ndarray) -> np.ndarray:
    """Two neighbouring sides of each minimum rotated rectangle, float64 ``(n, 2, 2)`` vectors."""
    boxes = shapely.minimum_rotated_rectangle(geometries)
    corners = shapely.get_coordinates(boxes).reshape(len(geometries), 5, 2)
    return np.diff(corners[:, :3], axis=1)
