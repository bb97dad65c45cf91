"""What a worker does with a batch of tiles: read, normalise, forward, and its share of merging."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np

from geounet.bands import normalise
from geounet.blend import BlendWeights
from geounet.decision import Decision, Storage, stored
from geounet.jobs.plan import Plan
from geounet.legend import NODATA_ID
from geounet.mirror import trim
from geounet.model.bundle import ModelBundle
from geounet.model.runtime import Runtime, runtime_for
from geounet.raster.handles import Loan, lent
from geounet.raster.scene import read_valid
from geounet.symmetry import SYMMETRIES
from geounet.tiles import Tile, Window, round_up

_STRIP_BYTES = 32 << 20


class Layers(NamedTuple):
    """What is known of some pixels in the end."""

    mask: np.ndarray
    """uint8 ``(height, width)``, class ids; 255 without data."""
    confidence: np.ndarray | None = None
    """uint8 ``(height, width)``: the class's probability times 255, if it is asked for."""
    shares: np.ndarray | None = None
    """``(classes, height, width)``, probabilities as they are stored, if they are asked for."""


@dataclass(frozen=True)
class Piece:
    """A tile's share of the result, on the scene's grid, where every pixel has one owner."""

    index: int
    """The tile's index."""
    window: Window | None
    """The scene pixels that the tile owns; None where a fine working grid leaves it none."""
    layers: Layers
    """Their values."""


@dataclass(frozen=True)
class Share:
    """A tile's share of the probabilities, on the working grid, where patches are blended."""

    index: int
    """The tile's index."""
    window: Window | None
    """The scene pixels that the tile's core owns; None where a fine working grid leaves it none."""
    known: np.ndarray
    """bool ``(height, width)`` of ``window``: where the scene has data."""
    inside: Window
    """The working pixels that the patch contributes to."""
    weighted: np.ndarray | None
    """float32 ``(classes, height, width)`` of ``inside``: probabilities times the patch's weights;
    None where the patch holds no data."""


@dataclass(frozen=True)
class Work:
    """What all batches of a scene share; sent to every worker once."""

    plan: Plan
    bundle: ModelBundle
    decision: Decision
    storage: Storage | None = None
    """How probabilities are stored; None: they are not asked for."""
    confident: bool = True
    """Whether confidences are asked for: polygons have them, masks do not."""
    run: str | None = None
    """Names the job: workers keep its files open from batch to batch; None: they do not."""

    def finish(self, probabilities: np.ndarray, known: np.ndarray) -> Layers:
        """The layers of pixels on the scene's grid.

        Args:
            probabilities: float ``(classes, height, width)``.
            known: bool ``(height, width)``, False without data.
        """
        confidence = None
        if self.confident:
            mask, confidence = self.decision.decide(probabilities, known)
        else:
            mask = self.decision.classes(probabilities, known)
        if self.storage is None:
            return Layers(mask, confidence)
        return Layers(mask, confidence, stored(probabilities, known, self.storage))


def predict_batch(work: Work, indices: tuple[int, ...]) -> list[Piece] | list[Share]:
    """Predict the tiles ``indices`` of the plan's grid with the process's runtime."""
    runtime = runtime_for(work.bundle, work.plan.hardware)
    if work.plan.merge == "blend":
        return share_tiles(work, indices, runtime)
    return segment_tiles(work, indices, runtime)


def segment_tiles(work: Work, indices: tuple[int, ...], runtime: Runtime) -> list[Piece]:
    """Segment tiles with a given runtime, a batch after the other.

    Tiles whose core holds no data, or lies outside the area that is asked for, do not reach the
    network.
    """
    step = work.plan.batch
    return [
        piece
        for start in range(0, len(indices), step)
        for piece in _segment(work, indices[start : start + step], runtime)
    ]


