"""What nobody foresaw is still one line, and the other scenes are done."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.test_segment_command import files, folder, geounet
from tests.helpers import noise, write_scene

__all__ = ["folder"]  # the fixture

SEGMENT = ["segment", "-m", "m.safetensors", "-o", "out", "--no-polygons"]
LONG = "n" * 300 + ".tif"


def refused(*_: object) -> None:
    raise PermissionError(13, "Permission denied")


def broken(*_: object) -> None:
    raise RuntimeError("first\nsecond")


def test_the_other_scenes_are_done(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    write_scene(folder / "t.tif", noise(20, 20))
    known = __import__("geounet.jobs.segment").jobs.segment.describe
    monkeypatch.setattr(
        "geounet.jobs.segment.describe", lambda uri: broken() if uri == "s.tif" else known(uri)
    )
    assert geounet(*SEGMENT, "s.tif", LONG, "t.tif") == 1
    lines = capfd.readouterr().err.splitlines()
    assert lines[0] == (
        "error: s.tif: failed unexpectedly (RuntimeError: first second); --debug shows where"
    )
    assert lines[1] == f"error: {LONG}: cannot be opened (File name too long); check the path"
    assert lines[2].startswith("error: 2 of 3 scenes failed")
    assert "t_mask.tif" in files(folder / "out")
    geounet(*SEGMENT, "s.tif", "--debug")
    assert "in broken" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("words", "where", "said"),
    [
        (["closed"], "iterdir", "closed: cannot be listed (Permission denied); ask for access"),
        (["s.tif"], "stat", "s.tif: cannot be opened (Permission denied); check the path"),
    ],
)
def test_what_may_not_be_read_is_named(
    folder: Path, words: list[str], where: str, said: str, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(folder)
    (folder / "closed").mkdir()
    kept = getattr(Path, where)
    monkeypatch.setattr(
        Path, where, lambda path, **more: refused() if str(path) in words else kept(path, **more)
    )
    assert geounet(*SEGMENT, *words) == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(f"error: {said}")


def test_an_error_outside_of_any_scene(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr("geounet.model.bundle.load_bundle", broken)
    assert geounet(*SEGMENT, "s.tif") == 1
    assert capfd.readouterr().err == (
        "error: failed unexpectedly (RuntimeError: first second); --debug shows where\n"
    )


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes on Linux only")
def test_names_that_the_terminal_cannot_print(folder: Path) -> None:
    os.link(folder / "s.tif", folder / "Скан.tif")
    os.link(folder / "s.tif", os.fsencode(folder / "bad") + b"\xff.tif")
    done = subprocess.run(
        [sys.executable, "-m", "geounet_cli.app", *SEGMENT, b"bad\xff.tif", "Скан.tif", "s.tif"],
        cwd=folder, env=os.environ | {"PYTHONIOENCODING": "cp1252"}, capture_output=True,
        text=True, encoding="ascii", check=False,
    )  # fmt: skip
    assert r"error: bad\udcff.tif: the name is not UTF-8" in done.stderr
    assert "Traceback" not in done.stderr
    assert r"\u0421\u043a\u0430\u043d.tif: done in" in done.stdout
    assert {"Скан_mask.tif", "s_mask.tif"} <= files(folder / "out")


def test_scenes_without_place_are_no_warning() -> None:
    """Whatever a thread does to Python's filters meanwhile."""
    code = """if True:
        import sys
        import numpy as np
        from geounet_cli import app
        def nowhere():
            from rasterio.io import MemoryFile
            with MemoryFile() as file:
                facts = dict(driver="GTiff", width=2, height=2, count=1, dtype="uint8")
                with file.open(**facts) as dataset:
                    dataset.write(np.zeros((1, 2, 2), np.uint8))
                file.open().close()
        app.app = nowhere
        app.main()
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
