"""What a worker does with a batch of tiles: read, normalise, forward, trim, choose a class."""

from dataclasses import dataclass

import numpy as np

from geounet.bands import normalise
from geounet.decision import Decision
from geounet.jobs.plan import Plan
from geounet.legend import NODATA_ID
from geounet.mirror import trim
from geounet.model.bundle import ModelBundle
from geounet.model.runtime import Runtime, runtime_for
from geounet.raster.scene import open_scene, read_valid
from geounet.tiles import Tile, Window


@dataclass(frozen=True)
class Piece:
    """A tile's share of the mask, on the scene's grid."""

    index: int
    """The tile's index."""
    window: Window | None
    """The scene pixels that the tile owns; None where a fine working grid leaves it none."""
    mask: np.ndarray
    """uint8 ``(height, width)``, class ids; 255 without data."""
    confidence: np.ndarray
    """uint8 ``(height, width)``: the class's probability times 255."""


@dataclass(frozen=True)
class Work:
    """What all batches of a scene share; sent to every worker once."""

    plan: Plan
    bundle: ModelBundle
    decision: Decision


def predict_batch(work: Work, indices: tuple[int, ...]) -> list[Piece]:
    """Segment the tiles ``indices`` of the plan's grid with the process's runtime."""
    runtime = runtime_for(work.bundle, work.plan.hardware)
    return segment_tiles(work, indices, runtime)


def segment_tiles(work: Work, indices: tuple[int, ...], runtime: Runtime) -> list[Piece]:
    """Segment tiles with a given runtime.

    Tiles whose core holds no valid pixel do not reach the network.
    """
    plan, spec = work.plan, work.bundle.spec
    tiles = [plan.grid[index] for index in indices]
    windows = [plan.work.scene_window(tile.core) for tile in tiles]
    patches: list[np.ndarray] = []
    valids: list[np.ndarray | None] = []
    with open_scene(plan.scene) as dataset:
        for tile, window in zip(tiles, windows, strict=True):
            valids.append(None)
            if window is None:
                continue
            known = read_valid(dataset, window, plan.bands)
            if known.any():
                valids[-1] = known
                data, valid = plan.work.read(dataset, tile.patch, plan.bands)
                patches.append(normalise(data, valid, plan.stretch, spec.mean, spec.std))
    probabilities = iter(runtime.predict(np.stack(patches)) if patches else ())
    return [
        _blank(tile, window)
        if window is None or known is None
        else _decide(work, tile, window, next(probabilities), known)
        for tile, window, known in zip(tiles, windows, valids, strict=True)
    ]


def _blank(tile: Tile, window: Window | None) -> Piece:
    shape = (window.height, window.width) if window else (0, 0)
    return Piece(tile.index, window, np.full(shape, NODATA_ID, np.uint8), np.zeros(shape, np.uint8))


def _decide(
    work: Work, tile: Tile, window: Window, probabilities: np.ndarray, known: np.ndarray
) -> Piece:
    """Trim the margin, go to the scene's grid, take the likeliest class."""
    grid, apron = work.plan.grid, work.plan.work.apron
    top, left = max(0, tile.core.row - apron), max(0, tile.core.col - apron)
    bottom = min(grid.height, tile.core.row_end + apron)
    right = min(grid.width, tile.core.col_end + apron)
    lost = work.bundle.spec.shrink
    field = trim(
        probabilities,
        top - tile.patch.row - lost,
        left - tile.patch.col - lost,
        bottom - top,
        right - left,
    )
    field = work.plan.work.to_scene(field, top, left, window)
    mask, confidence = work.decision.decide(field, known)
    return Piece(tile.index, window, mask, confidence)
