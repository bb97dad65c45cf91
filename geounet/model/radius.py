"""How far an input pixel can reach in a network's output, measured on the network itself."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

_PHASES_AT_ONCE = 4  # bounds the probe's memory


@dataclass(frozen=True)
class Reach:
    """Result of the probe."""

    radius: int
    """Largest distance in pixels between an input pixel and an output pixel that it can change."""
    exact: bool
    """False where every input reached every output at every size tried: the network pools globally
    (or attends to everything), and no margin makes tiling exact."""


def structural_radius(
    network: "nn.Module", bands: int, stride: int, largest: int = 4096, shrink: int = 0
) -> Reach:
    """Put NaN into one input column or row and see how far NaN reaches in the output.

    NaN survives every product and sum, a product with zero included, so the result is that of the
    architecture and holds for any weights. The radius depends on where the column lies relative to
    the pooling cells, so all ``stride`` places are tried. The image is doubled until NaN stops
    short of its edges.

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
            while True:
                found = [_probe(network, (bands, stride, shrink), size, axis) for axis in (2, 3)]
                radius = max(reach for reach, _ in found)
                if all(inside for _, inside in found):
                    return Reach(radius, True)
                if 2 * size > largest:
                    return Reach(radius, False)
                size *= 2
    finally:
        network.train(training)


def _probe(
    network: "nn.Module", facts: tuple[int, int, int], size: int, axis: int
) -> tuple[int, bool]:
    """The reach along one axis of a ``size`` long strip, and whether it ended inside the strip."""
    import torch

    bands, stride, shrink = facts
    shape = [1, bands, 2 * (stride + shrink), 2 * (stride + shrink)]
    shape[axis] = size
    middle = size // 2 // stride * stride
    radius, inside = 0, True
    for first in range(0, stride, _PHASES_AT_ONCE):
        places = range(middle + first, middle + min(first + _PHASES_AT_ONCE, stride))
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
