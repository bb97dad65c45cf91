"""Margin and core for a model, a working grid and a memory budget, and what they guarantee."""

from dataclasses import dataclass
from typing import Literal

from geounet.errors import ConfigError
from geounet.model.spec import ModelSpec
from geounet.tiles import balanced_core, round_up

PROMISE = 1e-4
"""Share of pixels that the default margin may change against the exact one."""
MAX_SIDE = 2560
"""Largest patch side in pixels: beyond it, larger tiles save little and delay the first rows."""
_MIN_WORTHWHILE = 1024
_SIDES_PER_REACH = 32
_NARROW = 1024
_WIDENING = 1.5e-4
# A processor's cache holds a few rows of activations. Per pixel, each further 1000 columns cost a
# U-Net on ResNet-18 15 % more; further rows cost nothing.
_BAND_PIXELS = 64 << 20
# Rows of tiles are tall only where no more pixels than these wait for their row to be complete.
_SLIGHT = 64
# Margins of at most this part of a side hardly cost more where patches are low and wide.
_MOST_WORK = 4.0
# Times the raster's own pixels that the network may compute to keep the promise. Where memory only
# allows small patches, wide margins leave cores of a few pixels: a thousand times the work.
_CALIBRATED = 0.75
# Tile borders of a calibration, relative to a raster without end: one of four by four tiles has
# three borders along each axis. Larger ones have more.

Margin = int | Literal["auto", "exact"]
"""Context around a core in working pixels; ``exact``: the network's receptive radius."""
Merge = Literal["crop", "blend"]
"""``crop``: every pixel has one owner; ``blend``: overlapping patches are weighted together."""

IDENTICAL = "identical to whole-scene inference"
WITHIN_PROMISE = f"at most {PROMISE:.0e} of the pixels differ"
BLENDED = "approximate, overlaps are blended"
POOLS = "approximate, the network pools over its whole input"


@dataclass(frozen=True)
class Tiling:
    """A choice of margin and core, and what it guarantees."""

    margin: int
    """Context on every side of a core."""
    core: tuple[int, int]
    """Rows and columns of a core."""
    merge: Merge
    """How patches become one field."""
    promise: str
    """How the mask relates to one forward pass over the whole scene, in words."""


