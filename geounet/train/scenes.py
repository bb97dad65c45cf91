"""Labelled scenes, and windows sampled from them."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from geounet.labels.areas import Areas
from geounet.mirror import mirror_index
from geounet.tiles import Window
from geounet.train.pixels import ScenePixels, level_count
from geounet.train.weightmap import connected_instances

_SPOTS = 20_000  # places kept per label and scene
_STRIP, _CHUNK = 1 << 24, 1 << 20  # pixels of labels read, and counted, at once
_BLOCK = 512  # rows of blocks that most files have
_NEAR = 0.1  # of a level: nearer than this, the other one would hardly count
_AROUND = 64  # scene pixels beyond a window in which parts of an object are found to be one


class View(NamedTuple):
    """A window as it was sampled."""

    image: Tensor
    """float32 ``(bands, h, w)`` in 0..1."""
    labels: Tensor
    """uint8 ``(h, w)`` label sets."""
    valid: np.ndarray
    """bool ``(h, w)``, False without data."""


@dataclass(frozen=True, eq=False)
class LabelledScene:
    """A scene with its label sets, and where each of them is found."""

    name: str
    pixels: ScenePixels
    gsd: float
    """Metres per pixel."""
    spots: Mapping[int, np.ndarray]
    """Label set -> int64 flat positions of some of its pixels."""
    counts: Mapping[int, int]
    """Label set -> number of its pixels."""
    areas: Areas | None = None
    """Polygons that the labels were drawn as, which are its objects; None: objects are the
    connected regions of a class, as they are connected in the scene."""
    aspect: float = 1.0
    """A pixel's height on the ground relative to its width; ``gsd`` is their geometric mean."""

    @property
    def steps(self) -> tuple[float, float]:
        """Columns and rows of the scene per ``gsd`` metres: prediction shows the network pixels
        that are square on the ground, so training does.
        """
        root = math.sqrt(self.aspect)
        return root, 1 / root

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.pixels.shape

    def window(self, x: np.ndarray, y: np.ndarray, scale: float) -> View:
        """Sample image (bilinear) and labels (nearest) at scene positions, mirrored beyond edges.

        Args:
            x: float32 ``(h, w)``, columns in pixels of the scene; 0 is a pixel's centre.
            y: the same for rows.
            scale: scene pixels per window pixel; chooses the pyramid's levels.
        """
        image = self._image(x, y, scale)
        labels = _pick(self.pixels.labels, self.shape, x, y)
        valid = (
            np.ones(labels.shape, bool)
            if self.pixels.complete
            else _pick(self.pixels.valid, self.shape, x, y)
        )
        return View(image, torch.from_numpy(labels), valid)

    def _image(self, x: np.ndarray, y: np.ndarray, scale: float) -> Tensor:
        """Bilinear in the two levels of the pyramid around ``scale``, weighted by how near they are
        (Williams 1983, pyramidal parametrics): one level alone is either too sharp, and flickers,
        or too soft, where prediction averages as many pixels as it skips.
        """
        depth = self.depth(scale)
        level, part = int(depth), depth % 1.0
        if _NEAR < part < 1 - _NEAR:
            fine, coarse = (self._level(each, x, y) for each in (level, level + 1))
            return torch.lerp(fine, coarse, part)
        return self._level(level + round(part), x, y)

    def depth(self, scale: float) -> float:
        """Where in the pyramid pixels of ``scale`` scene pixels lie, from 0 to its last level."""
        return min(math.log2(max(1.0, scale)), level_count(self.shape) - 1.0)

    def _level(self, level: int, x: np.ndarray, y: np.ndarray) -> Tensor:
        factor = 2**level
        rows, cols = (size // factor for size in self.shape)
        return _sample(
            partial(self.pixels.image, level),
            (rows, cols),
            (x + 0.5) / factor - 0.5,
            (y + 0.5) / factor - 0.5,
        )

    def objects(self, x: np.ndarray, y: np.ndarray, labels: np.ndarray, bits: int) -> np.ndarray:
        """Object numbers, int32 ``(h, w)``, at positions whose label sets are ``labels``.

        Args:
            x: as for :meth:`window`.
            y: as for :meth:`window`.
            labels: uint8 ``(h, w)``.
            bits: the classes that form objects.
        """
        sets = tuple(1 << index for index in range(8) if bits >> index & 1)
        numbers = self.areas.numbers if self.areas else partial(_regions, self.pixels, sets)
        return np.where(np.isin(labels, sets), _pick(numbers, self.shape, x, y), 0)


def make_scene(
    name: str,
    pixels: ScenePixels,
    gsd: float,
    areas: Areas | None = None,
    seed: int = 0,
    aspect: float = 1.0,
) -> LabelledScene:
    """A labelled scene: its labels are counted and places of each are drawn, in two passes over
    them strip by strip.
    """
    counts = np.zeros(256, np.int64)
    for labels in _in_order(pixels):
        counts += np.bincount(labels, minlength=256)
    rng = np.random.default_rng(seed)
    present = [int(value) for value in np.flatnonzero(counts) if value]
    # The n-th pixels of each set, in order of rows: the same however the labels are read.
    ranks = {
        value: rng.integers(int(counts[value]), size=min(_SPOTS, int(counts[value])))
        for value in present
    }
    spots = {value: np.empty_like(rank) for value, rank in ranks.items()}
    seen = dict.fromkeys(present, 0)
    begin = 0
    for labels in _in_order(pixels):
        for value in present:
            places = np.flatnonzero(labels == value)
            rank = ranks[value] - seen[value]
            mine = (rank >= 0) & (rank < places.size)
            spots[value][mine] = places[rank[mine]] + begin
            seen[value] += places.size
        begin += labels.size
    totals = {value: int(counts[value]) for value in present}
    return LabelledScene(name, pixels, gsd, spots, totals, areas, aspect)


def _in_order(pixels: ScenePixels) -> Iterator[np.ndarray]:
    """All label sets, row after row, as flat pieces."""
    height, width = pixels.shape
    rows = _STRIP // width
    # Whole rows of blocks where memory allows, so that each is decoded once.
    rows = rows // _BLOCK * _BLOCK or max(1, rows)
    few = max(1, _CHUNK // width)
    for top in range(0, height, rows):
        strip = pixels.labels(Window(top, 0, min(rows, height - top), width))
        for row in range(0, len(strip), few):
            yield strip[row : row + few].ravel()


def _regions(pixels: ScenePixels, sets: tuple[int, ...], window: Window) -> np.ndarray:
    """Numbers of the connected regions in a window, int32 ``(h, w)``.

    Looked for in the scene, some way beyond the window: cut off by its edge, or sampled coarsely,
    one building would become two that touch, and the seam between them would weigh most.
    """
    height, width = pixels.shape
    top, left = max(0, window.row - _AROUND), max(0, window.col - _AROUND)
    bottom, right = min(height, window.row_end + _AROUND), min(width, window.col_end + _AROUND)
    found = connected_instances(pixels.labels(Window(top, left, bottom - top, right - left)), sets)
    return found[window.row - top :, window.col - left :][: window.height, : window.width]


def _pick(
    read: Callable[[Window], np.ndarray], shape: tuple[int, int], x: np.ndarray, y: np.ndarray
) -> np.ndarray:
    """The nearest of a scene's values at each (x, y), mirrored beyond edges."""
    rows, cols = np.rint(y).astype(np.int64), np.rint(x).astype(np.int64)
    top, left = int(rows.min()), int(cols.min())
    extent = Window(top, left, int(rows.max()) - top + 1, int(cols.max()) - left + 1)
    inside, row_map, col_map = _mirrored(extent, shape)
    values = read(inside)
    # One look-up instead of three: most windows lie inside, and their map changes nothing.
    rows, cols = rows - top, cols - left
    if inside != extent:
        rows, cols = row_map[rows], col_map[cols]
    picked: np.ndarray = np.take(values, rows * values.shape[1] + cols)
    return picked


def _sample(
    read: Callable[[Window], np.ndarray], shape: tuple[int, int], x: np.ndarray, y: np.ndarray
) -> Tensor:
    """Bilinear values of uint8 ``(bands, h, w)`` at (x, y), as float32 in 0..1."""
    left, top = math.floor(x.min()), math.floor(y.min())
    width, height = math.floor(x.max()) + 2 - left, math.floor(y.max()) + 2 - top
    extent = Window(top, left, height, width)
    inside, rows, cols = _mirrored(extent, shape)
    values = read(inside)
    if inside != extent:
        values = values[:, rows[:, None], cols[None, :]]
    crop = torch.from_numpy(np.ascontiguousarray(values)).float()
    grid = np.stack([(x - left + 0.5) / width * 2 - 1, (y - top + 0.5) / height * 2 - 1], axis=-1)
    # The crop holds every neighbour of every position: padding never acts.
    sampled = functional.grid_sample(
        crop[None],
        torch.from_numpy(grid.astype(np.float32))[None],
        align_corners=False,
        padding_mode="border",
    )[0]
    return sampled.div_(255.0)


def _mirrored(window: Window, shape: tuple[int, int]) -> tuple[Window, np.ndarray, np.ndarray]:
    """The part of a raster that a window shows, and where in it its rows and columns lie."""
    rows = mirror_index(window.row, window.height, shape[0])
    cols = mirror_index(window.col, window.width, shape[1])
    top, left = int(rows.min()), int(cols.min())
    inside = Window(top, left, int(rows.max()) + 1 - top, int(cols.max()) + 1 - left)
    return inside, rows - top, cols - left
