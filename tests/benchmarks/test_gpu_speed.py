"""A GPU: the whole run against the network alone, and the training loop against its step."""

import time
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
import pytest
import torch

from geounet.jobs.execute import dask_client
from geounet.jobs.plan import SegmentOptions
from geounet.model.runtime import resolve_hardware, runtime_for
from geounet.raster.scene import describe, open_scene
from geounet.train.curves import read_log
from geounet.train.fit import fit
from geounet.train.load import load_pools
from geounet.train.logbook import LOG
from geounet.train.samples import Sampler
from tests.benchmarks.table import record
from tests.benchmarks.test_engine_speed import deep_model, in_turn, run
from tests.benchmarks.test_memory import write_large
from tests.benchmarks.test_training_speed import LOOP_LIMIT, forward_and_backward, run_config

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU with CUDA")
SIDE = 16_384
LIMIT = 1.5


def gpu() -> str:
    return torch.cuda.get_device_name(0)


@pytest.mark.timeout(600)
def test_a_deep_network_on_a_gpu(tmp_path: Path) -> None:
    """U-Net on ResNet-18, against the forward of as many pixels that lie in memory."""
    bundle = deep_model(tmp_path / "m.safetensors")
    scene = write_large(tmp_path / "s.tif", SIDE)
    options = SegmentOptions(device="cuda")
    runtime = runtime_for(bundle, resolve_hardware("cuda"))
    with open_scene(describe(scene)) as dataset:
        pixels = dataset.read(window=((0, 2048), (0, 2048))).astype(np.float32) / 255
    patch = np.ascontiguousarray(pixels[None])

    def forward() -> None:
        for _ in range((SIDE // 2048) ** 2):
            runtime.predict(patch)

    with dask_client() as client:  # eight threads beside a GPU
        plan = run(scene, bundle, client, options)
        runtime.predict(patch)
        pure, whole = in_turn(forward, lambda: run(scene, bundle, client, options))
    print(plan.describe(), f"pure {median(pure):.2f} s, whole {median(whole):.2f} s")
    ratio = median(w / p for w, p in zip(whole, pure, strict=True))
    record(
        "Engine",
        f"U-Net ResNet-18, {SIDE} x {SIDE} px, {gpu()}: whole run over pure forward"
        f" ({median(whole):.1f} s, {median(pure):.1f} s)",
        ratio, LIMIT,
    )  # fmt: skip
    assert ratio <= LIMIT


@pytest.mark.timeout(600)
def test_the_loop_on_a_gpu(tmp_path: Path) -> None:
    """Windows from processes, against forward and backward on a batch that lies on the device."""
    config = run_config(tmp_path)
    config = replace(config, fit=replace(config.fit, steps=400, batch=32, workers=14))
    batch = Sampler(config, load_pools(config)).batch(0)
    alone = forward_and_backward(config, batch, 50)
    begun = time.perf_counter()
    fit(config, tmp_path / "run")
    lines = [line for line in read_log(tmp_path / "run" / LOG) if "loss" in line]
    middle = len(lines) // 2
    steps = lines[-1]["step"] - lines[middle]["step"]
    loop = (lines[-1]["seconds"] - lines[middle]["seconds"]) / steps
    waiting = np.median([line["waiting"] for line in lines[middle:]])
    print(
        f"\na step of 32 windows of 256 px: {1e3 * loop:.1f} ms in the loop, {1e3 * alone:.1f} ms"
        f" forward and backward; {waiting:.0%} waiting; {time.perf_counter() - begun:.0f} s in all"
    )
    record(
        "Training",
        f"Training, 32 windows of 256 px, {gpu()}: loop over forward and backward"
        f" ({1e3 * loop:.0f} ms, {1e3 * alone:.0f} ms)",
        loop / alone, LOOP_LIMIT,
    )  # fmt: skip
    assert loop / alone <= LOOP_LIMIT
