"""Masks to polygons: the same as ``segment`` makes, exact when asked for, stable, protected."""

import json
import os
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.features import shapes

from geounet.errors import OutputError
from geounet.jobs.execute import dask_client
from geounet.jobs.options import CleanUp, OutputOptions
from geounet.jobs.plan import SegmentOptions
from geounet.jobs.report import Report
from geounet.jobs.segment import segment_scenes
from geounet.jobs.vectorize import MaskOptions, vectorize_masks
from geounet.legend import LandClass, Legend
from geounet.model.bundle import load_bundle
from geounet.raster import classes
from geounet.raster.classes import describe_mask
from tests.helpers import NORTH_UP, brightness_model, kill_after, painted, write_scene

RULES = Legend(
    (
        LandClass(0, "land", (200, 180, 140)),
        LandClass(1, "building", (200, 40, 40), 2.0, "square"),
        LandClass(2, "water", (40, 80, 200), 3.0, "smooth"),
    )
)
RAW = CleanUp(min_area=0.0, simplify=0.0, square=False, smooth=False)


def regions(height: int = 150, width: int = 131, seed: int = 3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 3, (height // 9 + 2, width // 7 + 2), dtype=np.uint8)
    mask = np.kron(coarse, np.ones((9, 7), np.uint8))[:height, :width].copy()
    mask[rng.random(mask.shape) < 0.02] = 1
    mask[:20, :30] = 255
    return mask


def run(*masks: Path, meaning: MaskOptions | None = None, **output: Any) -> list[Report]:
    names = [str(mask) for mask in masks]
    return vectorize_masks(names, meaning or MaskOptions(), OutputOptions(**output))


def foreign(path: Path, values: np.ndarray, **profile: Any) -> Path:
    return write_scene(path, values[None], **profile)


def layer(path: Path, name: str) -> Any:
    return gpd.read_file(path, layer=name, fid_as_index=True)


def test_the_polygons_of_a_segmented_mask_are_those_of_segment(tmp_path: Path) -> None:
    scene = write_scene(tmp_path / "s.tif", painted(regions()), nodata=0)
    bundle = load_bundle(brightness_model(tmp_path / "m.safetensors", legend=RULES))
    options = SegmentOptions(tile_size=66, device="cpu", precision="float32")
    with dask_client(workers=2) as client:
        (made,) = segment_scenes([str(scene)], bundle, client, options, OutputOptions())
    assert made.error is None
    assert made.outputs is not None
    (report,) = run(made.outputs.mask, folder=tmp_path / "v")
    assert report.error is None, report.error
    assert report.classes == made.classes
    for name in RULES.names:
        ours = layer(tmp_path / "v" / "s_mask.gpkg", name)
        theirs = layer(tmp_path / "s.gpkg", name)
        assert "confidence" not in ours  # a mask does not know it
        assert len(ours) > 3
        assert ours.equals(theirs.drop(columns="confidence"))


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 90), st.integers(1, 60), st.integers(0, 10**6), st.sampled_from([4, 8]))
def test_raw_outlines_are_those_of_rasterio(
    tmp_path_factory: pytest.TempPathFactory, height: int, width: int, seed: int, connectivity: Any
) -> None:
    folder = tmp_path_factory.mktemp("raw")
    rng = np.random.default_rng(seed)
    values = np.kron(rng.integers(0, 4, (height // 2 + 1, width // 2 + 1)), np.ones((2, 2)))
    values = values[:height, :width].astype(np.uint8)
    values[rng.random(values.shape) < 0.1] = 9
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classes, "STRIP", 16)
        mask = foreign(folder / "m.tif", values, nodata=0)
        if not (values != 0).any():
            assert "no pixel has a class" in str(run(mask)[0].error)
            return
        clean = CleanUp(0.0, 0.0, 0.0, False, False, connectivity)
        (report,) = run(mask, formats=("parquet",), clean=clean)
    assert report.error is None, report.error
    expected = {
        (int(value), shapely.normalize(shapely.simplify(shapely.geometry.shape(item), 0)).wkt)
        for item, value in shapes(values, values != 0, 4, NORTH_UP)
    }
    found = set()
    for path in folder.glob("*.parquet"):
        frame = gpd.read_parquet(path)
        plain = shapely.normalize(shapely.simplify(frame.geometry.to_numpy(), 0))
        found |= {(int(v), g.wkt) for v, g in zip(frame["class_id"], plain, strict=True)}
        assert shapely.is_valid(frame.geometry.to_numpy()).all()
    assert found == expected


def test_ids_and_bytes_are_stable(tmp_path: Path) -> None:
    mask = foreign(tmp_path / "m.tif", regions(), nodata=255)
    for place in ("a", "b"):
        run(mask, folder=tmp_path / place, formats=("parquet", "gpkg"))
    for name in ("class_0", "class_1", "class_2"):
        one, other = (layer(tmp_path / place / "m.gpkg", name) for place in "ab")
        assert one.equals(other)  # feature ids are the index
        files = [tmp_path / place / f"m_{name}.parquet" for place in "ab"]
        assert files[0].read_bytes() == files[1].read_bytes()


def test_a_binary_mask_is_named_squared_and_keeps_its_values(tmp_path: Path) -> None:
    """Background or no data around the only class: its outlines are cleaned either way."""
    row, column = np.mgrid[:60, :80]
    turn = np.radians(17)
    across = (column - 40) * np.cos(turn) + (row - 30) * np.sin(turn)
    along = (row - 30) * np.cos(turn) - (column - 40) * np.sin(turn)
    values = np.where((abs(across) < 20) & (abs(along) < 11), 255, 0).astype(np.uint8)
    found = []
    for place, nodata in (("a", 0), ("b", None)):
        mask = foreign(tmp_path / "m.tif", values, nodata=nodata)
        (report,) = run(mask, meaning=MaskOptions(names=((255, "building"),)),
                        formats=("parquet",), folder=tmp_path / place)  # fmt: skip
        assert report.error is None, report.error
        frame = gpd.read_parquet(tmp_path / place / "m_building.parquet")
        assert frame["class_id"].tolist() == [255]
        assert frame["rectangularity"][0] > 0.99
        assert len(frame.geometry[0].exterior.coords) == 5
        assert "confidence" not in frame
        found.append(frame.geometry[0])
    assert found[0].equals(found[1])
    assert not (tmp_path / "a" / "m_background.parquet").exists()


def test_another_crs_holes_and_groups(tmp_path: Path) -> None:
    values = np.zeros((40, 50), np.uint8)
    values[5:35, 5:45] = 1
    values[10:12, 10:12] = 2
    values[20:30, 20:30] = 2
    mask = foreign(tmp_path / "m.tif", values)
    plain = {"clean": RAW, "formats": ("parquet",)}
    run(mask, folder=tmp_path / "a", **plain)
    filled = CleanUp(0.0, 2.0, 0.0, square=False, smooth=False)
    (report,) = run(mask, folder=tmp_path / "b", formats=("parquet",), clean=filled,
                    dst_crs="EPSG:4326", groups=(("rest", ("class_0", "class_2")),))  # fmt: skip
    assert report.error is None, report.error
    own = gpd.read_parquet(tmp_path / "a" / "m_class_1.parquet")
    moved = gpd.read_parquet(tmp_path / "b" / "m_class_1.parquet")
    assert moved.crs.to_epsg() == 4326
    assert len(own.geometry[0].interiors) == 2
    assert len(moved.geometry[0].interiors) == 1
    assert moved["area_m2"][0] == own["area_m2"][0] + 1.0  # the hole of 2 x 2 pixels of 0.5 m
    back = moved.to_crs(own.crs)
    assert back.area[0] == pytest.approx(own.area[0] + 1.0, rel=1e-6)
    assert len(gpd.read_parquet(tmp_path / "b" / "m_rest.parquet")) == 2
    refused = [
        ({"dst_crs": "EPSG:0"}, mask, "no CRS that PROJ knows"),
        ({"dst_crs": "EPSG:4326"}, foreign(tmp_path / "n.tif", values, crs=None), "has no CRS"),
    ]
    for options, path, said in refused:
        (report,) = run(path, folder=tmp_path / "c", **options)
        assert said in str(report.error)
    assert not (tmp_path / "c").exists()


def test_no_polygon_runs_around_the_globe(tmp_path: Path) -> None:
    """A scene on the 180th meridian, in UTM, brought to longitudes."""
    values = np.zeros((200, 200), np.uint8)
    values[50:150, 50:150] = 1
    mask = foreign(
        tmp_path / "m.tif", values, crs="EPSG:32660", transform=(6.0, 0, 828500, 0, -6.0, 1106000)
    )
    (report,) = run(mask, folder=tmp_path, formats=("parquet",), clean=RAW, dst_crs="EPSG:4326")
    assert report.error is None, report.error
    frame = gpd.read_parquet(tmp_path / "m_class_1.parquet")
    left, _, right, _ = frame.total_bounds
    assert left < 180 < right < left + 0.1
    assert frame.to_crs("EPSG:32660").area.sum() == pytest.approx(600.0**2, rel=1e-6)


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        ("EPSG:4326", (0.5 / 55800, 0, 10, 0, -0.5 / 111412, 60)),
        ("EPSG:4326", (0.5 / 55800, 0, 10, 0, 0.5 / 111412, 60)),
        ("EPSG:32632", (0.5, 0, 500000, 0, -0.5, 6650000)),
        ("EPSG:3857", (1, 0, 1113194, 0, -1, 8399737)),
        (None, (1, 0, 0, 0, 1, 0)),
    ],
)
def test_directions_are_those_on_the_ground(
    tmp_path: Path, crs: str | None, transform: tuple[float, ...]
) -> None:
    """A house of 80 by 30 pixels that leans 30 degrees to the right of north."""
    row, col = np.mgrid[:160, :160] - 79.5
    if transform[4] > 0 and crs:
        row = -row  # the first row lies in the south
    along, across = (col * np.sin(turn) - row * np.cos(turn) for turn in np.radians((30.0, 120.0)))
    values = ((abs(along) < 40) & (abs(across) < 15)).astype(np.uint8)
    mask = foreign(tmp_path / "m.tif", values, crs=crs, transform=transform)
    meaning = MaskOptions(((1, "building"),))
    (report,) = run(mask, meaning=meaning, folder=tmp_path, formats=("parquet",))
    assert report.error is None, report.error
    frame = gpd.read_parquet(tmp_path / "m_building.parquet")
    assert frame["orientation"][0] == pytest.approx(30, abs=1)
    assert frame["rectangularity"][0] > 0.97


