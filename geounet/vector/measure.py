"""How large a polygon is on the ground, and how it lies.

A projected scene that is true to scale is measured in its plane. Degrees and Web Mercator metres
are not lengths on the ground, so such scenes are measured along geodesics of the CRS's ellipsoid
(Karney, Algorithms for geodesics, J. Geodesy 87, 2013, by way of pyproj). A scene without CRS is
measured in pixels: the only unit it has.
"""

import math
from dataclasses import replace
from functools import lru_cache

import numpy as np
import shapely
from pyproj import CRS, Geod, Transformer

from geounet.georef import Georef
from geounet.vector.compiled import kernel
from geounet.vector.polygons import Polygons

SHORT_EDGE = 1000.0
"""Metres at the equator up to which an edge is short against the ellipsoid and its parallels."""


PORTION = 2**18
"""Vertices whose coordinates are made at once; a longer ring is measured whole."""


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
    _, points, (ring_offsets, polygon_offsets) = shapely.to_ragged_array(geometries)
    return _sums(*_measure_rings(points, ring_offsets, georef), polygon_offsets)


def measure_polygons(polygons: Polygons, georef: Georef) -> tuple[np.ndarray, np.ndarray]:
    """Area and perimeter of polygons of a mask at ``georef``, as :func:`measure`.

    One polygon may hold most of a scene's vertices, so coordinates are made for some rings at a
    time.
    """
    if not len(polygons):
        return np.zeros(0), np.zeros(0)
    offsets = polygons.ring_offsets
    if georef.surface == "ellipsoid":
        areas, lengths = _in_portions(polygons, georef)
    else:
        a, b, _, d, e, _ = georef.transform if georef.surface == "plane" else (1, 0, 0, 0, 1, 0)
        unit = georef.unit if georef.surface == "plane" else 1.0
        linear = np.array([[a, b], [d, e]], dtype=np.float64) * unit / polygons.scale
        areas, lengths = _on_lattice(polygons.points, offsets, linear)
    return _sums(areas, lengths, polygons.polygon_offsets)


def _in_portions(polygons: Polygons, georef: Georef) -> tuple[np.ndarray, np.ndarray]:
    """Signed area and length of each ring, from coordinates of some rings at a time."""
    offsets = polygons.ring_offsets
    rings = len(offsets) - 1
    areas, lengths = np.empty(rings), np.empty(rings)
    begin = 0
    while begin < rings:
        end = max(begin + 1, int(np.searchsorted(offsets, offsets[begin] + PORTION)) - 1)
        part = replace(polygons, points=polygons.points[offsets[begin] : offsets[end]])
        own = offsets[begin : end + 1] - offsets[begin]
        areas[begin:end], lengths[begin:end] = _measure_rings(
            part.coordinates(georef.transform), own, georef
        )
        begin = end
    return areas, lengths


