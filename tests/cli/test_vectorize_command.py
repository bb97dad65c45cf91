"""``geounet vectorize``: what a person types, sees, and gets wrong."""

import subprocess
import sys
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest

from geounet.vector.names import FORMAT_NAMES
from tests.cli.test_segment_command import files, geounet
from tests.helpers import noise, write_scene

HEAVY = ("torch", "distributed", "dask", "matplotlib", "segmentation_models_pytorch")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    mask = np.zeros((1, 60, 80), np.uint8)
    mask[0, 10:30, 10:50] = 1
    mask[0, 40, 60] = 1
    mask[0, 41, 61] = 1
    write_scene(tmp_path / "s_mask.tif", mask)
    write_scene(tmp_path / "picture.tif", noise(20, 20))
    return tmp_path


def test_every_option_at_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = folder / "out"
    code = geounet(
        "vectorize", folder, "-o", out, "-f", "gpkg", "-f", "shp", "--name", "1=building",
        "--min-area", "0.5", "--min-hole", "0.2", "--simplify", "0", "--no-square", "--no-smooth",
        "--connectivity", "8", "--dst-crs", "EPSG:4326", "--group", "rest=class_0",
    )  # fmt: skip
    printed = capsys.readouterr()
    assert code == 0, printed.err
    first, *_, last = printed.out.splitlines()
    assert first == "s_mask.tif: 60 x 80 px at 0.5 m, uint8; rest, building (from names given)"
    assert last.split() == ["building", "3", "polygons", "200", "m2"]  # the chain of two stays
    assert {"s_mask.gpkg", "s_mask_building.shp", "s_mask_building.qml"} <= files(out)
    frame = gpd.read_file(out / "s_mask.gpkg", layer="building")
    assert frame.crs.to_epsg() == 4326
    assert geounet("vectorize", folder / "s_*.tif", "-o", out, "-q") == 1  # another run's
    assert "--overwrite" in capsys.readouterr().err


def test_another_crs_in_a_process_of_its_own(folder: Path) -> None:
    """Where nobody has imported pandas, which is kept out."""
    words = ["vectorize", "s_mask.tif", "--dst-crs", "3035", "-o", "out"]
    words += [word for form in FORMAT_NAMES for word in ("-f", form)]
    subprocess.run([sys.executable, "-m", "geounet_cli.app", *words], check=True, cwd=folder)
    want = gpd.read_parquet(folder / "out" / "s_mask_class_1.parquet")
    assert want.crs.to_epsg() == 3035
    for name in ("s_mask_class_1.shp", "s_mask_class_1.fgb", "s_mask.gpkg"):
        layer = "class_1" if name.endswith("gpkg") else None
        frame = gpd.read_file(folder / "out" / name, layer=layer)
        assert frame.crs.to_epsg() == 3035
        assert frame.area.sum() == pytest.approx(want.area.sum())


@pytest.mark.parametrize(
    ("words", "said", "code"),
    [
        (["none.tif"], "none.tif: no such file", 1),
        (["picture.tif"], "picture.tif: has 3 image bands, a class mask has one", 1),
        (["s_mask.tif", "--dst-crs", "moon"], "--dst-crs: 'moon' is no CRS", 2),
        (["s_mask.tif", "--dst-crs", "EPSG:4978"], "neither projected nor geographic", 2),
        (["s_mask.tif", "--dst-crs", "EPSG:5773"], "neither projected nor geographic", 2),
        (["s_mask.tif", "--group", "a=b"], "unknown class 'b'", 1),
        (["s_mask.tif", "-f", "dxf"], "unknown format 'dxf'", 2),
        (["out"], "out: holds no mask (*_mask.tif)", 1),
        (["s_mask.tif", "--connectivity", "6"], "6 is neither 4 nor 8", 2),
        (["s_mask.tif", "--name", "1=Big House"], "write VALUE=NAME", 2),
        (["s_mask.tif", "--min-area", "-1"], "greater than or equal to 0", 2),
        ([], "MASK", 2),
    ],
)
def test_errors_are_one_line(
    folder: Path, words: list[str], said: str, code: int, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(folder)
    (folder / "out").mkdir()
    assert geounet("vectorize", *words) == code
    error = capsys.readouterr().err
    assert said in error
    if code == 1:
        assert len(error.splitlines()) == 1
    assert not list(folder.glob("*.gpkg"))


def test_nothing_heavy_is_loaded(folder: Path) -> None:
    """Start-up is most of the time that a small mask takes."""
    script = (
        "import sys; from geounet_cli.app import app;"
        f"app(['vectorize', {str(folder / 's_mask.tif')!r}, '-q'], standalone_mode=False);"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
