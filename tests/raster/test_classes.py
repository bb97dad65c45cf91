"""Masks as they are found: names from every source, odd values, and the rows."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from geounet.errors import SceneError
from geounet.legend import LandClass, Legend
from geounet.raster import classes
from geounet.raster.attributes import attribute_table, aux_path
from geounet.raster.classes import STRIP, class_rows, describe_mask
from geounet.raster.mask import MaskWriter
from geounet.raster.scene import describe
from tests.helpers import noise, write_scene

ZOO = Path(__file__).parents[3] / "shared" / "data" / "zoo"
VALUES = np.array([[0, 0, 2], [7, 7, 2], [7, 0, 0]])


def mask_file(
    path: Path, values: np.ndarray = VALUES, dtype: str = "uint8", **profile: Any
) -> Path:
    return write_scene(path, values[None].astype(dtype), **profile)


def rows_of(path: Path, **options: Any) -> np.ndarray:
    return np.concatenate(list(class_rows(describe_mask(path, **options))))


def test_a_mask_of_geounet_keeps_its_rules(tmp_path: Path) -> None:
    legend = Legend(
        (LandClass(1, "hut", (1, 2, 3), 4.5, "square"), LandClass(2, "sea", (4, 5, 6), 0, "smooth"))
    )
    scene = describe(write_scene(tmp_path / "s.tif", noise(3, 3)))
    rows = np.array([[1, 1, 2], [255, 1, 2], [2, 2, 2]], np.uint8)
    with MaskWriter(tmp_path / "m.tif", scene, legend, {}) as writer:
        writer.write_rows(rows)
        writer.finish()
        writer.publish()
    mask = describe_mask(tmp_path / "m.tif")
    assert mask.legend == legend
    assert mask.values == (1, 2)
    assert mask.source == "its own legend"
    np.testing.assert_array_equal(np.concatenate(list(class_rows(mask))), rows)
    renamed = describe_mask(tmp_path / "m.tif", {2: "lake", 9: "moor"}).legend
    assert renamed.names == ("hut", "lake", "moor")
    assert renamed["lake"].outline == "smooth"
    one = rows_of(tmp_path / "m.tif", nodata=frozenset({2}))
    np.testing.assert_array_equal(one, np.where(rows == 1, 1, 255))


def test_names_by_values_palette_table_and_metadata(tmp_path: Path) -> None:
    path = mask_file(tmp_path / "m.tif")
    plain = describe_mask(path)
    assert plain.legend.names == ("class_0", "class_2", "class_7")
    assert len({item.color for item in plain.legend}) == 3
    with rasterio.open(path, "r+") as dataset:
        dataset.write_colormap(1, {7: (9, 8, 7, 255)})
    assert describe_mask(path).legend["class_7"].color == (9, 8, 7)
    table = Legend((LandClass(2, "open_water", (1, 1, 1)), LandClass(5, "none", (2, 2, 2))))
    aux_path(path).write_text(attribute_table(table))
    named = describe_mask(path)
    assert named.legend.names == ("class_0", "open_water", "none", "class_7")
    assert named.legend["open_water"].outline == "smooth"
    assert named.source == "its attribute table"
    with rasterio.open(path, "r+") as dataset:
        dataset.update_tags(1, CLASS_NAMES=json.dumps({7: "Große Häuser", 2: "Buildings, new"}))
    tagged = describe_mask(path)
    assert tagged.legend.names == ("class_0", "buildings_new", "groe_hauser")
    assert tagged.legend["buildings_new"].outline == "square"
    with rasterio.open(path, "r+") as dataset:
        dataset.update_tags(1, CLASS_NAMES=json.dumps({0: "Forest 7", 2: "Forest", 7: "forest"}))
    assert describe_mask(path).legend.names == ("forest_7", "forest", "forest_7_")
    with rasterio.open(path, "r+") as dataset:
        dataset.update_tags(1, CLASS_NAMES=json.dumps({7: "Große Häuser", 2: "Buildings, new"}))
    assert describe_mask(path, {7: "roof"}).legend.names == ("class_0", "buildings_new", "roof")


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        ("uint8", [0, 255]),
        ("int16", [-3, 0, 300]),
        ("uint16", [111, 523, 65000]),
        ("int32", [-(2**31), 2**31 - 1]),
        ("float32", [0.0, 3.0]),
        ("uint8", list(range(255))),
    ],
)
def test_values_of_any_kind(
    tmp_path: Path, dtype: str, values: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classes, "STRIP", 7)
    data = np.random.default_rng(0).choice(values, (40, 33)).astype(dtype)
    data.flat[: len(values)] = values
    mask = describe_mask(mask_file(tmp_path / "m.tif", data, dtype))
    assert mask.values == tuple(int(value) for value in values)
    assert list(mask.codes.values()) == list(mask.values)
    ids = np.concatenate(list(class_rows(mask)))
    np.testing.assert_array_equal(np.vectorize(mask.codes.get)(ids), data)


def test_nodata_by_value_option_and_mask_band(tmp_path: Path) -> None:
    path = mask_file(tmp_path / "m.tif", nodata=7)
    expected = np.where(VALUES == 7, 255, VALUES)
    np.testing.assert_array_equal(rows_of(path), expected)
    alone = describe_mask(path, nodata=frozenset({0}))
    assert alone.legend.names == ("background", "class_2")
    assert alone.hidden == {"background"}
    np.testing.assert_array_equal(rows_of(path, nodata=frozenset({0})), np.where(VALUES == 2, 2, 0))
    path = mask_file(tmp_path / "b.tif")
    with rasterio.open(path, "r+") as dataset:
        dataset.write_mask(VALUES != 7)
    assert describe_mask(path).values == (0, 2)
    np.testing.assert_array_equal(rows_of(path), expected)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
def test_nodata_by_an_alpha_band(tmp_path: Path, dtype: str) -> None:
    data = np.stack([VALUES, 200 * (VALUES != 7)]).astype(dtype)
    path = write_scene(tmp_path / "m.tif", data, alpha="YES", photometric="MINISBLACK")
    assert describe_mask(path).values == (0, 2)
    np.testing.assert_array_equal(rows_of(path), np.where(VALUES == 7, 255, VALUES))


@pytest.mark.parametrize("nodata", [-3.4028234663852886e38, -1e20, -9999.0])
def test_float_masks_with_any_nodata(tmp_path: Path, nodata: float) -> None:
    """The least float32 is what ArcGIS writes; no whole number of numpy's holds it."""
    data = np.where(VALUES == 7, np.float32(nodata), VALUES)
    path = mask_file(tmp_path / "m.tif", data, "float32", nodata=nodata)
    assert describe_mask(path).values == (0, 2)
    np.testing.assert_array_equal(rows_of(path), np.where(VALUES == 7, 255, VALUES))


