"""Decide, before anything runs, how a scene will be segmented: grid, margin, batch, memory."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import psutil

from geounet.bands import Stretch, percentile_stretch
from geounet.decision import check_thresholds
from geounet.errors import ConfigError, SceneError
from geounet.model.runtime import Hardware, resolve_hardware
from geounet.model.spec import ModelSpec
from geounet.raster.scene import Scene, choose_bands, open_scene, read_window
from geounet.raster.workgrid import WorkGrid
from geounet.tiles import TileGrid, Window, balanced_core, round_up

BASE_BYTES = 600 << 20
"""Resident memory of the interpreter, torch and the geospatial libraries, as measured."""
PROMISE = 1e-4
"""Share of pixels that the default margin may change against the exact one."""
MAX_SCALE = 16.0
"""Scenes are not enlarged or reduced by more than this."""
MAX_SIDE = 2560
"""Largest patch side in pixels: beyond it, larger tiles save little and delay the first rows."""
_STRETCH_WINDOWS = 8
_WEIGHT = {"float64": 2.0, "float32": 1.0, "bfloat16": 0.6, "float16": 0.6}
# Memory of a forward relative to float32; autocast keeps some tensors wide.


@dataclass(frozen=True)
class SegmentOptions:
    """What the user may choose about inference; the defaults suit a laptop and a workstation."""

    bidx: tuple[int, ...] = ()
    """1-based scene bands for the model's bands; empty: by colour interpretation or order."""
    tile_size: int | None = None
    """Side of a patch, margins included, in working pixels; None: from the memory budget."""
    margin: int | Literal["auto", "exact"] = "auto"
    """Context around a core in working pixels; ``exact``: the network's receptive radius."""
    resolution: float | Literal["scene", "model"] = "model"
    """Ground sample distance in metres that the network works at."""
    device: str = "auto"
    """``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``."""
    precision: str = "auto"
    """``auto``, ``float32``, ``bfloat16``, ``float16`` or ``float64``."""
    memory: int | None = None
    """Bytes for the network's forward pass; None: a quarter of the machine's, at most 4 GiB."""
    batch: int | None = None
    """Tiles per forward pass; None: from the memory budget."""
    thresholds: tuple[tuple[str, float | None], ...] = ()
    """(class, probability from which a pixel is called that class; None: as if the model stored
    none), instead of the model's own; see :class:`geounet.decision.Decision`."""

    def limits(self, spec: ModelSpec) -> dict[str, float]:
        """Thresholds by class name: the model's own, these in their place.

        Raises:
            ConfigError: a class that the model does not have, or a value outside 0 .. 1.
        """
        chosen = {**spec.thresholds, **dict(self.thresholds)}
        for name in chosen:
            spec.legend[name]
        limits = {name: value for name, value in chosen.items() if value is not None}
        check_thresholds(limits, spec.legend)
        return limits


@dataclass(frozen=True)
class Plan:
    """All that a worker needs to segment any tile of a scene, beside the model; picklable."""

    scene: Scene
    """What is segmented."""
    bands: tuple[int, ...]
    """1-based scene bands, in the model's order."""
    stretch: Stretch
    """Scene values that become 0 and 1."""
    work: WorkGrid
    """The grid that the network works on."""
    grid: TileGrid
    """Tiles, on the working grid."""
    hardware: Hardware
    """Device and precision."""
    batch: int
    """Tiles per forward pass."""
    resolution: float | None
    """Ground sample distance of the working grid in metres; None if unknown."""
    promise: str
    """What the margin guarantees, in words."""
    expected_bytes: int
    """Estimated peak resident memory."""

    def batches(self) -> list[tuple[int, ...]]:
        """Tile indices, neighbours together, in the order of the rows."""
        count = len(self.grid)
        return [
            tuple(range(start, min(start + self.batch, count)))
            for start in range(0, count, self.batch)
        ]

    def describe(self) -> str:
        """The preflight line."""
        scene, grid = self.scene, self.grid
        rows, cols = grid.patch_shape
        scaled = "" if self.work.identity else (
            f", worked on at {self.resolution:.3g} m ({grid.height} x {grid.width} px)"
        )  # fmt: skip
        gsd = f" at {scene.georef.gsd:.3g} m" if scene.georef.gsd else ""
        return (
            f"{scene.name}: {scene.height} x {scene.width} px{gsd}, {len(self.bands)} bands"
            f" {scene.dtype}{scaled}; {len(grid)} tile{'s' * (len(grid) != 1)}"
            f" of {rows} x {cols} px,"
            f" margin {grid.margin} ({self.promise}); {self.hardware.device},"
            f" {self.hardware.precision}; about {self.expected_bytes / 2**30:.1f} GiB of memory"
        )


