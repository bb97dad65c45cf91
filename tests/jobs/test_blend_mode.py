"""Blended inference against the weighted mean written over whole arrays."""

import tracemalloc
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geounet.bands import normalise
from geounet.decision import Decision
from geounet.errors import ConfigError
from geounet.jobs.execute import dask_client
from geounet.jobs.merge import BlendAssembler
from geounet.jobs.options import OutputOptions
from geounet.jobs.plan import Plan, SegmentOptions, make_plan
from geounet.jobs.predict import Layers, Share, Work, share_tiles
from geounet.jobs.segment import segment_scenes
from geounet.model.bundle import ModelBundle, load_bundle
from geounet.model.networks import build_network
from geounet.model.runtime import Hardware
from geounet.model.torch_runtime import TorchRuntime
from geounet.raster.scene import describe, open_scene
from geounet.tiles import Window
from tests.helpers import Plain, brightness_model, noise, spec_for, write_scene

RUNTIME = TorchRuntime(Plain(), Hardware("cpu", "float64"))


@dataclass(frozen=True)
class Recording(Decision):
    """Keeps the probabilities that it was asked about."""

    seen: list[np.ndarray] = field(default_factory=list)

    def decide(self, probabilities: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.seen.append(probabilities.copy())
        return super().decide(probabilities, known)


class Constant:
    """A network that is equally sure everywhere."""

    def predict(self, patches: np.ndarray) -> np.ndarray:
        shares = np.array([0.1, 0.6, 0.3], np.float32)[None, :, None, None]
        return np.broadcast_to(shares, (len(patches), 3, *patches.shape[2:])).copy()


def blended(
    plan: Plan, bundle: ModelBundle, runtime: object = RUNTIME
) -> tuple[np.ndarray, np.ndarray]:
    """The mask, and the probabilities before the decision."""
    decision = Recording((0, 1, 2), (0, 1, 2))
    work = Work(plan, bundle, decision)
    assembler = BlendAssembler(work)
    strips: list[Layers] = []
    for batch in plan.batches():
        for share in share_tiles(work, batch, runtime):  # type: ignore[arg-type]
            strips += assembler.add(share)
    return np.concatenate([strip.mask for strip in strips]), np.concatenate(decision.seen, axis=1)


def weighted_mean(plan: Plan, bundle: ModelBundle) -> np.ndarray:
    """Raised cosine over the distance to the patch's edge; every sum over the whole raster."""
    height, width = plan.scene.shape
    total, weight = np.zeros((3, height, width)), np.zeros((height, width))
    spec, overlap = bundle.spec, 2 * plan.grid.margin
    with open_scene(plan.scene) as dataset:
        for tile in plan.grid:
            rows, cols = (
                np.minimum(np.arange(n) + 0.5, n - 0.5 - np.arange(n))
                for n in plan.grid.patch_shape
            )
            share = np.ones(plan.grid.patch_shape)
            if overlap:
                share = np.outer(
                    *(np.sin(np.pi / 2 * np.clip(d / overlap, 0, 1)) ** 2 for d in (rows, cols))
                )
            data, valid = plan.work.read(dataset, tile.patch, plan.bands)
            image = normalise(data, valid, plan.stretch, spec.mean, spec.std)
            found = RUNTIME.predict(image[None])[0]
            patch = tile.patch
            down, right = max(0, -patch.row), max(0, -patch.col)
            inside = patch.intersection(Window(0, 0, height, width))
            assert inside is not None
            here = np.s_[inside.row : inside.row_end, inside.col : inside.col_end]
            there = np.s_[down : down + inside.height, right : right + inside.width]
            total[(slice(None), *here)] += (found * share)[(slice(None), *there)]
            weight[here] += share[there]
    return total / weight


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    height=st.integers(1, 50), width=st.integers(1, 50), core=st.integers(3, 16),
    margin=st.integers(0, 9), batch=st.integers(1, 5), seed=st.integers(0, 2**16),
)  # fmt: skip
def test_blend_is_the_weighted_mean(
    tmp_path: Path, height: int, width: int, core: int, margin: int, batch: int, seed: int
) -> None:
    scene = describe(write_scene(tmp_path / "scene.tif", noise(height, width, seed=seed)))
    bundle = ModelBundle(spec_for(Plain.stride, Plain.radius, 0), b"", "")
    options = SegmentOptions(
        tile_size=4 * margin + 2 * core, margin=2 * margin, batch=batch, merge="blend",
        device="cpu", precision="float64",
    )  # fmt: skip
    plan = make_plan(scene, bundle.spec, options)
    assert "approximate" in plan.promise
    mask, shares = blended(plan, bundle)
    expected = weighted_mean(plan, bundle)
    np.testing.assert_allclose(shares, expected, atol=1e-6)
    gap = np.diff(np.sort(expected, axis=0), axis=0)[-1]
    assert (mask == expected.argmax(0))[gap > 1e-5].all()