def test_a_mask_on_a_server_needs_a_folder() -> None:
    with pytest.raises(OutputError, match="name a folder with -o"):
        run(Path("/vsicurl/http://127.0.0.1:1/mask.tif"))


def test_where_a_crs_is_not_defined_is_said_before_the_work(tmp_path: Path) -> None:
    mask = foreign(
        tmp_path / "m.tif", regions(), crs="EPSG:4326", transform=(0.1, 0, 0, 0, -0.1, -95.0)
    )
    (report,) = run(mask, folder=tmp_path / "out", dst_crs="EPSG:3857")
    assert "lies where EPSG:3857 is not defined" in str(report.error)


def test_complete_ones_are_skipped_and_others_protected(tmp_path: Path) -> None:
    mask = foreign(tmp_path / "m.tif", regions(), nodata=255)
    out = tmp_path / "out"
    (first,) = run(mask, folder=out)
    assert not first.skipped
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    assert set(before) == {"m.gpkg", "m_vectorize.json"}
    record = json.loads((out / "m_vectorize.json").read_text())
    assert record["files"] == ["m.gpkg"]
    assert run(mask, folder=out)[0].skipped
    assert "--overwrite" in str(run(mask, folder=out, clean=RAW)[0].error)
    assert {path.name: path.stat().st_mtime_ns for path in out.iterdir()} == before
    with rasterio.open(mask, "r+") as dataset:  # painted over, as large as before
        dataset.write(np.zeros((1, 5, 5), np.uint8), window=((0, 5), (0, 5)))
    assert "--overwrite" in str(run(mask, folder=out)[0].error)
    (again,) = run(mask, folder=out, overwrite=True)
    assert not again.skipped
    assert again.error is None
    assert run(mask, folder=out)[0].skipped
    (out / "m_vectorize.json").write_text("[]")
    assert "--overwrite" in str(run(mask, folder=out)[0].error)


