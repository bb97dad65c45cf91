"""What training costs beside the network: the weight map, and the loop around the step."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage

from geounet.train.config import TrainConfig, load_config
from geounet.train.curves import read_log
from geounet.train.fit import fit, losses, start
from geounet.train.load import load_pools
from geounet.train.logbook import LOG
from geounet.train.ranks import autocast
from geounet.train.samples import Batch, Sampler
from geounet.train.sources import SourceConfig
from geounet.train.town import make_town
from geounet.train.weightmap import boundary_weights, connected_instances
from tests.benchmarks.table import record
from tests.train.tiny import write_pair

LOOP_LIMIT = 1 / 0.85


def best(call: Callable[[], object], times: int) -> float:
    """Shortest of several runs, in seconds; the first one compiles and does not count."""
    call()
    found = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return min(found)


def hundred_objects() -> np.ndarray:
    """Label sets of a 512 x 512 window with a hundred buildings of 10 to 40 px a side."""
    rng = np.random.default_rng(0)
    labels = np.ones((512, 512), dtype=np.uint8)
    for row in range(10):
        for col in range(10):
            top, left = 51 * row + rng.integers(8), 51 * col + rng.integers(8)
            tall, wide = rng.integers(10, 41, 2)
            labels[top : top + tall, left : left + wide] = 2
    return labels


def test_weight_map_of_a_hundred_objects() -> None:
    labels = hundred_objects()
    instances = connected_instances(labels, (2,))
    assert instances.max() == 100
    whole = best(lambda: boundary_weights(connected_instances(labels, (2,))), 20)
    alone = best(lambda: boundary_weights(instances), 20)
    transform = best(lambda: ndimage.distance_transform_edt(instances == 0), 5)
    record(
        "Training",
        "Weight map of 512 x 512 px with 100 objects: milliseconds"
        f" ({1e3 * alone:.1f} without the search for objects; one distance transform"
        f" {1e3 * transform:.1f})",
        1e3 * whole, 15,
    )  # fmt: skip
    assert whole <= 0.015


def run_config(folder: Path) -> TrainConfig:
    """The shipped model's network, batch and augmentation, on scenes of a town."""
    for seed in (1, 2):
        image, mask = make_town(seed, 1024, 1024, 0.5)
        write_pair(folder, f"town_{seed}", image, mask)
    shipped = load_config(Path(__file__).parents[2] / "configs" / "landcover-rgb.toml")
    names = tuple(item.name for item in shipped.legend)
    labels = {str(index): (name,) for index, name in enumerate(names)}
    return replace(
        shipped,
        data=str(folder),
        network=replace(shipped.network, pretrained=None),
        source=(SourceConfig("town", ("town_*.tif",), labels, 1.0, gsd=(0.4, 1.2)),),
        check=(),
        town=None,
        fit=replace(
            shipped.fit,
            steps=30,
            batch=8,
            minutes=0.0,
            check_every=0,
            patience=0,
            workers=0,
            save_minutes=60.0,
        ),
    )


def forward_and_backward(config: TrainConfig, batch: Batch, times: int) -> float:
    """Seconds of a forward and a backward pass over a batch that lies in the device's memory."""
    state = start(config)
    device = state.place.device
    batch = Batch(
        batch.images.to(device).contiguous(memory_format=torch.channels_last),
        batch.labels.to(device),
        None if batch.boundary is None else batch.boundary.to(device),
    )
    network = state.network.train()

    def step() -> None:
        with autocast(device, bfloat16=True):
            logits = network(batch.images)
        torch.stack(list(losses(logits, batch, config).values())).sum().backward()

    def finish() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()

    for _ in range(3 if device.type == "cuda" else 1):  # the first chooses its kernels
        step()
    finish()
    begun = time.perf_counter()
    for _ in range(times):
        step()
    finish()
    return (time.perf_counter() - begun) / times


def test_the_loop_against_forward_and_backward_alone(tmp_path: Path) -> None:
    """Reading, augmenting, the optimizer, the average and the log cost at most 15 %."""
    config = run_config(tmp_path)
    batch = Sampler(config, load_pools(config)).batch(0)
    alone, loop, waiting = [], [], []
    for part in range(1, 4):  # in turn, so that a busy spell of the machine hits both
        alone.append(forward_and_backward(config, batch, 10))
        longer = replace(config, fit=replace(config.fit, steps=20 * part))
        fit(longer, tmp_path / "run", again=part > 1)
        lines = [line for line in read_log(tmp_path / "run" / LOG) if "loss" in line][-2:]
        loop.append((lines[1]["seconds"] - lines[0]["seconds"]) / 10)
        waiting += [line["waiting"] for line in lines]
    ratio = min(loop) / min(alone)
    record(
        "Training",
        "Training on 8 windows of 256 px: a step of the loop over forward and backward in memory"
        f" (loop {min(loop):.2f} s, alone {min(alone):.2f} s: {1 / ratio:.0%} of the rate;"
        f" {np.median(waiting):.1%} of the time waiting for data)",
        ratio, LOOP_LIMIT,
    )  # fmt: skip
    assert ratio <= LOOP_LIMIT
