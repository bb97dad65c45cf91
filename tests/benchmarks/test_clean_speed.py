"""What clean polygons cost beside raw ones, on cities of ten thousand buildings and more.

The larger city is the mask V2 of :mod:`tests.benchmarks.test_polygon_peers`.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import numpy as np
import pytest
import rasterio

from geounet.vector.outline import Cleaner
from geounet.vector.polygonize import Polygonizer
from geounet.vector.polygons import Polygons
from tests.benchmarks.table import record
from tests.benchmarks.test_polygon_peers import MASKS, measured
from tests.vector.planar import check_planar
from tests.vector.test_refit import town

TOWN = 300
CITY_LIMIT = 4.0
"""Times that of raw outlines."""
RAW = ("--simplify", "0", "--min-area", "0", "--no-square")
CLEAN = ("--simplify", "0.6", "--min-area", "5", "--name", "1=building", "--square")


def made(mask: np.ndarray, cleaner: Cleaner) -> Polygons:
    polygonizer = Polygonizer(mask.shape[1], nodata=255)
    batches = [
        cleaner.push(polygonizer.push(mask[row : row + 512])) for row in range(0, len(mask), 512)
    ]
    last = cleaner.push(polygonizer.finish())
    return Polygons.concat([*batches, last, cleaner.finish()])


def test_sieve_simplification_and_squaring_against_raw() -> None:
    rows = [np.hstack([town(16 * k + m, TOWN, TOWN) for m in range(16)]) for k in range(16)]
    mask = np.vstack(rows)
    raw, clean = [], []
    for side in (TOWN, len(mask), len(mask), len(mask)):  # the first compiles
        part = mask[:side, :side]
        start = perf_counter()
        polygons = made(part, Cleaner({}, 0.0))
        middle = perf_counter()
        cleaned = made(part, Cleaner(dict.fromkeys(range(4), 50), 2.0, squared=[1]))
        raw.append(middle - start)
        clean.append(perf_counter() - middle)
    check_planar(polygons)
    check_planar(cleaned)
    ratio = float(np.median(np.array(clean[1:]) / raw[1:]))
    houses = int((cleaned.class_id == 1).sum())
    print(
        f"{len(mask)} x {len(mask)} px, {len(polygons)} regions, {houses} buildings: raw"
        f" {np.median(raw[1:]):.2f} s, clean {np.median(clean[1:]):.2f} s, ratio {ratio:.1f}"
    )
    # Raw time goes with pixels, cleaning with buildings, which stand closer here than in a city.
    assert ratio < 15


@pytest.mark.timeout(3600)
@pytest.mark.skipif(not MASKS.is_dir(), reason="see the module's docstring")
def test_a_city_sieved_simplified_and_squared(tmp_path: Path) -> None:
    """The work alone, whose result still is a coverage, and whole processes with GeoParquet."""
    city = MASKS / "V2.tif"
    with rasterio.open(city) as dataset:
        mask, pixel = dataset.read(1), abs(dataset.transform.a)
    sizes = dict.fromkeys(range(4), 5 / pixel**2)
    alone = [timed(lambda: made(mask, Cleaner({}, 0.0))) for _ in range(2)]  # the first compiles
    clean = [timed(lambda: made(mask, Cleaner(sizes, 0.6 / pixel, squared=[1]))) for _ in range(2)]
    before, after = alone[1][1], clean[1][1]
    check_planar(after)

    def run(*words: str) -> tuple[float, int]:
        return measured(
            sys.executable, "-m", "geounet_cli.app", "vectorize", str(city), "-q", "-o",
            str(tmp_path), "-f", "parquet", "--no-smooth", "--overwrite", *words,
        )  # fmt: skip

    pairs = [(run(*RAW), run(*CLEAN)) for _ in range(2)]
    (raw_seconds, raw_mb), (seconds, mb) = pairs[1]
    ratio = seconds / raw_seconds
    record(
        "Polygons",
        "City of 400 Mpx, sieved, simplified by 0.6 m and squared: whole run over that of raw"
        f" outlines (clean {seconds:.1f} s and {mb} MB, raw {raw_seconds:.1f} s and {raw_mb} MB;"
        f" without reading and writing {clean[1][0]:.1f} s and {alone[1][0]:.1f} s;"
        f" {len(before)} polygons, {len(after)} in the end)",
        ratio, CITY_LIMIT,
    )  # fmt: skip
    assert ratio <= CITY_LIMIT


def timed(work: Callable[[], Polygons]) -> tuple[float, Polygons]:
    """Seconds and result."""
    start = perf_counter()
    polygons = work()
    return perf_counter() - start, polygons
