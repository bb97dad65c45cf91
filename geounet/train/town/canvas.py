"""The scene while it is painted, and the values of its class mask."""

from dataclasses import dataclass

import numpy as np

CLASSES = ("land", "building", "water", "vegetation", "road")
"""Names of the values of the class mask."""
LAND, BUILDING, WATER, VEGETATION, ROAD = range(len(CLASSES))
"""Values of the class mask."""


@dataclass
class Canvas:
    """The scene while it is painted; arrays are ``(height, width)``."""

    x: np.ndarray
    """float32, metres from the left edge."""
    y: np.ndarray
    """float32, metres from the upper edge."""
    rgb: np.ndarray
    """float32 ``(height, width, 3)``, reflectance 0..1."""
    mask: np.ndarray
    """uint8 class mask."""
    elevation: np.ndarray
    """float32, metres above the ground."""
    gsd: float
    """Metres per pixel."""

    @classmethod
    def blank(cls, height: int, width: int, gsd: float) -> "Canvas":
        """Black, flat land."""
        rows, cols = np.mgrid[0:height, 0:width].astype(np.float32)
        return cls(
            (cols + 0.5) * gsd,
            (rows + 0.5) * gsd,
            np.zeros((height, width, 3), np.float32),
            np.zeros((height, width), np.uint8),
            np.zeros((height, width), np.float32),
            gsd,
        )

    @property
    def extent(self) -> tuple[float, float]:
        """The last pixel's x and y in metres."""
        return float(self.x[-1, -1]), float(self.y[-1, -1])

    def paint(
        self, where: np.ndarray, color: np.ndarray | tuple[float, ...], label: int | None = None
    ) -> None:
        """Colour the pixels of the bool mask ``where``; ``color`` is (3,) or (count, 3)."""
        self.rgb[where] = color
        if label is not None:
            self.mask[where] = label

    def sample(self, array: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Values of ``array`` at positions in metres; positions outside take the edge's value."""
        row = np.clip((y / self.gsd).astype(np.int64), 0, array.shape[0] - 1)
        col = np.clip((x / self.gsd).astype(np.int64), 0, array.shape[1] - 1)
        return np.asarray(array[row, col])