@dataclass(frozen=True)
class Sides:
    """Bounds of a patch's side in working pixels."""

    chosen: int | None
    """By the user, margins included; None: by memory."""
    affordable: int
    """What the memory budget allows."""
    worthwhile: int = MAX_SIDE
    """Beyond it, larger patches save next to nothing."""
    tall: bool = False
    """Whether patches may be taller than wide, which spares a processor time."""

    def largest(self, least: int, stride: int) -> int:
        """The largest side to use, if ``least`` is needed for a core to be left."""
        if self.chosen is not None:
            return round_up(self.chosen, stride)
        return max(least, min(self.worthwhile, self.affordable) // stride * stride)


def worthwhile_side(spec: ModelSpec) -> int:
    """The side beyond which larger patches only take memory.

    With exact margins of a 32nd of the side, one pixel in seven is computed twice; margins are
    mostly smaller.
    """
    return min(MAX_SIDE, max(_MIN_WORTHWHILE, _SIDES_PER_REACH * spec.reach))


@dataclass(frozen=True)
class Ground:
    """What is to be tiled."""

    shape: tuple[int, int]
    """Working rows and columns."""
    apron: int
    """Working pixels around a core that resampling to the scene's grid needs."""
    whole: bool = False
    """Whether nothing is seen above and below: a patch of all rows has no margins there."""
    fineness: float = 1.0
    """Pixels of the result per working pixel."""


def choose_tiling(
    ground: Ground, spec: ModelSpec, margin: Margin, merge: Merge | None, sides: Sides
) -> Tiling:
    """Margin and core.

    With margin ``auto`` the fastest margin and core are taken that keep the promise. The share of
    changed pixels is that of the pixels near a border between tiles, so the measured share is
    scaled by the length of these borders. Where patches are too small to keep it at a bearable
    cost, the margin is taken that changes the fewest pixels, and the promise says how many.

    Args:
        ground: what is to be tiled.
        spec: the model.
        margin: as the user chose it.
        merge: as the user chose it; None: ``crop``, but ``blend`` for networks that pool globally.
        sides: bounds of a patch's side.

    Raises:
        ConfigError: a margin that cannot be met.
    """
    merge = merge or ("crop" if spec.exact else "blend")
    if margin == "exact" or (spec.shrink and margin == "auto" and merge == "crop"):
        return _exact(ground, spec, merge, sides)
    if margin != "auto":
        if margin < 0:
            raise ConfigError(f"margin {margin} must not be negative")
        return _asked_for(ground, spec, margin, merge, sides)
    if merge == "blend":
        return _blended(ground, spec, sides)
    return _automatic(ground, spec, sides)


def _automatic(ground: Ground, spec: ModelSpec, sides: Sides) -> Tiling:
    least = round_up(ground.apron, spec.stride)
    exact = round_up(spec.reach + ground.apron, spec.stride)
    usual = max(spec.margin, least)
    known = [max(margin, least) for margin, _ in spec.margin_curve if spec.exact]
    smallest = min([usual, *known])
    side = sides.largest(2 * smallest + spec.stride, spec.stride)
    tall = sides.tall and sides.chosen is None
    fitting = [
        (_changed(ground, spec, wide, core), wide, core)
        for wide in known
        if wide < exact and side - 2 * wide >= spec.stride
        for core in _cores(ground, wide, spec.stride, side, tall)
    ]
    bearable = [item for item in fitting if _work(ground, *item[1:]) <= _MOST_WORK]
    kept = [item[1:] for item in bearable if item[0] <= PROMISE]
    if kept:
        margin, core = min(kept, key=lambda item: _time(ground, *item))
        return Tiling(margin, core, "crop", WITHIN_PROMISE)
    if spec.exact and side - 2 * exact >= spec.stride and exact <= max(spec.margin, side // 4):
        core = _core(ground, exact, spec.stride, side, tall)
        if _work(ground, exact, core) <= _MOST_WORK:
            return Tiling(exact, core, "crop", IDENTICAL)
    if fitting:
        share, margin, core = min(bearable or fitting[:1])
        return Tiling(margin, core, "crop", f"about {share:.0e} of the pixels differ")
    side = max(side, sides.largest(3 * usual, spec.stride))
    promise = POOLS if not spec.exact else IDENTICAL if usual >= exact else "approximate"
    return Tiling(usual, _core(ground, usual, spec.stride, side, tall), "crop", promise)


def _exact(ground: Ground, spec: ModelSpec, merge: Merge, sides: Sides) -> Tiling:
    if not spec.exact:
        raise ConfigError(
            f"model {spec.name!r} pools over its whole input, so no margin is exact;"
            " use --margin auto"
        )
    if merge == "blend":
        raise ConfigError("--merge blend is never exact; use --margin exact with --merge crop")
    margin = round_up(spec.reach + ground.apron, spec.stride)
    side = sides.largest(3 * margin, spec.stride)
    core = _core(ground, margin, spec.stride, side, sides.tall and sides.chosen is None)
    return Tiling(margin, core, merge, IDENTICAL)


def _asked_for(ground: Ground, spec: ModelSpec, margin: int, merge: Merge, sides: Sides) -> Tiling:
    exact = round_up(spec.reach + ground.apron, spec.stride)
    if spec.shrink and margin < exact:
        raise ConfigError(
            f"margin {margin}: the unpadded convolutions of model {spec.name!r} need at"
            f" least {exact}; use --margin auto"
        )
    # More context than the network or the raster has changes nothing but the memory it takes.
    useful = exact if spec.exact and merge == "crop" else max(exact, *ground.shape)
    margin = round_up(max(min(margin, useful), ground.apron), spec.stride)
    side = sides.largest(3 * margin + spec.stride, spec.stride)
    core = _core(ground, margin, spec.stride, side)
    if not spec.exact:
        promise = POOLS
    elif merge == "blend":
        promise = BLENDED
    elif margin >= exact:
        promise = IDENTICAL
    elif _changed(ground, spec, margin, core) <= PROMISE:
        promise = WITHIN_PROMISE
    else:
        promise = "as asked for"
    return Tiling(margin, core, merge, promise)


def _blended(ground: Ground, spec: ModelSpec, sides: Sides) -> Tiling:
    """At least a quarter of a patch overlaps the next one, as with less the ramp would be a seam,
    and at most half.
    """
    least = round_up(spec.shrink + ground.apron, spec.stride)
    margin = max(spec.margin, least)
    side = sides.largest(2 * margin + spec.stride, spec.stride)
    # What fits into one patch needs no overlap beyond the context.
    if max(ground.shape) + 2 * margin > side:
        widest = (side - spec.stride) // 2 // spec.stride * spec.stride
        eighth, quarter = (side // part // spec.stride * spec.stride for part in (8, 4))
        overlap = min(max(spec.margin - spec.shrink, eighth), quarter)
        margin = max(least, min(widest, spec.shrink + overlap))
    core = _core(ground, margin, spec.stride, side)
    return Tiling(margin, core, "blend", BLENDED if spec.exact else POOLS)


def _changed(ground: Ground, spec: ModelSpec, margin: int, core: tuple[int, int]) -> float:
    """The share of pixels that the measured curve lets expect to differ at this margin and core.

    Pixels change along the borders between tiles; a raster that is one tile wide has none of them.
    """
    shares = [share for known, share in spec.margin_curve if known <= margin]
    if not shares:
        return 1.0
    borders = [
        (-(-extent // own) - 1) / extent for extent, own in zip(ground.shape, core, strict=True)
    ]
    measured = 2 * _CALIBRATED / spec.calibration_core
    return min(1.0, shares[-1] * sum(borders) / measured)


def _core(
    ground: Ground, margin: int, stride: int, side: int, tall: bool = False
) -> tuple[int, int]:
    """The cores that take the least time.

    Where the margin costs next to nothing and shapes are free (``tall``), a wide raster is cut into
    low and wide patches of as many pixels: its rows wait in memory until their row of tiles is
    complete, and half as many wait then.
    """
    if tall and _SLIGHT * margin <= side and ground.shape[1] > 4 * side:
        rows = max(stride, (side // 2 - 2 * margin) // stride * stride)
        cols = max(stride, (side * side // (rows + 2 * margin) - 2 * margin) // stride * stride)
        height, width = ground.shape
        return balanced_core(height, rows, stride), balanced_core(width, cols, stride)
    cores = _cores(ground, margin, stride, side, tall)
    return min(cores, key=lambda core: _time(ground, margin, core))


def _cores(
    ground: Ground, margin: int, stride: int, side: int, tall: bool
) -> list[tuple[int, int]]:
    """The most even cores whose patches have at most ``side`` pixels a side; if they may be
    ``tall``, also those of narrower patches of as many pixels.
    """
    largest = side - 2 * margin
    if largest < stride:
        raise ConfigError(
            f"tile size {side} (a multiple of the network's stride {stride}) leaves no core inside"
            f" margins of {margin}; use --tile-size {3 * margin} or more"
        )
    height, width = ground.shape
    shapes = [(largest, largest)]
    if tall:
        tallest = min(2 * side, max(side, int(_BAND_PIXELS / (width * ground.fineness))))
        narrowest = max(stride, _NARROW - 2 * margin)
        for pieces in range(-(-width // largest), -(-width // narrowest) + 1):
            cols = round_up(width / pieces, stride)
            affordable = side * side // (cols + 2 * margin)
            rows = min(tallest, affordable) // stride * stride - 2 * margin
            if ground.whole and round_up(height, stride) <= min(tallest, affordable):
                rows = round_up(height, stride)
            if cols <= largest and rows >= stride:
                shapes.append((rows, cols))
    return [
        (balanced_core(height, rows, stride), balanced_core(width, cols, stride))
        for rows, cols in shapes
    ]


def _time(ground: Ground, margin: int, core: tuple[int, int]) -> float:
    """Relative time of the network on all patches."""
    widening = 1 + _WIDENING * max(0, core[1] + 2 * margin - _NARROW)
    return widening * _work(ground, margin, core)


def _work(ground: Ground, margin: int, core: tuple[int, int]) -> float:
    """Pixels of all patches over those of the raster, margins beyond the raster left out."""
    work = 1.0
    for extent, own in zip(ground.shape, core, strict=True):
        work *= 1 + 2 * margin * (-(-extent // own) - 1) / extent
    return work
