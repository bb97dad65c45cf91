"""geounet's own architectures: what each is, how it tiles, what it costs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from geounet.model.spec import ModelSpec

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Architecture:
    """One row of the table."""

    build: Callable[[ModelSpec], "nn.Module"]
    """Facts -> network with random weights; a ``TypeError`` or ``ValueError`` names an option that
    does not fit."""
    stride: int
    """Total downsampling factor."""
    shrink: int = 0
    """As in :class:`~geounet.model.spec.ModelSpec`."""
    summary: str = ""
    """One line for people."""


def _linear(spec: ModelSpec) -> "nn.Module":
    from torch import nn

    return nn.Conv2d(len(spec.bands), len(spec.legend), 3, padding=1)


def _paper(spec: ModelSpec) -> "nn.Module":
    from geounet.model.unet import TiledUnetPaper

    return TiledUnetPaper(len(spec.bands), len(spec.legend), **spec.options)


def _light(spec: ModelSpec) -> "nn.Module":
    from geounet.model.unet import light_unet

    return light_unet(len(spec.bands), len(spec.legend), **spec.options)


def _residual(spec: ModelSpec) -> "nn.Module":
    from geounet.model.unet import residual_unet

    return residual_unet(len(spec.bands), len(spec.legend), **spec.options)


def _fcn(finest: int) -> Callable[[ModelSpec], "nn.Module"]:
    def build(spec: ModelSpec) -> "nn.Module":
        from geounet.model.fcn import Fcn

        return Fcn(len(spec.bands), len(spec.legend), finest, **spec.options)

    return build


ARCHITECTURES: dict[str, Architecture] = {
    "linear": Architecture(
        _linear, 1, summary="one 3x3 convolution: what everything but the network costs"
    ),
    "unet-paper": Architecture(
        _paper, 16, 96, "Ronneberger et al. 2015 as printed: unpadded, 572 in, 388 out"
    ),
    "unet-light": Architecture(_light, 16, summary="padded U-Net, a quarter of the filters"),
    "unet-residual": Architecture(_residual, 16, summary="padded U-Net of residual units"),
    "fcn-32s": Architecture(_fcn(32), 32, summary="Long et al. 2015, scored at stride 32"),
    "fcn-16s": Architecture(_fcn(16), 32, summary="Long et al. 2015, scored at strides 32, 16"),
    "fcn-8s": Architecture(_fcn(8), 32, summary="Long et al. 2015, scored at strides 32, 16, 8"),
}
"""Name -> architecture."""
