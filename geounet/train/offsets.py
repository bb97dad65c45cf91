"""Offsets of the classes' logits, fitted on the scenes that a model was trained on.

``python -m geounet.train.offsets configs/own.toml own.safetensors -o better.safetensors``

Class weights, class-aware sampling and labels that name one class only all shift what a network
thinks usual: a class that no partial label names alone, such as land, is called too seldom. An
offset per class shifts it back without training ("logit adjustment", Menon et al. 2021, "Long-tail
learning via logit adjustment"). It is chosen by the mean IoU on the training scenes, each source
counting by its share, so that scenes held back remain a test; and it is added to the bias of the
network's last layer, so that every runtime heeds it.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from geounet.errors import ConfigError, GeounetError
from geounet.files import check_free
from geounet.legend import Legend
from geounet.model.bundle import ModelBundle, load_bundle, save_bundle
from geounet.train.check import (
    Check,
    accuracy,
    load_checks,
    named_alone,
    overlap_tiles,
    predicted_logits,
    tally,
)
from geounet.train.config import TrainConfig, load_config
from geounet.train.load import load_scenes
from geounet.train.network import packaged_network

STEPS = (0.5, 0.25, 0.125)
"""By which offsets are moved, the coarse ones first."""

TILES, SPACING = 100, 4
"""At most so many tiles of a source, evenly spread, are looked at, and one in so many of their
pixels along both axes.
"""


@dataclass(frozen=True, eq=False)
class Sample:
    """What a network thinks of some pixels of a source."""

    logits: np.ndarray
    """float32 ``(classes, n)``."""
    sets: np.ndarray
    """uint8 ``(n,)``, label sets: bit ``i`` allows class ``i``."""
    judged: tuple[int, ...]
    """Classes that the labels name alone."""
    share: float
    """Weight of the source."""

    def score(self, offsets: np.ndarray) -> float:
        """Mean IoU of the judged classes over the pixels where a label tells right from wrong."""
        said = (self.logits + offsets[:, None]).argmax(0).astype(np.uint8)
        pair = torch.from_numpy(said)[None], torch.from_numpy(self.sets)[None]
        counts = tally(*pair, len(self.logits))[list(self.judged)]
        return float((counts[:, 0] / np.maximum(1, counts.sum(axis=1))).mean())


def mean_score(samples: Sequence[Sample], offsets: np.ndarray) -> float:
    """The sources' scores, each counting by its share."""
    shares = [sample.share for sample in samples]
    return float(np.average([sample.score(offsets) for sample in samples], weights=shares))


def fit_offsets(samples: Sequence[Sample]) -> np.ndarray:
    """The offsets with the best mean score, by moving one class after the other.

    Args:
        samples: at least one, all of as many classes.

    Returns:
        float32 ``(classes,)`` with a mean of 0.
    """
    offsets = np.zeros(len(samples[0].logits), np.float32)
    best = mean_score(samples, offsets)
    for step in STEPS:
        moved = True
        while moved:
            moved = False
            for index in range(len(offsets)):
                for way in (step, -step):
                    tried = offsets.copy()
                    tried[index] += way
                    score = mean_score(samples, tried)
                    if score > best + 1e-6:
                        offsets, best, moved = tried, score, True
    centred: np.ndarray = offsets - offsets.mean()
    return centred


