"""A kill or a full disk at any moment leaves whole files or none under the final names."""

import os
import subprocess
import sys
from pathlib import Path

import geopandas as gpd
import pytest

from geounet.scratch import scratch_folder

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no fork, no locks, no limits")

COUNT = 6000

PROGRAM = (
    f"COUNT = {COUNT}"
    + """
import os, resource, signal, sys, time
from pathlib import Path
import numpy as np, shapely
from geounet.errors import OutputError
from geounet.georef import Georef
from geounet.legend import LandClass, Legend
from geounet.vector.spool import PolygonBatch, PolygonSpool
from geounet.vector.wkb import encode
from geounet.vector.write import write_polygons

FORMATS = ("gpkg", "fgb", "parquet", "shp", "geojson")
legend = Legend((LandClass(1, "building", (255, 0, 0)), LandClass(2, "water", (0, 0, 255))))
georef = Georef(None, (1, 0, 0, 0, -1, 0), "pixels")
k = np.arange(COUNT)
discs = encode(shapely.buffer(shapely.points(k % 300 * 10.0, k // 300 * 10.0), 4, quad_segs=4))
out = Path(sys.argv[1])

def write(folder, formats=FORMATS, between=lambda: None):
    with PolygonSpool(folder, legend, georef) as spool:
        spool.append(PolygonBatch(1 + k % 2, discs, k * 1.0, k * 1.0, k * 0.0))
        spool.finish()
        between()
        write_polygons(spool, folder, "scene", formats)

def fork(name, work):
    (out / name).mkdir(exist_ok=True)
    child = os.fork()
    if child == 0:
        try:
            work(out / name)
        finally:
            os._exit(0)
    return child
"""
)

TIMED = """
def seconds(name):
    start = time.perf_counter()
    os.waitpid(fork(name, write), 0)
    return time.perf_counter() - start

took = min(seconds("whole"), seconds("again"))  # other tests run at the same time
for moment in range(12):
    child = fork(f"killed{moment}", write)
    time.sleep(took * (moment + 0.5) / 12)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
"""

AT_RENAME = """
def die_at(rename):
    def work(folder):
        write(folder, ("shp", "gpkg"))  # a first result, to be replaced
        left, replace = [rename], Path.replace
        def counted(self, target):
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return replace(self, target)
        Path.replace = counted
        write(folder, ("shp", "gpkg"))
    return work

for rename in range(9):
    os.waitpid(fork(f"rename{rename}", die_at(rename)), 0)
"""

FULL = """
def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

def on_a_full_disk(name, size):
    def work(folder):
        try:
            if name == "spool":
                limit(size)
            write(folder, (name,) if name != "spool" else FORMATS, lambda: limit(size))
            message = "written"
        except Exception as error:
            message = f"{type(error).__name__}: {error}"
        limit(resource.RLIM_INFINITY)
        (folder / "message").write_text(message)
    return work

for name in ("spool", *FORMATS):
    for size in (1000, 60_000):
        os.waitpid(fork(f"{name}-{size}", on_a_full_disk(name, size)), 0)
"""


def run(program: str, folder: Path) -> None:
    subprocess.run([sys.executable, "-c", PROGRAM + program, str(folder)], check=True, timeout=120)


def finals(folder: Path) -> list[Path]:
    """Main files under final names; a Shapefile is one when its .shp is there."""
    endings = {".gpkg", ".fgb", ".parquet", ".shp", ".geojson"}
    return [path for path in folder.glob("scene*") if path.suffix in endings]


def is_whole(path: Path) -> bool:
    if path.suffix == ".gpkg":
        return all(
            len(gpd.read_file(path, layer=name)) == COUNT // 2 for name in ("building", "water")
        )
    frame = gpd.read_parquet(path) if path.suffix == ".parquet" else gpd.read_file(path)
    return len(frame) == COUNT // 2 and frame.geometry.notna().all()


def test_killed_at_any_moment(tmp_path):
    run(TIMED, tmp_path)
    assert len(finals(tmp_path / "whole")) == 9
    left = [len(finals(tmp_path / f"killed{moment}")) for moment in range(12)]
    assert left[0] == 0
    assert left.count(0) >= 6, "nothing was killed in the middle"
    for path in tmp_path.glob("killed*/scene*"):
        assert path not in finals(path.parent) or is_whole(path)


def test_killed_between_renames(tmp_path):
    run(AT_RENAME, tmp_path)
    for rename in range(9):
        folder = tmp_path / f"rename{rename}"
        files = finals(folder)
        # The GeoPackage is replaced at once; a Shapefile is absent until its new parts are there.
        assert folder / "scene.gpkg" in files
        assert all(is_whole(path) for path in files)
    assert len(finals(tmp_path / "rename0")) == 2
    assert len(finals(tmp_path / "rename3")) == 2


def test_the_next_run_removes_what_a_kill_left(tmp_path):
    run(AT_RENAME.replace("range(9)", "range(1)"), tmp_path)
    folder = tmp_path / "rename0"
    left = sorted(path.name[:15] for path in folder.glob(".geounet-*"))
    assert left == [".geounet-spool-", ".geounet-write-"]
    with scratch_folder(folder, "test"):
        assert len(list(folder.glob(".geounet-*"))) == 3, "they could just have been made"
    for path in folder.glob(".geounet-*"):
        os.utime(path, (0, 0))
    with scratch_folder(folder, "test") as mine:
        os.utime(mine, (0, 0))
        with scratch_folder(folder, "test") as other:
            assert set(folder.glob(".geounet-*")) == {mine, other}
    assert not list(folder.glob(".geounet-*"))
    assert len(finals(folder)) == 2


def test_full_disk(tmp_path):
    run(FULL, tmp_path)
    for folder in tmp_path.iterdir():
        message = (folder / "message").read_text()
        assert message.startswith("OutputError: "), (folder.name, message)
        assert "free disk space" in message
        assert "\n" not in message
        assert [path.name for path in folder.iterdir()] == ["message"]
    assert len(list(tmp_path.iterdir())) == 12
