"""Find out once, with a projection library, what :class:`geounet.georef.Georef` carries."""

import math
from typing import Any

import numpy as np
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError, ProjError

from geounet.georef import Georef, Surface

SCALE_TOLERANCE = 0.0025
"""A projection whose areas are off by less than this at the scene's centre counts as a plane: UTM
stays within it, Web Mercator does not even at the equator."""
SQUARE_TOLERANCE = 0.05
"""Pixels whose sides differ by less than this count as square: a network sees no difference, and
rounding does not decide about the size of a grid."""


def georeference(dataset: Any) -> tuple[Georef, str | None]:
    """The georeference of an open rasterio dataset, and a notice for the user where one is due.

    Returns:
        The georeference; None, or one sentence on what was assumed.
    """
    affine = dataset.transform
    transform = (affine.a, affine.b, affine.c, affine.d, affine.e, affine.f)
    if affine.determinant == 0:
        transform = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    if dataset.crs is None:
        how = "ground control points only" if dataset.gcps[0] else "no CRS"
        return Georef(None, transform, "pixels"), f"{how}: areas and lengths are in pixels"
    wkt = dataset.crs.to_wkt()
    if affine.is_identity:
        return (
            Georef(None, transform, "pixels"),
            "a CRS but no transform: areas and lengths are in pixels",
        )
    surface, unit, gsd, aspect = _ground(wkt, transform, dataset.height, dataset.width)
    if max(aspect, 1 / aspect) < 1 + SQUARE_TOLERANCE:
        aspect = 1.0
    notice = None if surface == "plane" else "areas and lengths are geodesic"
    return Georef(wkt, transform, surface, unit, gsd, aspect), notice


def _ground(
    wkt: str, transform: tuple[float, ...], height: int, width: int
) -> tuple[Surface, float, float, float]:
    """Surface, metres per unit; ground sample distance and aspect of a pixel at the centre."""
    a, b, _, d, e, _ = transform
    plane_area = abs(a * e - b * d)
    plane_aspect = math.hypot(b, e) / math.hypot(a, d)
    try:
        crs = CRS.from_wkt(wkt)
        unit = float(crs.axis_info[0].unit_conversion_factor) if crs.is_projected else 1.0
        area, aspect = _pixel(crs, transform, height / 2, width / 2)
    except (CRSError, ProjError):
        # An engineering CRS, or one unrelated to the Earth: its own plane is all there is.
        return "plane", 1.0, math.sqrt(plane_area), plane_aspect
    flat = plane_area * unit**2
    if not math.isfinite(area) or area <= 0:
        # The centre lies outside the projection's domain, as in full-disk satellite images.
        return "plane", unit, math.sqrt(flat), plane_aspect
    if crs.is_geographic or abs(flat / area - 1) > SCALE_TOLERANCE:
        return "ellipsoid", unit, math.sqrt(area), aspect
    return "plane", unit, math.sqrt(flat), aspect


def _pixel(crs: CRS, transform: tuple[float, ...], row: float, col: float) -> tuple[float, float]:
    """Geodesic area in m2 of the pixel around (row, col), from the vectors along its two sides, and
    its height relative to its width; NaN where the projection does not reach.
    """
    a, b, c, d, e, f = transform
    cols = col + np.array([0.0, 0.5, -0.5, 0.0, 0.0])
    rows = row + np.array([0.0, 0.0, 0.0, 0.5, -0.5])
    geodetic, geod = crs.geodetic_crs, crs.get_geod()
    if geodetic is None or geod is None:
        return math.nan, math.nan
    to_angles = Transformer.from_crs(crs, geodetic, always_xy=True)
    angles = to_angles.transform(a * cols + b * rows + c, d * cols + e * rows + f)
    if not np.isfinite(angles).all():
        return math.nan, math.nan
    # Some old CRSs count angles in grads.
    lon, lat = np.degrees(geodetic.axis_info[0].unit_conversion_factor) * np.array(angles)
    azimuth, _, length = geod.inv(lon[[2, 4]], lat[[2, 4]], lon[[1, 3]], lat[[1, 3]])
    area = length[0] * length[1] * abs(math.sin(math.radians(azimuth[1] - azimuth[0])))
    return float(area), float(length[1] / length[0]) if area > 0 else math.nan