@pytest.mark.parametrize(
    ("values", "dtype", "said"),
    [
        (np.array([[0, 2**32 - 1]]), "uint32", "4294967295, class values lie in"),
        (np.array([[0.0, -1e20]]), "float32", "class values lie in"),
        (np.full((3, 3), 0.5), "float32", r"holds the value 0\.5, classes are whole numbers"),
        (np.arange(300).reshape(3, 100), "uint16", "more than 255 different values"),
        (np.arange(256).reshape(2, 128), "uint8", "256 classes, 255 can be told apart"),
    ],
)
def test_what_is_no_mask_is_refused(
    tmp_path: Path, values: np.ndarray, dtype: str, said: str
) -> None:
    with pytest.raises(SceneError, match=said):
        describe_mask(mask_file(tmp_path / "m.tif", values, dtype))


def test_pictures_empty_masks_and_unknown_values_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match="3 image bands"):
        describe_mask(write_scene(tmp_path / "p.tif", noise(3, 3)))
    with pytest.raises(SceneError, match="no pixel has a class"):
        describe_mask(mask_file(tmp_path / "e.tif", np.zeros((3, 3)), nodata=0))
    path = mask_file(tmp_path / "m.tif")
    legend = Legend((LandClass(0, "a", (0, 0, 0)), LandClass(2, "b", (0, 0, 0))))
    with rasterio.open(path, "r+") as dataset:
        dataset.update_tags(1, GEOUNET_LEGEND=json.dumps(legend.to_dict()))
    with pytest.raises(SceneError, match="holds the value 7, which its legend does not name"):
        rows_of(path)


@pytest.mark.real
@pytest.mark.skipif(not ZOO.is_dir(), reason="no odd GeoTIFFs beside the repository")
def test_the_national_land_cover_database() -> None:
    mask = describe_mask(ZOO / "nlcd_paletted_rat_5070.tif")
    assert mask.legend["open_water"] == LandClass(11, "open_water", (71, 107, 161), 0.0, "smooth")
    ids = np.concatenate(list(class_rows(mask)))
    with rasterio.open(ZOO / "nlcd_paletted_rat_5070.tif") as dataset:
        np.testing.assert_array_equal(ids, dataset.read(1))


@settings(max_examples=40)
@given(st.sets(st.integers(0, 255), min_size=2, max_size=6), st.integers(0, 2**32 - 1))
def test_every_value_is_found_wherever_it_first_stands(values: set[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.choice(np.array(sorted(values), np.uint8), (1, 2 * STRIP + 3, 2))
    mask[0, : rng.integers(len(mask[0])), :] = mask[0, 0, 0]
    with TemporaryDirectory() as folder:
        found = describe_mask(write_scene(Path(folder) / "m.tif", mask))
        rows = np.concatenate(list(class_rows(found)))
    assume(found.background is None)
    assert set(found.values) == set(np.unique(mask).tolist())
    codes = np.full(256, -1)
    codes[[item.id for item in found.legend]] = found.values
    np.testing.assert_array_equal(codes[rows], mask[0])