def collect(config: TrainConfig, network: nn.Module) -> list[Sample]:
    """What a network thinks of the training scenes, a source each.

    Scenes are looked at in the middle of the scales at which the source is sampled.

    Raises:
        ConfigError: no source has a share and labels that name a class alone.
    """
    legend = Legend(config.legend)
    sources = [item for item in config.source if item.share > 0]
    samples = []
    for source, scenes in zip(sources, load_scenes(config, sources), strict=True):
        alone = named_alone(source, config)
        if not (scenes and alone):
            continue
        gsd = float(np.prod(source.gsd)) ** (1 / len(source.gsd)) or config.network.resolution
        sampled = list(Check(source.name, scenes, gsd, alone).sampled())
        tiles = [(scene, tile) for scene in sampled for tile in overlap_tiles(scene, config)]
        logits, sets = [], []
        for scene, tile in tiles[:: -(-len(tiles) // TILES)]:
            ((_, found, labels),) = predicted_logits(scene, [tile], network, config)
            spaced = slice(None, None, SPACING), slice(None, None, SPACING)
            logits.append(found[:, *spaced].flatten(1).float().numpy())
            sets.append(labels[spaced].flatten().numpy())
        judged = tuple(sorted(legend.names.index(name) for name in alone))
        samples.append(
            Sample(np.concatenate(logits, axis=1), np.concatenate(sets), judged, source.share)
        )
    if not samples:
        raise ConfigError("no source has a share and labels that name one class alone")
    return samples


def shifted(
    network: nn.Module, offsets: np.ndarray, bands: int, side: int
) -> Mapping[str, torch.Tensor]:
    """The network's weights with the offsets added to the bias of its last layer.

    Args:
        network: in evaluation mode; changed in place.
        offsets: ``(classes,)``.
        bands: of its input.
        side: of a patch that it takes.

    Raises:
        ConfigError: no layer's bias adds to the logits alone.
    """
    values = torch.from_numpy(offsets)
    image = torch.randn(1, bands, side, side, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode(False), torch.no_grad():
        before = network(image)
        for name, bias in reversed(list(network.named_parameters())):
            if not name.endswith("bias") or bias.shape != values.shape:
                continue
            bias.add_(values)
            if torch.allclose(network(image), before + values[:, None, None], atol=1e-3):
                return network.state_dict()
            bias.sub_(values)
    raise ConfigError("the network's last layer has no bias per class to take offsets")


def adjust(
    config: TrainConfig, bundle: ModelBundle, out: Path, tell: Callable[[str], None] = print
) -> ModelBundle:
    """Write a copy of a model with offsets fitted on the configuration's training scenes.

    The card gets the offsets and the accuracy on the scenes of ``[[check]]``. The margin curve is
    dropped: other decisions change other pixels, so ``geounet calibrate`` has to measure anew.

    Raises:
        ConfigError: the model has other classes or bands than the configuration, or a last layer
            without biases.
    """
    spec = bundle.spec
    network, own = packaged_network(bundle, config)
    checks = load_checks(own)  # what is wrong with them shows before the work
    samples = collect(own, network)
    offsets = fit_offsets(samples)
    for text, values in (("without", np.zeros_like(offsets)), ("with", offsets)):
        tell(f"training scenes, mean IoU {text} offsets: {mean_score(samples, values):.4f}")
    named = {item.name: round(float(v), 3) for item, v in zip(spec.legend, offsets, strict=True)}
    tell(f"offsets: {', '.join(f'{name} {value:+.3f}' for name, value in named.items())}")
    weights = shifted(network, offsets, len(spec.bands), 8 * spec.stride + 2 * spec.shrink)
    measured = accuracy(checks, network, own)
    for name, scores in measured.items():
        tell(f"{name}: {', '.join(f'{key} {value:.3f}' for key, value in scores.items())}")
    card = {**spec.card, "offsets": named, "accuracy_iou": measured}
    return save_bundle(out, replace(spec, margin_curve=(), card=card), weights, half=True)


def main() -> int:
    """Parse, fit, write."""
    parser = argparse.ArgumentParser(prog="python -m geounet.train.offsets", description=__doc__)
    parser.add_argument("config", type=Path, help="TOML file that the model was trained with")
    parser.add_argument("model", help="a .safetensors file, or a shipped model's name")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the file to write")
    parser.add_argument("--overwrite", action="store_true", help="replace a file that exists")
    arguments = parser.parse_args()
    try:
        check_free(arguments.output, arguments.overwrite)
        adjust(load_config(arguments.config), load_bundle(arguments.model), arguments.output)
    except GeounetError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{arguments.output}: measure its margins with geounet calibrate")
    return 0


if __name__ == "__main__":
    sys.exit(main())
