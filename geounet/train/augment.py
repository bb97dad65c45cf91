"""Random geometry and colour of training windows.

All geometry (flip, rotation, scale, stretch, elastic deformation) is one map from window pixels to
scene pixels, so that a window is sampled once and image and mask cannot part. Everything random is
drawn from a ``numpy.random.Generator`` given by the caller: a window is a function of its seed.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from geounet.train.config import AugmentConfig

ELASTIC_GRID = 3
"""Control points a side of the elastic deformation (Ronneberger et al. 2015, section 3.1)."""
_EVEN = 0.01  # spread of values in 0..1 below which ground counts as even


class Palette(NamedTuple):
    """The colours of a place."""

    mean: np.ndarray
    """float32 ``(bands,)``, of values in 0..1."""
    std: np.ndarray
    """The same."""


class Sample(NamedTuple):
    """A window to train on."""

    image: Tensor
    """Network input, float32 ``(bands, h, w)``."""
    labels: Tensor
    """Label sets, uint8 ``(h, w)``."""
    boundary: Tensor | None
    """Weights between neighbouring objects, float32 ``(h, w)``, where they are asked for."""


def elastic_field(rng: np.random.Generator, size: int, std: float) -> np.ndarray:
    """A smooth random displacement per pixel.

    "Random displacement vectors on a coarse 3 by 3 grid [...] sampled from a Gaussian distribution
    with 10 pixels standard deviation. Per-pixel displacements are then computed using bicubic
    interpolation" (Ronneberger et al. 2015, section 3.1).

    Args:
        rng: source of chance.
        size: pixels a side.
        std: standard deviation of the coarse vectors, in pixels.

    Returns:
        float32 ``(2, size, size)``: displacement along x and y, in pixels. The coarse vectors stand
        at the corners, edge middles and centre.
    """
    coarse = rng.normal(0.0, std, (1, 2, ELASTIC_GRID, ELASTIC_GRID)).astype(np.float32)
    field = functional.interpolate(
        torch.from_numpy(coarse), (size, size), mode="bicubic", align_corners=True
    )
    return field[0].numpy()


def window_map(
    rng: np.random.Generator, size: int, scale: float, config: AugmentConfig
) -> np.ndarray:
    """Where each pixel of a window lies in the scene, relative to the window's centre.

    Args:
        rng: source of chance.
        size: pixels a side of the window.
        scale: scene pixels per window pixel.
        config: what to change and how much.

    Returns:
        float32 ``(2, size, size)``: x and y offsets in scene pixels.
    """
    axis = np.arange(size, dtype=np.float32) - (size - 1) / 2
    offset = np.stack(np.meshgrid(axis, axis, indexing="xy"))
    if config.elastic > 0 and rng.random() < config.elastic_share:
        offset += elastic_field(rng, size, config.elastic)
    quarter = rng.integers(4) * math.pi / 2
    angle = rng.uniform(0, 2 * math.pi) if config.rotate and rng.random() < 0.5 else quarter
    flip = 1.0 if rng.random() < 0.5 else -1.0
    stretch = math.exp(rng.normal(0.0, config.stretch) / 2) if config.stretch > 0 else 1.0
    cos, sin = math.cos(angle), math.sin(angle)
    turn = np.array([[cos, -sin], [sin, cos]])
    matrix = scale * turn @ np.diag([flip * stretch, 1 / stretch])
    matrix = matrix.astype(np.float32)
    # Written out: a matrix product would start the threads of a BLAS in every loader process.
    return np.stack([matrix[row, 0] * offset[0] + matrix[row, 1] * offset[1] for row in (0, 1)])


def recolour(rng: np.random.Generator, image: Tensor, config: AugmentConfig) -> Tensor:
    """Random light, sensor and air: what differs between cities more than their shapes do.

    Args:
        rng: source of chance.
        image: float32 ``(bands, h, w)``, values in 0..1.
        config: what to change and how much.

    Returns:
        A new tensor of the same kind.
    """
    from torchvision.transforms.v2 import functional as colour

    bands = image.shape[0]
    image = image.clamp(0.0, 1.0)  # a copy, changed in place from here on
    if config.gamma > 0:
        log_gamma = rng.normal(0.0, config.gamma) + rng.normal(0.0, config.gamma / 5, bands)
        image.clamp_(min=1e-4).pow_(_per_band(np.exp(log_gamma)))
    if config.brightness > 0:
        # A factor for all bands, times a smaller one for each: of the contrast, and of the light.
        wide, narrow = config.brightness, config.brightness / 2
        contrast, gain = (
            _per_band(rng.uniform(1 - wide, 1 + wide) * rng.uniform(1 - narrow, 1 + narrow, bands))
            for _ in range(2)
        )
        mean = image.mean(dim=(1, 2), keepdim=True)
        image.mul_(contrast * gain).add_(mean * (1 - contrast) * gain).clamp_(0.0, 1.0)
    if bands == 3 and (config.saturation > 0 or config.grey > 0):
        factor = rng.uniform(1 - config.saturation, 1 + config.saturation)
        if rng.random() < config.grey:
            factor = 0.0
        image = colour.adjust_saturation(image, factor)
    if rng.random() < config.haze:
        least = min(0.1, config.haze_strength)
        strength, light = rng.uniform(least, config.haze_strength), rng.uniform(0.6, 0.95)
        image = image.mul(1 - strength).add_(light * strength)
    if rng.random() < config.blur:
        image = colour.gaussian_blur(image, [5, 5], [float(rng.uniform(0.4, 1.3))])
    if config.noise > 0:
        noise = torch.from_numpy(rng.standard_normal(image.shape, dtype=np.float32))
        image = image.add(noise, alpha=float(rng.uniform(0.0, config.noise)))
    return image.clamp(0.0, 1.0)


def _per_band(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values).float()[:, None, None]


def repaint(rng: np.random.Generator, image: Tensor, palette: Palette) -> Tensor:
    """Move the mean and spread of each band part of the way to another place's (Reinhard et al.
    2001, colour transfer between images, in the bands themselves): what a scene holds does not
    depend on whose light and soil it is seen in.

    Args:
        rng: source of chance, for how far they move.
        image: float32 ``(bands, h, w)``, values in 0..1.
        palette: where to.

    Returns:
        A new tensor of the same kind, values in 0..1.
    """
    part = float(rng.random())
    mean = image.mean(dim=(1, 2), keepdim=True)
    spread = image.std(dim=(1, 2), keepdim=True, correction=0)
    goal, other = _per_band(palette.mean), _per_band(palette.std)
    # Even ground has next to no spread; stretched to another's it would be noise.
    ratio = ((other + _EVEN) / (spread + _EVEN)).clamp(0.4, 2.5) ** part
    return ((image - mean) * ratio + torch.lerp(mean, goal, part)).clamp(0.0, 1.0)


def paste(rng: np.random.Generator, into: Sample, other: Sample) -> Sample:
    """A window with a rectangle of another one in it (CutMix, Yun et al. 2019): the network learns
    to judge by what it sees, not by which data set a window must be from.

    Args:
        rng: source of chance, for the rectangle: 0.3 to 0.7 of each side.
        into: changed copy is returned.
        other: a window of the same size.
    """
    height, width = into.labels.shape
    tall, wide = (int(size * rng.uniform(0.3, 0.7)) for size in (height, width))
    top, left = int(rng.integers(height - tall + 1)), int(rng.integers(width - wide + 1))
    place = (..., slice(top, top + tall), slice(left, left + wide))

    def pasted(plane: Tensor, others: Tensor) -> Tensor:
        plane = plane.clone()
        plane[place] = others[place]
        return plane

    return Sample(
        pasted(into.image, other.image),
        pasted(into.labels, other.labels),
        None
        if into.boundary is None or other.boundary is None
        else pasted(into.boundary, other.boundary),
    )