def test_one_that_fails_does_not_stop_the_rest_and_leaves_nothing(tmp_path: Path) -> None:
    good = foreign(tmp_path / "good.tif", regions(), nodata=255)
    cut = foreign(tmp_path / "cut.tif", np.random.default_rng(0).integers(0, 3, (600, 600), "u1"))
    cut.write_bytes(cut.read_bytes()[:200_000])
    out = tmp_path / "out"
    reports = run(cut, good, folder=out)
    assert "cannot be read" in str(reports[0].error)
    assert reports[1].error is None
    assert {path.name for path in out.iterdir()} == {"good.gpkg", "good_vectorize.json"}


def test_own_legends_survive_a_round_trip_through_the_mask(tmp_path: Path) -> None:
    scene = write_scene(tmp_path / "s.tif", painted(regions()), nodata=0)
    bundle = load_bundle(brightness_model(tmp_path / "m.safetensors", legend=RULES))
    with dask_client(workers=1) as client:
        (report,) = segment_scenes([str(scene)], bundle, client, SegmentOptions(device="cpu"),
                                   OutputOptions(polygons=False))  # fmt: skip
    assert report.outputs is not None
    assert describe_mask(report.outputs.mask).legend == RULES
    assert pyogrio.__version__  # the polygons' half was not needed
    beside = {path.name for path in tmp_path.iterdir()}
    assert {"s_mask.tif", "s_mask.tif.aux.xml", "s_mask.qml", "s_mask.sld"} <= beside


