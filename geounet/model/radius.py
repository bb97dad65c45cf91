"""How far an input pixel can reach in a network's output, measured on the network itself."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from geounet.tiles import round_up

if TYPE_CHECKING:
    from torch import nn

_PHASES_AT_ONCE = 4  # bounds the probe's memory
_ROUNDING = 1e-3  # of the largest logit; float32 sums in another order differ by 1e-5


@dataclass(frozen=True)
class Reach:
    """Result of the probe."""

    radius: int
    """Largest distance in pixels between an input pixel and an output pixel that it can change."""
    exact: bool
    """False where every input reached every output at every size tried: the network pools globally
    (or attends to everything); or where an output depends on the image's size: corners are aligned
    when the network enlarges. No margin makes tiling exact then."""


def structural_radius(
    network: "nn.Module", bands: int, stride: int, largest: int = 4096, shrink: int = 0
) -> Reach:
    """Put NaN into one input column or row and see how far NaN reaches in the output.

    NaN survives every product and sum, a product with zero included, so the result is that of the
    architecture and holds for any weights. The radius depends on where the column lies relative to
    the pooling cells, so all ``stride`` places are tried. The image is doubled until NaN stops
    short of its edges.

    A network of finite reach may still place its samples by the size of the whole image, as
    enlarging with aligned corners does. So pixels beyond the reach of an edge are compared between
    images of two sizes.

    Args:
        network: maps ``(n, bands, h, w)`` to ``(n, classes, h - 2 * shrink, w - 2 * shrink)``; put
            into evaluation mode for the probe, its mode is restored.
        bands: input bands.
        stride: total downsampling factor.
        largest: longest side tried, in pixels.
        shrink: pixels that the output is smaller on each side.
    """
    import torch

    training = network.training
    network.eval()
    size = 8 * stride + 2 * shrink
    try:
        with torch.inference_mode():
            facts = (bands, stride, shrink)
            phases = 1  # one place tells which size will do, or that none will
            while True:
                found = [_probe(network, facts, size, axis, phases) for axis in (2, 3)]
                radius = max(reach for reach, _ in found)
                inside = all(ended for _, ended in found)
                if inside and phases == stride:
                    return Reach(radius, _settled(network, facts, radius))
                if inside:
                    phases = stride
                elif 2 * size > largest:
                    return Reach(radius, False)
                else:
                    size *= 2
    finally:
        network.train(training)


def _probe(
    network: "nn.Module", facts: tuple[int, int, int], size: int, axis: int, phases: int
) -> tuple[int, bool]:
    """The reach along one axis of a ``size`` long strip, and whether it ended inside the strip.

    The first ``phases`` places of a pooling cell are tried.
    """
    import torch

    bands, stride, shrink = facts
    shape = [1, bands, *_breadth(stride, shrink)]
    shape[axis] = size
    middle = size // 2 // stride * stride
    radius, inside = 0, True
    for first in range(0, phases, _PHASES_AT_ONCE):
        places = range(middle + first, middle + min(first + _PHASES_AT_ONCE, phases))
        strips = []
        for place in places:
            strip = torch.zeros(shape)
            strip.select(axis, place).fill_(torch.nan)
            strips.append(strip)
        output = network(torch.cat(strips)).isnan().any(1)
        for place, touched in zip(places, output.any(4 - axis).unbind(0), strict=True):
            hit = touched.nonzero().flatten()
            first_hit, last_hit = int(hit[0]) + shrink, int(hit[-1]) + shrink
            radius = max(radius, place - first_hit, last_hit - place)
            inside = inside and not bool(touched[0] or touched[-1])
    return radius, inside


def _breadth(stride: int, shrink: int) -> tuple[int, int]:
    """Sides of a strip before it is made long: poolings below the stride need some cells."""
    return 4 * stride + 2 * shrink, 4 * stride + 2 * shrink


def _settled(network: "nn.Module", facts: tuple[int, int, int], radius: int) -> bool:
    """Whether pixels beyond the reach of its end do not see how long a strip is."""
    import torch

    bands, stride, shrink = facts
    length = round_up(radius, stride) + 8 * stride + 2 * shrink
    noise = torch.Generator().manual_seed(0)
    for axis in (2, 3):
        shape = [1, bands, *_breadth(stride, shrink)]
        shape[axis] = length + 5 * stride
        image = torch.randn(shape, generator=noise)
        long, short = network(image), network(image.narrow(axis, 0, length))
        kept = length - radius - 2 * shrink
        long, short = long.narrow(axis, 0, kept), short.narrow(axis, 0, kept)
        if (long - short).abs().max() > _ROUNDING * long.abs().max():
            return False
    return True
