"""Decide, before anything runs, how a scene will be segmented: grid, margin, batch, memory."""

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import psutil

from geounet.bands import Stretch
from geounet.decision import Storage, check_thresholds
from geounet.errors import ConfigError, SceneError
from geounet.georef import Frame
from geounet.jobs.extent import Extent, Region, resolve_region
from geounet.jobs.tiling import (
    Ground,
    Margin,
    Merge,
    Sides,
    Tiling,
    choose_tiling,
    worthwhile_side,
)
from geounet.model.runtime import Hardware, resolve_hardware
from geounet.model.spec import ModelSpec
from geounet.raster.area import Area
from geounet.raster.scene import (
    GDAL_CACHE,
    Scene,
    choose_bands,
    gdal_environment,
    open_handle,
)
from geounet.raster.stretch import scene_stretch
from geounet.raster.workgrid import WorkGrid
from geounet.symmetry import Tta
from geounet.tiles import TileGrid, Window

BASE_BYTES = 600 << 20
"""Resident memory of the interpreter, torch and the geospatial libraries, as measured."""
MAX_CACHE = 96 << 20
"""Largest block cache in bytes: memory must not follow the width of a scene."""
MAX_SCALE = 16.0
"""Scenes are not enlarged or reduced by more than this."""
_BATCH = 16
_TASK_PIXELS = {"crop": 4 << 20, "blend": 1 << 20}
# Pixels of patches that are worth a task: Dask takes some milliseconds for each. What is to be
# blended is held until the task is done.
_FEWEST_TASKS = 64
# Batches are not put together into fewer tasks than these, which workers can share evenly.
_WEIGHT = {"float64": 2.0, "float32": 1.0, "bfloat16": 0.6, "float16": 0.6}
# Memory of a forward relative to float32; autocast keeps some tensors wide.
_REUSE = {"openvino": 0.25}
# Memory of a forward relative to torch, where a runtime plans which layers share their buffers, as
# measured with a U-Net on ResNet-18.
_LEAST = {"openvino": 850}
# Bytes per pixel that it takes at least in float32, as measured with a U-Net on EfficientNet, which
# takes torch half of that.


