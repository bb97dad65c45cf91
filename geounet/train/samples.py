"""Labelled scenes in memory, and windows drawn from them by class.

A scene keeps a pyramid of halved copies, so that a window sampled at a coarse ground sample
distance averages what it skips, and a list of places per label, so that rare classes are seen as
often as common ones. A window of a run is a function of (seed, step, position in the batch) alone:
a resumed run sees exactly what an unbroken one would.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from geounet.bands import Stretch, normalise
from geounet.errors import ConfigError, SceneError
from geounet.legend import Legend
from geounet.mirror import mirror_index
from geounet.raster.scene import describe, open_scene, read_window
from geounet.tiles import Window
from geounet.train.augment import recolour, window_map
from geounet.train.config import SourceConfig, TownConfig, TrainConfig
from geounet.train.labels import polygon_labels
from geounet.train.pool import Pool, pool_of
from geounet.train.texture import Sets, narrow
from geounet.train.weightmap import boundary_weights, connected_instances

_SPOTS = 20_000  # places kept per label and scene
_TRIES = 16  # views for a window that must hold a class: a bent or coarse one may miss the pixel
_LEVELS = 4  # halvings of the pyramid; the last is 1/8


@dataclass(frozen=True, eq=False)
class LabelledScene:
    """A scene with its label sets, in memory."""

    name: str
    levels: tuple[np.ndarray, ...]
    """uint8 ``(bands, h, w)``: as read, halved, quartered, ..."""
    labels: np.ndarray
    """uint8 ``(h, w)``: bit ``i`` set where class ``i`` is allowed, 0 where ignored."""
    gsd: float
    """Metres per pixel of the first level."""
    spots: Mapping[int, np.ndarray]
    """Label set -> int64 flat positions of some of its pixels."""
    counts: Mapping[int, int]
    """Label set -> number of its pixels."""
    instances: np.ndarray | None = None
    """int32 ``(h, w)``: numbers of the objects that the labels came from, 0 outside; None: objects
    are the connected regions of a class."""

    def window(self, x: np.ndarray, y: np.ndarray, scale: float) -> tuple[Tensor, Tensor]:
        """Sample image (bilinear) and labels (nearest) at scene positions, mirrored beyond edges.

        Args:
            x: float32 ``(h, w)``, columns in pixels of the first level; 0 is a pixel's centre.
            y: the same for rows.
            scale: scene pixels per window pixel; chooses the pyramid's level.

        Returns:
            float32 ``(bands, h, w)`` in 0..1 and uint8 ``(h, w)`` label sets.
        """
        level = min(max(0, round(math.log2(scale))), len(self.levels) - 1)
        factor = 2**level
        image = _sample(self.levels[level], (x + 0.5) / factor - 0.5, (y + 0.5) / factor - 0.5)
        return image, torch.from_numpy(_pick(self.labels, x, y))

    def objects(self, x: np.ndarray, y: np.ndarray, labels: np.ndarray, bits: int) -> np.ndarray:
        """Object numbers, int32 ``(h, w)``, at positions whose label sets are ``labels``.

        Args:
            x: as for :meth:`window`.
            y: as for :meth:`window`.
            labels: uint8 ``(h, w)``.
            bits: the classes that form objects.
        """
        sets = tuple(1 << index for index in range(8) if bits >> index & 1)
        if self.instances is None:
            return connected_instances(labels, sets)
        return np.where(np.isin(labels, sets), _pick(self.instances, x, y), 0)


def _pick(values: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The nearest of ``(h, w)`` values at each (x, y), mirrored beyond edges."""
    rows, cols = np.rint(y).astype(np.int64), np.rint(x).astype(np.int64)
    top, left = rows.min(), cols.min()
    row_map = mirror_index(top, int(rows.max() - top) + 1, values.shape[0])
    col_map = mirror_index(left, int(cols.max() - left) + 1, values.shape[1])
    picked: np.ndarray = values[row_map[rows - top], col_map[cols - left]]
    return picked


def _sample(image: np.ndarray, x: np.ndarray, y: np.ndarray) -> Tensor:
    """Bilinear values of uint8 ``(bands, h, w)`` at (x, y), as float32 in 0..1."""
    left, top = math.floor(x.min()), math.floor(y.min())
    width, height = math.floor(x.max()) + 2 - left, math.floor(y.max()) + 2 - top
    rows = mirror_index(top, height, image.shape[1])
    cols = mirror_index(left, width, image.shape[2])
    crop = torch.from_numpy(image[:, rows[:, None], cols[None, :]]).float() / 255.0
    grid = np.stack([(x - left + 0.5) / width * 2 - 1, (y - top + 0.5) / height * 2 - 1], axis=-1)
    # The crop holds every neighbour of every position: padding never acts.
    return functional.grid_sample(
        crop[None],
        torch.from_numpy(grid.astype(np.float32))[None],
        align_corners=False,
        padding_mode="border",
    )[0]


