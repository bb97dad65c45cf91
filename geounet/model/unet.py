"""U-Nets: as Ronneberger et al. 2015 printed it, and padded variants, light and residual.

Ronneberger, Fischer & Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation",
MICCAI 2015. Zhang, Liu & Wang, "Road Extraction by Deep Residual U-Net", IEEE GRSL 2018.
"""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

LEVELS = 4
"""Poolings, as in figure 1 of the paper; the stride is ``2**LEVELS``."""
PAPER_MARGIN = 92
"""Pixels that the unpadded convolutions lose on each side: 572 in, 388 out."""
_FIT = 2  # an input of 16 n pixels fits without its outermost two: 16 n - 4


def check_width(width: float) -> None:
    """Refuse a part of the channels that is none."""
    if not 0 < width < math.inf:
        raise ValueError(f"width {width} must be positive, 1 for all channels")


def _double(source: int, target: int, padding: int, norm: bool) -> nn.Sequential:
    """Two 3x3 convolutions, each with an optional batch normalisation and a ReLU."""
    layers: list[nn.Module] = []
    for channels in (source, target):
        layers.append(nn.Conv2d(channels, target, 3, padding=padding, bias=not norm))
        if norm:
            layers.append(nn.BatchNorm2d(target))
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


class UnetPaper(nn.Module):
    """The network of figure 1: unpadded 3x3 convolutions and cropped skip connections.

    "The contracting path [...] consists of the repeated application of two 3x3 convolutions
    (unpadded convolutions), each followed by a rectified linear unit and a 2x2 max pooling
    operation with stride 2 for downsampling. [...] an upsampling of the feature map followed by a
    2x2 convolution ("up-convolution") that halves the number of feature channels, a concatenation
    with the correspondingly cropped feature map" (section 2). Weights are drawn with a standard
    deviation of sqrt(2 / N) and there is drop-out at the end of the contracting path (section 3).

    Maps ``(n, bands, h, w)`` to ``(n, classes, h - 184, w - 184)``. A side fits if it is
    ``16 k + 12`` and at least 188: no pooling then meets an odd size.
    """

    def __init__(self, bands: int, classes: int, width: int = 64, dropout: float = 0.5) -> None:
        """A network with ``width`` channels on the first level (64 in the paper)."""
        super().__init__()
        if width < 1:
            raise ValueError(f"width {width} must be at least 1 channel")
        channels = [width * 2**level for level in range(LEVELS + 1)]
        self.down = nn.ModuleList(
            _double(source, target, 0, False)
            for source, target in zip([bands, *channels], channels, strict=False)
        )
        self.pool = nn.MaxPool2d(2)
        self.drop = nn.Dropout(dropout)
        self.rise = nn.ModuleList(
            nn.ConvTranspose2d(2 * size, size, 2, stride=2) for size in channels[-2::-1]
        )
        self.up = nn.ModuleList(_double(2 * size, size, 0, False) for size in channels[-2::-1])
        self.head = nn.Conv2d(width, classes, 1)
        self.apply(_he_init)

    def forward(self, image: Tensor) -> Tensor:
        """Logits of the pixels that the convolutions leave."""
        skips = []
        value = image
        for level, block in enumerate(self.down):
            value = block(value if level == 0 else self.pool(value))
            if level >= LEVELS - 1:
                value = self.drop(value)
            skips.append(value)
        skips.pop()
        for rise, block in zip(self.rise, self.up, strict=True):
            value = rise(value)
            skip = skips.pop()
            row, col = ((skip.shape[axis] - value.shape[axis]) // 2 for axis in (2, 3))
            skip = skip[:, :, row : row + value.shape[2], col : col + value.shape[3]]
            value = block(torch.cat([skip, value], dim=1))
        logits: Tensor = self.head(value)
        return logits


class TiledUnetPaper(UnetPaper):
    """:class:`UnetPaper` for patches whose sides are multiples of 16, as the tiles' are.

    Pooling cells must lie alike in all tiles, so cores are multiples of 16 and not the paper's
    388: of a patch of ``16 n`` pixels the network sees the inner ``16 n - 4`` and gives the inner
    ``16 n - 192``. With 576 it sees 572, computes 388 and keeps 384.
    """

    shrink = 96
    """Pixels that the output is smaller on each side."""

    def forward(self, image: Tensor) -> Tensor:
        """Logits ``(n, classes, h - 192, w - 192)``."""
        inner = image[:, :, _FIT:-_FIT, _FIT:-_FIT]
        return super().forward(inner)[:, :, _FIT:-_FIT, _FIT:-_FIT]


def _he_init(module: nn.Module) -> None:
    """Standard deviation sqrt(2 / N), N the incoming nodes of a neuron (He et al. 2015)."""
    if isinstance(module, nn.Conv2d):
        incoming = module.weight[0].numel()
    elif isinstance(module, nn.ConvTranspose2d):
        incoming = module.in_channels  # one tap reaches each output pixel: stride equals kernel
    else:
        return
    nn.init.normal_(module.weight, std=math.sqrt(2 / incoming))
    if module.bias is not None:
        nn.init.zeros_(module.bias)


class _Residual(nn.Module):
    """Pre-activated residual unit: twice (normalise, ReLU, 3x3), plus a 1x1 shortcut."""

    def __init__(self, source: int, target: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm2d(source),
            nn.ReLU(),
            nn.Conv2d(source, target, 3, padding=1, bias=False),
            nn.BatchNorm2d(target),
            nn.ReLU(),
            nn.Conv2d(target, target, 3, padding=1),
        )
        self.shortcut = nn.Conv2d(source, target, 1)

    def forward(self, value: Tensor) -> Tensor:
        result: Tensor = self.body(value) + self.shortcut(value)
        return result


class PaddedUnet(nn.Module):
    """The U-Net with zero-padded convolutions, so that output and input are of one size.

    The encoder is a module of its own, ``encoder``, so that it can have a learning rate of its own.
    """

    def __init__(
        self, bands: int, classes: int, width: float, block: Callable[[int, int], nn.Module]
    ) -> None:
        """A network with ``width`` times the paper's channels (64 on the first level)."""
        super().__init__()
        check_width(width)
        channels = [max(1, round(64 * width)) * 2**level for level in range(LEVELS + 1)]
        self.encoder = nn.ModuleList(
            block(source, target)
            for source, target in zip([bands, *channels], channels, strict=False)
        )
        self.pool = nn.MaxPool2d(2)
        self.rise = nn.ModuleList(
            nn.ConvTranspose2d(2 * size, size, 2, stride=2) for size in channels[-2::-1]
        )
        self.up = nn.ModuleList(block(2 * size, size) for size in channels[-2::-1])
        self.head = nn.Conv2d(channels[0], classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Logits ``(n, classes, h, w)``; sides must be multiples of 16."""
        skips = [self.encoder[0](image)]
        for block in list(self.encoder)[1:]:
            skips.append(block(self.pool(skips[-1])))
        value = skips.pop()
        for rise, block in zip(self.rise, self.up, strict=True):
            value = block(torch.cat([skips.pop(), rise(value)], dim=1))
        logits: Tensor = self.head(value)
        return logits


def light_unet(bands: int, classes: int, width: float = 0.25) -> PaddedUnet:
    """The U-Net with batch normalisation and fewer filters."""
    return PaddedUnet(bands, classes, width, partial(_double, padding=1, norm=True))


def residual_unet(bands: int, classes: int, width: float = 0.25) -> PaddedUnet:
    """The U-Net of residual units (Zhang et al. 2018), with the U-Net's poolings."""
    return PaddedUnet(bands, classes, width, _Residual)
