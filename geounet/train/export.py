"""A checkpoint to a model file: averaged weights, measured facts, and the card for people."""

import gc
import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import nn

from geounet.errors import ConfigError
from geounet.model.bundle import ModelBundle, halved, save_bundle
from geounet.model.networks import build_network
from geounet.model.radius import structural_radius
from geounet.tiles import round_up
from geounet.train.check import accuracy, load_checks
from geounet.train.config import TrainConfig
from geounet.train.network import IMAGENET, model_spec, read_checkpoint
from geounet.train.settings import build

_ENCODER_CREDIT = "Encoder: EfficientNet-Lite{} trained on ImageNet (Apache-2.0)"


def export(
    checkpoint: Path,
    out: Path,
    machine: str,
    margin: int = 64,
    before: Sequence[Path] = (),
    average: ModelBundle | None = None,
) -> ModelBundle:
    """Write the averaged weights of a checkpoint as a float16 model file, see
    :func:`~geounet.model.bundle.halved`.

    The scenes of ``[[check]]`` are predicted with the rounded weights, so the card's figures are
    those of the file.

    Args:
        checkpoint: ``last.pt`` of a run.
        out: the ``.safetensors`` file.
        machine: what the run was trained on, for the card.
        margin: default context around a tile, in pixels; rounded up to the stride.
        before: checkpoints of the stages that this run started from, for the card.
        average: a model whose weights the run started from; the result is the mean of the two,
            which mostly travels better than either (Wortsman et al. 2022, "Robust fine-tuning of
            zero-shot models").

    Raises:
        ConfigError: ``average`` is another network than the checkpoint's.
    """
    content = read_checkpoint(checkpoint)
    config = build(TrainConfig, json.loads(content["config"]), "")
    spec = model_spec(config)
    network = build_network(spec)
    network.load_state_dict(
        {
            key: halved(value).to(value.dtype)
            for key, value in _weights(content["average"], average).items()
        }
    )
    network.eval()
    reach = structural_radius(network, len(spec.bands), spec.stride, shrink=spec.shrink)
    checks = accuracy(load_checks(config), network, config)
    spec = replace(
        spec,
        radius=reach.radius,
        exact=reach.exact,
        margin=round_up(max(margin, spec.shrink), spec.stride),
        bytes_per_pixel=bytes_per_pixel(network, len(spec.bands)),
        card={
            **card([*map(read_checkpoint, before), content], machine, average),
            "accuracy_iou": checks,
        },
    )
    return save_bundle(out, spec, network.state_dict(), half=True)


def _weights(
    trained: Mapping[str, torch.Tensor], average: ModelBundle | None
) -> Mapping[str, torch.Tensor]:
    """The trained weights, or their mean with those of a model; counters stay the trained ones."""
    if average is None:
        return trained
    other = average.tensors()
    if {key: value.shape for key, value in other.items()} != {
        key: value.shape for key, value in trained.items()
    }:
        raise ConfigError(
            f"model {average.spec.name!r}: has other weights than the checkpoint;"
            " average with the model that the run started from"
        )
    return {
        key: (value + other[key]) / 2 if value.is_floating_point() else value
        for key, value in trained.items()
    }


def card(
    stages: Sequence[Mapping[str, Any]], machine: str, average: ModelBundle | None = None
) -> dict[str, Any]:
    """Where the weights come from: data with shares and credits, seeds, steps, time.

    Args:
        stages: contents of the checkpoints of the run's stages, the exported one last.
        machine: what they were trained on.
        average: the model that the weights were averaged with; its stages and credits come first.
    """
    earlier = average.spec.card if average else {}
    configs = [build(TrainConfig, json.loads(stage["config"]), "") for stage in stages]
    credit = dict.fromkeys(earlier.get("attribution", ()))
    credit |= {item.credit: None for config in configs for item in config.source if item.credit}
    for config in configs:
        if config.network.pretrained in IMAGENET:
            credit[_ENCODER_CREDIT.format(IMAGENET[config.network.pretrained])] = None
    return {
        "stages": [
            *earlier.get("stages", ()),
            *(
                {
                    "shares": _shares(config),
                    "seed": config.fit.seed,
                    "rate": config.fit.rate,
                    "steps": stage["step"],
                    "hours": round(stage["seconds"] / 3600, 2),
                    "windows": f"{config.fit.batch} of {config.fit.window} px per step",
                }
                for config, stage in zip(configs, stages, strict=True)
            ),
        ],
        "averaged_with": f"{average.spec.name} {average.digest[:16]}" if average else None,
        "attribution": list(credit),
        "never_trained_on": [item.name for item in configs[-1].check],
        "machine": machine,
        "torch": torch.__version__,
    }


def _shares(config: TrainConfig) -> dict[str, float]:
    """Part of the batches that each source made up, by name."""
    shares = {item.name: item.share for item in config.source}
    if config.town is not None:
        shares[config.town.name] = config.town.share
    total = sum(shares.values())
    return {name: round(share / total, 3) for name, share in shares.items()}


def bytes_per_pixel(network: nn.Module, bands: int) -> int:
    """Peak working memory of a float32 forward per pixel, the most of 512 and 1024 pixels a side.

    The process's resident memory is sampled every 2 ms while the forward runs.
    """
    return max(_peak(network, bands, size) for size in (512, 1024))


def _peak(network: nn.Module, bands: int, size: int) -> int:
    process = psutil.Process()
    with torch.inference_mode():
        network(torch.zeros(1, bands, 256, 256))  # libraries allocate once
        gc.collect()
        before = peak = process.memory_info().rss
        done = threading.Event()

        def watch() -> None:
            nonlocal peak
            while not done.wait(0.002):
                peak = max(peak, process.memory_info().rss)

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            network(torch.zeros(1, bands, size, size))
        finally:
            done.set()
            watcher.join()
    return int((peak - before) / size**2)
