"""The command line: what a person types, sees, and gets wrong."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from geounet_cli import app
from geounet_cli.app import main

from geounet.jobs import calibrate
from tests.helpers import brightness_model, noise, painted, write_scene


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    mask = np.zeros((60, 80), np.uint8)
    mask[10:30, 10:50] = 1
    write_scene(tmp_path / "s.tif", painted(mask))
    brightness_model(tmp_path / "m.safetensors")
    return tmp_path


def geounet(*words: object) -> int:
    """Run in this process; the exit code."""
    sys.argv = ["geounet", *(str(word) for word in words)]
    try:
        main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


def test_a_scene_with_all_formats(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    formats = [
        word for name in ("gpkg", "shp", "parquet", "fgb", "geojson") for word in ("-f", name)
    ]
    out = folder / "out"
    code = geounet("segment", folder / "s.tif", "-m", folder / "m.safetensors", "-o", out, *formats)
    printed = capsys.readouterr()
    assert code == 0, printed.err
    first = printed.out.splitlines()[0]
    assert "60 x 80 px at 0.5 m" in first
    assert "margin 1 (identical to whole-scene inference)" in first
    assert "GiB of memory" in first
    assert "EPSG:4326" in printed.out
    assert "building         1 polygon             200 m2" in printed.out
    assert {"s_mask.tif", "s.gpkg", "s_building.shp", "s_building.cpg"} <= files(out)
    assert {"s_water.parquet", "s_land.fgb", "s_building.geojson"} <= files(out)


def test_what_no_command_uses_is_not_imported() -> None:
    """pyogrio would import geopandas and pandas; afterwards both can be imported again."""
    code = """if True:
        import sys
        from geounet_cli import app
        app.app = lambda: __import__("pyogrio")
        app.main()
        assert not {"geopandas", "pandas"} & set(sys.modules)
        import pandas
    """
    subprocess.run([sys.executable, "-c", code], check=True)


def test_help_is_grouped_and_loads_no_rich(capsys: pytest.CaptureFixture[str]) -> None:
    assert geounet("segment", "--help") == 0
    printed = capsys.readouterr().out
    headings = ["Arguments:", "Options:", "What the model sees:", "Results:", "Speed and memory:"]
    places = [printed.index(heading) for heading in headings]
    assert places == sorted(places)
    assert printed.index("--tile-size N") > places[-1]
    code = """if True:
        import sys
        from geounet_cli.app import main
        sys.argv = ["geounet", "--help"]
        try:
            main()
        finally:
            assert not {"rich", "pygments", "numpy"} & set(sys.modules)
    """
    subprocess.run([sys.executable, "-c", code], check=True)


def test_quiet_says_nothing(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert geounet("segment", folder / "s.tif", "-m", folder / "m.safetensors", "-q") == 0
    assert capfd.readouterr() == ("", "")


def test_verbose_prints_the_status_page(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert geounet("segment", folder / "s.tif", "-m", folder / "m.safetensors", "-v") == 0
    assert "Dask's status page: http://127.0.0.1:" in capsys.readouterr().out


def test_a_folder_and_a_pattern(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_scene(folder / "t.tif", noise(20, 20))
    write_scene(folder / "t_mask.tif", noise(20, 20, bands=1))  # its labels, not a scene
    model = folder / "m.safetensors"
    assert geounet("segment", folder, "-m", model, "-o", folder / "a", "--no-polygons") == 0
    endings = (".tif", ".tif.aux.xml", ".qml", ".sld")
    assert files(folder / "a") == {f"{stem}_mask{end}" for stem in "st" for end in endings}
    assert geounet("segment", folder / "[st].tif", "-m", model, "-o", folder / "a",
                   "--no-polygons") == 0  # fmt: skip
    assert capsys.readouterr().out.count("complete already, skipped") == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["none.tif"], "none.tif: no such file"),
        (["text.tif"], "text.tif: cannot be opened as GTiff"),
        (["cut.tif"], "cut.tif: rows 0..299, columns 0..299 cannot be read"),
        (["grey.tif"], "grey.tif: has 1 image band but the model needs 3"),
        (["s.tif", "-b", "1,2,9"], "s.tif: has no band 9"),
        (["s.tif", "-m", "none"], "none: no such file, and no shipped model"),
        (["s.tif", "-m", "text.tif"], "text.tif: not a geounet model or damaged"),
        (["s.tif", "-o", "text.tif"], "text.tif: cannot be written to"),
        (["s.tif", "--group", "dry=land,sand"], "unknown class 'sand'"),
        (["s.tif", "--threshold", "sand=0.5"], "unknown class 'sand'"),
        (["s.tif", "--bbox", "1,2,3,4"], "s.tif: --bbox does not meet the scene"),
        (["s.tif", "--aoi", "text.tif"], "--aoi text.tif: cannot be read"),
        (
            ["s.tif", "--tile-size", "2"],
            "leaves no core inside margins of 1; use --tile-size 3",
        ),
        (["s.tif", "--device", "cuda:99"], "device 'cuda:99' is not on this machine"),
        (
            ["s.tif", "--dask", "tcp://127.0.0.1:9"],
            "tcp://127.0.0.1:9: no scheduler answers",
        ),
        (["empty"], "empty: holds no .tif"),
        (["*.jpg"], "*.jpg: matches no .tif"),
        ([""], "'': an empty name"),
        (["a.tif", "a_mask.tif"], "a_mask.tif: is itself one of the scenes"),
        (["s.tif", "--aoi", "s.gpkg"], "s.gpkg: is itself read as s.gpkg"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    words: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(folder)
    (folder / "empty").mkdir()
    (folder / "text.tif").write_text("plain text")
    for name in ("a", "a_mask"):
        write_scene(folder / f"{name}.tif", noise(9, 9))
    write_scene(folder / "grey.tif", noise(9, 9, bands=1))
    cut = write_scene(folder / "cut.tif", noise(300, 300), compress="deflate")
    cut.write_bytes(cut.read_bytes()[:-30_000])
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    if "-m" not in words:
        words = [*words, "-m", "m.safetensors"]
    assert geounet("segment", *words) == 1
    printed = capfd.readouterr()
    lines = printed.err.splitlines()
    assert len(lines) == 1, printed.err
    assert lines[0].startswith("error: ")
    assert said in lines[0]
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_existing_results_need_overwrite(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "s.gpkg").write_text("mine")
    command = ["segment", folder / "s.tif", "-m", folder / "m.safetensors"]
    assert geounet(*command) == 1
    assert "s.gpkg: exists" in capsys.readouterr().err
    assert (folder / "s.gpkg").read_text() == "mine"
    assert not (folder / "s_mask.tif").exists()
    assert geounet(*command, "--overwrite") == 0
    assert (folder / "s_mask.tif").exists()


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write to any folder")
def test_read_only_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    closed = folder / "closed"
    closed.mkdir(mode=0o500)
    assert geounet("segment", folder / "s.tif", "-m", folder / "m.safetensors", "-o", closed) == 1
    assert "closed: cannot be written to" in capsys.readouterr().err


def test_several_scenes_one_of_them_broken(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "broken.tif").write_text("?")
    out = folder / "out"
    assert geounet("segment", folder, "-m", folder / "m.safetensors", "-o", out) == 1
    printed = capsys.readouterr()
    assert "1 of 2 scenes failed: " in printed.err
    assert "broken.tif" in printed.err
    assert (out / "s_mask.tif").exists()


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["s.tif", "--margin", "wide"],
        ["s.tif", "--resolution", "-1"],
        ["s.tif", "--memory", "lots"],
        ["s.tif", "-b", "red"],
        ["s.tif", "--group", "terrain"],
        ["s.tif", "--threshold", "building"],
        ["s.tif", "--threshold", "building=2"],
        ["s.tif", "--threshold", "building=0.5", "--threshold", "building=0.6"],
        ["s.tif", "--merge", "mean"],
        ["s.tif", "--tta", "all"],
        ["s.tif", "--probabilities", "int3"],
        ["s.tif", "--bbox", "1,2,3"],
        ["s.tif", "--bbox", "3,2,1,4"],
        ["s.tif", "--bbox-crs", "EPSG:4326"],
        ["s.tif", "--no-such-option"],
        ["s.tif", "-f", "gpkg,dxf"],
        ["s.tif", "--device", "tpu"],
        ["s.tif", "--precision", "int4"],
        ["s.tif", "--runtime", "jax"],
        ["s.tif", "--dst-crs", "moon"],
        ["s.tif", "--bbox", "1,2,3,4", "--bbox-crs", "moon"],
        ["s.tif", "--simplify", "inf"],
        ["s.tif", "--min-area", "nan"],
        ["s.tif", "--min-hole", "inf"],
    ],
)
def test_wrong_usage_exits_with_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert geounet("segment", *words) == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    long = {"-f": "--format", "-b": "--bidx"}
    named = [long.get(word, word) for word in words if word.startswith("--") or word in long]
    assert (named[-1] if named else "SCENE") in error


def test_formats_in_any_order_and_case_are_one_run(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["segment", folder / "s.tif", "-m", folder / "m.safetensors"]
    assert geounet(*command, "-f", "shp,gpkg", "-q") == 0
    assert {"s.gpkg", "s_building.shp"} <= files(folder)
    assert geounet(*command, "-f", "GPKG", "-f", "shp") == 0
    assert "complete already, skipped" in capsys.readouterr().out


def test_debug_shows_the_traceback(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "geounet_cli.app", "segment", folder / "none.tif", "--debug",
         "-m", folder / "m.safetensors"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "no such file" in done.stderr


def test_exact_margin_is_refused_for_networks_that_pool_globally(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = brightness_model(folder / "global.safetensors", exact=False)
    assert geounet("segment", folder / "s.tif", "-m", model, "--margin", "exact") == 1
    assert "no margin is exact" in capsys.readouterr().err


def test_a_part_of_a_scene(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    box = "500004,5399986,500026,5399996"
    assert geounet("segment", folder / "s.tif", "-m", folder / "m.safetensors", "--bbox", box) == 0
    printed = capsys.readouterr().out
    assert "of which 20 x 44 px are asked for" in printed
    with rasterio.open(folder / "s_mask.tif") as result:
        assert result.shape == (20, 44)
        assert tuple(result.bounds) == (500004, 5399986, 500026, 5399996)


def test_networks_that_pool_globally_say_so(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = brightness_model(folder / "global.safetensors", exact=False)
    assert geounet("segment", folder / "s.tif", "-m", model, "--no-polygons") == 0
    assert "(approximate, the network pools over its whole input)" in capsys.readouterr().out


def test_the_mask_carries_the_run(folder: Path) -> None:
    assert geounet("segment", folder / "s.tif", "-m", folder / "m.safetensors", "-q") == 0
    with rasterio.open(folder / "s_mask.tif") as result:
        tags = result.tags()
    assert tags["GEOUNET_MODEL"].startswith("test ")
    assert len(tags["GEOUNET_RUN"]) == 16


def test_models_shows_what_was_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert geounet("models") == 0
    printed = capsys.readouterr().out
    assert "landcover-rgb (default)" in printed
    assert "IoU         dubai t6: land 0." in printed
    assert "OpenStreetMap contributors (ODbL)" in printed


def test_calibrate_stores_a_margin(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibrate, "CORE", 16)
    out = folder / "c.safetensors"
    assert geounet("calibrate", folder / "m.safetensors", folder / "s.tif", "-o", out) == 0
    printed = capsys.readouterr().out
    assert "c.safetensors: margin 1 px, exact from 1 px" in printed
    assert "c.png: the curve" in printed
    assert out.exists()
    assert (folder / "c.png").read_bytes().startswith(b"\x89PNG")
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    words = ["calibrate", folder / "m.safetensors", folder / "s.tif", "-o"]
    for name, said in (
        ("c.safetensors", "c.safetensors: exists; replace it with --overwrite"),
        ("s.tif", "s.tif"),
        ("m.safetensors", "m.safetensors"),
    ):
        assert geounet(*words, folder / name) == 1
        assert said in capsys.readouterr().err
    out.unlink()
    assert geounet(*words, out) == 1
    assert "c.png: exists" in capsys.readouterr().err
    del before["c.safetensors"]
    assert before == {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert geounet(*words, out, "--overwrite") == 0


def test_calibrate_without_matplotlib_says_so(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setattr(calibrate, "CORE", 16)
    out = folder / "c.safetensors"
    assert geounet("calibrate", folder / "m.safetensors", folder / "s.tif", "-o", out) == 0
    assert "the curve is not drawn: matplotlib is not installed" in capsys.readouterr().out
    assert not (folder / "c.png").exists()


def test_packages_that_are_kept_out_look_as_if_not_installed() -> None:
    """Also to those who ask beforehand, as torch does."""
    sys.modules.pop("antigravity", None)
    with app._kept_out("antigravity"):
        assert importlib.util.find_spec("antigravity") is None
        with pytest.raises(ImportError):
            importlib.import_module("antigravity")
    assert importlib.util.find_spec("antigravity") is not None
