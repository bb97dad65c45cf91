"""A seeded synthetic town seen from above: picture and class mask, for demonstration and training.

Strategy: the plane is cut into quarters (a jittered grid's Voronoi cells with warped borders), each
of one use: dense, suburb, halls, field, wood, bare. Borders and rotated street grids become roads;
a river and a main road are graphs over rotated axes; roofs are rectangles in parts (see
``town_roofs``); trees stand on a jittered grid. Everything has a height, so one march along the
sun's direction casts every shadow. Last come the optics: blur, haze, vignetting, noise.

All lengths are metres, so a town looks alike at any ground sample distance.
"""

from dataclasses import dataclass

import numpy as np

from geounet.train import town_roofs
from geounet.train.town_optics import expose, shadows
from geounet.train.town_random import Dice

LAND, BUILDING, WATER, VEGETATION, ROAD = range(5)
"""Values of the class mask."""

_QUARTER = 135.0  # m, spacing of the quarters' centres
DENSE, SUBURB, HALLS, FIELD, WOOD, BARE = range(6)
"""Uses of a quarter."""

_CROPS = (
    *((0.27, 0.36, 0.15), (0.36, 0.41, 0.20), (0.20, 0.29, 0.13), (0.33, 0.37, 0.24)),  # green
    *((0.55, 0.46, 0.31), (0.43, 0.34, 0.25), (0.62, 0.55, 0.38)),  # bare soil and stubble
)


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

    def paint(self, where: np.ndarray, color: np.ndarray, label: int | None = None) -> None:
        """Colour the pixels of the bool mask ``where``; ``color`` is (3,) or (count, 3)."""
        self.rgb[where] = color
        if label is not None:
            self.mask[where] = label

    def sample(self, array: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Values of ``array`` at positions in metres; positions outside take the edge's value."""
        row = np.clip((y / self.gsd).astype(np.int64), 0, array.shape[0] - 1)
        col = np.clip((x / self.gsd).astype(np.int64), 0, array.shape[1] - 1)
        return np.asarray(array[row, col])


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
    """Centres, ``(count,)``, metres."""
    y: np.ndarray
    """Centres, ``(count,)``, metres."""
    use: np.ndarray
    """int ``(count,)``."""
    angle: np.ndarray
    """Direction of streets and furrows, ``(count,)``, radians."""


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
    rows, cols = np.mgrid[0:height, 0:width].astype(np.float32)
    shape = (height, width)
    canvas = Canvas(
        (cols + 0.5) * gsd,
        (rows + 0.5) * gsd,
        np.zeros((*shape, 3), np.float32),
        np.zeros(shape, np.uint8),
        np.zeros(shape, np.float32),
        gsd,
    )
    quarters = _quarters(dice, canvas)
    _ground(dice, canvas, quarters)
    river = _waters(dice, canvas, quarters)
    _roads(dice, canvas, quarters, river)
    sun = float(dice.rng.uniform(0, 2 * np.pi))
    town_roofs.build(dice, canvas, quarters, sun)
    _trees(dice, canvas, quarters, sun)
    canvas.rgb *= shadows(canvas.elevation, gsd, sun, slope=float(dice.rng.uniform(0.8, 1.5)))
    return expose(dice, canvas.rgb), canvas.mask


def _quarters(dice: Dice, canvas: Canvas) -> Quarters:
    """Voronoi cells of a jittered grid, their borders bent by noise; the town is in the middle."""
    rng = dice.rng
    extent = float(canvas.x[-1, -1]), float(canvas.y[-1, -1])
    count = int(extent[1] / _QUARTER) + 5, int(extent[0] / _QUARTER) + 5
    jitter = rng.uniform(0.1, 0.9, (2, *count))
    center_x = ((np.arange(count[1]) - 2)[None, :] + jitter[0]) * _QUARTER
    center_y = ((np.arange(count[0]) - 2)[:, None] + jitter[1]) * _QUARTER
    x = canvas.x + 11 * dice.noise(90)
    y = canvas.y + 11 * dice.noise(90)
    row = np.floor(y / _QUARTER).astype(np.int32) + 2
    col = np.floor(x / _QUARTER).astype(np.int32) + 2
    near = np.full(x.shape, np.inf, np.float32)
    second = near.copy()
    index = np.zeros(x.shape, np.int32)
    other = index.copy()
    flat_x, flat_y = center_x.ravel().astype(np.float32), center_y.ravel().astype(np.float32)
    for step in range(9):
        r = np.clip(row + step // 3 - 1, 0, count[0] - 1)
        c = np.clip(col + step % 3 - 1, 0, count[1] - 1)
        own = r * count[1] + c
        distance = (x - flat_x[own]) ** 2 + (y - flat_y[own]) ** 2
        closer, between = distance < near, (distance >= near) & (distance < second) & (own != index)
        second = np.where(closer, near, np.where(between, distance, second))
        other = np.where(closer, index, np.where(between, own, other))
        near, index = np.where(closer, distance, near), np.where(closer, own, index)
    apart = np.hypot(flat_x[index] - flat_x[other], flat_y[index] - flat_y[other]) + 1e-3
    use = _uses(dice, flat_x, flat_y, extent)
    angle = rng.uniform(0, np.pi, flat_x.size)
    return Quarters(index, other, (second - near) / (2 * apart), flat_x, flat_y, use, angle)


def _uses(dice: Dice, x: np.ndarray, y: np.ndarray, extent: tuple[float, float]) -> np.ndarray:
    """Quarters near a town's centre are built up, the others fields, woods and bare land."""
    rng = dice.rng
    towns = max(1, round(extent[0] * extent[1] / 2e6))
    town_x = (
        rng.uniform(0.3, 0.7, towns) * extent[0] if towns == 1 else rng.uniform(0, extent[0], towns)
    )
    town_y = (
        rng.uniform(0.3, 0.7, towns) * extent[1] if towns == 1 else rng.uniform(0, extent[1], towns)
    )
    reach = 0.36 * np.sqrt(extent[0] * extent[1] / towns) + 60
    distance = np.hypot(x[:, None] - town_x, y[:, None] - town_y).min(axis=1) / reach
    distance *= rng.uniform(0.8, 1.25, x.size)
    urban = rng.choice([SUBURB, SUBURB, SUBURB, SUBURB, HALLS, WOOD], x.size)
    rural = rng.choice([FIELD, FIELD, FIELD, WOOD, WOOD, BARE], x.size)
    return np.where(distance < 0.4, DENSE, np.where(distance < 1.0, urban, rural))


def _ground(dice: Dice, canvas: Canvas, quarters: Quarters) -> None:
    """Lawns and yards, furrowed fields, forest floor and bare soil."""
    rng, use = dice.rng, quarters.use[quarters.index]
    u, v = local_axes(canvas, quarters)
    coarse, mid, fine = dice.noise(40), dice.noise(7), dice.noise(1.2)
    soil = dice.color((0.50, 0.43, 0.34), 0.05) + 0.03 * coarse[..., None] * np.array([1, 0.9, 0.8])
    grass = dice.color((0.27, 0.34, 0.17), 0.03) + 0.03 * mid[..., None] * np.array([1, 0.8, 0.4])
    parcel = dice.lookup(quarters.index, np.floor(u / 17), np.floor(v / 29))
    # Gardens are greener in suburbs than in the dense centre; hall yards are paved.
    lean = np.choose(use, [-0.7, 0.35, -1.6, 9.0, 9.0, -1.0])
    green = lean + 0.9 * mid + 1.6 * (parcel - 0.5) + 0.5 * coarse > 0
    canvas.rgb[:] = np.where(green[..., None], grass, soil)
    canvas.mask[green] = VEGETATION
    paved = ((use == HALLS) | (use == DENSE)) & ~green
    shade = 0.45 + 0.12 * (dice.lookup(quarters.index, np.floor(u / 34), np.floor(v / 41), 5) - 0.5)
    canvas.rgb[paved] = shade[paved][:, None] * np.array([1.02, 1.0, 0.96])
    _fields(dice, canvas, quarters, u, v, use == FIELD)
    wood = use == WOOD
    canvas.paint(wood, np.array([0.17, 0.21, 0.11]), VEGETATION)
    canvas.rgb *= (1 + 0.06 * fine + 0.04 * rng.standard_normal(fine.shape))[..., None]


def _fields(
    dice: Dice, canvas: Canvas, quarters: Quarters, u: np.ndarray, v: np.ndarray, where: np.ndarray
) -> None:
    """Strips of one crop each, green (vegetation) or bare (land), with furrows along them."""
    crops = np.array(_CROPS)
    wide = 38 + 30 * dice.lookup(quarters.index, u * 0, u * 0, 3)
    strip = np.floor(u / wide)
    kind = (dice.lookup(quarters.index, strip, u * 0, 9) * len(crops)).astype(np.int64)
    period = 1.6 + 2.2 * dice.lookup(quarters.index, strip, u * 0, 11)
    furrow = np.sin(2 * np.pi * u / period + 0.6 * dice.noise(12))
    patchy = 1 + 0.07 * furrow + 0.08 * dice.noise(25) + 0.04 * dice.noise(3)
    color = crops[kind] * patchy[..., None]
    # Unploughed grass between the strips.
    seam = np.abs(u - wide * np.round(u / wide)) < 0.9
    color[seam] = [0.33, 0.37, 0.20]
    green = (kind < 4) | seam
    canvas.rgb[where] = color[where]
    canvas.mask[where] = np.where(green, VEGETATION, LAND)[where]


def _waters(dice: Dice, canvas: Canvas, quarters: Quarters) -> np.ndarray:
    """A meandering river across the scene and lakes; returns metres to the river's bank."""
    rng = dice.rng
    river = np.abs(_meander(dice, canvas, 260, 0.09)) - rng.uniform(5, 11) - 2 * dice.noise(60)
    extent = float(canvas.x[-1, -1]), float(canvas.y[-1, -1])
    lake = np.full(river.shape, np.inf, np.float32)
    for _ in range(max(1, round(extent[0] * extent[1] / 6e5))):
        rural = (quarters.use >= FIELD) & (quarters.x > 0) & (quarters.y > 0)
        rural &= (quarters.x < extent[0]) & (quarters.y < extent[1])
        spots = np.flatnonzero(rural) if rural.any() else np.arange(quarters.x.size)
        spot = int(rng.choice(spots))
        reach = rng.uniform(0.1, 0.16) * min(400.0, *extent) + 3
        stretch = rng.uniform(0.6, 1.6)
        far = np.hypot((canvas.x - quarters.x[spot]) * stretch, canvas.y - quarters.y[spot])
        lake = np.minimum(lake, far - reach - 0.25 * reach * dice.noise(35))
    edge = np.minimum(river, lake) + 0.5 * dice.noise(4)
    bank = (edge >= 0) & (edge < 5 + 2 * dice.noise(9))
    canvas.paint(bank, np.array([0.30, 0.33, 0.19]), VEGETATION)
    canvas.paint((edge >= 0) & (edge < 0.9), np.array([0.50, 0.45, 0.36]), LAND)
    deep = np.clip(-edge / 9, 0, 1)[..., None]
    shallow, dark = dice.color((0.27, 0.30, 0.24), 0.03), dice.color((0.13, 0.19, 0.20), 0.03)
    color = shallow + (dark - shallow) * deep + 0.012 * dice.noise(2.0)[..., None]
    water = edge < 0
    canvas.paint(water, color[water], WATER)
    return np.asarray(edge)


def _roads(dice: Dice, canvas: Canvas, quarters: Quarters, water: np.ndarray) -> None:
    """Border roads, street grids of built-up quarters, and the main road with its bridges."""
    use, other = quarters.use[quarters.index], quarters.use[quarters.other]
    built = (use <= HALLS) | (other <= HALLS)
    asphalt = (
        dice.color((0.33, 0.33, 0.335), 0.03)
        * (1 + 0.05 * dice.noise(5) + 0.03 * dice.noise(0.8))[..., None]
    )
    u, v = local_axes(canvas, quarters)
    block = np.array(town_roofs.BLOCK)[np.minimum(use, 2)]
    street = np.abs(u - block[..., 0] * np.round(u / block[..., 0]))
    street = np.minimum(street, np.abs(v - block[..., 1] * np.round(v / block[..., 1])))
    half = np.where(use <= HALLS, street - 2.8, np.inf)
    half = np.minimum(half, quarters.border - np.where(built, 3.6, 0.0))
    dry = water > 3.0
    canvas.paint((half < 1.6) & (use <= HALLS) & dry, np.array([0.50, 0.49, 0.47]), LAND)
    # Farm tracks follow some borders between fields.
    pair = dice.lookup(
        np.minimum(quarters.index, quarters.other),
        np.maximum(quarters.index, quarters.other),
        u * 0,
        2,
    )
    track = ~built & (quarters.border < 1.8) & (pair < 0.6) & dry
    canvas.paint(
        track, (np.array([0.58, 0.53, 0.44]) * (1 + 0.06 * dice.noise(3))[..., None])[track], ROAD
    )
    paved = (half < 0) & built & dry
    canvas.paint(paved, asphalt[paved], ROAD)
    main = _meander(dice, canvas, 420, 0.06)
    wide = float(dice.rng.uniform(4.5, 6.0))
    shoulder = (np.abs(main) < wide + 1.5) & (water > -0.5)
    canvas.paint(shoulder, np.array([0.46, 0.44, 0.38]), LAND)
    rail = (np.abs(main) < wide + 0.8) & (water <= 1)
    canvas.paint(rail, np.array([0.62, 0.61, 0.58]), ROAD)
    canvas.elevation[rail & (np.abs(main) > wide)] = 1.2
    road = np.abs(main) < wide
    canvas.paint(road, 0.93 * asphalt[road], ROAD)
    dash = (canvas.x + canvas.y) % 9 < 5
    line = ((np.abs(main) < 0.3) & dash) | (np.abs(np.abs(main) - wide + 0.6) < 0.25)
    canvas.paint(line & road, np.array([0.68, 0.68, 0.66]), ROAD)


def _trees(dice: Dice, canvas: Canvas, quarters: Quarters, sun: float) -> None:
    """Round crowns on a jittered grid: dense in woods, single in gardens and along roads."""
    rng, spacing = dice.rng, 5.2
    count = int(canvas.y[-1, -1] / spacing) + 3, int(canvas.x[-1, -1] / spacing) + 3
    x = ((np.arange(count[1]) - 1)[None, :] + rng.uniform(0, 1, count)) * spacing
    y = ((np.arange(count[0]) - 1)[:, None] + rng.uniform(0, 1, count)) * spacing
    chance = np.array([0.14, 0.20, 0.04, 0.004, 0.97, 0.03])
    label = canvas.sample(canvas.mask, x, y)
    use = canvas.sample(quarters.use[quarters.index], x, y)
    keep = rng.random(count) < chance[use] + 0.25 * (canvas.sample(dice.noise(30), x, y) > 1.3)
    keep &= np.isin(label, (LAND, VEGETATION)) & ((use != FIELD) | (rng.random(count) < 0.3))
    radius = np.where(use == WOOD, rng.uniform(2.4, 4.6, count), rng.uniform(1.3, 3.4, count))
    clear = [
        np.isin(canvas.sample(canvas.mask, x + dx * radius, y + dy * radius), (BUILDING, WATER))
        for dx, dy in (
            (1, 0),
            (-1, 0),
            (0, 1),
            (0, -1),
            (0.7, 0.7),
            (-0.7, 0.7),
            (0.7, -0.7),
            (-0.7, -0.7),
        )
    ]
    radius = np.where(keep & ~np.any(clear, axis=0), radius, 0).astype(np.float32)
    tint = dice.color((0.17, 0.24, 0.10), 0.02) * (
        rng.uniform(0.75, 1.3, (*count, 1)) + rng.uniform(-0.08, 0.08, (*count, 3))
    )
    x, y = x.astype(np.float32), y.astype(np.float32)
    row = (canvas.y / spacing).astype(np.int32) + 1
    col = (canvas.x / spacing).astype(np.int32) + 1
    lumps = 0.12 * dice.noise(1.1)
    top = np.zeros(canvas.mask.shape, np.float32)
    owner = np.zeros(canvas.mask.shape, np.int32)
    light = np.zeros(canvas.mask.shape, np.float32)
    for step in range(9):
        own = np.clip(row + step // 3 - 1, 0, count[0] - 1) * count[1]
        own += np.clip(col + step % 3 - 1, 0, count[1] - 1)
        reach = radius.ravel()[own]
        dx, dy = canvas.x - x.ravel()[own], canvas.y - y.ravel()[own]
        dome = 1 - (dx * dx + dy * dy) / np.maximum(reach, 0.01) ** 2 + lumps
        tall = np.where(dome > 0, reach * (1.0 + 0.9 * np.sqrt(np.maximum(dome, 0))), 0)
        higher = tall > top
        top = np.where(higher, tall, top)
        owner = np.where(higher, own, owner)
        slant = (dx * np.cos(sun) + dy * np.sin(sun)) / np.maximum(reach, 0.01)
        light = np.where(higher, slant, light)
    crown = (top > 0) & (canvas.mask != BUILDING)
    shade = (0.95 + 0.38 * light + 0.25 * lumps + 0.10 * rng.standard_normal(light.shape))[crown]
    canvas.paint(crown, tint.reshape(-1, 3)[owner[crown]] * shade[:, None], VEGETATION)
    canvas.elevation[crown] = top[crown]


def _meander(dice: Dice, canvas: Canvas, length: float, swing: float) -> np.ndarray:
    """Signed metres across a wavy line through the scene's middle part."""
    rng = dice.rng
    middle_x, middle_y = float(canvas.x[-1, -1]) / 2, float(canvas.y[-1, -1]) / 2
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


def local_axes(canvas: Canvas, quarters: Quarters) -> tuple[np.ndarray, np.ndarray]:
    """Metres along a quarter's own two axes, from its centre."""
    index = quarters.index
    cos = np.cos(quarters.angle).astype(np.float32)[index]
    sin = np.sin(quarters.angle).astype(np.float32)[index]
    x, y = canvas.x - quarters.x[index], canvas.y - quarters.y[index]
    return x * cos + y * sin, y * cos - x * sin
