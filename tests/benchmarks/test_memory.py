"""Peak memory of the whole job: a large scene against a small one."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from scipy import ndimage

from geounet.model.runtime import resolve_hardware
from tests.benchmarks.table import record
from tests.helpers import NORTH_UP, brightness_model, painted

MEASURE = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)
"""
TILES = ("--tile-size", "1024")
RAW = ("-f", "parquet", "--simplify", "0", "--min-area", "0", "--no-square")
CASES = {
    "mask": (("--no-polygons",), 300),
    "clean polygons": (("-f", "parquet"), 300),
    # The land of this scene is one polygon of eight million vertices, and its binary is held three
    # times while GeoParquet is written.
    "raw polygons": (RAW, 500),
}
"""Options, and how many MB more the large scene may take."""


def write_large(path: Path, size: int) -> Path:
    """A square scene of blobs, one 1000 px block repeated; written block by block."""
    rng = np.random.default_rng(0)
    field = ndimage.gaussian_filter(rng.standard_normal((1000, 1000)), 12, mode="wrap")
    mask = np.digitize(field / field.std(), (0.5, 1.3)).astype(np.uint8)
    block = painted(mask)
    form = {"tiled": True, "compress": "deflate", "BIGTIFF": "IF_SAFER", "dtype": "uint8"}
    strip = np.tile(block, (1, 1, -(-size // 1000)))[:, :, :size]
    with rasterio.open(
        path, "w", "GTiff", size, size, 3, crs="EPSG:32633", transform=NORTH_UP, **form
    ) as target:
        for row in range(0, size, 1000):
            height = min(1000, size - row)
            target.write(strip[:, :height], window=((row, row + height), (0, size)))
    return path


def peak_mb(scene: Path, model: Path, runtime: str, *words: str) -> int:
    """Peak resident memory of one run of the command, in MB."""
    command = [
        sys.executable, "-m", "geounet_cli.app", "segment", str(scene), "-m", str(model), "-q",
        "--overwrite", "--runtime", runtime, *words,
    ]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *command], capture_output=True, text=True, check=True
    )
    return int(done.stdout.split()[-1])


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("case", CASES)
def test_memory_does_not_follow_the_scene(tmp_path: Path, case: str) -> None:
    """With torch, 400 megapixels against 17."""
    words, limit = CASES[case]
    model = brightness_model(tmp_path / "m.safetensors")
    small = peak_mb(write_large(tmp_path / "small.tif", 4096), model, "torch", *TILES, *words)
    large = peak_mb(write_large(tmp_path / "large.tif", 20_000), model, "torch", *TILES, *words)
    print(f"\n{case}: 4096 px {small} MB, 20000 px {large} MB")
    assert large - small <= limit


@pytest.mark.timeout(3600)
def test_a_mask_takes_no_more_memory_from_four_times_the_pixels(tmp_path: Path) -> None:
    """With the runtime that is chosen by itself, 1600 megapixels against 400."""
    model = brightness_model(tmp_path / "m.safetensors")
    peaks = []
    for side in (1000, 20_000, 40_000):
        scene = write_large(tmp_path / "s.tif", side)
        peaks.append(peak_mb(scene, model, "auto", "--no-polygons"))
    _, small, large = peaks  # the first run converts the model, by way of torch
    engine = resolve_hardware("cpu").engine
    record(
        "Engine",
        f"One convolution, {engine}: peak memory of the mask of 40000 x 40000 px over that of"
        f" 20000 x 20000 px ({large} MB, {small} MB)",
        large / small, 1.1,
    )  # fmt: skip
    assert small <= 700
    assert large <= 1.1 * small