def make_scene(
    name: str, image: np.ndarray, labels: np.ndarray, gsd: float, seed: int = 0
) -> LabelledScene:
    """A labelled scene from arrays: uint8 ``(bands, h, w)`` and label sets uint8 ``(h, w)``."""
    levels = [image]
    while len(levels) < _LEVELS and min(levels[-1].shape[1:]) >= 64:
        levels.append(_halve(levels[-1]))
    rng = np.random.default_rng(seed)
    flat = labels.ravel()
    spots, counts = {}, {}
    for value in np.unique(flat):
        if value == 0:
            continue
        places = np.flatnonzero(flat == value)
        counts[int(value)] = places.size
        spots[int(value)] = places[rng.integers(places.size, size=min(_SPOTS, places.size))]
    return LabelledScene(name, tuple(levels), labels, gsd, spots, counts)


def _halve(image: np.ndarray) -> np.ndarray:
    """Means of 2 x 2 pixels, rounded; an odd last row or column is dropped."""
    bands, height, width = image.shape
    blocks = image[:, : height // 2 * 2, : width // 2 * 2].astype(np.uint16)
    blocks = blocks.reshape(bands, height // 2, 2, width // 2, 2)
    mean: np.ndarray = ((blocks.sum(axis=(2, 4)) + 2) // 4).astype(np.uint8)
    return mean


def label_table(labels: Mapping[str, Sequence[str]], legend: Legend) -> np.ndarray:
    """Mask value -> label set: uint8 ``(256,)``; values not in ``labels`` become 0, ignored."""
    table = np.zeros(256, dtype=np.uint8)
    for value, names in labels.items():
        for name in names:
            table[int(value)] |= 1 << legend.names.index(name)
    return table


def find_images(source: SourceConfig, data: Path) -> list[Path]:
    """The images of a source, sorted; patterns that match nothing are errors."""
    found: set[Path] = set()
    for pattern in source.images:
        matches = [path for path in data.glob(pattern) if not path.stem.endswith("_mask")]
        if not matches:
            raise ConfigError(f"source {source.name!r}: no image {pattern!r} below {data}")
        found.update(matches)
    for pattern in source.exclude:
        found.difference_update(data.glob(pattern))
    return sorted(found)


def read_scene(path: Path, bands: int, table: np.ndarray) -> LabelledScene:
    """Read ``NAME.tif`` and ``NAME_mask.tif``: the first ``bands`` bands, which must be uint8.

    Pixels without data are ignored. A scene without a CRS counts as one of 1 m.
    """
    image, valid, gsd = _read(path, bands)
    mask, _, _ = _read(path.with_name(f"{path.stem}_mask.tif"), 1)
    if image.shape[1:] != mask.shape[1:]:
        raise SceneError(f"{path}: {image.shape[1:]} pixels, but its mask has {mask.shape[1:]}")
    labels = np.where(valid, table[mask[0]], np.uint8(0))
    return make_scene(path.stem, image, labels, gsd)


def read_labelled(
    path: Path, source: SourceConfig, data: Path, legend: Legend, bands: int
) -> LabelledScene:
    """A scene of a source with its labels, from ``NAME_mask.tif`` or polygons.

    Raises:
        SceneError: see :func:`read_scene`.
        LabelError: see :func:`~geounet.train.labels.polygon_labels`.
    """
    if source.polygons is None:
        return read_scene(path, bands, label_table(source.labels, legend))
    image, valid, gsd = _read(path, bands)
    labels = polygon_labels(path, source, data, legend)
    return make_scene(path.stem, image, np.where(valid, labels, np.uint8(0)), gsd)


def _read(path: Path, bands: int) -> tuple[np.ndarray, np.ndarray, float]:
    """The first bands of a uint8 scene, where it has data, and its ground sample distance."""
    scene = describe(path)
    if scene.bands < bands or scene.dtype != "uint8":
        raise SceneError(
            f"{path}: {bands} bands of uint8 needed, {scene.bands} of {scene.dtype} found"
        )
    with open_scene(scene) as dataset:
        window = Window(0, 0, scene.height, scene.width)
        data, valid = read_window(dataset, window, tuple(range(1, bands + 1)))
    return data, valid, scene.georef.gsd or 1.0


def _narrowed(scene: LabelledScene, sets: Sets) -> LabelledScene:
    labels = narrow(scene.levels[0], scene.labels, scene.gsd, sets)
    return make_scene(scene.name, scene.levels[0], labels, scene.gsd)


def make_towns(config: TownConfig) -> list[LabelledScene]:
    """Synthetic scenes with full labels."""
    from geounet.train.town import make_town

    scenes = []
    for seed in range(config.seed, config.seed + config.scenes):
        image, mask = make_town(seed, config.size, config.size, 0.5)
        labels = np.left_shift(np.uint8(1), mask).astype(np.uint8)
        labels[mask > 7] = 0
        scenes.append(make_scene(f"town {seed}", image, labels, 0.5))
    return scenes


class Batch(NamedTuple):
    """What one step is trained on."""

    images: Tensor
    """Network input, float32 ``(n, bands, h, w)``."""
    labels: Tensor
    """Label sets, uint8 ``(n, h, w)``."""
    boundary: Tensor | None
    """Weights between neighbouring objects, float32 ``(n, h, w)``, where they are asked for."""


class Sampler:
    """Draws the batches of a run from scenes that it keeps in memory."""

    def __init__(self, config: TrainConfig, pools: Sequence[Pool]) -> None:
        self._config = config
        self._pools = [pool for pool in pools if pool.share > 0]
        shares = np.array([pool.share for pool in self._pools])
        self._ends = np.cumsum(shares / shares.sum())
        legend, weight_map = Legend(config.legend), config.fit.weight_map
        names = weight_map.classes if weight_map else ()
        self._objects = sum(1 << legend.names.index(name) for name in names)

    def batch(self, step: int, part: range | None = None) -> Batch:
        """The windows of a step; of them only ``part``, if given."""
        fit = self._config.fit
        start = np.random.default_rng((fit.seed, step)).random()
        windows = []
        for index in part if part is not None else range(fit.batch):
            # Systematic sampling: each batch holds the shares as nearly as its size allows.
            place = (index + start) / fit.batch
            pool = self._pools[min(int(np.searchsorted(self._ends, place)), len(self._ends) - 1)]
            windows.append(self._window(pool, np.random.default_rng((fit.seed, step, index))))
        images, labels, boundary = zip(*windows, strict=True)
        return Batch(
            torch.stack(images),
            torch.stack(labels),
            torch.stack(boundary) if fit.weight_map else None,
        )

    def _window(self, pool: Pool, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor | None]:
        augment, due = self._config.augment, pool.due(rng)
        for _ in range(_TRIES):
            scene, x, y, scale = self._view(pool, rng, due)
            image, labels = scene.window(x, y, scale)
            if due is None or bool((labels == due).any()):
                break
        image = recolour(rng, image, augment)
        network, weight_map = self._config.network, self._config.fit.weight_map
        boundary = None
        if weight_map is not None:
            objects = scene.objects(x, y, labels.numpy(), self._objects)
            boundary = torch.from_numpy(boundary_weights(objects, weight_map.w0, weight_map.sigma))
        return standardise(image, network.mean, network.std), labels, boundary

    def _view(
        self, pool: Pool, rng: np.random.Generator, due: int | None
    ) -> tuple[LabelledScene, np.ndarray, np.ndarray, float]:
        """A scene, where in it the pixels of a window lie (x, y), and the window's scale."""
        size = self._config.fit.window
        scene, col, row = pool.draw(rng, due)
        low, high = (value or scene.gsd for value in pool.gsd)
        scale = math.exp(rng.uniform(math.log(low), math.log(high))) / scene.gsd
        offset = window_map(rng, size, scale, self._config.augment)
        # The drawn pixel stands anywhere in the middle of the window, not always at its centre.
        shift = rng.uniform(-0.35, 0.35, 2) * size * scale
        x, y = offset[0] + np.float32(col + shift[0]), offset[1] + np.float32(row + shift[1])
        return scene, x, y, scale


def standardise(image: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Values in 0..1 to network input, by the same function that prediction uses."""
    count = len(mean)
    stretch = Stretch((0.0,) * count, (1.0,) * count)
    valid = np.ones(image.shape[1:], dtype=bool)
    return torch.from_numpy(normalise(image.numpy(), valid, stretch, mean, std))


def load_pools(config: TrainConfig) -> list[Pool]:
    """Read every training scene of a run; check scenes are refused here."""
    data, legend, bands = Path(config.data), Legend(config.legend), len(config.network.bands)
    checked = {path for item in config.check for path in find_images(item, data)}
    pools = []
    for source in config.source:
        paths = find_images(source, data)
        if both := checked.intersection(paths):
            raise ConfigError(f"{min(both)} is both trained on and checked; exclude it from one")
        scenes = [read_labelled(path, source, data, legend, bands) for path in paths]
        if source.texture:
            sets = Sets(*(1 << legend.names.index(item.name) for item in fields(Sets)))
            scenes = [_narrowed(scene, sets) for scene in scenes]
        pools.append(pool_of(scenes, source, legend))
    if config.town is not None:
        pools.append(Pool(tuple(make_towns(config.town)), config.town.share, config.town.gsd))
    return pools
