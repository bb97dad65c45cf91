"""A seeded synthetic town seen from above: picture and class mask, for demonstration and training.

Strategy: the plane is cut into quarters (a jittered grid's Voronoi cells with warped borders), each
of one use: dense, suburb, halls, field, wood, bare. Borders and rotated street grids become roads;
a river and a main road are graphs over rotated axes; roofs are rectangles in parts; trees stand on
a jittered grid. Everything has a height, so one march along the sun's direction casts every shadow.
Last come the optics: blur, haze, vignetting, noise.

All lengths are metres, so a town looks alike at any ground sample distance.
"""

import numpy as np

from geounet.train.town import ground, lots, quarters, roofs, trees, ways
from geounet.train.town.canvas import CLASSES, Canvas
from geounet.train.town.dice import Dice
from geounet.train.town.optics import expose, shadows

__all__ = ["CLASSES", "make_town"]


def make_town(
    seed: int, height: int, width: int, gsd: float = 0.5
) -> tuple[np.ndarray, np.ndarray]:
    """Draw a town.

    Args:
        seed: the same seed, size and ``gsd`` give the same picture.
        height: rows, >= 1.
        width: columns, >= 1.
        gsd: metres per pixel.

    Returns:
        rgb uint8 ``(3, height, width)`` and mask uint8 ``(height, width)``: 0 land, 1 building,
        2 water, 3 vegetation, 4 road. From about 300 m of side on, every class occurs.
    """
    dice = Dice(seed, (height, width), gsd)
    canvas = Canvas.blank(height, width, gsd)
    plan = quarters.lay_out(dice, canvas)
    ground.paint(dice, canvas, plan)
    water = ways.paint_waters(dice, canvas, plan)
    ways.paint_roads(dice, canvas, plan, water)
    sun = float(dice.rng.uniform(0, 2 * np.pi))
    built = lots.place(dice, canvas, plan)
    roofs.paint(dice, canvas, built, sun)
    lots.furnish(dice, canvas, plan, built)
    trees.paint(dice, canvas, plan, sun)
    canvas.rgb *= shadows(canvas.elevation, gsd, sun, slope=float(dice.rng.uniform(0.8, 1.5)))
    return expose(dice, canvas.rgb), canvas.mask