@dataclass(frozen=True)
class SegmentOptions:
    """What the user may choose about inference; the defaults suit a laptop and a workstation."""

    bidx: tuple[int, ...] = ()
    """1-based scene bands for the model's bands; empty: by colour interpretation or order."""
    tile_size: int | None = None
    """Side of a patch, margins included, in working pixels; None: from the memory budget."""
    margin: Margin = "auto"
    """Context around a core in working pixels; ``exact``: the network's receptive radius."""
    merge: Merge | None = None
    """How patches become one field; None: by the network."""
    resolution: float | Literal["scene", "model"] = "model"
    """Ground sample distance in metres that the network works at."""
    device: str = "auto"
    """``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``."""
    precision: str = "auto"
    """``auto``, ``float32``, ``bfloat16``, ``float16`` or ``float64``."""
    runtime: str = "auto"
    """``auto``, ``torch``, ``onnx`` or ``openvino``."""
    memory: int | None = None
    """Bytes for the network's forward pass; None: a quarter of the machine's, at most 4 GiB."""
    batch: int | None = None
    """Tiles per forward pass; None: from the memory budget."""
    extent: Extent = field(default_factory=Extent)
    """The part of the scene that is asked for."""
    tta: Tta | None = None
    """Symmetries over which probabilities are averaged; None: the scene as it is."""
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
    region: Window
    """The scene pixels that results are made of."""
    area: Area | None
    """Where in them results are wanted; None: everywhere."""
    work: WorkGrid
    """The grid that the network works on."""
    level: int | None
    """Number of the overview that is read; None: the scene itself."""
    grid: TileGrid
    """Tiles, on the working grid."""
    hardware: Hardware
    """Device and precision."""
    batch: int
    """Tiles per forward pass."""
    resolution: float | None
    """Ground sample distance of the working grid in metres; None if unknown."""
    merge: Merge
    """How patches become one field."""
    tta: Tta | None
    """Symmetries over which probabilities are averaged."""
    promise: str
    """How the mask relates to one forward pass over the whole scene, in words."""
    expected_bytes: int
    """Estimated peak resident memory."""

    @property
    def frame(self) -> Frame:
        """Size and place of the results."""
        return self.scene.frame.crop(self.region)

    def owned(self, core: Window) -> Window | None:
        """The scene pixels of the region that a core of the working grid owns, if any."""
        window = self.work.scene_window(core)
        return window and window.intersection(self.region)

    @property
    def pixels(self) -> int:
        """Pixels of the results."""
        return self.region.pixels

    @property
    def cache_bytes(self) -> int:
        """Bytes of GDAL's block cache: what one row of tiles touches, so that rows of tiles share
        blocks; where that is too much, what neighbours along a row share.
        """
        step = (self.work.source[0] if self.work.source else self.work.rows).step
        rows = math.ceil(self.grid.patch_shape[0] * step) + 2 * self.scene.block[0]
        itemsize = np.dtype(self.scene.dtype).itemsize
        needed = rows * self.region.width * len(self.bands) * itemsize
        return max(GDAL_CACHE, needed) if needed <= MAX_CACHE else GDAL_CACHE

    @property
    def steps(self) -> int:
        """Tiles."""
        return len(self.grid)

    def batches(self) -> list[tuple[int, ...]]:
        """Tile indices of each task, neighbours together, in the order of the rows: a batch, or
        several where there are many tasks.
        """
        count = len(self.grid)
        rows, cols = self.grid.patch_shape
        worthwhile = _TASK_PIXELS[self.merge] // (rows * cols)
        together = min(worthwhile, count // _FEWEST_TASKS) // self.batch
        step = self.batch * max(1, together)
        return [tuple(range(start, min(start + step, count))) for start in range(0, count, step)]

    def describe(self) -> str:
        """The preflight line."""
        scene, grid = self.scene, self.grid
        rows, cols = grid.patch_shape
        scaled = "" if self.work.identity else (
            f", worked on at {self.resolution:.3g} m ({grid.height} x {grid.width} px)"
        )  # fmt: skip
        part = "" if self.region == Window(0, 0, *scene.shape) else (
            f", of which {self.region.height} x {self.region.width} px are asked for"
        )  # fmt: skip
        gsd = f" at {scene.georef.spacing}" if scene.georef.gsd else ""
        return (
            f"{scene.name}: {scene.height} x {scene.width} px{gsd}, {len(self.bands)} bands"
            f" {scene.dtype}{part}{scaled}; {len(grid)} tile{'s' * (len(grid) != 1)}"
            f" of {rows} x {cols} px,"
            f" margin {grid.margin} ({self.promise}); {self.hardware.device},"
            f" {self.hardware.engine} {self.hardware.precision};"
            f" about {self.expected_bytes / 2**30:.1f} GiB of memory"
        )


def make_plan(
    scene: Scene,
    spec: ModelSpec,
    options: SegmentOptions,
    hardware: Hardware | None = None,
    region: Region | None = None,
    storage: Storage | None = None,
) -> Plan:
    """Fit a model to a scene.

    Args:
        scene: the scene.
        spec: the model.
        options: what the user chose.
        hardware: of the workers, where these are other machines; None: this machine's.
        region: what ``options.extent`` means, where that is known; None: it is found out.
        storage: how probabilities are stored, whose rows wait in memory as the mask's do; None:
            they are not asked for.

    Raises:
        SceneError: the scene lacks bands or resolution.
        ConfigError: an option that cannot be met.
    """
    bands = choose_bands(scene, spec.bands, options.bidx)
    region = region or resolve_region(scene, options.extent)
    work, resolution = _working_grid(scene, spec, options)
    work, level = _overview(scene, work)
    covered = work.covering(region.window, spec.stride)
    all_rows = covered.row <= 0 and covered.row_end >= work.shape[0]
    ground = Ground(
        (covered.height, covered.width), work.apron, all_rows and not spec.shrink,
        work.rows.step * work.cols.step,
    )  # fmt: skip
    hardware = hardware or hardware_for(options)
    budget = options.memory or min(4 << 30, psutil.virtual_memory().total // 4)
    pixel_bytes = _forward_bytes(spec, hardware)
    sides = Sides(
        options.tile_size, math.isqrt(budget // pixel_bytes), worthwhile_side(spec),
        tall=hardware.device == "cpu",
    )  # fmt: skip
    tiling = choose_tiling(ground, spec, options.margin, options.merge, sides)
    origin = covered.row, covered.col
    grid = TileGrid(covered.height, covered.width, tiling.core, tiling.margin, spec.stride, origin)
    rows, cols = grid.patch_shape
    if ground.whole and tiling.merge == "crop":  # patches that are blended keep their margins
        rows = min(rows, covered.height)
    patch_pixels = rows * cols
    patch_bytes = patch_pixels * (pixel_bytes + _waiting_bytes(tiling, spec))
    # On a CPU one patch keeps all cores busy; several only leave its cache and take memory.
    most = 1 if hardware.device == "cpu" else min(_BATCH, len(grid), budget // patch_bytes)
    batch = options.batch or max(1, most)
    if batch < 1:
        raise ConfigError(f"batch {batch} must be at least 1")
    band_rows = math.ceil(tiling.core[0] * work.rows.step) + 1
    kept_bytes = np.dtype(storage).itemsize * len(spec.legend) if storage else 0
    band_bytes = (6 + 2 * kept_bytes) * band_rows * region.window.width
    if tiling.merge == "blend":
        band_bytes += 4 * len(spec.legend) * grid.patch_shape[0] * grid.width
    return Plan(
        scene=scene,
        bands=bands,
        stretch=scene_stretch(scene, bands, spec.dtype, spec.value_range),
        region=region.window,
        area=region.area,
        work=work,
        level=level,
        grid=grid,
        hardware=hardware,
        batch=batch,
        resolution=resolution,
        merge=tiling.merge,
        tta=options.tta,
        promise=tiling.promise,
        expected_bytes=BASE_BYTES + batch * patch_bytes + band_bytes,
    )


def hardware_for(options: SegmentOptions) -> Hardware:
    """What the options' ``auto`` means on this machine.

    Raises:
        ConfigError: something that this machine does not have.
    """
    return resolve_hardware(options.device, options.precision, options.runtime)


def _overview(scene: Scene, work: WorkGrid) -> tuple[WorkGrid, int | None]:
    """Read from the coarsest overview that is still finer than the working grid, if there is one:
    at half the resolution three quarters of the scene's pixels need not be decoded.
    """
    step = min(work.rows.step, work.cols.step) * 1.02  # sizes are rounded to whole pixels
    fitting = [level for level, factor in enumerate(scene.overviews) if 2 <= factor <= step]
    if not fitting:
        return work, None
    level = max(fitting, key=lambda item: scene.overviews[item])
    with gdal_environment(scene), open_handle(scene, level) as dataset:
        return work.from_overview(*dataset.shape), level


def _forward_bytes(spec: ModelSpec, hardware: Hardware) -> int:
    """Bytes of a forward pass per pixel of a patch."""
    wide = spec.bytes_per_pixel * _REUSE.get(hardware.engine, 1.0)
    wide = max(wide, _LEAST.get(hardware.engine, 0))
    return max(1, int(wide * _WEIGHT[hardware.precision]))


def _waiting_bytes(tiling: Tiling, spec: ModelSpec) -> int:
    """Bytes per pixel of the patches that wait to be blended while others are computed."""
    return 4 * 4 * len(spec.legend) if tiling.merge == "blend" else 0


def _working_grid(
    scene: Scene, spec: ModelSpec, options: SegmentOptions
) -> tuple[WorkGrid, float | None]:
    """The working grid, whose pixels are square on the ground unless they are the scene's own, and
    its ground sample distance.
    """
    gsd, sides = scene.georef.gsd, scene.georef.sides
    own = WorkGrid.scaled(*scene.shape, 1.0, 1.0), gsd
    wanted = options.resolution
    if wanted == "scene" or (wanted == "model" and (gsd is None or spec.resolution == 0)):
        return own
    target = spec.resolution if wanted == "model" else float(wanted)
    if not (math.isfinite(target) and target > 0):
        raise ConfigError(f"resolution {target} must be a positive number of metres")
    if sides is None:
        raise SceneError(
            f"{scene.uri}: has no ground sample distance, so --resolution {target} cannot be met;"
            " use --resolution scene"
        )
    rows, cols = (side / target for side in sides)
    if not 1 / MAX_SCALE <= min(rows, cols) <= max(rows, cols) <= MAX_SCALE:
        raise SceneError(
            f"{scene.uri}: its ground sample distance of {scene.georef.spacing} is too far from"
            f" {target:.3g} m to work at ({MAX_SCALE:g} times at most); make a copy of another"
            " resolution, as with gdalwarp -tr, or use another model"
        )
    # Within 5 % a network trained with scale jitter sees no difference, and pixels stay untouched.
    if wanted == "model" and max(abs(rows - 1), abs(cols - 1)) < 0.05:
        return own
    return WorkGrid.scaled(*scene.shape, rows, cols), target
