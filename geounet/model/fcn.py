"""Fully convolutional networks: Long, Shelhamer & Darrell, CVPR 2015."""

import torch
from torch import Tensor, nn

from geounet.model.unet import check_width

_BLOCKS = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))  # VGG-16: convolutions, channels


def bilinear_kernel(size: int) -> Tensor:
    """Weights ``(size, size)`` by which a transposed convolution enlarges bilinearly."""
    center = (size - 1) / 2
    axis = 1 - (torch.arange(size) - center).abs() / ((size + 1) // 2)
    return axis[:, None] * axis[None, :]


def _enlarge(classes: int, factor: int) -> nn.ConvTranspose2d:
    """A learnable enlargement, "initialized to bilinear interpolation" (section 4.1)."""
    size = 2 * factor
    layer = nn.ConvTranspose2d(
        classes, classes, size, stride=factor, padding=factor // 2, bias=False
    )
    nn.init.zeros_(layer.weight)
    with torch.no_grad():
        for index in range(classes):
            layer.weight[index, index] = bilinear_kernel(size)
    return layer


def _score(channels: int, classes: int) -> nn.Conv2d:
    """1x1 class scores that start at zero: a finer stream begins as the coarser one alone."""
    layer = nn.Conv2d(channels, classes, 1)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


class Fcn(nn.Module):
    """FCN-32s, -16s or -8s on a backbone of VGG-16's layout.

    The fully connected layers are convolutions; the scores of the fourth and third pooling are
    summed to the enlarged coarser ones (figure 3 of the paper). Convolutions are padded by as much
    as they need, not the image by 100 pixels, and normalised, so that training from noise works.

    With ``width=1, head=4096, kernel=7`` the layers are as large as VGG-16's (134 M weights).
    """

    def __init__(
        self,
        bands: int,
        classes: int,
        finest: int,
        width: float = 0.25,
        head: int = 512,
        kernel: int = 1,
    ) -> None:
        """A network.

        Args:
            bands: input bands.
            classes: output classes.
            finest: stride of the finest stream that is scored: 32, 16 or 8.
            width: part of VGG-16's channels.
            head: channels of the two layers that were fully connected.
            kernel: side of the first of them.
        """
        super().__init__()
        check_width(width)
        if head < 1 or kernel < 1 or kernel % 2 == 0:
            raise ValueError(f"head {head} must be at least 1 channel, kernel {kernel} odd")
        sizes = [max(1, round(channels * width)) for _, channels in _BLOCKS]
        self.encoder = nn.ModuleList(
            _block(source, target, count)
            for source, target, (count, _) in zip([bands, *sizes], sizes, _BLOCKS, strict=False)
        )
        self.fully = nn.Sequential(
            nn.Conv2d(sizes[-1], head, kernel, padding=kernel // 2),
            nn.ReLU(),
            nn.Dropout(),
            nn.Conv2d(head, head, 1),
            nn.ReLU(),
            nn.Dropout(),
            nn.Conv2d(head, classes, 1),
        )
        # Scores of the strides 16 and 8 as far as they are wanted; each doubles the ones before.
        skips = [sizes[-2 - index] for index in range({32: 0, 16: 1, 8: 2}[finest])]
        self.scores = nn.ModuleList(_score(size, classes) for size in skips)
        self.doublings = nn.ModuleList(_enlarge(classes, 2) for _ in skips)
        self.enlarge = _enlarge(classes, finest)

    def forward(self, image: Tensor) -> Tensor:
        """Logits ``(n, classes, h, w)``; sides must be multiples of 32."""
        pooled = []
        value = image
        for block in self.encoder:
            value = block(value)
            pooled.append(value)
        logits: Tensor = self.fully(value)
        for index, (score, double) in enumerate(zip(self.scores, self.doublings, strict=True)):
            logits = double(logits) + score(pooled[-2 - index])
        enlarged: Tensor = self.enlarge(logits)
        return enlarged


def _block(source: int, target: int, count: int) -> nn.Sequential:
    """``count`` normalised 3x3 convolutions and a 2x2 max-pooling."""
    layers: list[nn.Module] = []
    for index in range(count):
        layers += [
            nn.Conv2d(target if index else source, target, 3, padding=1, bias=False),
            nn.BatchNorm2d(target),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers, nn.MaxPool2d(2))
