"""Test-time augmentation and stored probabilities against the network asked directly."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from distributed import Client

from geounet.bands import normalise
from geounet.decision import STEPS, decision_for
from geounet.jobs.execute import dask_client
from geounet.jobs.merge import assembler_for
from geounet.jobs.options import OutputOptions
from geounet.jobs.plan import Plan, SegmentOptions, make_plan
from geounet.jobs.predict import Work, segment_tiles
from geounet.jobs.segment import segment_scenes
from geounet.model.bundle import ModelBundle, load_bundle, save_bundle
from geounet.model.runtime import Hardware
from geounet.model.torch_runtime import TorchRuntime
from geounet.raster.scene import describe
from tests.helpers import LEGEND, Plain, brightness_model, noise, painted, spec_for, write_scene

NETWORK = Plain()
RUNTIME = TorchRuntime(NETWORK, Hardware("cpu", "float64"))
BUNDLE = ModelBundle(spec_for(Plain.stride, Plain.radius, Plain.radius), b"", "")
OPTIONS = SegmentOptions(tile_size=40, margin="exact", device="cpu", precision="float64", batch=3)


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with dask_client(workers=2) as value:
        yield value


def shares(plan: Plan, runtime: TorchRuntime = RUNTIME) -> np.ndarray:
    """float16 probabilities of the whole scene, through tiles."""
    work = Work(plan, BUNDLE, decision_for(LEGEND), "float16")
    assembler = assembler_for(work)
    rows = [
        layers.shares
        for batch in plan.batches()
        for piece in segment_tiles(work, batch, runtime)
        for layers in assembler.add(piece)
    ]
    return np.concatenate(rows, axis=1)


def whole(data: np.ndarray, plan: Plan, way: str) -> np.ndarray:
    """One forward pass over the scene for each symmetry, and their mean."""
    _, height, width = data.shape
    spec = BUNDLE.spec
    image = normalise(data, np.ones((height, width), bool), plan.stretch, spec.mean, spec.std)
    found = []
    for turns in (0, 2) if way == "flips" else (0, 1, 2, 3):
        for flip in (False, True):
            turned = np.rot90(image[..., ::-1] if flip else image, turns, (1, 2))
            result = RUNTIME.predict(np.ascontiguousarray(turned)[None])[0]
            result = np.rot90(result, -turns, (1, 2))
            found.append(result[..., ::-1] if flip else result)
    mean: np.ndarray = np.mean(found, axis=0)
    return mean


@pytest.mark.parametrize("way", ["flips", "d4"])
def test_tiles_give_the_mean_over_the_symmetries(tmp_path: Path, way: Any) -> None:
    data = noise(70, 96)
    scene = describe(write_scene(tmp_path / "s.tif", data))
    plan = make_plan(scene, BUNDLE.spec, replace(OPTIONS, tta=way))
    assert len(plan.grid) > 4
    expected = whole(data, plan, way)
    np.testing.assert_allclose(shares(plan), expected, atol=5e-4)  # half-precision numbers
    plain = shares(make_plan(scene, BUNDLE.spec, OPTIONS))
    assert abs(plain - expected).max() > 0.01  # else the mean would prove nothing


def test_d4_commutes_with_turning_the_scene(tmp_path: Path) -> None:
    data = noise(64, 96)
    turned = np.ascontiguousarray(np.rot90(data, 1, (1, 2)))
    found = []
    for name, pixels in (("a", data), ("b", turned)):
        scene = describe(write_scene(tmp_path / f"{name}.tif", pixels))
        found.append(shares(make_plan(scene, BUNDLE.spec, replace(OPTIONS, tta="d4"))))
    np.testing.assert_allclose(np.rot90(found[0], 1, (1, 2)), found[1], atol=5e-4)


def test_an_equivariant_network_gains_nothing(tmp_path: Path) -> None:
    """Kernels that are symmetric themselves: every symmetry gives the same probabilities."""
    network = Plain()
    with torch.no_grad():
        for layer in (network.first, network.coarse, network.last):
            kernel = layer.weight
            views = [torch.rot90(kernel, turns, (2, 3)) for turns in range(4)]
            mean = sum(views + [view.flip(3) for view in views]) / 8
            layer.weight.copy_(mean)
    runtime = TorchRuntime(network, Hardware("cpu", "float64"))
    scene = describe(write_scene(tmp_path / "s.tif", noise(64, 80)))
    plain = shares(make_plan(scene, BUNDLE.spec, OPTIONS), runtime)
    for way in ("flips", "d4"):
        plan = make_plan(scene, BUNDLE.spec, replace(OPTIONS, tta=way))  # type: ignore[arg-type]
        np.testing.assert_allclose(shares(plan, runtime), plain, atol=1e-3)


@pytest.mark.parametrize("storage", ["uint8", "float16"])
@pytest.mark.parametrize("merge", ["crop", "blend"])
def test_stored_probabilities(tmp_path: Path, client: Client, storage: Any, merge: Any) -> None:
    """A band per class, named; sums of 1; nodata where the mask has it; the mask follows."""
    weight = torch.zeros(3, 3, 3, 3)
    for band in range(3):
        weight[band, band, 1, 1] = 1.5
    facts = spec_for(1, 1, 1, arch="linear")
    bundle = save_bundle(
        tmp_path / "m.safetensors", facts, {"weight": weight, "bias": torch.zeros(3)}
    )
    data = noise(700, 530)
    data[:, :70, 200:] = 0
    scene = write_scene(tmp_path / "s.tif", data, nodata=0)
    options = SegmentOptions(tile_size=200, margin=2, merge=merge, device="cpu",
                             precision="float32")  # fmt: skip
    output = OutputOptions(polygons=False, probabilities=storage)
    (report,) = segment_scenes([str(scene)], bundle, client, options, output)
    assert report.error is None
    with rasterio.open(tmp_path / "s_probabilities.tif") as result:
        assert result.descriptions == ("land", "building", "water")
        assert result.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert result.crs == "EPSG:32633"
        assert result.overviews(1)
        found = result.read(masked=True)
        values = found * np.array(result.scales)[:, None, None]
        if storage == "float16":
            assert result.tags(1, ns="IMAGE_STRUCTURE")["NBITS"] == "16"
        else:
            assert (result.dtypes[0], result.nodata) == ("uint8", 255)
            assert result.scales == (1 / STEPS,) * 3
    with rasterio.open(tmp_path / "s_mask.tif") as result:
        mask = result.read(1)
    hole = (data == 0).all(axis=0)
    assert ((mask == 255) == hole).all()
    assert (found.mask == hole).all()
    logits = 1.5 * (data / 255 - 0.5) / 0.25
    expected = np.exp(logits) / np.exp(logits).sum(axis=0)
    step = 1 / STEPS if storage == "uint8" else 1e-3
    assert abs(values - expected)[:, ~hole].max() <= step
    assert (values.argmax(axis=0) == mask)[~hole].mean() > 0.98  # ties of rounded values aside


def test_probabilities_are_published_whole_or_not(tmp_path: Path, client: Client) -> None:
    """A run without them is another run, and a scene that fails leaves none."""
    model = load_bundle(brightness_model(tmp_path / "m.safetensors"))
    options = SegmentOptions(tile_size=66, device="cpu", precision="float32")
    scene = write_scene(tmp_path / "s.tif", painted(np.ones((50, 60), np.uint8)))
    cut = write_scene(tmp_path / "cut.tif", noise(300, 300), compress="deflate")
    cut.write_bytes(cut.read_bytes()[:-30_000])
    both = OutputOptions(folder=tmp_path / "out", polygons=False, probabilities="uint8")
    plain = OutputOptions(folder=tmp_path / "out", polygons=False)
    names = [str(scene), str(cut)]
    good, bad = segment_scenes(names, model, client, options, both)
    assert good.error is None
    assert "cut.tif" in str(bad.error)
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"s_mask.tif", "s_probabilities.tif"} <= files
    assert not any("cut" in name for name in files)
    assert segment_scenes(names[:1], model, client, options, both)[0].skipped
    for other in (
        segment_scenes(names[:1], model, client, options, plain),
        segment_scenes(names[:1], model, client, replace(options, tta="d4"), both),
    ):
        assert "--overwrite" in str(other[0].error)
