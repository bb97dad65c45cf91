"""geounet's own architectures: what each is, how it tiles, what it costs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from geounet.model.spec import ModelSpec

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Cost:
    """Figures for three bands and five classes, as the tests compute them."""

    parameters: int
    """Trainable weights."""
    gflop: float
    """10^9 floating-point operations (a multiplication and an addition are two) per megapixel of
    input, in patches of 1024 pixels a side."""


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
    cost: Cost = Cost(0, 0.0)
    """With the default options."""


@dataclass(frozen=True)
class SmpArchitecture:
    """One of segmentation-models-pytorch; any encoder goes with it, the cost is of one example."""

    exact: bool
    """False: it pools over its whole input or aligns corners when it enlarges, so tiles differ from
    the whole scene whatever the margin."""
    cost: Cost
    """With ``encoder``."""
    encoder: str = "resnet18"
    """Encoder of ``cost``."""


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
        _linear,
        1,
        0,
        "one 3x3 convolution: what everything but the network costs",
        Cost(140, 0.3),
    ),
    "unet-paper": Architecture(
        _paper,
        16,
        96,
        "Ronneberger et al. 2015 as printed: unpadded, 572 in, 388 out",
        Cost(31_032_005, 1132.4),
    ),
    "unet-light": Architecture(
        _light,
        16,
        0,
        "padded U-Net, a quarter of the filters",
        Cost(1_942_645, 92.7),
    ),
    "unet-residual": Architecture(
        _residual,
        16,
        0,
        "padded U-Net of residual units",
        Cost(2_031_179, 97.9),
    ),
    "fcn-32s": Architecture(
        _fcn(32),
        32,
        0,
        "Long et al. 2015, scored at stride 32",
        Cost(1_355_509, 39.7),
    ),
    "fcn-16s": Architecture(
        _fcn(16),
        32,
        0,
        "Long et al. 2015, scored at strides 32 and 16",
        Cost(1_279_754, 39.7),
    ),
    "fcn-8s": Architecture(
        _fcn(8),
        32,
        0,
        "Long et al. 2015, scored at strides 32, 16 and 8",
        Cost(1_261_279, 39.7),
    ),
}
"""Name -> architecture."""

SMP: dict[str, SmpArchitecture] = {
    "smp:DPT": SmpArchitecture(False, Cost(34_880_941, 1095.9), "tu-vit_tiny_patch16_224"),
    "smp:DeepLabV3": SmpArchitecture(False, Cost(15_899_973, 510.6)),
    "smp:DeepLabV3Plus": SmpArchitecture(False, Cost(12_330_325, 139.3)),
    "smp:FPN": SmpArchitecture(False, Cost(13_047_749, 135.5)),
    "smp:Linknet": SmpArchitecture(True, Cost(11_663_909, 80.0)),
    "smp:MAnet": SmpArchitecture(False, Cost(21_676_053, 182.3)),
    "smp:PAN": SmpArchitecture(False, Cost(11_368_812, 125.8)),
    "smp:PSPNet": SmpArchitecture(False, Cost(11_348_261, 44.3)),
    "smp:Segformer": SmpArchitecture(False, Cost(11_769_413, 125.4)),
    "smp:UPerNet": SmpArchitecture(False, Cost(19_492_549, 474.6)),
    "smp:Unet": SmpArchitecture(True, Cost(14_328_789, 165.9)),
    "smp:UnetPlusPlus": SmpArchitecture(True, Cost(15_971_029, 488.4)),
}
"""The architectures of segmentation-models-pytorch 0.5 and later that are known here; one that a
later release adds works by its name too."""
