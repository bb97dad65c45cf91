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


def choose_tiling(
    ground: Ground, spec: ModelSpec, margin: Margin, merge: Merge | None, sides: Sides
) -> Tiling:
    """Margin and core.

    With margin ``auto`` the smallest margin is taken that keeps the promise for its core. The share
    of changed pixels is that of the pixels near a tile's border, so it falls with the core's size:
    the measured share is scaled by the measured core over the core at hand.

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
    side = sides.largest(2 * spec.margin + spec.stride, spec.stride)
    least = round_up(ground.apron, spec.stride)
    exact = round_up(spec.reach + ground.apron, spec.stride)
    for known, _ in spec.margin_curve:
        wide = max(known, least)
        if not spec.exact or wide >= exact or side - 2 * wide < spec.stride:
            break
        core = _core(ground, wide, spec.stride, side)
        if _keeps_promise(spec, wide, core):
            return Tiling(wide, core, merge, WITHIN_PROMISE)
    if spec.exact and side - 2 * exact >= spec.stride and exact <= max(spec.margin, side // 4):
        return Tiling(exact, _core(ground, exact, spec.stride, side), merge, IDENTICAL)
    wide = max(spec.margin, least)
    promise = "approximate" if spec.exact else POOLS
    return Tiling(wide, _core(ground, wide, spec.stride, side), merge, promise)


def _exact(ground: Ground, spec: ModelSpec, merge: Merge, sides: Sides) -> Tiling:
    if not spec.exact:
        raise ConfigError(
            f"model {spec.name!r} pools over its whole input, so no margin is exact;"
            " use --margin auto"
        )
    if merge == "blend":
        raise ConfigError("--merge blend is never exact; use --margin exact with --merge crop")
    margin = round_up(spec.reach + ground.apron, spec.stride)
    least = 2 * round_up(spec.reach, spec.stride) + 2 * spec.stride
    core = _core(ground, margin, spec.stride, sides.largest(least, spec.stride))
    return Tiling(margin, core, merge, IDENTICAL)


def _asked_for(ground: Ground, spec: ModelSpec, margin: int, merge: Merge, sides: Sides) -> Tiling:
    exact = round_up(spec.reach + ground.apron, spec.stride)
    if spec.shrink and margin < exact:
        raise ConfigError(
            f"margin {margin}: the unpadded convolutions of model {spec.name!r} need at"
            f" least {exact}; use --margin auto"
        )
    margin = round_up(max(margin, ground.apron), spec.stride)
    side = sides.largest(2 * margin + spec.stride, spec.stride)
    core = _core(ground, margin, spec.stride, side)
    if not spec.exact:
        promise = POOLS
    elif merge == "blend":
        promise = BLENDED
    elif margin >= exact:
        promise = IDENTICAL
    elif _keeps_promise(spec, margin, core):
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


def _keeps_promise(spec: ModelSpec, margin: int, core: tuple[int, int]) -> bool:
    """Whether the measured curve promises few enough changed pixels at this margin and core."""
    shares = [share for known, share in spec.margin_curve if known <= margin]
    if not shares:
        return False
    expected = shares[-1] * spec.calibration_core * (1 / core[0] + 1 / core[1]) / 2
    return expected <= PROMISE


def _core(ground: Ground, margin: int, stride: int, side: int) -> tuple[int, int]:
    """The most even cores whose patches have at most ``side`` pixels a side."""
    largest = side - 2 * margin
    if largest < stride:
        raise ConfigError(
            f"tile size {side} leaves no core inside margins of {margin};"
            f" use at least {2 * margin + stride}"
        )
    return (
        balanced_core(ground.shape[0], largest, stride),
        balanced_core(ground.shape[1], largest, stride),
    )
