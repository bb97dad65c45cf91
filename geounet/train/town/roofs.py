"""Roofs: where two parts of a house overlap the higher one shows, which draws the valleys."""

from dataclasses import dataclass

import numpy as np

from geounet.train.town.boxes import Boxes
from geounet.train.town.canvas import BUILDING, Canvas
from geounet.train.town.dice import Dice
from geounet.train.town.lots import Built

_TILES = (
    *((0.60, 0.34, 0.24), (0.53, 0.27, 0.19), (0.46, 0.45, 0.45), (0.35, 0.27, 0.22)),
    *((0.66, 0.43, 0.31), (0.72, 0.70, 0.67), (0.30, 0.30, 0.32), (0.56, 0.38, 0.29)),
)
_DECKS = ((0.62, 0.62, 0.61), (0.50, 0.50, 0.49), (0.80, 0.80, 0.79), (0.43, 0.41, 0.39))
_PANEL = (0.11, 0.13, 0.20)  # solar
_PITCH = 0.75  # metres up per metre across


@dataclass
class _Look:
    """How each house looks; arrays ``(houses,)``."""

    flat: np.ndarray
    """bool."""
    color: np.ndarray
    """``(houses, 3)`` reflectance."""
    eaves: np.ndarray
    """Metres."""
    solar: np.ndarray
    """bool."""


def paint(dice: Dice, canvas: Canvas, built: Built, sun: float) -> None:
    """Paint the roofs and their heights, lit from direction ``sun`` (radians from +x to +y)."""
    rng, flat = dice.rng, built.flat
    tile = np.array(_TILES)[rng.integers(0, len(_TILES), flat.size)]
    deck = np.array(_DECKS)[rng.integers(0, len(_DECKS), flat.size)]
    color = np.where(flat[:, None], deck, tile) * rng.uniform(0.85, 1.12, (flat.size, 1))
    eaves = np.where(flat, rng.uniform(5, 11, flat.size), rng.uniform(3, 6.5, flat.size))
    grain = 1 + 0.05 * dice.noise(1.0) + 0.05 * dice.noise(6)
    look = _Look(flat, color, eaves, rng.random(flat.size) < 0.12)
    top = np.zeros(canvas.mask.shape, np.float32)
    for part, owner in ((built.wing, built.owner), (built.house, np.arange(flat.size))):
        _paint_part(canvas, part, owner, look, grain, sun, top)
    canvas.elevation[top > 0] = top[top > 0]


def _paint_part(
    canvas: Canvas,
    boxes: Boxes,
    owner: np.ndarray,
    look: _Look,
    grain: np.ndarray,
    sun: float,
    top: np.ndarray,
) -> None:
    """Paint rectangles where they are higher than ``top``, which is raised to them."""
    drawn = boxes.draw(canvas)
    rows, cols = np.nonzero(drawn)
    part = drawn[rows, cols] - 1
    own = owner[part]
    dx, dy = canvas.x[rows, cols] - boxes.x[part], canvas.y[rows, cols] - boxes.y[part]
    cos, sin = np.cos(boxes.angle[part]), np.sin(boxes.angle[part])
    along, across = dx * cos + dy * sin, dy * cos - dx * sin
    half, end = boxes.width[part] / 2, boxes.length[part] / 2
    level = look.flat[own]
    height = look.eaves[own] + np.where(level, 0, _PITCH * (half - np.abs(across)))
    # Light on a slope: cosine between its aspect (across the ridge) and the sun's direction.
    aspect = np.sign(across) * (np.cos(sun) * -sin + np.sin(sun) * cos)
    shade = np.where(level, 1.0, 0.93 + 0.27 * aspect) * grain[rows, cols]
    shade *= np.where(~level & (np.abs(across) < 0.25), 1.12, 1.0)  # ridge
    edge = np.minimum(half - np.abs(across), end - np.abs(along))
    shade *= np.where(level & (edge < 0.7), 1.15, 1.0)  # parapet
    skylight = level & (half > 8) & (np.abs(along % 9 - 4.5) < 0.9) & (edge > 3)
    shade *= np.where(skylight, 1.25, 1.0)
    color = look.color[own] * shade[:, None]
    panel = look.solar[own] & ~level & (across > 0.22 * half) & (across < 0.85 * half)
    color[panel & (np.abs(along) < 0.6 * end)] = _PANEL
    higher = height > top[rows, cols]
    rows, cols = rows[higher], cols[higher]
    canvas.rgb[rows, cols] = color[higher]
    canvas.mask[rows, cols] = BUILDING
    top[rows, cols] = height[higher]