def make_plan(scene: Scene, spec: ModelSpec, options: SegmentOptions) -> Plan:
    """Fit a model to a scene.

    Raises:
        SceneError: the scene lacks bands or resolution.
        ConfigError: an option that cannot be met.
    """
    bands = choose_bands(scene, spec.bands, options.bidx)
    work, resolution = _working_grid(scene, spec, options)
    hardware = resolve_hardware(options.device, options.precision)
    budget = options.memory or min(4 << 30, psutil.virtual_memory().total // 4)
    pixel_bytes = int(spec.bytes_per_pixel * _WEIGHT[hardware.precision])
    side = _largest_side(spec, options, pixel_bytes, budget)
    tiling = _tiling(work, spec, options, side)
    grid = TileGrid(*work.shape, tiling.core, tiling.margin, spec.stride)
    patch_bytes = grid.patch_shape[0] * grid.patch_shape[1] * pixel_bytes
    batch = options.batch or max(1, min(16, len(grid), budget // patch_bytes))
    if batch < 1:
        raise ConfigError(f"batch {batch} must be at least 1")
    band_rows = math.ceil(tiling.core[0] * work.rows.step) + 1
    return Plan(
        scene=scene,
        bands=bands,
        stretch=scene_stretch(scene, bands, spec),
        work=work,
        grid=grid,
        hardware=hardware,
        batch=batch,
        resolution=resolution,
        promise=tiling.promise,
        expected_bytes=BASE_BYTES + batch * patch_bytes + 6 * band_rows * scene.width,
    )


def scene_stretch(scene: Scene, bands: tuple[int, ...], spec: ModelSpec) -> Stretch:
    """The model's own value range if the scene has its dtype, else the scene's percentiles.

    Percentiles come from up to 64 windows on a regular grid over the scene: a decimated read would
    decode the whole file where there are no overviews.
    """
    if scene.dtype == spec.dtype:
        low, high = spec.value_range
        return Stretch((low,) * len(bands), (high,) * len(bands))
    side = 128
    rows = np.unique(np.linspace(0, max(0, scene.height - side), _STRETCH_WINDOWS).astype(int))
    cols = np.unique(np.linspace(0, max(0, scene.width - side), _STRETCH_WINDOWS).astype(int))
    values, known = [], []
    with open_scene(scene) as dataset:
        for row in rows.tolist():
            for col in cols.tolist():
                height, width = min(side, scene.height - row), min(side, scene.width - col)
                data, valid = read_window(dataset, Window(row, col, height, width), bands)
                values.append(data.reshape(len(bands), 1, -1))
                known.append(valid.reshape(1, -1))
    return percentile_stretch(np.concatenate(values, axis=2), np.concatenate(known, axis=1))


def _working_grid(
    scene: Scene, spec: ModelSpec, options: SegmentOptions
) -> tuple[WorkGrid, float | None]:
    gsd = scene.georef.gsd
    wanted = options.resolution
    if wanted == "scene" or (wanted == "model" and (gsd is None or spec.resolution == 0)):
        return WorkGrid.scaled(*scene.shape, 1.0), gsd
    target = spec.resolution if wanted == "model" else float(wanted)
    if not (math.isfinite(target) and target > 0):
        raise ConfigError(f"resolution {target} must be a positive number of metres")
    if gsd is None:
        raise SceneError(
            f"{scene.uri}: has no ground sample distance, so --resolution {target} cannot be met;"
            " use --resolution scene"
        )
    factor = gsd / target
    if not 1 / MAX_SCALE <= factor <= MAX_SCALE:
        raise SceneError(
            f"{scene.uri}: its ground sample distance of {gsd:.3g} m is too far from"
            f" {target:.3g} m, at which the model works; choose --resolution scene or another model"
        )
    # Within 5 % a network trained with scale jitter sees no difference, and pixels stay untouched.
    if wanted == "model" and abs(factor - 1) < 0.05:
        return WorkGrid.scaled(*scene.shape, 1.0), gsd
    return WorkGrid.scaled(*scene.shape, factor), target


@dataclass(frozen=True)
class _Tiling:
    """A choice of margin and core, and what it guarantees."""

    margin: int
    core: tuple[int, int]
    promise: str


_IDENTICAL = "identical to whole-scene inference"


def _tiling(work: WorkGrid, spec: ModelSpec, options: SegmentOptions, side: int) -> _Tiling:
    """Margin and core for patches of at most ``side`` pixels a side.

    With margin ``auto`` the smallest margin is taken that keeps the promise for its core. The share
    of changed pixels is that of the pixels near a tile's border, so it falls with the core's size:
    the measured share is scaled by the measured core over the core at hand.
    """
    exact = round_up(spec.reach + work.apron, spec.stride)
    if options.margin == "exact" or (spec.shrink and options.margin == "auto"):
        if not spec.exact:
            raise ConfigError(
                f"model {spec.name!r} pools over its whole input, so no margin is exact;"
                " use --margin auto"
            )
        return _Tiling(exact, _core(work, exact, spec.stride, side), _IDENTICAL)
    if options.margin != "auto":
        if options.margin < 0:
            raise ConfigError(f"margin {options.margin} must not be negative")
        margin = round_up(options.margin, spec.stride)
        if spec.shrink and margin < exact:
            raise ConfigError(
                f"margin {options.margin}: the unpadded convolutions of model {spec.name!r} need at"
                f" least {exact}; use --margin auto"
            )
        identical = spec.exact and margin >= exact
        core = _core(work, margin, spec.stride, side)
        return _Tiling(margin, core, _IDENTICAL if identical else "as asked for")
    for margin, share in spec.margin_curve:
        if margin >= exact or side - 2 * margin < spec.stride:
            break
        height, width = core = _core(work, margin, spec.stride, side)
        expected = share * spec.calibration_core * (1 / height + 1 / width) / 2
        if expected <= PROMISE:
            return _Tiling(margin, core, f"at most {PROMISE:.0e} of the pixels differ")
    if spec.exact and side - 2 * exact >= spec.stride and exact <= max(spec.margin, side // 4):
        return _Tiling(exact, _core(work, exact, spec.stride, side), _IDENTICAL)
    core = _core(work, spec.margin, spec.stride, side)
    return _Tiling(spec.margin, core, "approximate")


def _core(work: WorkGrid, margin: int, stride: int, side: int) -> tuple[int, int]:
    """The most even cores whose patches have at most ``side`` pixels a side."""
    largest = side - 2 * margin
    if largest < stride:
        raise ConfigError(
            f"tile size {side} leaves no core inside margins of {margin};"
            f" use at least {2 * margin + stride}"
        )
    return (
        balanced_core(work.shape[0], largest, stride),
        balanced_core(work.shape[1], largest, stride),
    )


def _largest_side(spec: ModelSpec, options: SegmentOptions, pixel_bytes: int, budget: int) -> int:
    """Side of the largest patch: the tile size, or what the memory budget allows."""
    if options.tile_size is not None:
        return round_up(options.tile_size, spec.stride)
    least = 2 * spec.margin + spec.stride
    if options.margin == "exact" or (spec.shrink and options.margin == "auto"):
        least = 2 * round_up(spec.reach, spec.stride) + 2 * spec.stride
    elif options.margin != "auto":
        least = 2 * round_up(options.margin, spec.stride) + spec.stride
    return max(least, min(MAX_SIDE, math.isqrt(budget // pixel_bytes)) // spec.stride * spec.stride)
