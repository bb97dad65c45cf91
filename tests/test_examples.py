"""The examples run as they are printed."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import brightness_model

ROOT = Path(__file__).parents[1]


def run(*words: object) -> str:
    done = subprocess.run(
        [sys.executable, *(str(word) for word in words)],
        cwd=ROOT, capture_output=True, text=True, check=False, env=None,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_make_a_scene_segment_it_and_draw_it(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    town, model = tmp_path / "town.tif", brightness_model(tmp_path / "m.safetensors")
    assert "200 x 200" in run("examples/01_make_sample_scene.py", town, "--size", 200)
    run("-m", "geounet_cli.app", "segment", town, "-m", model, "-o", tmp_path)
    picture = tmp_path / "town.png"
    run("examples/02_draw_result.py", town, tmp_path / "town.gpkg", picture, "--model", model)
    assert picture.read_bytes().startswith(b"\x89PNG")
