"""What only a GPU can show; skipped where there is none."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch

from geounet.jobs.execute import dask_client
from geounet.jobs.options import OutputOptions
from geounet.jobs.plan import SegmentOptions
from geounet.jobs.segment import segment_scenes
from geounet.model.bundle import DEFAULT_MODEL, ModelBundle, load_bundle
from geounet.model.networks import build_network
from geounet.model.runtime import Hardware, resolve_hardware
from geounet.model.torch_runtime import TorchRuntime
from geounet.train.fit import fit
from geounet.train.town import make_town
from tests.helpers import write_scene
from tests.train.tiny import config_for

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU with CUDA")
SIDE = 1500


@pytest.fixture(scope="module")
def bundle() -> ModelBundle:
    return load_bundle(DEFAULT_MODEL)


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Path:
    image, _ = make_town(3, SIDE, SIDE)
    return write_scene(tmp_path_factory.mktemp("town") / "town.tif", image)


@pytest.fixture(autouse=True)
def _exact_products() -> Iterator[None]:
    """float32 means float32: some cards round products to ten bits by themselves."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


def mask_of(scene: Path, bundle: ModelBundle, out: Path, options: SegmentOptions) -> np.ndarray:
    output = OutputOptions(folder=out, polygons=False, overwrite=True)
    with dask_client() as client:
        (report,) = segment_scenes([str(scene)], bundle, client, options, output)
    assert report.error is None, report.error
    with rasterio.open(out / "town_mask.tif") as dataset:
        result: np.ndarray = dataset.read(1)
    return result


def test_the_fastest_device_is_chosen() -> None:
    hardware = resolve_hardware()
    assert (hardware.device, hardware.engine) == ("cuda", "torch")
    assert hardware.precision == "float16"
    assert resolve_hardware("cuda:0", "bfloat16").precision == "bfloat16"


@pytest.mark.parametrize(
    ("precision", "least"), [("float32", 0.99999), ("bfloat16", 0.98), ("auto", 0.999)]
)
def test_a_gpu_agrees_with_the_processor(
    tmp_path: Path, town: Path, bundle: ModelBundle, precision: str, least: float
) -> None:
    cpu = SegmentOptions(device="cpu", precision="float32", runtime="torch")
    reference = mask_of(town, bundle, tmp_path, cpu)
    found = mask_of(town, bundle, tmp_path, SegmentOptions(device="cuda", precision=precision))
    same = (found == reference).mean()
    print(f"\n{precision}: {same:.5%} of {found.size} pixels as in float32 on the processor")
    assert same >= least


def test_tile_size_does_not_show(tmp_path: Path, town: Path, bundle: ModelBundle) -> None:
    options = SegmentOptions(
        device="cuda", precision="float32", margin="exact", resolution="scene", tile_size=4096
    )
    whole = mask_of(town, bundle, tmp_path, options)
    tiled = mask_of(town, bundle, tmp_path, replace(options, tile_size=1408))
    assert (whole != tiled).sum() <= np.ceil(1e-6 * whole.size)


def test_real_memory_errors_halve_the_batch(bundle: ModelBundle) -> None:
    network = build_network(bundle.spec)
    network.load_state_dict(bundle.tensors())
    runtime = TorchRuntime(network, Hardware("cuda", "float32"))
    patches = np.random.default_rng(0).standard_normal((16, 3, 512, 512)).astype(np.float32)
    expected = np.concatenate([runtime.predict(patches[i : i + 1]) for i in range(16)])
    torch.cuda.empty_cache()
    limit = 1 << 30
    torch.cuda.set_per_process_memory_fraction(
        limit / torch.cuda.get_device_properties(0).total_memory
    )
    try:
        found = runtime.predict(patches)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert runtime._largest is not None and runtime._largest < 16
    assert np.abs(found - expected).max() < 1e-4


@pytest.mark.usefixtures("tiny_architecture")
def test_training_on_a_gpu_learns_and_resumes(tmp_path: Path) -> None:
    config = config_for(tmp_path, steps=60, batch=4, rate=2e-2, bfloat16=True, workers=2)
    config = replace(config, fit=replace(config.fit, device="cuda"))
    half = fit(replace(config, fit=replace(config.fit, steps=30)), tmp_path / "run")
    assert next(half.network.parameters()).is_cuda
    whole = fit(config, tmp_path / "run", again=True)
    assert whole.step == 60
    lines = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    losses = [float(line.split('"loss": ')[1].split(",")[0]) for line in lines if '"loss"' in line]
    assert losses[-1] < losses[0]
