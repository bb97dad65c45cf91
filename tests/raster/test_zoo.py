"""Odd GeoTIFFs from the test data of GDAL, rasterio and others: segmented, or refused by name."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio
from distributed import Client

from geounet.jobs.execute import dask_client
from geounet.jobs.options import OutputOptions
from geounet.jobs.plan import SegmentOptions
from geounet.jobs.segment import segment_scenes
from geounet.model.bundle import load_bundle
from tests.helpers import brightness_model

ZOO = Path(__file__).parents[3] / "shared" / "data" / "zoo"
REFUSED = {
    "gdal_byte_truncated.tif": "truncated",
    "gdal_cfloat32.tif": "complex",
    "corrupt_jpeg_cog.tif": "cannot be read",
    "nlcd_paletted_rat_5070.tif": "numbers of a palette",
    "paletted_laea.tif": "numbers of a palette",
}
LARGE = {"world_36000x18000_uint8_cog.tif"}  # a benchmark's size, not a test's

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not ZOO.is_dir(), reason="no odd GeoTIFFs beside the repository"),
]


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with dask_client(workers=2) as value:
        yield value


@pytest.mark.parametrize(
    "name", sorted(path.name for path in ZOO.glob("*.tif") if path.name not in LARGE)
)
def test_odd_scene(tmp_path: Path, client: Client, name: str) -> None:
    bundle = load_bundle(brightness_model(tmp_path / "m.safetensors"))
    options = SegmentOptions(bidx=(1, 1, 1), tile_size=258, device="cpu", precision="float32")
    out = tmp_path / "out"
    (report,) = segment_scenes(
        [str(ZOO / name)], bundle, client, options, OutputOptions(folder=out)
    )
    if name in REFUSED:
        assert REFUSED[name] in str(report.error)
        assert list(out.glob("*")) == []
        return
    assert report.error is None
    assert report.outputs is not None
    with (
        rasterio.open(ZOO / name) as scene,
        rasterio.open(out / f"{Path(name).stem}_mask.tif") as r,
    ):
        assert r.shape == scene.shape
        assert r.crs == scene.crs or scene.transform.is_identity
        assert r.transform == scene.transform
        known = scene.read_masks(1) > 0
        values = scene.read(1)
        if values.dtype.kind == "f":
            known &= np.isfinite(values)
        np.testing.assert_array_equal(r.read(1) != 255, known)