def _segment(work: Work, indices: tuple[int, ...], runtime: Runtime) -> list[Piece]:
    """Segment the tiles of a batch."""
    tiles = [work.plan.grid[index] for index in indices]
    windows = [work.plan.owned(tile.core) for tile in tiles]
    with _opened(work) as (dataset, source):
        knowns = [_known(work, dataset, window) for window in windows]
        patches = [
            _read_patch(work, source, _seen(work, tile))[0]
            for tile, known in zip(tiles, knowns, strict=True)
            if known.any()
        ]
    probabilities = _in_turn(work, runtime, patches)
    return [
        _decide(work, tile, window, next(probabilities), known)
        if window is not None and known.any()
        else _blank(work, tile, window)
        for tile, window, known in zip(tiles, windows, knowns, strict=True)
    ]


def share_tiles(work: Work, indices: tuple[int, ...], runtime: Runtime) -> list[Share]:
    """Weighted probabilities of tiles with a given runtime.

    Patches without data, or outside the area that is asked for, do not reach the network: what they
    would add to is nodata in the mask.
    """
    plan = work.plan
    lost = work.bundle.spec.shrink
    weights = BlendWeights(plan.grid, lost)
    tiles = [plan.grid[index] for index in indices]
    windows = [plan.owned(tile.core) for tile in tiles]
    patches: list[np.ndarray] = []
    empty: list[bool] = []
    knowns: list[np.ndarray] = []
    with _opened(work) as (dataset, source):
        for tile, window in zip(tiles, windows, strict=True):
            knowns.append(_known(work, dataset, window))
            empty.append(not _is_wanted(work, weights.inside(tile.index)))
            if not empty[-1]:
                patch, valid = _read_patch(work, source, tile.patch)
                empty[-1] = not valid.any()
                if valid.any():
                    patches.append(patch)
    probabilities = _in_turn(work, runtime, patches)
    shares = []
    for tile, window, known, blank in zip(tiles, windows, knowns, empty, strict=True):
        inside = weights.inside(tile.index)
        top = inside.row - tile.patch.row - lost
        left = inside.col - tile.patch.col - lost
        weighted = None
        if not blank:
            field = trim(next(probabilities), top, left, inside.height, inside.width)
            weighted = field * weights.of(tile.index)
        shares.append(Share(tile.index, window, known, inside, weighted))
    return shares


@contextmanager
def _opened(work: Work) -> Iterator[tuple[Any, Any]]:
    """The scene, which tells where there is data, and what patches are read from: the scene too, or
    one of its overviews.
    """
    plan = work.plan
    loan = Loan(work.run, plan.scene, plan.cache_bytes)
    with lent(loan) as dataset:
        if plan.level is None:
            yield dataset, dataset
            return
        with lent(loan, plan.level) as source:
            yield dataset, source


def _known(work: Work, dataset: Any, window: Window | None) -> np.ndarray:
    """Where a window holds data that is asked for."""
    if window is None:
        return np.zeros((0, 0), dtype=bool)
    plan = work.plan
    wanted = None if plan.area is None else plan.area.inside(window)
    if wanted is not None and not wanted.any():
        return wanted
    pixel_bytes = len(plan.bands) * np.dtype(plan.scene.dtype).itemsize
    parts = [
        read_valid(dataset, _cut(window, rows), plan.bands)
        for rows in _strips(work, window, pixel_bytes)
    ]
    known = parts[0] if len(parts) == 1 else np.concatenate(parts)
    return known if wanted is None else wanted & known


def _is_wanted(work: Work, part: Window) -> bool:
    """Whether a working window holds a pixel that is asked for."""
    plan = work.plan
    if plan.area is None:
        return True
    window = plan.owned(part)
    return window is not None and bool(plan.area.inside(window).any())


def _seen(work: Work, tile: Tile) -> Window:
    """The part of a tile's patch that lies in the raster, up to a multiple of the stride.

    A padded network meets the raster's edge as it would in one forward pass over the whole scene.
    Pixels mirrored beyond it would cost time and make pixels near the edge differ from that pass;
    only a network of unpadded convolutions needs them.
    """
    patch, stride = tile.patch, work.plan.grid.stride
    if work.bundle.spec.shrink:
        return patch
    height, width = (round_up(size, stride) for size in work.plan.work.shape)
    inside = patch.intersection(Window(0, 0, height, width))
    assert inside is not None  # every core has a pixel of the raster
    return inside


