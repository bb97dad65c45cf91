"""Rotated rectangles: roofs, pools and cars."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from rasterio.features import rasterize
from rasterio.transform import Affine

from geounet.train.town.canvas import Canvas
from geounet.train.town.quarters import Quarters


@dataclass
class Boxes:
    """Rotated rectangles; arrays of shape ``(count,)`` in metres and radians."""

    x: np.ndarray
    """Centres."""
    y: np.ndarray
    """Centres."""
    angle: np.ndarray
    """Direction of the length (a roof's ridge)."""
    length: np.ndarray
    """Extent along ``angle``."""
    width: np.ndarray
    """Extent across ``angle``."""
    home: np.ndarray
    """The quarter whose street grid they belong to."""

    def __len__(self) -> int:
        return int(self.x.size)

    def pick(self, keep: np.ndarray) -> Boxes:
        """The rectangles where ``keep`` is True."""
        columns = self.x, self.y, self.angle, self.length, self.width, self.home
        return Boxes(*(column[keep] for column in columns))

    def corners(self, grow: float = 0.0) -> np.ndarray:
        """``(count, 4, 2)`` corner positions of the rectangles widened by ``grow``."""
        along = self.length[:, None] / 2 + grow
        across = self.width[:, None] / 2 + grow
        u = along * np.array([-1, 1, 1, -1])
        v = across * np.array([-1, -1, 1, 1])
        cos, sin = np.cos(self.angle)[:, None], np.sin(self.angle)[:, None]
        x = self.x[:, None] + u * cos - v * sin
        y = self.y[:, None] + u * sin + v * cos
        return np.stack([x, y], axis=-1)

    def stand_on(self, canvas: Canvas, free: np.ndarray, grow: float) -> np.ndarray:
        """Which rectangles stand on free ground, judged at their corners, edges and centre.

        Args:
            canvas: gives the scale.
            free: bool ``(height, width)``.
            grow: metres of free ground wanted around.

        Returns:
            bool ``(count,)``.
        """
        corner = self.corners(grow)
        middle = (corner + np.roll(corner, 1, axis=1)) / 2
        points = np.concatenate([corner, middle, corner.mean(axis=1, keepdims=True)], axis=1)
        return np.asarray(canvas.sample(free, points[..., 0], points[..., 1]).all(axis=1))

    def are_home(self, canvas: Canvas, quarters: Quarters) -> np.ndarray:
        """Which rectangles lie in their own quarter, bool ``(count,)``."""
        corner = self.corners(0.5)
        index = canvas.sample(quarters.index, corner[..., 0], corner[..., 1])
        return np.asarray((index == self.home[:, None]).all(axis=1))

    def draw(self, canvas: Canvas) -> np.ndarray:
        """int32 raster: 1 + the rectangle's position, 0 outside; later ones on top."""
        shapes = [
            ({"type": "Polygon", "coordinates": [[*map(tuple, ring), tuple(ring[0])]]}, index + 1)
            for index, ring in enumerate(self.corners().tolist())
        ]
        if not shapes:
            return np.zeros(canvas.mask.shape, np.int32)
        scale = Affine.scale(canvas.gsd)
        drawn = rasterize(shapes, canvas.mask.shape, transform=scale, dtype="int32")
        return np.asarray(drawn)
