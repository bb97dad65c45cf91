"""Outlines to GeoParquet beside rasterio and GDAL, on masks of 100 to 900 megapixels, in one run.

Masks come from ``../shared/bench/vector/make_inputs.py NAME FOLDER`` (V2: a city, V3: speckle, V4:
one polygon with half a million holes); ``GEOUNET_BENCH_MASKS`` names the folder. GDAL 3.13 and its
bindings come with an interpreter of their own, ``GEOUNET_BENCH_GDAL``; it writes a GeoPackage.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks.table import record

MASKS = Path(os.environ.get("GEOUNET_BENCH_MASKS", "missing"))
GDAL = os.environ.get("GEOUNET_BENCH_GDAL")
MEASURE = """
import resource, subprocess, sys, time
start = time.perf_counter()
subprocess.run(sys.argv[1:], check=True)
print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)
"""
BY_RASTERIO = """
import sys, geopandas, numpy, rasterio
from rasterio.features import shapes
from shapely.geometry import shape
with rasterio.open(sys.argv[1]) as source:
    mask, transform, crs = source.read(1), source.transform, source.crs
pairs = [(shape(outline), value) for outline, value in
         shapes(mask, mask=mask != 255, connectivity=4, transform=transform)]
frame = geopandas.GeoDataFrame({"DN": [int(value) for _, value in pairs]},
                               geometry=[outline for outline, _ in pairs], crs=crs)
frame.to_parquet(sys.argv[2] + ".parquet")
"""
BY_GDAL = """
import sys
from osgeo import gdal
gdal.UseExceptions()
algorithm = gdal.Algorithm(["raster", "polygonize"])
algorithm["input"], algorithm["output"] = sys.argv[1], sys.argv[2] + ".gpkg"
algorithm.Run()
algorithm.Finalize()
"""
ROUNDS = 2
# mask: times faster than rasterio (not run where 0), than GDAL, and most megabytes
LIMITS = {"V2": (8, 3, 500), "V3": (0, 3, 1024), "V4": (0, 3, 1024)}

TITLES = {"V2": "City of 400 Mpx", "V3": "Speckle of 100 Mpx", "V4": "Holes in 900 Mpx"}


def measured(*command: str) -> tuple[float, int]:
    """Seconds and peak MB of a command."""
    environment = os.environ | {"GDAL_CACHEMAX": "64"}
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *command],
        capture_output=True, text=True, check=True, env=environment,
    )  # fmt: skip
    seconds, megabytes = done.stdout.split()[-2:]
    return float(seconds), int(megabytes)


@pytest.mark.timeout(3600)
@pytest.mark.skipif(not MASKS.is_dir() or GDAL is None, reason="see the module's docstring")
@pytest.mark.parametrize("name", LIMITS)
def test_faster_than_the_peers(tmp_path: Path, name: str) -> None:
    mask, out = str(MASKS / f"{name}.tif"), str(tmp_path / "peer")
    own = [
        sys.executable, "-m", "geounet_cli.app", "vectorize", mask, "-o", str(tmp_path),
        "-f", "parquet", "--simplify", "0", "--min-area", "0", "--no-square", "--no-smooth",
        "--overwrite", "-q",
    ]  # fmt: skip
    times_rasterio, times_gdal, most = LIMITS[name]
    measured(*own)  # compiled code and files in memory
    ours, gdals, rasterios = [], [], []
    for _ in range(ROUNDS):
        ours.append(measured(*own))
        gdals.append(measured(str(GDAL), "-c", BY_GDAL, mask, out))
        Path(out + ".gpkg").unlink()
    if times_rasterio:
        rasterios.append(measured(sys.executable, "-c", BY_RASTERIO, mask, out))
    best = {
        key: (min(seconds for seconds, _ in runs), max(megabytes for _, megabytes in runs))
        for key, runs in (("geounet", ours), ("GDAL", gdals), ("rasterio", rasterios))
        if runs
    }
    for key, (seconds, megabytes) in best.items():
        factor = seconds / best["geounet"][0]
        print(f"\n{name} {key}: {seconds:.1f} s ({factor:.1f} x), {megabytes} MB", end="")
    own_seconds, own_megabytes = best["geounet"]
    for key, times in (("GDAL", times_gdal), ("rasterio", times_rasterio)):
        if key not in best:
            continue
        seconds, megabytes = best[key]
        record(
            "Beside other programs",
            f"{TITLES[name]}, outlines beside {key}: whole run over the peer's"
            f" (geounet {own_seconds:.1f} s and {own_megabytes} MB, {key} {seconds:.1f} s and"
            f" {megabytes} MB)",
            own_seconds / seconds,
            round(1 / times, 3),
        )
        assert seconds >= times * own_seconds
    assert best["geounet"][1] <= most
