"""Reading patches, judged by rasterio's plain read and numpy's mirror."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.enums import ColorInterp, Resampling

from geounet.errors import SceneError
from geounet.raster.scene import (
    choose_bands,
    describe,
    gdal_environment,
    open_handle,
    open_scene,
    read_patch,
    read_valid,
    read_window,
)
from geounet.tiles import Window
from tests.helpers import DEGREES, NORTH_UP, ROTATED, noise, write_scene

RGB = ("red", "green", "blue")


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    row=st.integers(-60, 60),
    col=st.integers(-60, 60),
    rows=st.integers(1, 90),
    cols=st.integers(1, 90),
)
def test_patch_is_the_mirrored_raster(
    tmp_path: Path, height: int, width: int, row: int, col: int, rows: int, cols: int
) -> None:
    data = noise(height, width)
    scene = describe(write_scene(tmp_path / "a.tif", data, photometric="RGB"))
    window = Window(row, col, rows, cols)
    with open_scene(scene) as dataset:
        patch, valid = read_patch(dataset, window, (1, 2, 3))
    reach = 200
    padded = np.pad(data, ((0, 0), (reach, reach), (reach, reach)), mode="reflect")
    expected = padded[:, reach + row :, reach + col :][:, :rows, :cols]
    np.testing.assert_array_equal(patch, expected)
    assert valid.all()


def test_nodata_in_every_band_is_no_data(tmp_path: Path) -> None:
    data = noise(8, 9)
    data[:, 2:4, 3:5] = 0
    data[0, 6, 6] = 0  # a dark red is a colour, not a hole
    scene = describe(write_scene(tmp_path / "a.tif", data, nodata=0))
    with open_scene(scene) as dataset:
        _, valid = read_patch(dataset, Window(0, 0, 8, 9), (1, 2, 3))
        np.testing.assert_array_equal(read_valid(dataset, Window(0, 0, 8, 9), (1, 2, 3)), valid)
    expected = np.ones((8, 9), bool)
    expected[2:4, 3:5] = False
    np.testing.assert_array_equal(valid, expected)


def test_alpha_band_is_validity_and_no_image_band(tmp_path: Path) -> None:
    data = np.concatenate([noise(8, 9), np.full((1, 8, 9), 255, np.uint8)])
    data[3, :, 4] = 0
    path = write_scene(tmp_path / "a.tif", data, photometric="RGB", alpha="YES")
    scene = describe(path)
    assert scene.colors[3] == "alpha"
    assert choose_bands(scene, RGB, ()) == (1, 2, 3)
    with open_scene(scene) as dataset:
        _, valid = read_patch(dataset, Window(0, 0, 8, 9), (1, 2, 3))
    np.testing.assert_array_equal(valid, data[3] > 0)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "uint32", "float32", "float64"])
def test_alpha_of_any_type_is_validity(tmp_path: Path, dtype: str) -> None:
    """GDAL makes masks of the first two only. Overviews carry it too."""
    data = np.concatenate([noise(64, 64), np.zeros((1, 64, 64), np.uint8)]).astype(dtype)
    data[3, :, 32:] = 1
    path = write_scene(tmp_path / "a.tif", data, photometric="RGB", alpha="YES")
    with rasterio.open(path, "r+") as dataset:
        dataset.build_overviews((2,), Resampling.nearest)
    scene = describe(path)
    assert choose_bands(scene, RGB, ()) == (1, 2, 3)
    for level in (None, 0):
        side = 64 if level is None else 32
        whole = Window(0, 0, side, side)
        with gdal_environment(scene), open_handle(scene, level) as dataset:
            _, valid = read_patch(dataset, whole, (1, 2, 3))
            np.testing.assert_array_equal(read_valid(dataset, whole, (1, 2, 3)), valid)
            assert read_valid(dataset, whole, (1, 2, 4)).all()  # it is named as an image band
        assert valid[:, side // 2 :].all()
        assert not valid[:, : side // 2].any()


def test_mask_band_is_validity(tmp_path: Path) -> None:
    path = write_scene(tmp_path / "a.tif", noise(8, 9))
    mask = np.full((8, 9), 255, np.uint8)
    mask[:3] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as dataset:
        dataset.write_mask(mask)
    scene = describe(path)
    with open_scene(scene) as dataset:
        np.testing.assert_array_equal(read_valid(dataset, Window(0, 0, 8, 9), (1,)), mask > 0)


@pytest.mark.parametrize("nodata", [None, float("nan"), -1.0])
def test_nan_is_no_data_whatever_the_nodata_value(tmp_path: Path, nodata: float | None) -> None:
    data = noise(8, 9).astype(np.float32)
    data[1, 5, 5] = np.nan
    data[2, 6, 5] = np.inf
    scene = describe(write_scene(tmp_path / "a.tif", data, nodata=nodata))
    with open_scene(scene) as dataset:
        valid = read_valid(dataset, Window(0, 0, 8, 9), (1, 2, 3))
    assert not valid[5, 5]
    assert not valid[6, 5]
    assert valid.sum() == 70


def test_bands_follow_the_colours(tmp_path: Path) -> None:
    path = write_scene(tmp_path / "bgr.tif", noise(4, 4, bands=4))
    with rasterio.open(path, "r+") as dataset:
        dataset.colorinterp = [
            ColorInterp.blue, ColorInterp.green, ColorInterp.red, ColorInterp.undefined
        ]  # fmt: skip
    scene = describe(path)
    assert choose_bands(scene, RGB, ()) == (3, 2, 1)
    assert choose_bands(scene, RGB, (4, 1, 1)) == (4, 1, 1)


def test_wrong_bands_are_named(tmp_path: Path) -> None:
    scene = describe(write_scene(tmp_path / "grey.tif", noise(4, 4, bands=1)))
    with pytest.raises(SceneError, match=r"grey.tif: has 1 image band but .* 3 .* -b 1,1,1"):
        choose_bands(scene, RGB, ())
    with pytest.raises(SceneError, match="has no band 7; it has 1 to 1"):
        choose_bands(scene, RGB, (1, 7, 1))
    with pytest.raises(SceneError, match="-b names 2 bands but the model needs 3"):
        choose_bands(scene, RGB, (1, 1))


@pytest.mark.parametrize("bidx", [(), (1, 1, 1), (2, 2, 1)])
def test_numbers_of_a_palette_are_no_colours(tmp_path: Path, bidx: tuple[int, ...]) -> None:
    path = write_scene(tmp_path / "palette.tif", noise(4, 4, bands=2))
    with rasterio.open(path, "r+") as dataset:
        dataset.colorinterp = [ColorInterp.palette, ColorInterp.undefined]
        dataset.write_colormap(1, {value: (255 - value, value, 0, 255) for value in range(256)})
    scene = describe(path)
    with pytest.raises(SceneError, match=r"palette.tif: band 1 holds numbers .* -expand rgb"):
        choose_bands(scene, RGB, bidx)
    assert choose_bands(scene, RGB, (2, 2, 2)) == (2, 2, 2)


def test_missing_and_false_files(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match="no such file"):
        describe(tmp_path / "none.tif")
    text = tmp_path / "text.tif"
    text.write_text("not a picture")
    with pytest.raises(SceneError, match=r"text.tif: cannot be opened as GTiff"):
        describe(text)
    vrt = tmp_path / "vrt.tif"
    vrt.write_text('<VRTDataset rasterXSize="1" rasterYSize="1"></VRTDataset>')
    with pytest.raises(SceneError, match="cannot be opened as GTiff"):
        describe(vrt)


def test_a_file_that_another_machine_lacks(tmp_path: Path) -> None:
    path = write_scene(tmp_path / "a.tif", noise(4, 4))
    scene = describe(path)
    path.unlink()
    with pytest.raises(SceneError, match=r"a.tif: not found on .*; is its folder shared"):
        open_scene(scene).__enter__()


def test_truncated_file_is_named_with_the_place(tmp_path: Path) -> None:
    path = write_scene(tmp_path / "a.tif", noise(300, 300), compress="deflate", tiled=True)
    path.write_bytes(path.read_bytes()[:-20_000])
    scene = describe(path)
    with (
        pytest.raises(SceneError, match=r"a.tif: rows 0..299, columns 0..299 cannot be read"),
        open_scene(scene) as dataset,
    ):
        read_patch(dataset, Window(0, 0, 300, 300), (1, 2, 3))


@pytest.mark.parametrize(
    ("crs", "transform", "aspect"),
    [
        ("EPSG:32633", NORTH_UP, 1.0),
        ("EPSG:32633", ROTATED, 1.0),
        ("EPSG:32633", rasterio.Affine(0.5, 0, 500_000, 0, -1.0, 5_400_000), 2.0),
        ("EPSG:32633", rasterio.Affine(0, 0.5, 500_000, 1.0, 0, 5_400_000), 0.5),  # on its side
        ("EPSG:3857", rasterio.Affine(1, 0, 1_000_000, 0, -1, 8_399_738), 1.0),
        # 1e-5 degree at 48 N: 1.112 m northwards, 0.746 m eastwards.
        ("EPSG:4326", DEGREES, 1.1119 / 0.7460),
        # Areas are true in this one, shapes are not: near 60 N twice as high and half as wide.
        ("ESRI:54034", rasterio.Affine(1, 0, 1_000_000, 0, -1, 5_500_000), 4.0),
        # The next two count angles in grads; this is 48.6 N, where the shape is 1 / cos.
        ("EPSG:27572", rasterio.Affine(0.5, 0, 600_000, 0, -0.5, 2_200_000), 1.0),
        ("EPSG:4807", rasterio.Affine(1e-5, 0, 0, 0, -1e-5, 54), 1.5085),
    ],
)
def test_the_shape_of_a_pixel_on_the_ground(
    tmp_path: Path, crs: str, transform: rasterio.Affine, aspect: float
) -> None:
    path = write_scene(tmp_path / "s.tif", noise(9, 9), crs=crs, transform=transform)
    georef = describe(path).georef
    assert georef.sides is not None
    assert georef.sides[0] / georef.sides[1] == pytest.approx(aspect, rel=2e-2)
    assert georef.sides[0] * georef.sides[1] == pytest.approx(georef.pixel_area)
    assert aspect != 1.0 or georef.aspect == 1.0


def test_ground_sample_distance(tmp_path: Path) -> None:
    assert describe(write_scene(tmp_path / "utm.tif", noise(9, 9))).georef.gsd == pytest.approx(0.5)
    feet = describe(
        write_scene(
            tmp_path / "feet.tif", noise(9, 9), crs="EPSG:2263",
            transform=rasterio.Affine(0.5, 0, 984_000, 0, -0.5, 208_000),
        )
    ).georef  # fmt: skip
    assert feet.gsd == pytest.approx(0.5 * 1200 / 3937)
    degrees = describe(
        write_scene(tmp_path / "deg.tif", noise(9, 9), crs="EPSG:4326", transform=DEGREES)
    ).georef
    assert degrees.surface == "ellipsoid"
    # 1e-5 degree at 48 N: 1.112 m northwards, 0.746 m eastwards (WGS 84).
    assert degrees.gsd == pytest.approx((1.1119 * 0.7460) ** 0.5, rel=1e-3)
    grads = describe(
        write_scene(
            tmp_path / "grads.tif", noise(9, 9), crs="EPSG:27572",
            transform=rasterio.Affine(0.5, 0, 600_000, 0, -0.5, 2_200_000),
        )
    ).georef  # fmt: skip
    assert grads.surface == "plane"
    assert grads.gsd == pytest.approx(0.5)
    mercator = describe(
        write_scene(
            tmp_path / "merc.tif", noise(9, 9), crs="EPSG:3857",
            transform=rasterio.Affine(1, 0, 1_000_000, 0, -1, 8_399_738),
        )
    ).georef  # fmt: skip
    assert mercator.surface == "ellipsoid"  # at 60 N Web Mercator doubles every length
    assert mercator.gsd == pytest.approx(0.5, rel=5e-3)
    bare = describe(write_scene(tmp_path / "bare.tif", noise(9, 9), crs=None))
    assert bare.georef.surface == "pixels"
    assert bare.notice is not None
    assert "pixels" in bare.notice


def test_a_scene_does_not_fail_by_what_was_wrong_with_another(tmp_path: Path) -> None:
    """rasterio leaves the last error of a failed read where it is, and raises it for what it
    takes to have failed next.
    """
    damaged = write_scene(tmp_path / "b.tif", noise(400, 400), compress="deflate", tiled=True)
    damaged.write_bytes(damaged.read_bytes()[:-30_000])
    good = write_scene(tmp_path / "a.tif", noise(40, 40))
    bands = (1, 2, 3)
    with open_scene(describe(damaged)) as bad, open_scene(describe(good)) as dataset:
        for work in (
            lambda: describe(good).colors == ("red", "green", "blue"),
            lambda: read_valid(dataset, Window(0, 0, 40, 40), bands).all(),
        ):
            with pytest.raises(SceneError, match="truncated or damaged"):
                read_window(bad, Window(0, 0, 400, 400), bands)
            assert work()
