"""A network of a few thousand weights and two small scenes, for tests of the training loop."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from geounet.model.spec import ModelSpec
from geounet.train.config import AugmentConfig, FitConfig, NetworkConfig, TrainConfig
from geounet.train.pixels import HeldPixels
from geounet.train.scenes import LabelledScene, make_scene
from geounet.train.sources import SourceConfig
from tests.helpers import LEGEND, write_scene

LABELS = {"0": ("land",), "1": ("building",), "2": ("water",)}
COLORS = np.array([[60, 60, 120], [230, 60, 120], [60, 230, 120]], dtype=np.uint8)


class Tiny(torch.nn.Module):
    """Three convolutions with batch normalisation and dropout, stride 2."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = torch.nn.Sequential(
            torch.nn.Conv2d(3, 12, 3, padding=1), torch.nn.BatchNorm2d(12), torch.nn.ReLU()
        )
        self.coarse = torch.nn.Conv2d(12, 12, 3, padding=1)
        self.drop = torch.nn.Dropout(0.05)
        self.last = torch.nn.Conv2d(24, 3, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        fine = self.encoder(image)
        coarse = torch.relu(self.coarse(torch.nn.functional.avg_pool2d(fine, 2)))
        coarse = torch.nn.functional.interpolate(self.drop(coarse), scale_factor=2, mode="nearest")
        result: torch.Tensor = self.last(torch.cat([fine, coarse], dim=1))
        return result


def build_tiny(spec: ModelSpec) -> torch.nn.Module:
    assert len(spec.legend) == 3
    return Tiny()


def blocks(height: int, width: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rectangles of three classes: image uint8 ``(3, h, w)`` and mask uint8 ``(h, w)``."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((height, width), dtype=np.uint8)
    for value in (1, 2) * 4:
        row, col = int(rng.integers(height - 10)), int(rng.integers(width - 10))
        mask[row : row + int(rng.integers(6, 14)), col : col + int(rng.integers(6, 14))] = value
    return COLORS[mask].transpose(2, 0, 1).copy(), mask


def scene_of(name: str, image: np.ndarray, labels: np.ndarray, gsd: float) -> LabelledScene:
    """A scene in memory: uint8 ``(bands, h, w)`` and label sets uint8 ``(h, w)``."""
    return make_scene(name, HeldPixels.of(image, labels), gsd)


def write_pair(folder: Path, name: str, image: np.ndarray, mask: np.ndarray) -> Path:
    """``NAME.tif`` and ``NAME_mask.tif``."""
    write_scene(folder / f"{name}_mask.tif", mask[None])
    return write_scene(folder / f"{name}.tif", image)


def config_for(folder: Path, steps: int = 6, **fit: Any) -> TrainConfig:
    """A run on ``train_0`` and ``train_1`` in ``folder``, checked on ``held_0``."""
    for seed, name in enumerate(("train_0", "train_1", "held_0")):
        write_pair(folder, name, *blocks(64, 72, seed))
    settings: dict[str, Any] = {
        "batch": 2,
        "window": 32,
        "warmup": 2,
        "ema": 0.9,
        "bfloat16": False,
        "check_every": 0,
    }
    return TrainConfig(
        data=str(folder),
        network=NetworkConfig(
            name="tiny",
            arch="tiny",
            bands=("red", "green", "blue"),
            resolution=0.5,
            mean=(0.5, 0.5, 0.5),
            std=(0.25, 0.25, 0.25),
            stride=2,
        ),
        legend=LEGEND.classes,
        source=(SourceConfig("blocks", ("train_*.tif",), LABELS, share=1.0),),
        check=(SourceConfig("held back", ("held_*.tif",), LABELS),),
        augment=AugmentConfig(elastic=3.0),
        fit=FitConfig(steps=steps, **{**settings, **fit}),
    )
