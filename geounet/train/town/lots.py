"""What stands along the streets: where houses, their wings, pools and parked cars are."""

from dataclasses import dataclass

import numpy as np

from geounet.train.town.boxes import Boxes
from geounet.train.town.canvas import BUILDING, LAND, ROAD, VEGETATION, WATER, Canvas
from geounet.train.town.dice import Dice
from geounet.train.town.quarters import DENSE, HALLS, Quarters
from geounet.train.town.ways import STREETS

_CARS = (
    *((0.85, 0.85, 0.85), (0.12, 0.12, 0.13), (0.55, 0.56, 0.58)),
    *((0.50, 0.12, 0.11), (0.14, 0.20, 0.40)),
)
_REACH = 145.0  # m from a quarter's centre to its farthest lots


@dataclass
class Built:
    """The town's buildings, and where cars could park."""

    house: Boxes
    """Main rectangles."""
    flat: np.ndarray
    """bool, per house: a flat roof."""
    wing: Boxes
    """Second rectangles of L and T shaped houses."""
    owner: np.ndarray
    """int, per wing: position of its house."""
    parking: Boxes
    """Candidates; many stand where there is no street."""


def place(dice: Dice, canvas: Canvas, quarters: Quarters) -> Built:
    """Put houses on free ground along both sides of every street."""
    house, flat, parking = _rows(dice, canvas, quarters)
    free = np.isin(canvas.mask, (LAND, VEGETATION))
    keep = house.stand_on(canvas, free, 0.8) & house.are_home(canvas, quarters)
    house, flat = house.pick(keep), flat[keep]
    wing, owner = _wings(dice.rng, house, flat)
    keep = wing.stand_on(canvas, free, 0.3)
    return Built(house, flat, wing.pick(keep), owner[keep], parking)


def furnish(dice: Dice, canvas: Canvas, quarters: Quarters, built: Built) -> None:
    """Paint swimming pools behind some houses and cars along the streets."""
    rng = dice.rng
    pool = _beside(rng, built.house.pick(~built.flat & (rng.random(built.flat.size) < 0.1)))
    pool = pool.pick(pool.stand_on(canvas, np.isin(canvas.mask, (LAND, VEGETATION)), 0.6))
    canvas.paint(pool.draw(canvas) > 0, (0.22, 0.55, 0.62), WATER)
    paved = np.isin(canvas.mask, (LAND, ROAD))
    car = built.parking
    car = car.pick(car.stand_on(canvas, paved, 0.0) & car.are_home(canvas, quarters))
    drawn = car.draw(canvas)
    where = (drawn > 0) & (canvas.mask != BUILDING)
    paint = np.array(_CARS)[rng.integers(0, len(_CARS), max(1, len(car)))]
    canvas.paint(where, paint[drawn[where] - 1])
    canvas.elevation[where] = 1.5


def _rows(dice: Dice, canvas: Canvas, quarters: Quarters) -> tuple[Boxes, np.ndarray, Boxes]:
    """Houses and parking on both sides of every street, and whether the houses are flat."""
    rng, extent = dice.rng, canvas.extent
    houses: list[np.ndarray] = []
    cars: list[np.ndarray] = []
    for number in np.flatnonzero(quarters.use <= HALLS).tolist():
        x, y = float(quarters.x[number]), float(quarters.y[number])
        if not (-150 < x < extent[0] + 150 and -150 < y < extent[1] + 150):
            continue
        use = int(quarters.use[number])
        for line in range(-2, 3) if use < HALLS else range(-1, 2):
            for side in (-1, 1):
                street = line * STREETS[use][0]
                row = _row(rng, use, street, side)
                houses.append(_turned(row, x, y, quarters.angle[number], number))
                v = np.arange(-140, 140, 7.0)
                v = v[rng.random(v.size) < 0.28]
                spots = np.column_stack(
                    [
                        np.full(v.size, street + side * 1.75),
                        v,
                        *np.tile([[4.4], [1.9], [0]], v.size),
                    ]
                )
                cars.append(_turned(spots, x, y, quarters.angle[number], number))
    table = np.concatenate([np.empty((0, 7)), *houses])
    table[:, 2] += rng.normal(0, 0.015, len(table))
    # The ridge runs along the longer side.
    swap = table[:, 4] > table[:, 3]
    table[swap, 2] += np.pi / 2
    table[swap, 3:5] = table[swap, 4:2:-1]
    parking = np.concatenate([np.empty((0, 7)), *cars])
    return Boxes(*table[:, :6].T), table[:, 6] > 0, Boxes(*parking[:, :6].T)


