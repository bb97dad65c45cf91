"""Where a raster lies and how large its pixels are: CRS, affine transform, ground sample distance.

Pure description: what needs a projection library to find out (units, the size of a degree) is found
once, when the scene is described, and carried along.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from geounet.errors import ConfigError
from geounet.tiles import Window

Surface = Literal["plane", "ellipsoid", "pixels"]
"""Where areas and lengths are measured: in the CRS's plane, on its ellipsoid, or in pixels."""


@dataclass(frozen=True)
class Georef:
    """The georeference of a raster.

    ``transform`` is (a, b, c, d, e, f) of the affine transform, in rasterio's order: the corner of
    pixel (row, col) lies at x = a * col + b * row + c, y = d * col + e * row + f.
    """

    crs: str | None
    """Coordinate reference system as WKT; None where the file names none."""
    transform: tuple[float, float, float, float, float, float]
    """Affine transform from pixel corners to CRS coordinates."""
    surface: Surface
    """``plane``: the CRS is projected and its areas true to 0.25 %; ``ellipsoid``: it is geographic
    or distorts (Web Mercator), so areas are geodesic; ``pixels``: no CRS, areas in pixels."""
    unit: float = 1.0
    """Metres per unit of a projected CRS."""
    gsd: float | None = None
    """Ground sample distance at the scene's centre in metres: the square root of a pixel's true
    area; None without a CRS."""
    aspect: float = 1.0
    """A pixel's height on the ground relative to its width, at the scene's centre."""

    def __post_init__(self) -> None:
        if len(self.transform) != 6 or not all(math.isfinite(value) for value in self.transform):
            raise ConfigError(f"transform {self.transform} must be six finite numbers")
        if self.determinant == 0:
            raise ConfigError(f"transform {self.transform} maps the raster to a line")
        if not 0 < self.aspect < math.inf:
            raise ConfigError(f"aspect {self.aspect} of a pixel must be positive and finite")
        if (self.crs is None) != (self.surface == "pixels"):
            raise ConfigError(f"surface {self.surface!r} does not fit crs {self.crs!r}")

    @property
    def determinant(self) -> float:
        """Signed area of a pixel in squared CRS units; negative in north-up scenes."""
        a, b, _, d, e, _ = self.transform
        return a * e - b * d

    @property
    def pixel_area(self) -> float:
        """Area of a pixel in m2, on the ellipsoid at the scene's centre; 1 without a CRS."""
        if self.surface == "pixels":
            return 1.0
        if self.surface == "plane":
            return abs(self.determinant) * self.unit**2
        if self.gsd is None:
            raise ConfigError("a geographic georeference needs its ground sample distance")
        return self.gsd**2

    @property
    def sides(self) -> tuple[float, float] | None:
        """Height and width of a pixel on the ground in metres; None without a CRS."""
        if self.gsd is None:
            return None
        root = math.sqrt(self.aspect)
        return self.gsd * root, self.gsd / root

    @property
    def spacing(self) -> str:
        """The same in words, one number for square pixels."""
        shown = dict.fromkeys(f"{side:.3g}" for side in self.sides or ())
        return f"{' x '.join(shown)} m" if shown else "unknown size"

    @property
    def ground_scale(self) -> tuple[float, float]:
        """Factors of x and y by which directions become those on the ground, clockwise from up, at
        the scene's centre: a degree of longitude is shorter than one of latitude, and without a CRS
        y may point down.
        """
        a, b, _, d, e, _ = self.transform
        if self.surface == "pixels":
            return 1.0, -1.0 if self.determinant > 0 else 1.0
        if self.surface == "plane":
            return 1.0, 1.0
        # The ground's height and width of a pixel, k^2 b^2 + e^2 and k^2 a^2 + d^2, give k.
        square = self.aspect**2
        above, below = e**2 - square * d**2, square * a**2 - b**2
        return (math.sqrt(above / below) if above * below > 0 else 1.0), 1.0

    def to_crs(self, points: np.ndarray) -> np.ndarray:
        """Pixel-corner coordinates to CRS coordinates.

        Args:
            points: ``(n, 2)``, columns (col, row) = (x right, y down), any numeric dtype.

        Returns:
            float64 ``(n, 2)``, columns (x, y).
        """
        a, b, c, d, e, f = self.transform
        # In float32 a UTM northing would be rounded to half a metre.
        col, row = points[:, 0].astype(np.float64), points[:, 1].astype(np.float64)
        return np.column_stack([a * col + b * row + c, d * col + e * row + f])

    def moved(self, row: int, col: int) -> "Georef":
        """The georeference of a raster that begins at pixel (row, col) of this one."""
        a, b, c, d, e, f = self.transform
        corner = (a * col + b * row + c, d * col + e * row + f)
        return replace(self, transform=(a, b, corner[0], d, e, corner[1]))


@dataclass(frozen=True)
class Frame:
    """The size and place of a raster."""

    height: int
    """Rows."""
    width: int
    """Columns."""
    georef: Georef
    """Where it lies."""

    def crop(self, window: Window) -> "Frame":
        """The frame of a window of this one; pixels keep their size and place."""
        return Frame(window.height, window.width, self.georef.moved(window.row, window.col))