KILLED = """
import sys
from pathlib import Path
from geounet.jobs.options import OutputOptions
from geounet.jobs.vectorize import MaskOptions, vectorize_masks
import geounet.jobs.polygons
folder = Path(sys.argv[1])
print("begun", flush=True)
vectorize_masks([str(folder / "m.tif")], MaskOptions(),
                OutputOptions(folder=folder / "out", formats=("gpkg", "parquet")))
"""


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is a POSIX signal")
@pytest.mark.parametrize("delay", [0.1, 0.4, 0.8, 1.2])
def test_a_kill_leaves_whole_files_or_none(tmp_path: Path, delay: float) -> None:
    values = np.random.default_rng(0).integers(0, 3, (500, 300)).astype(np.uint8)
    mask = foreign(tmp_path / "m.tif", np.kron(values, np.ones((2, 2), np.uint8)))
    kill_after(KILLED, tmp_path, delay)
    out = tmp_path / "out"
    left = {path.name for path in out.glob("m*")} if out.exists() else set()
    if "m_vectorize.json" in left:
        assert run(mask, folder=out, formats=("gpkg", "parquet"))[0].skipped
        return
    for path in out.glob("m*.parquet"):
        assert len(gpd.read_parquet(path)) > 100
    if "m.gpkg" in left:
        assert len(layer(out / "m.gpkg", "class_2")) > 100
    (report,) = run(mask, folder=out, formats=("gpkg", "parquet"), overwrite=bool(left))
    assert report.error is None, report.error
