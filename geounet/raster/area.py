"""An area of interest: polygons in a scene's own pixel coordinates."""

import hashlib
import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import Affine

from geounet.tiles import Window


@dataclass(frozen=True)
class Area:
    """Polygons whose x is a scene's column and whose y its row, pixel corners being integers."""

    polygons: tuple[bytes, ...]
    """As WKB, so that workers of other processes get it as it is."""

    @property
    def digest(self) -> str:
        """What tells two areas apart."""
        return hashlib.sha256(b"".join(self.polygons)).hexdigest()[:16]

    def inside(self, window: Window) -> np.ndarray:
        """The pixels of a window whose centres lie in one of the polygons.

        Returns:
            bool ``(height, width)``.
        """
        # Imported where it is needed: few jobs have an area.
        from rasterio.features import rasterize

        shapes, bounds = _geometries(self)
        near = shapes[
            (bounds[:, 0] < window.col_end)
            & (bounds[:, 2] > window.col)
            & (bounds[:, 1] < window.row_end)
            & (bounds[:, 3] > window.row)
        ]
        shape = (window.height, window.width)
        if not len(near):
            return np.zeros(shape, dtype=bool)
        place = Affine.translation(window.col, window.row)
        with warnings.catch_warnings():
            # At the scene's first pixel the transform is the identity, as it should be.
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            found: np.ndarray = rasterize(near, shape, transform=place, dtype="uint8")
        return found.astype(bool)


@lru_cache(maxsize=4)
def _geometries(area: Area) -> tuple[Any, np.ndarray]:
    import shapely

    shapes = shapely.from_wkb(list(area.polygons))
    return shapes, shapely.bounds(shapes)
