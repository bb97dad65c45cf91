"""Round crowns: dense in woods, single in gardens, along roads and in clumps."""

from dataclasses import dataclass

import numpy as np

from geounet.train.town.canvas import BUILDING, LAND, VEGETATION, WATER, Canvas
from geounet.train.town.dice import Dice
from geounet.train.town.quarters import FIELD, WOOD, Quarters

_SPACING = (
    5.2  # m of the jittered grid; more than any crown's radius, so nine trees can cover a pixel
)
_CHANCE = (0.14, 0.20, 0.04, 0.004, 0.97, 0.03)  # of a tree at a grid point, by use
_AROUND = ((1, 0), (-1, 0), (0, 1), (0, -1), (0.7, 0.7), (-0.7, 0.7), (0.7, -0.7), (-0.7, -0.7))


@dataclass
class _Trees:
    """One tree per point of a jittered grid; arrays ``(rows, columns)``, float32 metres."""

    x: np.ndarray
    """Stems."""
    y: np.ndarray
    """Stems."""
    radius: np.ndarray
    """Of the crown; 0 where no tree stands."""


def paint(dice: Dice, canvas: Canvas, quarters: Quarters, sun: float) -> None:
    """Paint the crowns, brighter towards the sun, with their heights; roofs stay uncovered."""
    trees = _plant(dice, canvas, quarters)
    count = trees.radius.shape
    hue = dice.rng.uniform(0.75, 1.3, (*count, 1)) + dice.rng.uniform(-0.08, 0.08, (*count, 3))
    tint = (dice.color((0.17, 0.24, 0.10), 0.02) * hue).reshape(-1, 3)
    lumps = 0.12 * dice.noise(1.1)
    top, owner, lit = _crowns(canvas, trees, lumps, sun)
    crown = (top > 0) & (canvas.mask != BUILDING)
    shade = 0.95 + 0.38 * lit + 0.25 * lumps + 0.10 * dice.rng.standard_normal(lit.shape)
    canvas.paint(crown, tint[owner[crown]] * shade[crown][:, None], VEGETATION)
    canvas.elevation[crown] = top[crown]


def _plant(dice: Dice, canvas: Canvas, quarters: Quarters) -> _Trees:
    """Trees on unbuilt ground, by the use of the quarter, clear of buildings and water."""
    rng = dice.rng
    columns, rows = (int(extent / _SPACING) + 3 for extent in canvas.extent)
    count = rows, columns
    x = ((np.arange(columns) - 1)[None, :] + rng.uniform(0, 1, count)) * _SPACING
    y = ((np.arange(rows) - 1)[:, None] + rng.uniform(0, 1, count)) * _SPACING
    use = canvas.sample(quarters.use[quarters.index], x, y)
    clump = 0.25 * (canvas.sample(dice.noise(30), x, y) > 1.3)
    keep = rng.random(count) < np.array(_CHANCE)[use] + clump
    keep &= np.isin(canvas.sample(canvas.mask, x, y), (LAND, VEGETATION))
    keep &= (use != FIELD) | (rng.random(count) < 0.3)
    radius = np.where(use == WOOD, rng.uniform(2.4, 4.6, count), rng.uniform(1.3, 3.4, count))
    for dx, dy in _AROUND:
        below = canvas.sample(canvas.mask, x + dx * radius, y + dy * radius)
        keep &= ~np.isin(below, (BUILDING, WATER))
    radius = np.where(keep, radius, 0)
    return _Trees(x.astype(np.float32), y.astype(np.float32), radius.astype(np.float32))


def _crowns(
    canvas: Canvas, trees: _Trees, lumps: np.ndarray, sun: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per pixel, arrays ``(height, width)``: the highest crown's height in metres (0: none), the
    flat index of its tree, and how far towards the sun the pixel lies in it (-1..1).
    """
    rows, columns = trees.radius.shape
    row = (canvas.y / _SPACING).astype(np.int32) + 1
    col = (canvas.x / _SPACING).astype(np.int32) + 1
    top, lit = np.zeros((2, *canvas.mask.shape), np.float32)
    owner = np.zeros(canvas.mask.shape, np.int32)
    for step in range(9):
        own = np.clip(row + step // 3 - 1, 0, rows - 1) * columns
        own += np.clip(col + step % 3 - 1, 0, columns - 1)
        radius = trees.radius.ravel()[own]
        reach = np.maximum(radius, 0.01)
        dx, dy = canvas.x - trees.x.ravel()[own], canvas.y - trees.y.ravel()[own]
        dome = 1 - (dx * dx + dy * dy) / reach**2 + lumps
        tall = np.where(dome > 0, radius * (1.0 + 0.9 * np.sqrt(np.maximum(dome, 0))), 0)
        higher = tall > top
        top, owner = np.where(higher, tall, top), np.where(higher, own, owner)
        lit = np.where(higher, (dx * np.cos(sun) + dy * np.sin(sun)) / reach, lit)
    return top, owner, lit
