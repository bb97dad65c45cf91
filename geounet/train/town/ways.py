"""Waters and roads: what crosses the quarters or runs along their borders."""

import numpy as np

from geounet.train.town.canvas import LAND, ROAD, VEGETATION, WATER, Canvas
from geounet.train.town.dice import Dice
from geounet.train.town.quarters import FIELD, HALLS, Quarters

STREETS = ((46.0, 74.0), (60.0, 104.0), (96.0, 150.0))
"""Street spacing in metres along both axes of dense, suburb and hall quarters."""

_STREET, _BORDER_ROAD, _SIDEWALK, _TRACK = 2.8, 3.6, 1.6, 1.8  # m: half widths; sidewalk's width


def paint_waters(dice: Dice, canvas: Canvas, quarters: Quarters) -> np.ndarray:
    """Paint a meandering river and lakes.

    Returns:
        Metres to the nearest bank, ``(height, width)``, negative in the water.
    """
    river = np.abs(_meander(dice, canvas, 260, 0.09)) - dice.rng.uniform(5, 11) - 2 * dice.noise(60)
    edge = np.minimum(river, _lakes(dice, canvas, quarters)) + 0.5 * dice.noise(4)
    bank = (edge >= 0) & (edge < 5 + 2 * dice.noise(9))
    canvas.paint(bank, (0.30, 0.33, 0.19), VEGETATION)
    canvas.paint((edge >= 0) & (edge < 0.9), (0.50, 0.45, 0.36), LAND)
    deep = np.clip(-edge / 9, 0, 1)[..., None]
    shallow, dark = dice.color((0.27, 0.30, 0.24), 0.03), dice.color((0.13, 0.19, 0.20), 0.03)
    color = shallow + (dark - shallow) * deep + 0.012 * dice.noise(2.0)[..., None]
    canvas.paint(edge < 0, color[edge < 0], WATER)
    return np.asarray(edge)


def _lakes(dice: Dice, canvas: Canvas, quarters: Quarters) -> np.ndarray:
    """Metres to the nearest lake's bank; lakes lie outside the town where there is room."""
    rng, extent = dice.rng, canvas.extent
    lake = np.full(canvas.mask.shape, np.inf, np.float32)
    for _ in range(max(1, round(extent[0] * extent[1] / 6e5))):
        rural = (quarters.use >= FIELD) & (quarters.x > 0) & (quarters.y > 0)
        rural &= (quarters.x < extent[0]) & (quarters.y < extent[1])
        spots = np.flatnonzero(rural) if rural.any() else np.arange(quarters.x.size)
        spot = int(rng.choice(spots))
        reach = rng.uniform(0.1, 0.16) * min(400.0, *extent) + 3
        stretch = rng.uniform(0.6, 1.6)
        far = np.hypot((canvas.x - quarters.x[spot]) * stretch, canvas.y - quarters.y[spot])
        lake = np.minimum(lake, far - reach - 0.25 * reach * dice.noise(35))
    return lake


def paint_roads(dice: Dice, canvas: Canvas, quarters: Quarters, water: np.ndarray) -> None:
    """Paint border roads, street grids, farm tracks, and the main road with its bridges.

    Args:
        dice: source of randomness.
        canvas: changed in place.
        quarters: the town's plan.
        water: metres to the nearest bank, as from :func:`paint_waters`.
    """
    use, other = quarters.use[quarters.index], quarters.use[quarters.other]
    built = (use <= HALLS) | (other <= HALLS)
    grain = 1 + 0.05 * dice.noise(5) + 0.03 * dice.noise(0.8)
    asphalt = dice.color((0.33, 0.33, 0.335), 0.03) * grain[..., None]
    u, v = quarters.local_axes(canvas)
    step_u, step_v = np.moveaxis(np.array(STREETS)[np.minimum(use, HALLS)], -1, 0)
    street = np.abs(u - step_u * np.round(u / step_u))
    street = np.minimum(street, np.abs(v - step_v * np.round(v / step_v)))
    # Metres to the asphalt's edge, negative on it.
    edge = np.where(use <= HALLS, street - _STREET, np.inf)
    edge = np.minimum(edge, quarters.border - np.where(built, _BORDER_ROAD, 0.0))
    dry = water > 3.0
    canvas.paint((edge < _SIDEWALK) & (use <= HALLS) & dry, (0.50, 0.49, 0.47), LAND)
    first, last = np.sort(np.stack([quarters.index, quarters.other]), axis=0)
    some = dice.lookup(first, last, np.zeros_like(u), 2) < 0.6
    track = ~built & (quarters.border < _TRACK) & some & dry
    gravel = np.array([0.58, 0.53, 0.44]) * (1 + 0.06 * dice.noise(3))[..., None]
    canvas.paint(track, gravel[track], ROAD)
    paved = (edge < 0) & built & dry
    canvas.paint(paved, asphalt[paved], ROAD)
    _paint_main_road(dice, canvas, asphalt, water)


def _paint_main_road(dice: Dice, canvas: Canvas, asphalt: np.ndarray, water: np.ndarray) -> None:
    """One wide road across the scene with lane marks; it alone crosses the water."""
    across = _meander(dice, canvas, 420, 0.06)
    middle = np.abs(across)
    half = float(dice.rng.uniform(4.5, 6.0))
    canvas.paint((middle < half + 1.5) & (water > -0.5), (0.46, 0.44, 0.38), LAND)
    rail = (middle < half + 0.8) & (water <= 1)
    canvas.paint(rail, (0.62, 0.61, 0.58), ROAD)
    canvas.elevation[rail & (middle > half)] = 1.2
    road = middle < half
    canvas.paint(road, 0.93 * asphalt[road], ROAD)
    dash = (canvas.x + canvas.y) % 9 < 5
    line = ((middle < 0.3) & dash) | (np.abs(middle - half + 0.6) < 0.25)
    canvas.paint(line & road, (0.68, 0.68, 0.66), ROAD)


def _meander(dice: Dice, canvas: Canvas, length: float, swing: float) -> np.ndarray:
    """Signed metres across a wavy line through the scene's middle part.

    The line is a graph of two sines over an axis of random direction; dividing by the slope's
    secant turns the difference in height over that axis into a distance, to first order.
    """
    rng = dice.rng
    middle_x, middle_y = canvas.extent[0] / 2, canvas.extent[1] / 2
    angle = rng.uniform(0, np.pi)
    x, y = canvas.x - middle_x, canvas.y - middle_y
    along = x * np.cos(angle) + y * np.sin(angle)
    across = y * np.cos(angle) - x * np.sin(angle)
    offset = rng.uniform(-0.5, 0.5) * min(middle_x, middle_y)
    slope = np.zeros_like(along)
    for factor in (1.0, 0.53):
        wave, phase = 2 * np.pi / (length * factor), rng.uniform(0, 2 * np.pi)
        size = swing * length * factor
        offset = offset + size * np.sin(wave * along + phase)
        slope = slope + size * wave * np.cos(wave * along + phase)
    return np.asarray((across - offset) / np.sqrt(1 + slope**2))
