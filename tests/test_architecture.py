import importlib.util
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
CONFIGS = sorted((ROOT / "configs").glob("**/*.toml"))
PURE = sorted(path.stem for path in (ROOT / "geounet").glob("[a-z]*.py"))
HEAVY = {
    *("torch", "torchvision", "timm", "segmentation_models_pytorch", "distributed", "dask"),
    *("geopandas", "pandas", "pyarrow", "pyogrio", "pyproj", "shapely", "rasterio", "numba"),
    *("scipy", "matplotlib"),
}


def loaded_by(statement: str) -> set[str]:
    """Top-level modules that a fresh interpreter holds after ``statement``."""
    code = f"{statement}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_dependencies_point_one_way() -> None:
    beside = Path(sys.executable).with_name("lint-imports")
    command = str(beside) if beside.exists() else shutil.which("lint-imports")
    if command is None:
        pytest.skip("lint-imports is not installed")
    done = subprocess.run(
        [command, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("statement", ["import geounet", "import geounet_cli.app"])
def test_importing_is_cheap(statement: str) -> None:
    if importlib.util.find_spec(statement.split()[-1]) is None:
        pytest.skip(f"{statement} has nothing to import yet")
    assert loaded_by(statement) & HEAVY == set()


@pytest.mark.parametrize("module", PURE)
def test_pure_modules_are_pure(module: str) -> None:
    assert loaded_by(f"import geounet.{module}") & HEAVY == set()


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_configurations_are_toml(path: Path) -> None:
    assert tomllib.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_are_short_and_numbered(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 40
    assert path.name[:2].isdigit()
    assert text.startswith('"""'), "an example says first what it shows"


def test_the_sample_scene_is_georeferenced(tmp_path: Path) -> None:
    import numpy as np
    import rasterio

    scene, truth = tmp_path / "new" / "town.tif", tmp_path / "truth.tif"
    command = [sys.executable, str(EXAMPLES[0]), str(scene), "--size", "301", "--mask", str(truth)]
    subprocess.run(command, check=True, capture_output=True)
    with rasterio.open(scene) as picture, rasterio.open(truth) as mask:
        assert (picture.count, picture.height, picture.width) == (3, 301, 301)
        assert picture.crs.to_epsg() == 32633
        assert picture.res == (0.5, 0.5)
        assert picture.transform.e < 0
        assert picture.profile["tiled"]
        assert picture.profile["compress"] == "deflate"
        assert mask.transform == picture.transform
        assert set(np.unique(mask.read(1))) <= set(range(5))
