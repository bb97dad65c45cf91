"""Reading overlapping patches against decoding every compressed block of the scene once."""

import time
from pathlib import Path

import numpy as np
import rasterio
from rasterio.windows import Window

from geounet.jobs.plan import SegmentOptions, make_plan
from geounet.raster.handles import Loan, close_handles, lent
from geounet.raster.scene import Scene, describe, open_scene
from tests.helpers import spec_for

SIDE = 8192
LIMIT = 0.7
"""Of the time that patches take when files are opened anew for each, with next to no cache."""


def write(path: Path) -> Path:
    rng = np.random.default_rng(0)
    block = rng.integers(0, 32, (3, 512, 512), dtype=np.uint8) * 8
    with rasterio.open(
        path, "w", "GTiff", SIDE, SIDE, 3, "EPSG:32633", dtype="uint8", tiled=True, blockxsize=512,
        blockysize=512, compress="deflate",
    ) as target:  # fmt: skip
        for row in range(0, SIDE, 512):
            strip = np.concatenate([np.roll(block, n * 7 + row, 1) for n in range(SIDE // 512)], 2)
            target.write(strip, window=Window(0, row, SIDE, 512))
    return path


def once(scene: Scene) -> float:
    start = time.perf_counter()
    with open_scene(scene) as dataset:
        for row in range(0, SIDE, 512):
            dataset.read(window=Window(0, row, SIDE, 512))
    return time.perf_counter() - start


def test_patches_share_decoded_blocks(tmp_path: Path) -> None:
    scene = describe(write(tmp_path / "s.tif"))
    spec = spec_for(32, 303, 96, margin_curve=((96, 1e-5),))
    plan = make_plan(scene, spec, SegmentOptions(tile_size=1280, device="cpu"))

    def patches(loan: Loan) -> float:
        start = time.perf_counter()
        for tile in plan.grid:
            with lent(loan) as dataset:
                plan.work.read(dataset, tile.patch, plan.bands)
        return time.perf_counter() - start

    kept, anew, alone = [], [], []
    for turn in range(3):
        alone.append(once(scene))
        anew.append(patches(Loan(None, scene, 64)))
        kept.append(patches(Loan(f"turn {turn}", scene, plan.cache_bytes)))
        close_handles(f"turn {turn}")
    pixels = sum(tile.patch.pixels for tile in plan.grid) / SIDE**2
    print(
        f"\npatches of {pixels:.2f} times the scene's pixels: {min(kept) / min(alone):.2f} times"
        f" the time of decoding it once; opened anew without cache"
        f" {min(anew) / min(alone):.2f} times"
    )
    assert min(kept) <= LIMIT * min(anew)
