"""What a person waits for at the first call on a machine and at every other, for a small mask.

Python's own bytecode is in place, as pip leaves it: what is measured compiles kernels alone.
"""

import os
import subprocess
import sys
from pathlib import Path
from time import perf_counter

import numpy as np
import pytest
from scipy import ndimage

from tests.benchmarks.table import record
from tests.helpers import write_scene

ROOT = Path(__file__).parents[2]
IMPORTS = "import numba, numpy, pyarrow, pyproj, rasterio, shapely, typer"
BYTECODE = (
    IMPORTS
    + """
import geounet_cli.vectorize, geounet.jobs.polygons, geounet.jobs.vectorize
import numba.core.typed_passes, numba.np.arrayobj
"""
)
COMMAND = "from geounet_cli.app import main; main()"


@pytest.fixture(scope="module")
def mask(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1000 x 1000 pixels of four classes in blobs."""
    rng = np.random.default_rng(0)
    field = ndimage.gaussian_filter(rng.standard_normal((1000, 1000)), 6)
    values = np.digitize(field, np.quantile(field, [0.4, 0.6, 0.8])).astype(np.uint8)
    return write_scene(tmp_path_factory.mktemp("mask") / "m.tif", values[None])


def seconds(code: str, cache: Path, *words: str) -> tuple[float, str]:
    """Wall time of a fresh interpreter, and what it printed."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "cli")])
    settings = {
        **os.environ, "NUMBA_CACHE_DIR": str(cache / "numba"), "PYTHONPATH": paths,
        "PYTHONPYCACHEPREFIX": str(cache / "bytecode"), "PYTHONDONTWRITEBYTECODE": "",
    }  # fmt: skip
    start = perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code, *words], env=settings, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    return perf_counter() - start, done.stdout


@pytest.mark.parametrize(
    ("title", "names", "limit"),
    [
        ("plain classes", (), 10),
        ("squared buildings and smooth water", ("--name", "1=building", "--name", "2=water"), 20),
    ],
)
def test_first_call_and_others(
    mask: Path, tmp_path: Path, title: str, names: tuple[str, ...], limit: float
) -> None:
    words = ("vectorize", str(mask), "-o", str(tmp_path / "out"), "--overwrite", *names)
    seconds(BYTECODE, tmp_path)
    cold, said = seconds(COMMAND, tmp_path, *words)
    assert "compiling" in said
    warm, imports = [], []
    for _ in range(5):
        took, said = seconds(COMMAND, tmp_path, *words)
        assert "compiling" not in said
        warm.append(took)
        imports.append(seconds(IMPORTS, tmp_path)[0])
    usual, least = float(np.median(warm)), float(np.median(imports))
    record(
        "Start-up",
        f"Small mask, {title}, first run on a machine: whole run over later ones"
        f" (first {cold:.1f} s, later {usual:.1f} s)",
        cold / usual,
        limit,
    )
    record(
        "Start-up",
        f"Small mask, {title}, later runs: whole run over importing its libraries"
        f" (run {usual:.2f} s, imports {least:.2f} s)",
        usual / least,
        5,
    )
    assert cold < limit * usual
    assert usual < 5 * least
