"""The batches of a run: windows drawn by class, augmented, standardised.

A window of a run is a function of (seed, step, position in the batch) alone: a resumed run sees
exactly what an unbroken one would.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from geounet.bands import Stretch, normalise
from geounet.legend import Legend
from geounet.tiles import Window
from geounet.train.augment import Palette, Sample, paste, recolour, repaint, window_map
from geounet.train.config import TrainConfig
from geounet.train.pool import Pool
from geounet.train.scenes import LabelledScene
from geounet.train.weightmap import boundary_weights

_TRIES = 16  # views for a window that must hold a class: a bent or coarse one may miss the pixel
_PALETTE = 64  # pixels a side whose colours are taken


class Batch(NamedTuple):
    """What one step is trained on."""

    images: Tensor
    """Network input, float32 ``(n, bands, h, w)``."""
    labels: Tensor
    """Label sets, uint8 ``(n, h, w)``."""
    boundary: Tensor | None
    """Weights between neighbouring objects, float32 ``(n, h, w)``, where they are asked for."""


class Sampler:
    """Draws the batches of a run."""

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
        fit, mix = self._config.fit, self._config.augment.mix
        # No window is number ``batch``. To numpy (seed, step) is (seed, step, 0), the first window.
        start = np.random.default_rng((fit.seed, step, fit.batch)).random()
        windows = []
        for index in part if part is not None else range(fit.batch):
            rng = np.random.default_rng((fit.seed, step, index))
            # Systematic sampling: each batch holds the shares as nearly as its size allows.
            window = self._window(self._pool((index + start) / fit.batch), rng)
            if mix > 0 and rng.random() < mix:
                window = paste(rng, window, self._window(self._pool(rng.random()), rng))
            windows.append(window)
        images, labels, boundary = zip(*windows, strict=True)
        return Batch(
            torch.stack(images),
            torch.stack(labels),
            torch.stack(boundary) if fit.weight_map else None,
        )

    def _pool(self, place: float) -> Pool:
        """The pool whose share of the batch holds ``place``, 0..1."""
        return self._pools[min(int(np.searchsorted(self._ends, place)), len(self._ends) - 1)]

    def _palette(self, rng: np.random.Generator) -> Palette:
        """The colours around a labelled pixel of any source, as the network would see them."""
        scene, col, row = self._pool(rng.random()).draw(rng)
        height, width = scene.shape
        factor = 2 ** (level := round(scene.depth(self._config.network.resolution / scene.gsd)))
        rows, cols = min(_PALETTE, height // factor), min(_PALETTE, width // factor)
        top = min(int(row) // factor, height // factor - rows)
        left = min(int(col) // factor, width // factor - cols)
        values = scene.pixels.image(level, Window(top, left, rows, cols)).astype(np.float32) / 255
        return Palette(values.mean(axis=(1, 2)), values.std(axis=(1, 2)))

    def _window(self, pool: Pool, rng: np.random.Generator) -> Sample:
        augment, due = self._config.augment, pool.due(rng)
        for _ in range(_TRIES):
            scene, x, y, scale = self._view(pool, rng, due)
            view = scene.window(x, y, scale)
            if due is None or bool((view.labels == due).any()):
                break
        image, labels = view.image, view.labels
        if augment.palette > 0 and rng.random() < augment.palette:
            image = repaint(rng, image, self._palette(rng))
        image = recolour(rng, image, augment)
        network, weight_map = self._config.network, self._config.fit.weight_map
        boundary = None
        if weight_map is not None:
            objects = scene.objects(x, y, labels.numpy(), self._objects)
            boundary = torch.from_numpy(boundary_weights(objects, weight_map.w0, weight_map.sigma))
        image = standardise(image, network.mean, network.std, view.valid)
        return Sample(image, labels, boundary)

    def _view(
        self, pool: Pool, rng: np.random.Generator, due: int | None
    ) -> tuple[LabelledScene, np.ndarray, np.ndarray, float]:
        """A scene, where in it the pixels of a window lie (x, y), and the window's scale."""
        size, resolution = self._config.fit.window, self._config.network.resolution
        scene, col, row = pool.draw(rng, due)
        low, high = (value or resolution or scene.gsd for value in pool.gsd)
        scale = math.exp(rng.uniform(math.log(low), math.log(high))) / scene.gsd
        offset = window_map(rng, size, scale, self._config.augment)
        # The drawn pixel stands anywhere in the middle of the window, not always at its centre.
        shift = rng.uniform(-0.35, 0.35, 2) * size * scale
        across, down = scene.steps
        x = offset[0] * across + np.float32(col + shift[0] * across)
        y = offset[1] * down + np.float32(row + shift[1] * down)
        return scene, x, y, scale


def standardise(
    image: Tensor, mean: tuple[float, ...], std: tuple[float, ...], valid: np.ndarray
) -> Tensor:
    """Values in 0..1 to network input, by the same function that prediction uses: 0 where
    ``valid``, bool ``(h, w)``, is False.
    """
    count = len(mean)
    stretch = Stretch((0.0,) * count, (1.0,) * count)
    return torch.from_numpy(normalise(image.numpy(), valid, stretch, mean, std))
