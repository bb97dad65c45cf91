"""Buildings, pools and cars of the synthetic town, placed along the street grids.

A building is one to two rectangles, each with its own ridge; where they overlap, the higher roof
shows, which draws the valleys of L and T shaped roofs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from rasterio.features import rasterize
from rasterio.transform import Affine

from geounet.train.town_random import Dice

if TYPE_CHECKING:
    from geounet.train.town import Canvas, Quarters

BLOCK = ((46.0, 74.0), (60.0, 104.0), (96.0, 150.0))
"""Street spacing in metres along both axes of dense, suburb and hall quarters."""

_TILES = (
    *((0.60, 0.34, 0.24), (0.53, 0.27, 0.19), (0.46, 0.45, 0.45), (0.35, 0.27, 0.22)),
    *((0.66, 0.43, 0.31), (0.72, 0.70, 0.67), (0.30, 0.30, 0.32), (0.56, 0.38, 0.29)),
)
_FLAT = ((0.62, 0.62, 0.61), (0.50, 0.50, 0.49), (0.80, 0.80, 0.79), (0.43, 0.41, 0.39))
_CARS = (
    (0.85, 0.85, 0.85),
    (0.12, 0.12, 0.13),
    (0.55, 0.56, 0.58),
    (0.50, 0.12, 0.11),
    (0.14, 0.20, 0.40),
)


@dataclass
class Boxes:
    """Rotated rectangles; arrays of shape ``(count,)`` in metres and radians."""

    x: np.ndarray
    y: np.ndarray
    angle: np.ndarray
    """Direction of the long side (the ridge)."""
    length: np.ndarray
    width: np.ndarray
    home: np.ndarray
    """The quarter whose street grid they belong to."""

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

    def pick(self, keep: np.ndarray) -> Boxes:
        """The rectangles where ``keep`` is True (or at the indices in it)."""
        columns = self.x, self.y, self.angle, self.length, self.width, self.home
        return Boxes(*(column[keep] for column in columns))

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


def build(dice: Dice, canvas: Canvas, quarters: Quarters, sun: float) -> None:
    """Paint pools, buildings and cars, with their heights."""
    from geounet.train.town import BUILDING, LAND, ROAD, VEGETATION, WATER

    rng = dice.rng
    house, flat, street = _lots(dice, canvas, quarters)
    free = np.isin(canvas.mask, (LAND, VEGETATION))
    keep = _fits(canvas, free, house, 0.8) & _inside(quarters, canvas, house)
    house, flat = house.pick(keep), flat[keep]
    wing = _wings(rng, house, flat)
    wing = wing.pick(_fits(canvas, free, wing, 0.3))
    _roofs(dice, canvas, house, wing, flat, sun)
    pool = _beside(rng, house.pick(~flat & (rng.random(flat.size) < 0.1)), 13.0, (7.5, 3.8))
    pool = pool.pick(_fits(canvas, np.isin(canvas.mask, (LAND, VEGETATION)), pool, 0.6))
    water = pool.draw(canvas) > 0
    canvas.paint(water, np.array([0.22, 0.55, 0.62]), WATER)
    paved = (canvas.mask == ROAD) | (canvas.mask == LAND)
    car = street.pick(_fits(canvas, paved, street, 0.0) & _inside(quarters, canvas, street))
    drawn = car.draw(canvas)
    where = (drawn > 0) & (canvas.mask != BUILDING)
    paint = (
        np.array(_CARS)[rng.integers(0, len(_CARS), car.x.size)] if car.x.size else np.zeros((1, 3))
    )
    canvas.paint(where, paint[drawn[where] - 1])
    canvas.elevation[where] = 1.5


def _lots(dice: Dice, canvas: Canvas, quarters: Quarters) -> tuple[Boxes, np.ndarray, Boxes]:
    """Main houses on both sides of every street, whether they are flat, and parked cars."""
    rng = dice.rng
    houses: list[list[float]] = []
    cars: list[list[float]] = []
    limit = float(canvas.x[-1, -1]) + 60, float(canvas.y[-1, -1]) + 60
    for number in np.flatnonzero(quarters.use <= 2).tolist():
        x, y, angle = quarters.x[number], quarters.y[number], quarters.angle[number]
        if not (-150 < x < limit[0] + 90 and -150 < y < limit[1] + 90):
            continue
        use = int(quarters.use[number])
        period = BLOCK[use][0]
        cos, sin = np.cos(angle), np.sin(angle)
        for line in range(-2, 3) if use < 2 else range(-1, 2):
            for side in (-1, 1):
                for u, v, *size, flat in _row(rng, use, line * period, side):
                    place = [x + u * cos - v * sin, y + u * sin + v * cos]
                    turn = angle + np.pi / 2 + rng.normal(0, 0.015)
                    houses.append([*place, turn, *size, number, flat])
                for v in np.arange(-140, 140, 7.0):
                    if rng.random() < 0.28:
                        u = line * period + side * 1.75
                        cars.append(
                            [
                                x + u * cos - v * sin,
                                y + u * sin + v * cos,
                                angle + np.pi / 2,
                                4.4,
                                1.9,
                                number,
                            ]
                        )
    table = np.array(houses, np.float64).reshape(-1, 7)
    boxes = Boxes(*table[:, :6].T)
    # The ridge runs along the longer side.
    swap = boxes.width > boxes.length
    boxes.angle = np.where(swap, boxes.angle + np.pi / 2, boxes.angle)
    boxes.length, boxes.width = (
        np.maximum(boxes.length, boxes.width),
        np.minimum(boxes.length, boxes.width),
    )
    return boxes, table[:, 6] > 0, Boxes(*np.array(cars, np.float64).reshape(-1, 6).T)


def _row(rng: np.random.Generator, use: int, street: float, side: int) -> list[list[float]]:
    """One row of houses beside a street: (u, v, length along the street, depth, flat)."""
    rows = []
    v = -145.0
    while v < 145:
        if use == 2:
            step, depth, front = rng.uniform(45, 70), rng.uniform(20, 32), rng.uniform(8, 11)
            length, flat = step - rng.uniform(8, 22), True
        elif use == 0:
            step, depth, front = rng.uniform(9, 17), rng.uniform(8.5, 13), rng.uniform(4.6, 6)
            length, flat = step - (0.6 if rng.random() < 0.6 else 4), rng.random() < 0.3
        else:
            step, depth, front = rng.uniform(15, 21), rng.uniform(7.5, 11), rng.uniform(7, 11)
            length, flat = step - rng.uniform(4, 8), rng.random() < 0.08
        if rng.random() < 0.94:
            rows.append(
                [street + side * (front + depth / 2), v + step / 2, length, depth, float(flat)]
            )
        v += step
    return rows


def _wings(rng: np.random.Generator, house: Boxes, flat: np.ndarray) -> Boxes:
    """A wing across the ridge for some gabled houses, at an end (L) or the middle (T)."""
    own = house.pick(~flat & (rng.random(flat.size) < 0.45) & (house.length > 9))
    count = own.x.size
    side = rng.choice([-1.0, 1.0], count)
    width = own.width * rng.uniform(0.5, 0.8, count)
    reach = own.width * rng.uniform(0.35, 0.7, count)
    along = rng.choice([-1.0, 0.0, 1.0], count) * (own.length - width) / 2
    length = own.width / 2 + reach
    across = side * length / 2
    cos, sin = np.cos(own.angle), np.sin(own.angle)
    x = own.x + along * cos - across * sin
    y = own.y + along * sin + across * cos
    return Boxes(x, y, own.angle + np.pi / 2, length, width, own.home)


def _beside(rng: np.random.Generator, house: Boxes, far: float, size: tuple[float, float]) -> Boxes:
    """A rectangle of the given size across the ridge from each house."""
    side = rng.choice([-1.0, 1.0], house.x.size) * far
    x, y = house.x - side * np.sin(house.angle), house.y + side * np.cos(house.angle)
    full = np.ones(house.x.size)
    return Boxes(x, y, house.angle, size[0] * full, size[1] * full, house.home)


def _fits(canvas: Canvas, free: np.ndarray, boxes: Boxes, grow: float) -> np.ndarray:
    """Which rectangles stand on free ground, judged at their corners, edges and centre."""
    corner = boxes.corners(grow)
    middle = (corner + np.roll(corner, 1, axis=1)) / 2
    points = np.concatenate([corner, middle, corner.mean(axis=1, keepdims=True)], axis=1)
    return np.asarray(canvas.sample(free, points[..., 0], points[..., 1]).all(axis=1))


def _inside(quarters: Quarters, canvas: Canvas, boxes: Boxes) -> np.ndarray:
    """Which rectangles lie in their own quarter."""
    corner = boxes.corners(0.5)
    index = canvas.sample(quarters.index, corner[..., 0], corner[..., 1])
    return np.asarray((index == boxes.home[:, None]).all(axis=1))


def _roofs(
    dice: Dice, canvas: Canvas, house: Boxes, wing: Boxes, flat: np.ndarray, sun: float
) -> None:
    """Colour roofs by the slope's aspect; flat roofs get a parapet, skylights and units."""
    rng = dice.rng
    from geounet.train.town import BUILDING

    top = np.zeros(canvas.mask.shape, np.float32)
    # Wings are drawn with their own index; the nearest main house gives colour and storeys.
    main = _nearest(house, wing)
    tile = np.array(_TILES)[rng.integers(0, len(_TILES), flat.size)]
    deck = np.array(_FLAT)[rng.integers(0, len(_FLAT), flat.size)]
    color = np.where(flat[:, None], deck, tile) * rng.uniform(0.85, 1.12, (flat.size, 1))
    eaves = np.where(flat, rng.uniform(5, 11, flat.size), rng.uniform(3, 6.5, flat.size))
    grain = 1 + 0.05 * dice.noise(1.0) + 0.05 * dice.noise(6)
    solar = rng.random(flat.size) < 0.12
    for boxes, owner in ((wing, main), (house, np.arange(flat.size))):
        drawn = boxes.draw(canvas)
        where = drawn > 0
        part = drawn[where] - 1
        own = owner[part]
        dx, dy = canvas.x[where] - boxes.x[part], canvas.y[where] - boxes.y[part]
        cos, sin = np.cos(boxes.angle[part]), np.sin(boxes.angle[part])
        along, across = dx * cos + dy * sin, dy * cos - dx * sin
        half, end = boxes.width[part] / 2, boxes.length[part] / 2
        level = flat[own]
        height = eaves[own] + np.where(level, 0, 0.75 * (half - np.abs(across)))
        higher = height > top[where]
        # Light on a slope: cosine between its aspect (across the ridge) and the sun's direction.
        aspect = np.sign(across) * (np.cos(sun) * -sin + np.sin(sun) * cos)
        shade = np.where(level, 1.0, 0.93 + 0.27 * aspect) * grain[where]
        shade *= np.where(~level & (np.abs(across) < 0.25), 1.12, 1.0)
        edge = np.minimum(half - np.abs(across), end - np.abs(along))
        shade *= np.where(level & (edge < 0.7), 1.15, 1.0)
        skylight = level & (half > 8) & (np.abs(along % 9 - 4.5) < 0.9) & (edge > 3)
        shade *= np.where(skylight, 1.25, 1.0)
        picture = color[own] * shade[:, None]
        panel = (
            solar[own]
            & ~level
            & (across > 0.22 * half)
            & (across < 0.85 * half)
            & (np.abs(along) < 0.6 * end)
        )
        picture[panel] = [0.11, 0.13, 0.20]
        rows, cols = np.nonzero(where)
        rows, cols = rows[higher], cols[higher]
        canvas.rgb[rows, cols] = picture[higher]
        canvas.mask[rows, cols] = BUILDING
        top[rows, cols] = height[higher]
    canvas.elevation[top > 0] = top[top > 0]


def _nearest(house: Boxes, wing: Boxes) -> np.ndarray:
    """Position of the main house that each wing belongs to, ``(wings,)``."""
    result = np.zeros(wing.x.size, np.int64)
    for index, (x, y) in enumerate(zip(wing.x, wing.y, strict=True)):
        result[index] = np.argmin((house.x - x) ** 2 + (house.y - y) ** 2)
    return result
