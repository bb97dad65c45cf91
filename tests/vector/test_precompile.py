"""What helpers compile is what the clean-up uses, and it is kept wherever there is room."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import geounet
from geounet.vector.outline import Cleaner
from geounet.vector.precompile import CleaningRules, Precompiler, _sample, is_compiled, load
from tests.vector.masks import outlines, same

COMPLETE = """
import numpy as np
from pathlib import Path
from numba.core.dispatcher import Dispatcher
from geounet.vector import precompile
from geounet.vector.precompile import CleaningRules
import geounet.vector.arcs, geounet.vector.ends, geounet.vector.grid, geounet.vector.polygons
from tests.vector.masks import outlines
from geounet.vector.measure import measure_polygons
from geounet.georef import Georef
import sys

def types():
    found = {}
    for name, module in list(sys.modules.items()):
        for value in vars(module).values() if name.startswith("geounet.vector.") else ():
            if isinstance(value, Dispatcher):
                place = value.py_func.__module__.split(".")[-1]
                if place not in BEFORE:
                    found[place, value.py_func.__name__] = set(value.signatures)
    return found

BEFORE = ("trace", "carry", "regions")  # compiled while outlines are followed
rules = CleaningRules({0: 0.0, 1: 4.0, 2: 4.0, 3: 0.0}, 2.0, [1], [2], 3.0, 8)
precompile._compile_borders(rules)
precompile._compile_refits(rules)
precompile._compile_squares(rules)
known = types()
for kernel in (("refit", "fit"), ("square", "_square_ring"), ("polygons", "write_wkb")):
    assert known[kernel], kernel
mask = np.kron(np.random.default_rng(0).integers(0, 4, (9, 8)), np.ones((12, 12))).astype(np.uint8)
mask[::7, ::9] = 1
mask[:9] = 255
cleaner = rules.cleaner(Path(FOLDER))
cleaner.push(outlines(mask[:60], confidence=mask[:60]))
cleaner.push(outlines(mask, confidence=mask))
cleaner.close()
cleaner = rules.cleaner(Path(FOLDER))
cleaner.push(outlines(mask, confidence=mask))
polygons = cleaner.finish()
polygons = polygons.take(np.flatnonzero(polygons.class_id != 3))
transform = (0.5, 0.0, 5e5, 0.0, -0.5, 5e6)
polygons.to_wkb(transform)
measure_polygons(polygons, Georef("EPSG:32633", transform, "plane", 1.0, 0.5))
more = {name: kinds - known[name] for name, kinds in types().items() if kinds - known[name]}
assert not more, more
"""

ROOT = Path(__file__).parents[2]


def python(script: str, **environment: str) -> str:
    """What a fresh interpreter prints."""
    paths = [environment.pop("first", ""), str(ROOT), str(ROOT / "cli")]
    settings = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), **environment}
    done = subprocess.run(
        [sys.executable, "-c", script], env=settings, capture_output=True, text=True, check=False,
        cwd=environment.get("HOME", ROOT),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_helpers_compile_all_types_of_the_clean_up(tmp_path: Path) -> None:
    python(COMPLETE.replace("FOLDER", repr(str(tmp_path))))


def test_the_sample_is_what_the_polygonizer_makes() -> None:
    mask = np.zeros((64, 64), np.uint8)
    for number, class_id in enumerate((1, 2)):
        top = 2 + 18 * number
        mask[top : top + 12, 4:28] = class_id
        mask[top + 14, 4] = class_id
    ours, theirs = _sample([1, 2]), outlines(mask)
    order = np.argsort([0 if value == 0 else 1 for value in theirs.class_id], kind="stable")
    same(ours, theirs.take(order))


def test_whether_it_is_compiled(tmp_path: Path) -> None:
    plain = CleaningRules({}, 2.0)
    outlines(np.zeros((3, 3), np.uint8))
    cleaner = Cleaner({}, 2.0)
    cleaner.push(_sample([1]))
    cleaner.finish()
    assert is_compiled(plain)
    with Precompiler(plain) as idle:
        assert not idle._helpers
    empty = f"from geounet.vector.precompile import *; print(is_compiled({plain!r}))"
    assert python(empty, NUMBA_CACHE_DIR=str(tmp_path)) == "False"


AHEAD = """
import numpy as np
from geounet.vector import simplify, sieve, trace
from geounet.vector.precompile import CleaningRules, load
load(CleaningRules({1: 4.0}, 2.0))
kernels = (trace.scan, sieve.repaint, simplify.reduce_borders)
print(*[len(kernel.signatures) for kernel in kernels])
"""


def test_what_is_compiled_is_loaded_ahead_and_nothing_else(tmp_path: Path) -> None:
    rules = CleaningRules({1: 4.0}, 2.0)
    cleaner = rules.cleaner(tmp_path)
    cleaner.push(outlines(np.kron(np.eye(4), np.ones((3, 3))).astype(np.uint8)))
    cleaner.finish()
    load(rules)
    assert python(AHEAD) == "1 1 1"
    assert python(AHEAD, NUMBA_CACHE_DIR=str(tmp_path / "empty")) == "0 0 0"


SMALL = """
from geounet.vector.measure import _in_plane
import numpy as np, os
assert "FIRST" in os.path.realpath(_in_plane.py_func.__code__.co_filename)
_in_plane(np.zeros((5, 2)), np.array([0, 5]))
print(_in_plane.stats.cache_path, sum(_in_plane.stats.cache_hits.values()))
"""


@pytest.mark.skipif(os.name == "nt", reason="other folders")
def test_a_package_that_cannot_be_written_to(tmp_path: Path) -> None:
    package = tmp_path / "site" / "geounet"
    shutil.copytree(
        Path(geounet.__file__).parent, package,
        ignore=shutil.ignore_patterns("__pycache__", "*.safetensors"),
    )  # fmt: skip
    (package / "vector" / "__pycache__").touch()  # stops even root
    script = SMALL.replace("FIRST", str(tmp_path.resolve()))
    home = tmp_path / "home"
    home.mkdir()
    where = {"first": str(package.parent), "HOME": str(home), "NUMBA_CACHE_DIR": ""}
    user = {**where, "XDG_CACHE_HOME": str(home / "cache")}
    first, hits = python(script, **user).split()
    assert Path(first).is_relative_to(home)
    assert hits == "0"
    assert python(script, **user).split() == [first, "1"]
    (tmp_path / "blocked").touch()
    nowhere = {**where, "XDG_CACHE_HOME": str(tmp_path / "blocked")}
    if sys.platform == "linux":
        last, _ = python(script, **nowhere).split()
        assert not Path(last).exists()  # kept until the process ended
