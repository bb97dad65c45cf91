"""Every network and every loss learns one window by heart."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from geounet.metrics import Confusion
from geounet.train.config import FitConfig, NetworkConfig, TrainConfig, WeightMapConfig
from geounet.train.fit import inner, start, train_step
from geounet.train.samples import Batch
from geounet.train.weightmap import boundary_weights, connected_instances
from tests.helpers import LEGEND
from tests.train.tiny import COLORS, config_for

NETWORKS: dict[str, dict[str, Any]] = {
    "unet-paper": {"width": 4, "dropout": 0.0},
    "unet-light": {"width": 1 / 8},
    "unet-residual": {"width": 1 / 16},
    "fcn-32s": {"width": 1 / 16, "head": 32},
    "fcn-16s": {"width": 1 / 16, "head": 32},
    "fcn-8s": {"width": 1 / 16, "head": 32},
    "smp:Unet": {"decoder_channels": [32, 16, 16, 8, 8]},
    "smp:UnetPlusPlus": {"decoder_channels": [32, 16, 16, 8, 8]},
    "smp:Linknet": {},
    "smp:FPN": {
        "decoder_pyramid_channels": 32, "decoder_segmentation_channels": 32, "decoder_dropout": 0.0,
    },
    "smp:UPerNet": {"decoder_channels": 32},
    "smp:Segformer": {"decoder_segmentation_channels": 32},
    "smp:DeepLabV3Plus": {"decoder_channels": 32, "encoder_output_stride": 16},
}  # fmt: skip
STEPS = {"smp:FPN": 100, "smp:UPerNet": 75, "smp:Segformer": 75}
LOSSES: dict[str, dict[str, Any]] = {
    "cross_entropy": {"loss": {"cross_entropy": 1.0}},
    "weight map": {
        "loss": {"cross_entropy": 1.0},
        "weight_map": WeightMapConfig(("building",)),
    },
    "dice": {"loss": {"dice": 1.0}},
    "iou": {"loss": {"iou": 1.0}},
    "lovasz": {"loss": {"lovasz": 1.0}},
    "focal": {"loss": {"focal": 1.0}},
    "tversky": {"loss": {"tversky": 1.0}},
    "mixed": {"loss": {"cross_entropy": 1.0, "dice": 0.5, "lovasz": 0.2}},
}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def window(size: int, config: TrainConfig) -> Batch:
    """Touching buildings and a lake on land, every class in its colour under some noise."""
    mask = np.zeros((size, size), dtype=np.uint8)
    middle = size // 2
    mask[middle - 26 : middle - 8, middle - 24 : middle - 4] = 1
    mask[middle - 26 : middle - 8, middle - 1 : middle + 16] = 1
    mask[middle + 2 : middle + 22, middle - 20 : middle + 8] = 2
    noise = np.random.default_rng(0).normal(0, 0.1, (3, size, size))
    image = (COLORS[mask].transpose(2, 0, 1) / 255 - 0.5) / 0.25 + noise
    labels = np.left_shift(np.uint8(1), mask).astype(np.uint8)
    boundary = None
    if config.fit.weight_map is not None:
        boundary = torch.from_numpy(boundary_weights(connected_instances(labels, (2,))))[None]
    # Twice: normalising one value per channel, as pooling over the image leaves, is impossible.
    images = torch.from_numpy(image).float()[None].repeat(2, 1, 1, 1)
    if boundary is not None:
        boundary = boundary.repeat(2, 1, 1)
    return Batch(images, torch.from_numpy(labels)[None].repeat(2, 1, 1), boundary)


def learned(config: TrainConfig, size: int) -> float:
    """Mean IoU on the window after training on nothing else."""
    batch = window(size, config)
    state = start(config)
    for _ in range(config.fit.steps):
        train_step(state, batch, config)
    with torch.inference_mode():
        logits = state.average(batch.images)
    said = logits.argmax(1).numpy()
    true = inner(batch.labels, logits).numpy()
    counts = Confusion.of(np.log2(true).astype(np.uint8), said.astype(np.uint8), len(LEGEND))
    return float(np.mean(counts.iou))


def config_of(folder: Path, arch: str, **fit: Any) -> TrainConfig:
    plain = config_for(folder)
    network = NetworkConfig(
        name="tiny", arch=arch, bands=plain.network.bands, resolution=0.5,
        mean=plain.network.mean, std=plain.network.std, options=NETWORKS[arch],
        encoder="mobilenet_v2" if arch.startswith("smp:") else None,
    )  # fmt: skip
    settings: dict[str, Any] = {
        "steps": 80, "rate": 2e-2, "encoder_rate": 1.0, "warmup": 5, "ema": 0.9,
        "weight_decay": 0.0, "bfloat16": False,
    }  # fmt: skip
    return replace(plain, network=network, fit=FitConfig(**{**settings, **fit}))


@pytest.mark.parametrize("arch", NETWORKS)
def test_each_network_overfits_a_window(tmp_path: Path, arch: str) -> None:
    steps = STEPS.get(arch, 50 if arch.startswith("smp:") else 80)
    config = config_of(tmp_path, arch, steps=steps)
    assert learned(config, 256 if arch == "unet-paper" else 64) > 0.98


@pytest.mark.parametrize(
    ("name", "arch"),
    # With another network, the three that are computed in three ways.
    [(name, "unet-light") for name in LOSSES]
    + [(name, "smp:Unet") for name in ("weight map", "dice", "lovasz")],
)
def test_each_loss_overfits_a_window(tmp_path: Path, name: str, arch: str) -> None:
    assert learned(config_of(tmp_path, arch, **LOSSES[name]), 64) > 0.98
