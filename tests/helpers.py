"""Small scenes and networks for the tests."""

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
from rasterio.transform import Affine

from geounet.legend import LandClass, Legend
from geounet.model.bundle import save_bundle
from geounet.model.spec import ModelSpec

NORTH_UP = Affine(0.5, 0.0, 500_000.0, 0.0, -0.5, 5_400_000.0)
SOUTH_UP = Affine(0.5, 0.0, 500_000.0, 0.0, 0.5, 5_400_000.0)
ROTATED = Affine.translation(500_000, 5_400_000) @ Affine.rotation(30) @ Affine.scale(0.5, -0.5)
DEGREES = Affine(1e-5, 0.0, 12.0, 0.0, -1e-5, 48.0)

LEGEND = Legend(
    (
        LandClass(0, "land", (200, 180, 140)),
        LandClass(1, "building", (200, 40, 40)),
        LandClass(2, "water", (40, 80, 200)),
    )
)


def write_scene(path: Path, data: np.ndarray, **profile: Any) -> Path:
    """A GeoTIFF of ``(bands, height, width)``; UTM, 0.5 m unless the profile says otherwise."""
    settings: dict[str, Any] = {
        "driver": "GTiff",
        "count": data.shape[0],
        "height": data.shape[1],
        "width": data.shape[2],
        "dtype": data.dtype.name,
        "crs": "EPSG:32633",
        "transform": NORTH_UP,
    }
    settings.update(profile)
    with rasterio.open(path, "w", **settings) as dataset:
        dataset.write(data)
    return path


def noise(height: int, width: int, bands: int = 3, seed: int = 0) -> np.ndarray:
    """uint8 noise without zeros, so that nothing is taken for nodata."""
    rng = np.random.default_rng(seed)
    return rng.integers(1, 256, (bands, height, width), dtype=np.uint8)


def spec_for(stride: int = 1, radius: int = 1, margin: int = 0, **facts: Any) -> ModelSpec:
    """Facts of a three-band, three-class test network without a resolution of its own."""
    settings: dict[str, Any] = {
        "name": "test",
        "arch": "test",
        "bands": ("red", "green", "blue"),
        "legend": LEGEND,
        "mean": (0.5, 0.5, 0.5),
        "std": (0.25, 0.25, 0.25),
        "resolution": 0.0,
        "stride": stride,
        "radius": radius,
        "margin": margin,
    }
    settings.update(facts)
    return ModelSpec(**settings)


class Plain(torch.nn.Module):
    """Two convolutions around a pooling step: stride 2, a known radius, three classes."""

    stride = 2
    # Right to left: the 3x3 on the fine grid reaches 1, the nearest upsampling up to 1 more, the
    # 3x3 on the coarse grid 2, the pooling 1, the first 3x3 1.
    radius = 6

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.first = torch.nn.Conv2d(3, 6, 3, padding=1)
        self.coarse = torch.nn.Conv2d(6, 6, 3, padding=1)
        self.last = torch.nn.Conv2d(12, 3, 3, padding=1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        fine = torch.relu(self.first(image))
        coarse = torch.relu(self.coarse(torch.nn.functional.max_pool2d(fine, 2)))
        coarse = torch.nn.functional.interpolate(coarse, scale_factor=2, mode="nearest")
        result: torch.Tensor = self.last(torch.cat([fine, coarse], dim=1))
        return result


def brightness_model(path: Path, **facts: Any) -> Path:
    """A model file with a known answer: building (1) where red is bright, water (2) where green is,
    else land (0). One 3x3 convolution of which only the centre counts."""
    weight = torch.zeros(3, 3, 3, 3)
    weight[1, 0, 1, 1] = weight[2, 1, 1, 1] = 20.0
    bias = torch.tensor([1.0, 0.0, 0.0])
    save_bundle(path, spec_for(1, 1, 1, arch="linear", **facts), {"weight": weight, "bias": bias})
    return path


def kill_after(script: str, folder: Path, delay: float) -> None:
    """Run a script in another process and kill it ``delay`` seconds after it printed ``begun``."""
    child = subprocess.Popen(
        [sys.executable, "-c", script, str(folder)],
        stdout=subprocess.PIPE, cwd=Path(__file__).parents[1],
    )  # fmt: skip
    assert child.stdout is not None
    assert child.stdout.readline() == b"begun\n"
    time.sleep(delay)
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()


def painted(mask: np.ndarray) -> np.ndarray:
    """The scene that :func:`brightness_model` turns into ``mask`` (0, 1, 2; 255 becomes black)."""
    data = np.full((3, *mask.shape), 40, np.uint8)
    data[0][mask == 1] = 250
    data[1][mask == 2] = 250
    data[:, mask == 255] = 0
    return data
