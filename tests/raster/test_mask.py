"""The mask file: a valid COG with palette, names and the scene's georeference, or nothing."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine
from rio_cogeo.cogeo import cog_validate

from geounet.errors import OutputError
from geounet.raster.mask import MaskWriter
from geounet.raster.scene import Scene, describe
from tests.helpers import (
    DEGREES,
    LEGEND,
    NORTH_UP,
    ROTATED,
    SOUTH_UP,
    kill_after,
    noise,
    write_scene,
)


def classes(height: int, width: int) -> np.ndarray:
    rng = np.random.default_rng(1)
    blocks = rng.integers(0, 3, (height // 50 + 1, width // 50 + 1), dtype=np.uint8)
    mask = np.kron(blocks, np.ones((50, 50), np.uint8))[:height, :width]
    mask[: height // 10] = 255
    return np.ascontiguousarray(mask)


def write(scene: Scene, mask: np.ndarray, path: Path, rows: int = 97) -> None:
    with MaskWriter(path, scene.frame, LEGEND, {"MADE": "here"}) as writer:
        for row in range(0, len(mask), rows):
            writer.write_rows(mask[row : row + rows])
        writer.finish()
        writer.publish()


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        ("EPSG:32633", NORTH_UP),
        ("EPSG:32633", SOUTH_UP),
        ("EPSG:32633", ROTATED),
        ("EPSG:4326", DEGREES),
        (None, Affine.identity()),
    ],
)
def test_file_holds_the_rows_and_the_scenes_place(
    tmp_path: Path, crs: str | None, transform: Affine
) -> None:
    source = write_scene(tmp_path / "s.tif", noise(1201, 1303), crs=crs, transform=transform)
    mask = classes(1201, 1303)
    path = tmp_path / "s_mask.tif"
    write(describe(source), mask, path)
    valid, errors, warnings = cog_validate(path, strict=True, quiet=True)
    assert valid, (errors, warnings)
    with rasterio.open(source) as scene, rasterio.open(path) as result:
        np.testing.assert_array_equal(result.read(1), mask)
        assert result.crs == scene.crs
        assert result.transform == scene.transform
        assert result.nodata == 255
        assert result.overviews(1)
        assert result.colormap(1)[1] == (200, 40, 40, 255)
        assert json.loads(result.tags(1)["CLASS_NAMES"])["2"] == "water"
        assert result.tags()["MADE"] == "here"
    assert sorted(item.name for item in tmp_path.iterdir()) == [
        "s.tif", "s_mask.tif", "s_mask.tif.aux.xml",
    ]  # fmt: skip


@pytest.mark.parametrize("shape", [(1, 1), (1, 700), (700, 1), (513, 511)])
@pytest.mark.parametrize("rows", [1, 512, 1000])
def test_any_size_and_any_cut_of_rows(tmp_path: Path, shape: tuple[int, int], rows: int) -> None:
    scene = describe(write_scene(tmp_path / "s.tif", noise(*shape)))
    mask = np.random.default_rng(0).integers(0, 3, shape, dtype=np.uint8)
    write(scene, mask, tmp_path / "m.tif", rows)
    with rasterio.open(tmp_path / "m.tif") as result:
        np.testing.assert_array_equal(result.read(1), mask)


def test_missing_rows_are_not_published(tmp_path: Path) -> None:
    scene = describe(write_scene(tmp_path / "s.tif", noise(60, 60)))
    with (
        pytest.raises(OutputError, match="40 of 60 rows"),
        MaskWriter(tmp_path / "m.tif", scene.frame, LEGEND, {}) as writer,
    ):
        writer.write_rows(np.zeros((40, 60), np.uint8))
        writer.finish()
    assert [item.name for item in tmp_path.iterdir()] == ["s.tif"]


def test_unwritable_folder_is_named(tmp_path: Path) -> None:
    source = write_scene(tmp_path / "s.tif", noise(6, 6))
    with pytest.raises(OutputError, match=r"s\.tif: cannot be written to \(File exists\)"):
        MaskWriter(source / "m.tif", describe(source).frame, LEGEND, {})


@pytest.mark.parametrize("row", [0, 255, 256, 699])
def test_damage_on_the_way_to_the_disk_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row: int
) -> None:
    scene = describe(write_scene(tmp_path / "s.tif", noise(700, 60)))
    with MaskWriter(tmp_path / "m.tif", scene.frame, LEGEND, {}) as writer:
        take = writer._level.write

        def damaged(rows: np.ndarray) -> None:
            other = rows.copy()
            other[0, row, 7] += 1
            take(other)

        monkeypatch.setattr(writer._level, "write", damaged)
        writer.write_rows(np.zeros((700, 60), np.uint8))
        with pytest.raises(OutputError, match="does not read back"):
            writer.finish()
    assert not (tmp_path / "m.tif").exists()


KILLED = """
import sys, numpy as np
from pathlib import Path
from geounet.raster.mask import MaskWriter
from geounet.raster.scene import describe
from tests.helpers import LEGEND
folder = Path(sys.argv[1])
mask = np.random.default_rng(0).integers(0, 3, (3000, 3000), dtype=np.uint8)
with MaskWriter(folder / "m.tif", describe(folder / "s.tif").frame, LEGEND, {}) as writer:
    print("begun", flush=True)
    for row in range(0, 3000, 100):
        writer.write_rows(mask[row : row + 100])
    writer.finish()
    writer.publish()
"""


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is a POSIX signal")
@pytest.mark.parametrize("delay", [0.0, 0.1, 0.3, 0.6])
def test_a_kill_leaves_the_whole_mask_or_none(tmp_path: Path, delay: float) -> None:
    write_scene(tmp_path / "s.tif", noise(3000, 3000, bands=1))
    kill_after(KILLED, tmp_path, delay)
    path = tmp_path / "m.tif"
    if path.exists():
        expected = np.random.default_rng(0).integers(0, 3, (3000, 3000), dtype=np.uint8)
        with rasterio.open(path) as result:
            np.testing.assert_array_equal(result.read(1), expected)


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is a POSIX signal")
def test_the_next_mask_removes_what_a_kill_left(tmp_path: Path) -> None:
    source = write_scene(tmp_path / "s.tif", noise(3000, 3000, bands=1))
    begun = '    print("begun", flush=True)\n'
    finished = KILLED.replace(begun, "").replace(
        "    writer.publish()", f"{begun}    __import__('time').sleep(60)"
    )
    kill_after(finished, tmp_path, 0.0)
    (left,) = tmp_path.glob(".*")
    assert {path.name for path in left.iterdir()} >= {"blocks", "raster.tif"}
    os.utime(left, (0, 0))  # it could just have been made
    write(describe(source), classes(3000, 3000), tmp_path / "other.tif")
    assert not list(tmp_path.glob(".*"))