@kernel
def _on_lattice(
    points: np.ndarray, offsets: np.ndarray, linear: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Area on the lattice, exact, times the determinant of ``linear`` (2, 2); and length."""
    rings = len(offsets) - 1
    areas, lengths = np.empty(rings), np.empty(rings)
    determinant = linear[0, 0] * linear[1, 1] - linear[0, 1] * linear[1, 0]
    for ring in range(rings):
        double, length = 0, 0.0
        for i in range(offsets[ring], offsets[ring + 1] - 1):
            x, y = np.int64(points[i, 0]), np.int64(points[i, 1])
            dx, dy = points[i + 1, 0] - x, points[i + 1, 1] - y
            double += x * dy - y * dx
            east = linear[0, 0] * dx + linear[0, 1] * dy
            north = linear[1, 0] * dx + linear[1, 1] * dy
            length += math.sqrt(east * east + north * north)
        areas[ring], lengths[ring] = double * determinant / 2, length
    return areas, lengths


def _measure_rings(
    points: np.ndarray, offsets: np.ndarray, georef: Georef
) -> tuple[np.ndarray, np.ndarray]:
    """Signed area and length of closed rings on the ground; ``points`` float64 ``(m, 2)``."""
    if georef.surface == "ellipsoid":
        return _on_ellipsoid(points, offsets, str(georef.crs))
    unit = 1.0
    if georef.surface == "plane":
        unit = georef.unit
    else:
        # Undo the transform's linear part: a pixel is a unit square whatever its shape.
        a, b, _, d, e, _ = georef.transform
        points = points @ np.linalg.inv(np.array([[a, b], [d, e]])).T
    areas, lengths = _in_plane(points, offsets)
    return areas * unit**2, lengths * unit


def _sums(
    areas: np.ndarray, lengths: np.ndarray, polygon_offsets: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Area and perimeter of polygons from those of their rings, shells first."""
    shells = polygon_offsets[:-1]
    areas = -np.abs(areas)
    areas[shells] *= -1
    return np.add.reduceat(areas, shells), np.add.reduceat(lengths, shells)


@kernel
def _in_plane(points: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Signed area and length of each ring."""
    rings = len(offsets) - 1
    areas, lengths = np.empty(rings), np.empty(rings)
    for ring in range(rings):
        first = offsets[ring]
        double, length = 0.0, 0.0
        for i in range(first, offsets[ring + 1] - 1):
            # Seen from the ring's first vertex, so that large coordinates cost no digits.
            x, y = points[i, 0] - points[first, 0], points[i, 1] - points[first, 1]
            dx, dy = points[i + 1, 0] - points[i, 0], points[i + 1, 1] - points[i, 1]
            double += x * dy - y * dx
            length += math.sqrt(dx * dx + dy * dy)
        areas[ring], lengths[ring] = double / 2, length
    return areas, lengths


def _steps(points: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """From each vertex to the next, ``(m, 2)``; zero at the last of each ring."""
    step = np.empty_like(points)
    np.subtract(points[1:], points[:-1], out=step[:-1])
    step[offsets[1:] - 1] = 0.0
    return step


def _ring_sums(values: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    sums: np.ndarray = np.add.reduceat(values, offsets[:-1])
    return sums


def _on_ellipsoid(
    points: np.ndarray, offsets: np.ndarray, crs: str
) -> tuple[np.ndarray, np.ndarray]:
    """Signed geodesic area and length of each ring.

    Edges are mostly some metres long, where closed formulas agree with geodesics to 1e-9, take a
    tenth of the time, and do not round a small area as the exact algorithm does (to 1e-5 m2 or so).
    Rings with a longer edge or around a pole are left to that.
    """
    transformer, geod, degrees = _geodesy(crs)
    lon, lat = transformer.transform(points[:, 0], points[:, 1])
    position = np.radians(np.column_stack([lon, lat]) * degrees)
    step = _steps(position, offsets)
    step[:, 0] = (step[:, 0] + np.pi) % (2 * np.pi) - np.pi
    length = _short_lengths(position[:, 1], step, geod)
    area = _short_areas(position[:, 1], step, offsets, geod)
    turns = np.abs(_ring_sums(step[:, 0], offsets)) > 1
    areas, lengths = _ring_sums(area, offsets), _ring_sums(length, offsets)
    long = np.logical_or.reduceat(length > SHORT_EDGE * np.cos(position[:, 1]), offsets[:-1])
    for ring in np.flatnonzero(long | turns):
        # The last vertex repeats the first, and the geodesic polygon closes by itself.
        own = position[offsets[ring] : offsets[ring + 1] - 1]
        areas[ring], lengths[ring] = geod.polygon_area_perimeter(own[:, 0], own[:, 1], radians=True)
    return areas, lengths


def _short_lengths(lat: np.ndarray, step: np.ndarray, geod: Geod) -> np.ndarray:
    """Lengths of short geodesics: Euclid in the metric at their midpoints; error (L / R)^2 / 24."""
    middle = lat + step[:, 1] / 2
    shrink = 1 - geod.es * np.sin(middle) ** 2
    east = geod.a / np.sqrt(shrink) * np.cos(middle) * step[:, 0]
    north = geod.a * (1 - geod.es) / shrink**1.5 * step[:, 1]
    length: np.ndarray = np.hypot(east, north)
    return length


def _short_areas(lat: np.ndarray, step: np.ndarray, offsets: np.ndarray, geod: Geod) -> np.ndarray:
    """Contributions of short geodesics to the area of their rings.

    The cylindrical equal-area projection makes areas plane. A geodesic bulges there over its chord
    towards the pole, by a lens whose area is known to the third order of its length.
    """
    sine = np.sin(lat)
    height = _authalic(sine, geod)
    own = height - np.repeat(height[offsets[:-1]], np.diff(offsets))
    east, rise = step[:, 0], _steps(np.column_stack([height, height]), offsets)[:, 0]
    chord = -(own + rise / 2) * east
    middle = lat + step[:, 1] / 2
    # From Clairaut's relation, with r the radius of the parallel, the area h per radian below a
    # geodesic has h'' = -sin(latitude) * (r^2 + 3 h'^2 / r^2).
    square = (geod.a * np.cos(middle)) ** 2 / (1 - geod.es * np.sin(middle) ** 2)
    lens = np.sin(middle) * (square * east**3 + 3 * rise**2 * east / square) / 12
    area: np.ndarray = chord - lens
    return area


def _authalic(sine: np.ndarray, geod: Geod) -> np.ndarray:
    """Area between the equator and a latitude per radian of longitude, in m2.

    Snyder, Map Projections: A Working Manual, 1987, formula 3-12.
    """
    if geod.es == 0:
        return geod.a**2 * sine
    eccentricity = np.sqrt(geod.es)
    logarithm = np.arctanh(eccentricity * sine) / eccentricity
    area: np.ndarray = geod.a**2 * (1 - geod.es) / 2 * (sine / (1 - geod.es * sine**2) + logarithm)
    return area


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
    return orientation_and_rectangularity(geometries)[0]


def rectangularity(geometries: np.ndarray) -> np.ndarray:
    """Share of its minimum rotated rectangle that each polygon fills.

    Args:
        geometries: ``(n,)`` shapely polygons of positive area.

    Returns:
        float64 ``(n,)``, 0 < value <= 1; 1 for a rectangle.
    """
    return orientation_and_rectangularity(geometries)[1]


def orientation_and_rectangularity(geometries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """:func:`orientation` and :func:`rectangularity`, finding the rectangles once."""
    if len(geometries) == 0:
        return np.zeros(0), np.zeros(0)
    boxes = shapely.minimum_rotated_rectangle(geometries)
    corners = shapely.get_coordinates(boxes).reshape(len(geometries), 5, 2)
    sides = np.diff(corners[:, :3], axis=1)
    longer = np.argmax(np.hypot(sides[..., 0], sides[..., 1]), axis=1)
    along = sides[np.arange(len(sides)), longer]
    angle = np.degrees(np.arctan2(along[:, 0], along[:, 1])) % 180.0
    # A tiny negative angle rounds up to 180 itself, which means 0.
    angle[angle >= 180.0] = 0.0
    box = np.abs(sides[:, 0, 0] * sides[:, 1, 1] - sides[:, 0, 1] * sides[:, 1, 0])
    return angle, np.minimum(shapely.area(geometries) / box, 1.0)
