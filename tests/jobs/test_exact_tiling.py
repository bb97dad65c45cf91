"""Tiled inference against one forward pass over the whole scene."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.transform import Affine

from geounet.bands import normalise
from geounet.decision import Decision
from geounet.jobs import predict
from geounet.jobs.merge import RowAssembler
from geounet.jobs.plan import Plan, SegmentOptions, make_plan
from geounet.jobs.predict import Work, segment_tiles
from geounet.mirror import mirror_index
from geounet.model.bundle import ModelBundle
from geounet.model.runtime import Hardware
from geounet.model.torch_runtime import TorchRuntime
from geounet.raster.scene import describe
from geounet.tiles import round_up
from tests.helpers import Plain, noise, spec_for, write_scene

RUNTIME = TorchRuntime(Plain(), Hardware("cpu", "float64"))
DECISION = Decision((0, 1, 2), (0, 1, 2))


def tiled(plan: Plan, bundle: ModelBundle, order: np.random.Generator | None = None) -> np.ndarray:
    work = Work(plan, bundle, DECISION)
    batches = plan.batches()
    if order is not None:
        batches = [batches[i] for i in order.permutation(len(batches))]
    assembler = RowAssembler(plan.grid.shape[1])
    rows = [
        strip.mask
        for batch in batches
        for piece in segment_tiles(work, batch, RUNTIME)
        for strip in assembler.add(piece)
    ]
    return np.concatenate(rows)


def whole(data: np.ndarray, plan: Plan, bundle: ModelBundle) -> np.ndarray:
    """One forward pass over the scene, mirrored up to a multiple of the stride."""
    _, height, width = data.shape
    rows = mirror_index(0, round_up(height, 2), height)
    cols = mirror_index(0, round_up(width, 2), width)
    image = normalise(
        data, np.ones((height, width), bool), plan.stretch, bundle.spec.mean, bundle.spec.std
    )
    padded = image[:, rows[:, None], cols[None, :]]
    probabilities = RUNTIME.predict(padded[None])[0]
    return probabilities.argmax(0)[:height, :width]


@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    core=st.integers(1, 24),
    extra=st.integers(0, 6),
    batch=st.integers(1, 5),
    seed=st.integers(0, 2**16),
)
def test_tiled_equals_whole_scene(
    tmp_path: Path, height: int, width: int, core: int, extra: int, batch: int, seed: int
) -> None:
    data = noise(height, width, seed=seed)
    scene = describe(write_scene(tmp_path / "scene.tif", data))
    margin = Plain.radius + 2 * extra
    bundle = ModelBundle(spec_for(Plain.stride, Plain.radius, 0), b"", "")
    plan = make_plan(
        scene,
        bundle.spec,
        SegmentOptions(
            tile_size=2 * margin + 2 * core, margin=margin, batch=batch, device="cpu",
            precision="float64",
        ),
    )  # fmt: skip
    assert plan.promise == "identical to whole-scene inference"
    result = tiled(plan, bundle, np.random.default_rng(seed))
    assert (result != whole(data, plan, bundle)).sum() == 0


def test_too_small_a_margin_shows() -> None:
    """The property above can fail: without context, pixels at tile borders differ."""
    data = noise(80, 80)
    with torch.inference_mode():
        image = torch.from_numpy(data.astype(np.float64) / 255)[None]
        network = Plain().double()
        left = network(image[..., :40])
        full = network(image)
    assert (left.argmax(1) != full[..., :40].argmax(1)).any()


def test_whole_raster_in_one_tile_when_it_fits(tmp_path: Path) -> None:
    scene = describe(write_scene(tmp_path / "scene.tif", noise(33, 57)))
    plan = make_plan(scene, spec_for(2, 6, 6), SegmentOptions(device="cpu"))
    assert len(plan.grid) == 1
    assert plan.grid.patch_shape == (34 + 12, 58 + 12)


@pytest.mark.parametrize(
    ("factor", "height"), [(0.31, 0.5), (0.5, 0.5), (2.0, 0.5), (3.7, 0.5), (0.5, 1.1), (0.9, 0.2)]
)
def test_resampled_scene_does_not_depend_on_tiles(
    tmp_path: Path, factor: float, height: float
) -> None:
    """At another resolution too, every tile size gives the same mask; pixels may be oblong."""
    transform = Affine(0.5, 0, 500_000, 0, -height, 5_400_000)
    scene = describe(write_scene(tmp_path / "scene.tif", noise(97, 71), transform=transform))
    bundle = ModelBundle(spec_for(2, Plain.radius, 0, resolution=0.5), b"", "")
    masks = [
        tiled(
            make_plan(
                scene, bundle.spec,
                SegmentOptions(
                    tile_size=size, margin="exact", resolution=0.5 / factor, device="cpu",
                    precision="float64",
                ),
            ),
            bundle,
        )
        for size in (400, max(48, round(24 * factor)), max(26, round(16 * factor)))
    ]  # fmt: skip
    assert masks[0].shape == (97, 71)
    assert (masks[0] != masks[1]).sum() == 0
    assert (masks[0] != masks[2]).sum() == 0


def fine_work(folder: Path, side: int, nodata: float | None = None) -> Work:
    """A scene of 0.1 m, worked on at 0.8 m in one tile, all of whose layers are asked for."""
    transform = Affine(0.1, 0, 500_000, 0, -0.1, 5_400_000)
    data = noise(side, side)
    data[:, : side // 3] = 7
    path = write_scene(folder / "s.tif", data, transform=transform, nodata=nodata)
    spec = spec_for(2, Plain.radius, 0, resolution=0.8)
    options = SegmentOptions(margin="exact", device="cpu", precision="float64")
    plan = make_plan(describe(path), spec, options)
    return Work(plan, ModelBundle(spec, b"", ""), DECISION, "uint8")


def test_the_rows_of_a_fine_scene_do_not_depend_on_how_many_are_done_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = fine_work(tmp_path, 203, nodata=7)
    (whole,) = segment_tiles(work, (0,), RUNTIME)
    monkeypatch.setattr(predict, "_STRIP_BYTES", 17 * 203 * 12)  # 17 rows of three float32
    (parts,) = segment_tiles(work, (0,), RUNTIME)
    assert (whole.layers.mask == 255).sum() == 67 * 203
    for one, other in zip(whole.layers, parts.layers, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_fine_scene_does_not_take_memory_by_its_own_pixels(tmp_path: Path) -> None:
    """Probabilities of all pixels of the tile would take three times 75 MB."""
    work = fine_work(tmp_path, 2500)
    tracemalloc.start()
    segment_tiles(work, (0,), RUNTIME)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 150e6
