"""The town's plan: which quarter each pixel lies in and what the quarters are used for."""

from dataclasses import dataclass

import numpy as np

from geounet.train.town.canvas import Canvas
from geounet.train.town.dice import Dice

DENSE, SUBURB, HALLS, FIELD, WOOD, BARE = range(6)
"""Uses of a quarter; the first three are built up."""

_SIZE = 135.0  # m, spacing of the quarters' centres
_WARP = 11.0  # m, standard deviation of the borders' bends


@dataclass
class Quarters:
    """Which quarter each pixel lies in, and what the quarters are used for."""

    index: np.ndarray
    """int32 ``(height, width)``."""
    other: np.ndarray
    """int32 ``(height, width)``: the neighbour across the nearest border."""
    border: np.ndarray
    """float32 ``(height, width)``: metres to the nearest border."""
    x: np.ndarray
    """Centres, float32 ``(count,)``, metres."""
    y: np.ndarray
    """Centres, float32 ``(count,)``, metres."""
    use: np.ndarray
    """int ``(count,)``."""
    angle: np.ndarray
    """Direction of streets and furrows, ``(count,)``, radians."""

    def local_axes(self, canvas: Canvas) -> tuple[np.ndarray, np.ndarray]:
        """Metres along the quarter's own two axes from its centre, for every pixel."""
        index = self.index
        cos = np.cos(self.angle).astype(np.float32)[index]
        sin = np.sin(self.angle).astype(np.float32)[index]
        x, y = canvas.x - self.x[index], canvas.y - self.y[index]
        return x * cos + y * sin, y * cos - x * sin


def lay_out(dice: Dice, canvas: Canvas) -> Quarters:
    """Voronoi cells of a jittered grid, their borders bent by noise; the town is in the middle."""
    columns, rows = (int(extent / _SIZE) + 5 for extent in canvas.extent)
    jitter = dice.rng.uniform(0.1, 0.9, (2, rows, columns))
    # Two rows and columns lie beyond each edge, so that every pixel has nine candidates.
    center_x = (((np.arange(columns) - 2)[None, :] + jitter[0]) * _SIZE).astype(np.float32).ravel()
    center_y = (((np.arange(rows) - 2)[:, None] + jitter[1]) * _SIZE).astype(np.float32).ravel()
    x = canvas.x + _WARP * dice.noise(90)
    y = canvas.y + _WARP * dice.noise(90)
    row = np.floor(y / _SIZE).astype(np.int32) + 2
    col = np.floor(x / _SIZE).astype(np.int32) + 2
    near, second = np.full((2, *x.shape), np.inf, np.float32)
    index, other = np.zeros((2, *x.shape), np.int32)
    for step in range(9):
        r = np.clip(row + step // 3 - 1, 0, rows - 1)
        c = np.clip(col + step % 3 - 1, 0, columns - 1)
        own = r * columns + c
        distance = (x - center_x[own]) ** 2 + (y - center_y[own]) ** 2
        closer = distance < near
        between = ~closer & (distance < second) & (own != index)
        second = np.where(closer, near, np.where(between, distance, second))
        other = np.where(closer, index, np.where(between, own, other))
        near, index = np.where(closer, distance, near), np.where(closer, own, index)
    apart = np.hypot(center_x[index] - center_x[other], center_y[index] - center_y[other]) + 1e-3
    use = _uses(dice, center_x, center_y, canvas.extent)
    angle = dice.rng.uniform(0, np.pi, use.size)
    border = (second - near) / (2 * apart)
    return Quarters(index, other, border, center_x, center_y, use, angle)


def _uses(dice: Dice, x: np.ndarray, y: np.ndarray, extent: tuple[float, float]) -> np.ndarray:
    """Quarters near a town's centre are built up, the others fields, woods and bare land."""
    rng = dice.rng
    towns = max(1, round(extent[0] * extent[1] / 2e6))
    # A single town stands in the middle part of the scene, several anywhere.
    low, high = (0.3, 0.7) if towns == 1 else (0.0, 1.0)
    town_x = rng.uniform(low, high, towns) * extent[0]
    town_y = rng.uniform(low, high, towns) * extent[1]
    reach = 0.36 * np.sqrt(extent[0] * extent[1] / towns) + 60
    distance = np.hypot(x[:, None] - town_x, y[:, None] - town_y).min(axis=1) / reach
    distance *= rng.uniform(0.8, 1.25, x.size)
    urban = rng.choice([SUBURB, SUBURB, SUBURB, SUBURB, HALLS, WOOD], x.size)
    rural = rng.choice([FIELD, FIELD, FIELD, WOOD, WOOD, BARE], x.size)
    return np.where(distance < 0.4, DENSE, np.where(distance < 1.0, urban, rural))
