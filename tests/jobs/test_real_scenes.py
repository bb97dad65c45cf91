"""The shipped model on real scenes, where they lie beside the repository."""

from collections.abc import Iterator
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from distributed import Client
from rasterio.windows import Window

from geounet.jobs.execute import dask_client
from geounet.jobs.options import OutputOptions
from geounet.jobs.plan import SegmentOptions
from geounet.jobs.segment import segment_scenes
from geounet.jobs.tiling import PROMISE
from geounet.model.bundle import DEFAULT_MODEL, ModelBundle, load_bundle

DATA = Path(__file__).parents[3] / "shared" / "data"

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not DATA.is_dir(), reason="no real scenes beside the repository"),
]


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with dask_client(workers=2) as value:
        yield value


@pytest.fixture(scope="module")
def bundle() -> ModelBundle:
    return load_bundle(DEFAULT_MODEL)


def crop(source: Path, target: Path, row: int, col: int, height: int, width: int) -> Path:
    """A window of a real scene as a scene of its own."""
    window = Window(col, row, width, height)
    with rasterio.open(source) as scene:
        profile = scene.profile | {
            "height": height, "width": width, "compress": "deflate", "photometric": "RGB",
            "transform": scene.window_transform(window),
        }  # fmt: skip
        data = scene.read(window=window)
    with rasterio.open(target, "w", **profile) as result:
        result.write(data)
    return target


def test_the_default_margin_keeps_its_promise(
    tmp_path: Path, client: Client, bundle: ModelBundle
) -> None:
    scene = crop(DATA / "dubai" / "t6.tif", tmp_path / "t6.tif", 300, 0, 1501, 1203)
    masks = []
    for margin in ("auto", "exact"):
        options = SegmentOptions(margin=margin, tile_size=1792 if margin == "auto" else None)
        output = OutputOptions(folder=tmp_path / margin, polygons=False)
        (report,) = segment_scenes([str(scene)], bundle, client, options, output)
        assert report.error is None
        with rasterio.open(tmp_path / margin / "t6_mask.tif") as result:
            masks.append(result.read(1))
    assert len(np.unique(masks[1])) == 5
    assert (masks[0] != masks[1]).mean() <= PROMISE


def test_polygons_of_a_drone_scene(tmp_path: Path, client: Client, bundle: ModelBundle) -> None:
    """0.15 m, resampled to the model's 1 m, Web Mercator: areas are geodesic."""
    (report,) = segment_scenes(
        [str(DATA / "oam" / "nairobi_1.tif")], bundle, client, SegmentOptions(),
        OutputOptions(folder=tmp_path),
    )  # fmt: skip
    assert report.error is None
    frames = [
        gpd.read_file(tmp_path / "nairobi_1.gpkg", layer=name) for name in bundle.spec.legend.names
    ]
    assert len(frames[1]) > 10
    geometries = np.concatenate([frame.geometry.values for frame in frames])
    assert shapely.is_valid(geometries).all()
    assert shapely.coverage_is_valid(geometries)
    with rasterio.open(DATA / "oam" / "nairobi_1.tif") as scene:
        box = shapely.box(*scene.bounds)
        outline = gpd.GeoSeries([box], crs=scene.crs)
    assert shapely.area(geometries).sum() == pytest.approx(box.area, rel=1e-9)
    true_area = outline.to_crs("EPSG:32737").area.sum()  # UTM 37 S, true to 0.1 %
    assert sum(frame["area_m2"].sum() for frame in frames) == pytest.approx(true_area, rel=2e-3)
    assert frames[1]["rectangularity"].between(0.3, 1).all()


def test_four_band_chip_and_coarse_scene(
    tmp_path: Path, client: Client, bundle: ModelBundle
) -> None:
    chips = sorted((DATA / "california").glob("bishop_*[0-9].tif"))[:1]
    coarse = DATA / "naip" / "m_4709963_se_14_1_20140720.tif"
    reports = segment_scenes(
        [str(path) for path in (*chips, coarse)], bundle, client,
        SegmentOptions(resolution="scene"), OutputOptions(folder=tmp_path),
    )  # fmt: skip
    assert [report.error for report in reports] == [None, None]
    with rasterio.open(coarse) as scene, rasterio.open(tmp_path / f"{coarse.stem}_mask.tif") as r:
        valid = (scene.read_masks([1, 2, 3]) > 0).any(axis=0)
        np.testing.assert_array_equal(r.read(1) != 255, valid)
