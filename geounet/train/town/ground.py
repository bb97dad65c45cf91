"""What lies under everything else: lawns and yards, furrowed fields, forest floor, bare soil."""

import numpy as np

from geounet.train.town.canvas import LAND, VEGETATION, Canvas
from geounet.train.town.dice import Dice
from geounet.train.town.quarters import DENSE, FIELD, HALLS, WOOD, Quarters

_CROPS = (
    *((0.27, 0.36, 0.15), (0.36, 0.41, 0.20), (0.20, 0.29, 0.13), (0.33, 0.37, 0.24)),  # green
    *((0.55, 0.46, 0.31), (0.43, 0.34, 0.25), (0.62, 0.55, 0.38)),  # bare soil and stubble
)
_GREEN_CROPS = 4
_GREENNESS = (-0.7, 0.35, -1.6, 9.0, 9.0, -1.0)  # by use: gardens are greener in suburbs


def paint(dice: Dice, canvas: Canvas, quarters: Quarters) -> None:
    """Paint the ground of every quarter by its use."""
    use = quarters.use[quarters.index]
    u, v = quarters.local_axes(canvas)
    coarse, mid, fine = dice.noise(40), dice.noise(7), dice.noise(1.2)
    soil = dice.color((0.50, 0.43, 0.34), 0.05) + 0.03 * coarse[..., None] * np.array([1, 0.9, 0.8])
    grass = dice.color((0.27, 0.34, 0.17), 0.03) + 0.03 * mid[..., None] * np.array([1, 0.8, 0.4])
    parcel = dice.lookup(quarters.index, np.floor(u / 17), np.floor(v / 29))
    green = np.choose(use, _GREENNESS) + 0.9 * mid + 1.6 * (parcel - 0.5) + 0.5 * coarse > 0
    canvas.rgb[:] = np.where(green[..., None], grass, soil)
    canvas.mask[green] = VEGETATION
    paved = ((use == HALLS) | (use == DENSE)) & ~green
    shade = 0.45 + 0.12 * (dice.lookup(quarters.index, np.floor(u / 34), np.floor(v / 41), 5) - 0.5)
    canvas.paint(paved, shade[paved][:, None] * np.array([1.02, 1.0, 0.96]))
    _paint_fields(dice, canvas, quarters, u, use == FIELD)
    canvas.paint(use == WOOD, (0.17, 0.21, 0.11), VEGETATION)
    grain = 1 + 0.06 * fine + 0.04 * dice.rng.standard_normal(fine.shape)
    canvas.rgb *= grain[..., None]


def _paint_fields(
    dice: Dice, canvas: Canvas, quarters: Quarters, u: np.ndarray, where: np.ndarray
) -> None:
    """Strips of one crop each, green (vegetation) or bare (land), with furrows along them."""
    zero = np.zeros_like(u)
    wide = 38 + 30 * dice.lookup(quarters.index, zero, zero, 3)
    strip = np.floor(u / wide)
    kind = (dice.lookup(quarters.index, strip, zero, 9) * len(_CROPS)).astype(np.int64)
    period = 1.6 + 2.2 * dice.lookup(quarters.index, strip, zero, 11)
    furrow = np.sin(2 * np.pi * u / period + 0.6 * dice.noise(12))
    patchy = 1 + 0.07 * furrow + 0.08 * dice.noise(25) + 0.04 * dice.noise(3)
    color = np.array(_CROPS)[kind] * patchy[..., None]
    # Unploughed grass between the strips.
    seam = np.abs(u - wide * np.round(u / wide)) < 0.9
    color[seam] = (0.33, 0.37, 0.20)
    canvas.paint(where, color[where])
    green = (kind < _GREEN_CROPS) | seam
    canvas.mask[where] = np.where(green, VEGETATION, LAND)[where]