@pytest.mark.parametrize("factor", [1.0, 0.4, 2.7])
def test_a_constant_field_stays_constant(tmp_path: Path, factor: float) -> None:
    """Over the whole scene, its corners too, on the model's grid and on others."""
    scene = describe(write_scene(tmp_path / "scene.tif", noise(151, 97)))
    bundle = ModelBundle(spec_for(2, 6, 6, resolution=0.5), b"", "")
    options = SegmentOptions(
        tile_size=40, merge="blend", resolution=0.5 / factor, device="cpu", precision="float32"
    )
    mask, shares = blended(make_plan(scene, bundle.spec, options), bundle, Constant())
    assert mask.shape == (151, 97)
    for share, value in zip(shares, (0.1, 0.6, 0.3), strict=True):
        assert abs(share - value).max() < 1e-6


def test_unpadded_networks_blend_to_the_same_field(tmp_path: Path) -> None:
    """They see true pixels alone, so all patches agree and the mean changes nothing."""
    spec = spec_for(16, 107, 96, shrink=96, arch="unet-paper", options={"width": 2, "dropout": 0.0})
    bundle = ModelBundle(spec, b"", "")
    runtime = TorchRuntime(build_network(spec), Hardware("cpu", "float64"))
    scene = describe(write_scene(tmp_path / "scene.tif", noise(150, 130)))
    options = SegmentOptions(tile_size=288, merge="blend", device="cpu", precision="float64")
    plan = make_plan(scene, spec, options)
    assert len(plan.grid) > 1
    assert plan.grid.margin > spec.shrink
    one = make_plan(scene, spec, replace(options, tile_size=400, margin=96))
    assert len(one.grid) == 1
    expected = blended(one, bundle, runtime)[1]
    np.testing.assert_allclose(blended(plan, bundle, runtime)[1], expected, atol=1e-6)


def test_patches_without_data_are_skipped_and_change_nothing(tmp_path: Path) -> None:
    data = noise(120, 100)
    data[:, 30:90, 20:80] = 0
    scene = describe(write_scene(tmp_path / "scene.tif", data, nodata=0))
    bundle = ModelBundle(spec_for(2, 6, 6), b"", "")
    options = SegmentOptions(tile_size=20, margin=4, merge="blend", device="cpu", batch=3)
    asked = 0

    class Counting(Constant):
        def predict(self, patches: np.ndarray) -> np.ndarray:
            nonlocal asked
            asked += len(patches)
            return super().predict(patches)

    plan = make_plan(scene, bundle.spec, options)
    mask, shares = blended(plan, bundle, Counting())
    hole = (data == 0).all(axis=0)
    assert asked < len(plan.grid)
    assert (mask == np.where(hole, 255, 1)).all()
    assert abs(shares[1] - 0.6)[~hole].max() < 1e-6


def test_the_mask_does_not_depend_on_the_number_of_workers(tmp_path: Path) -> None:
    model = load_bundle(brightness_model(tmp_path / "m.safetensors"))
    scene = write_scene(tmp_path / "s.tif", noise(233, 157))
    options = SegmentOptions(tile_size=40, margin=8, merge="blend", device="cpu", batch=2)
    found = []
    for workers in (1, 2, 4):
        folder = tmp_path / str(workers)
        with dask_client(workers=workers) as client:
            output = OutputOptions(folder=folder, polygons=False)
            (report,) = segment_scenes([str(scene)], model, client, options, output)
        assert report.error is None
        found.append((folder / "s_mask.tif").read_bytes())
    assert found[0] == found[1] == found[2]


def test_memory_is_that_of_one_row_of_tiles(tmp_path: Path) -> None:
    bundle = ModelBundle(spec_for(2, 6, 6), b"", "")
    options = SegmentOptions(tile_size=32, margin=4, merge="blend", device="cpu")
    peaks = []
    for height in (100, 2000):
        scene = describe(write_scene(tmp_path / "s.tif", np.ones((3, height, 50), np.uint8)))
        plan = make_plan(scene, bundle.spec, options)
        tracemalloc.start()
        assembler = BlendAssembler(Work(plan, bundle, Decision((0, 1, 2), (0, 1, 2))))
        rows = 0
        for tile in plan.grid:
            window = plan.owned(tile.core)
            assert window is not None
            known = np.ones((window.height, window.width), bool)
            inside = tile.patch.intersection(plan.region)
            assert inside is not None
            weighted = np.zeros((3, inside.height, inside.width), np.float32)
            for strip in assembler.add(Share(tile.index, window, known, inside, weighted)):
                rows += len(strip.mask)
        assert rows == height
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


def test_networks_that_pool_globally_are_blended_unless_asked_otherwise(tmp_path: Path) -> None:
    scene = describe(write_scene(tmp_path / "s.tif", noise(300, 300)))
    spec = spec_for(2, 6, 6, exact=False, margin_curve=((2, 0.0),))
    options = SegmentOptions(tile_size=64, device="cpu")
    plan = make_plan(scene, spec, options)
    assert plan.merge == "blend"
    assert plan.promise == "approximate, the network pools over its whole input"
    assert plan.grid.margin == 8  # a quarter of the patch overlaps the next
    wide = make_plan(scene, replace(spec, margin=100), options)
    assert wide.grid.margin == 16  # half of the patch at most, whatever a crop would need
    crop = make_plan(scene, spec, replace(options, merge="crop"))
    assert (crop.merge, crop.promise) == ("crop", plan.promise)
    assert make_plan(scene, spec_for(2, 6, 6), options).merge == "crop"
    with pytest.raises(ConfigError, match="--merge crop"):
        make_plan(scene, spec_for(2, 6, 6), replace(options, merge="blend", margin="exact"))
