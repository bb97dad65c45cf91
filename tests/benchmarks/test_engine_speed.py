"""The whole run against the parts that cannot be left out, each ratio within one run."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import pytest
import rasterio
import torch

from geounet.jobs.execute import dask_client
from geounet.jobs.options import OutputOptions
from geounet.jobs.plan import Plan, SegmentOptions, make_plan
from geounet.jobs.report import Listener
from geounet.jobs.segment import segment_scenes
from geounet.legend import LandClass, Legend
from geounet.model import runtime as runtimes
from geounet.model.bundle import ModelBundle, load_bundle, save_bundle
from geounet.model.networks import build_network
from geounet.model.runtime import resolve_hardware, runtime_for
from geounet.raster.mask import MaskWriter
from geounet.raster.scene import describe, open_scene
from geounet.tiles import Window
from tests.benchmarks.table import record
from tests.benchmarks.test_memory import write_large
from tests.helpers import brightness_model, spec_for

TURNS = 3
DEEP_LIMIT = 1.25
CHEAP_LIMIT = 1.5
STAND_IN_CASES = [(256, 5000, 1.1), (512, 10_000, 1.1)]
"""Patch side, scene side, limit."""
FOUR = Legend(tuple(LandClass(i, name, (i, i, i)) for i, name in enumerate("abcd")))


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def in_turn(
    first: Callable[[], object], second: Callable[[], object]
) -> tuple[list[float], list[float]]:
    """Seconds of two kinds of work, one after the other, so that a busy spell hits both."""
    times = [(seconds(first), seconds(second)) for _ in range(TURNS)]
    return [one for one, _ in times], [other for _, other in times]


def run(scene: Path, bundle: ModelBundle, client: object, options: SegmentOptions) -> Plan:
    """Segment without polygons; the plan that was followed."""
    plans: list[Plan] = []
    output = OutputOptions(folder=scene.parent, polygons=False, overwrite=True)
    (report,) = segment_scenes(
        [str(scene)], bundle, client, options, output, Listener(planned=plans.append)
    )
    assert report.error is None
    return plans[0]


def deep_model(path: Path) -> ModelBundle:
    """U-Net on ResNet-18 with the margin curve of trained weights; random ones take as long."""
    pytest.importorskip("segmentation_models_pytorch")
    spec = spec_for(
        32, 303, 128, arch="smp:Unet", encoder="resnet18", legend=FOUR,
        margin_curve=((32, 2.0e-3), (64, 5.5e-4), (96, 1.4e-4), (128, 1.7e-5)),
    )  # fmt: skip
    torch.manual_seed(0)
    save_bundle(path, spec, build_network(spec).state_dict())
    return load_bundle(str(path))


@pytest.mark.timeout(1800)
def test_a_deep_network_is_all_that_one_waits_for(tmp_path: Path) -> None:
    """4096 x 4096 px against the forward of 64 patches of 512 px, tensors in memory."""
    bundle = deep_model(tmp_path / "m.safetensors")
    scene = write_large(tmp_path / "s.tif", 4096)
    options = SegmentOptions(device="cpu")
    runtime = runtime_for(bundle, resolve_hardware("cpu"))
    with open_scene(describe(scene)) as dataset:
        pixels = dataset.read().astype(np.float32) / 255
    sides = range(0, 4096, 512)
    patches = [
        np.ascontiguousarray(pixels[None, :, row : row + 512, col : col + 512])
        for row in sides
        for col in sides
    ]

    def forward() -> None:
        for patch in patches:
            runtime.predict(patch)

    with dask_client() as client:
        plan = run(scene, bundle, client, options)
        runtime.predict(patches[0])
        pure, whole = in_turn(forward, lambda: run(scene, bundle, client, options))
    ratio = median(w / p for w, p in zip(whole, pure, strict=True))
    hardware = plan.hardware
    seen = sum(tile.patch.intersection(Window(0, 0, 4096, 4096)).pixels for tile in plan.grid)
    record(
        "Engine",
        f"U-Net ResNet-18, 4096 x 4096 px, {hardware.engine} {hardware.precision}: whole run over"
        f" pure forward ({seen / 4096**2:.2f} times the pixels are computed)",
        ratio, DEEP_LIMIT,
    )  # fmt: skip
    assert ratio <= DEEP_LIMIT


@pytest.mark.timeout(1800)
def test_a_cheap_network_costs_no_more_than_its_parts(tmp_path: Path) -> None:
    """20000 x 20000 px, one convolution, against reading, forward and writing, each alone."""
    bundle = load_bundle(str(brightness_model(tmp_path / "m.safetensors")))
    scene = write_large(tmp_path / "s.tif", 20_000)
    options = SegmentOptions(device="cpu")
    described = describe(scene)
    plan = make_plan(described, bundle.spec, options)
    runtime = runtime_for(bundle, plan.hardware)
    shape = (1, 3, *plan.grid.patch_shape)
    patch = np.random.default_rng(0).random(shape, dtype=np.float32)

    def read() -> None:
        with open_scene(described) as dataset:
            for row in range(0, 20_000, 500):
                dataset.read(window=((row, row + 500), (0, 20_000)))

    def forward() -> None:
        for _ in range(len(plan.grid)):
            runtime.predict(patch)

    def write() -> None:
        with MaskWriter(tmp_path / "copy.tif", plan.frame, bundle.spec.legend, {}) as writer:
            for row in range(0, 20_000, 500):
                writer.write_rows(mask[row : row + 500])
            writer.finish()

    with dask_client() as client:
        run(scene, bundle, client, options)
        whole = seconds(lambda: run(scene, bundle, client, options))
    with rasterio.open(tmp_path / "s_mask.tif") as dataset:
        mask = dataset.read(1)
    parts = [seconds(read), seconds(forward), seconds(write)]
    ratio = whole / sum(parts)
    named = zip(("reading", "forward", "writing"), parts, strict=True)
    record(
        "Engine",
        "One convolution, 20000 x 20000 px: whole run over the sum of reading, forward and"
        f" writing alone ({', '.join(f'{name} {part:.1f} s' for name, part in named)})",
        ratio, CHEAP_LIMIT,
    )  # fmt: skip
    assert ratio <= CHEAP_LIMIT


class StandIn:
    """Takes 20 ms a patch, one at a time, and no processor, as an accelerator does: not even to
    make a new result.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._results: dict[tuple[int, ...], np.ndarray] = {}

    def predict(self, patches: np.ndarray) -> np.ndarray:
        shape = (len(patches), 3, *patches.shape[2:])
        if shape not in self._results:
            self._results[shape] = np.zeros(shape, np.float32)
            self._results[shape][:, 0] = 1
        with self._lock:
            time.sleep(0.02 * len(patches))
        return self._results[shape]


@pytest.mark.parametrize(("side", "pixels", "limit"), STAND_IN_CASES)
def test_an_accelerator_hardly_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, side: int, pixels: int, limit: float
) -> None:
    """Batches of four patches at 20 ms a patch, one after the other, against the whole run."""
    bundle = load_bundle(str(brightness_model(tmp_path / "m.safetensors")))
    scene = write_large(tmp_path / "s.tif", pixels)
    options = SegmentOptions(device="cpu", tile_size=side, batch=4)  # a GPU takes up to 16
    monkeypatch.setattr(runtimes, "_build", lambda *_: StandIn())
    runtimes._runtimes.clear()
    whole = []
    with dask_client() as client:
        plan = run(scene, bundle, client, options)
        for _ in range(TURNS):
            whole.append(seconds(lambda: run(scene, bundle, client, options)))
    runtimes._runtimes.clear()
    ratio = median(whole) / (0.02 * len(plan.grid))
    record(
        "Engine",
        f"Stand-in network, batches of {plan.batch} patches of {side} px: whole run over"
        f" {len(plan.grid)} patches x 20 ms",
        ratio, limit,
    )  # fmt: skip
    assert ratio <= limit