def _read_patch(work: Work, source: Any, patch: Window) -> tuple[np.ndarray, np.ndarray]:
    """What the network sees of a window, and where the scene has data there."""
    plan, spec = work.plan, work.bundle.spec
    data, valid = plan.work.read(source, patch, plan.bands)
    return normalise(data, valid, plan.stretch, spec.mean, spec.std), valid


def _in_turn(work: Work, runtime: Runtime, patches: list[np.ndarray]) -> Iterator[np.ndarray]:
    """Class probabilities of patches, a batch of one size at once."""
    most = work.plan.batch
    for _, group in groupby(patches, key=np.shape):
        alike = list(group)
        for start in range(0, len(alike), most):
            yield from _probabilities(work, runtime, alike[start : start + most])


def _probabilities(work: Work, runtime: Runtime, patches: list[np.ndarray]) -> np.ndarray:
    """Class probabilities of patches, averaged over the symmetries that the user asks for."""
    batch = patches[0][None] if len(patches) == 1 else np.stack(patches)
    first, *others = SYMMETRIES[work.plan.tta]
    mean: np.ndarray = first.undo(runtime.predict(np.ascontiguousarray(first.apply(batch))))
    if others:
        mean = mean.copy()
        for symmetry in others:
            turned = np.ascontiguousarray(symmetry.apply(batch))
            mean += symmetry.undo(runtime.predict(turned))
        mean /= 1 + len(others)
    return mean


def _blank(work: Work, tile: Tile, window: Window | None) -> Piece:
    shape = (window.height, window.width) if window else (0, 0)
    confidence = np.zeros(shape, np.uint8) if work.confident else None
    layers = Layers(np.full(shape, NODATA_ID, np.uint8), confidence)
    if work.storage:
        nothing = np.zeros((len(work.decision.ids), *shape), np.float32)
        shares = stored(nothing, np.zeros(shape, dtype=bool), work.storage)
        layers = layers._replace(shares=shares)
    return Piece(tile.index, window, layers)


def _decide(
    work: Work, tile: Tile, window: Window, probabilities: np.ndarray, known: np.ndarray
) -> Piece:
    """Trim the margin, go to the scene's grid, decide on a class."""
    grid = work.plan.work
    top, left = max(0, tile.core.row - grid.apron), max(0, tile.core.col - grid.apron)
    bottom = min(grid.shape[0], tile.core.row_end + grid.apron)
    right = min(grid.shape[1], tile.core.col_end + grid.apron)
    lost, seen = work.bundle.spec.shrink, _seen(work, tile)
    field = trim(
        probabilities, top - seen.row - lost, left - seen.col - lost, bottom - top, right - left
    )
    parts = [
        work.finish(grid.to_scene(field, top, left, _cut(window, rows)), known[rows])
        for rows in _strips(work, window, 4 * len(field))
    ]
    return Piece(tile.index, window, _stacked(parts))


def _strips(work: Work, window: Window, pixel_bytes: int) -> Iterator[slice]:
    """The rows of a window that are handled at once: all, but where the scene is finer than the
    working grid and so its pixels of one tile take more memory than the network.
    """
    count = max(1, _STRIP_BYTES // (pixel_bytes * window.width))
    if work.plan.work.identity:
        count = window.height
    return (slice(row, min(row + count, window.height)) for row in range(0, window.height, count))


def _cut(window: Window, rows: slice) -> Window:
    """Some rows of a window."""
    return Window(window.row + rows.start, window.col, rows.stop - rows.start, window.width)


def _stacked(parts: list[Layers]) -> Layers:
    """Layers of neighbouring rows as one."""

    def joined(arrays: Sequence[Any]) -> Any:
        return None if arrays[0] is None else np.concatenate(arrays, axis=-2)

    return parts[0] if len(parts) == 1 else Layers(*map(joined, zip(*parts, strict=True)))