def _turned(row: np.ndarray, x: float, y: float, angle: float, number: int) -> np.ndarray:
    """Rows (u, v, length, width, flat) of a quarter's axes to rows of :class:`Boxes` + flat."""
    cos, sin = np.cos(angle), np.sin(angle)
    u, v, length, width, flat = row.T
    full = np.ones(len(row))
    return np.column_stack(
        [
            x + u * cos - v * sin,
            y + u * sin + v * cos,
            full * (angle + np.pi / 2),
            length,
            width,
            full * number,
            flat,
        ]
    )


def _row(rng: np.random.Generator, use: int, street: float, side: int) -> np.ndarray:
    """One row of houses beside a street.

    Returns:
        ``(count, 5)``: u, v, length along the street, depth, flat (0 or 1).
    """
    rows = []
    v = -_REACH
    while v < _REACH:
        if use == HALLS:
            step, depth, front = rng.uniform(45, 70), rng.uniform(20, 32), rng.uniform(8, 11)
            length, flat = step - rng.uniform(8, 22), True
        elif use == DENSE:
            step, depth, front = rng.uniform(9, 17), rng.uniform(8.5, 13), rng.uniform(4.6, 6)
            length, flat = step - (0.6 if rng.random() < 0.6 else 4), rng.random() < 0.3
        else:
            step, depth, front = rng.uniform(15, 21), rng.uniform(7.5, 11), rng.uniform(7, 11)
            length, flat = step - rng.uniform(4, 8), rng.random() < 0.08
        if rng.random() < 0.94:  # else an empty lot
            rows.append((street + side * (front + depth / 2), v + step / 2, length, depth, flat))
        v += step
    return np.array(rows, np.float64).reshape(-1, 5)


def _wings(rng: np.random.Generator, house: Boxes, flat: np.ndarray) -> tuple[Boxes, np.ndarray]:
    """A wing across the ridge for some gabled houses, at an end (L) or the middle (T).

    Returns:
        The wings and the positions of their houses.
    """
    chosen = ~flat & (rng.random(flat.size) < 0.45) & (house.length > 9)
    own = house.pick(chosen)
    count = len(own)
    side = rng.choice([-1.0, 1.0], count)
    width = own.width * rng.uniform(0.5, 0.8, count)
    reach = own.width * rng.uniform(0.35, 0.7, count)
    along = rng.choice([-1.0, 0.0, 1.0], count) * (own.length - width) / 2
    length = own.width / 2 + reach
    across = side * length / 2
    cos, sin = np.cos(own.angle), np.sin(own.angle)
    x = own.x + along * cos - across * sin
    y = own.y + along * sin + across * cos
    wing = Boxes(x, y, own.angle + np.pi / 2, length, width, own.home)
    return wing, np.flatnonzero(chosen)


def _beside(rng: np.random.Generator, house: Boxes) -> Boxes:
    """A pool of 7.5 x 3.8 m, 13 m from the middle of each house, across the ridge."""
    far = rng.choice([-13.0, 13.0], len(house))
    x, y = house.x - far * np.sin(house.angle), house.y + far * np.cos(house.angle)
    full = np.ones(len(house))
    return Boxes(x, y, house.angle, 7.5 * full, 3.8 * full, house.home)
