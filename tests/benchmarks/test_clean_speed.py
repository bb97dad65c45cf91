"""What clean polygons cost beside raw ones, on cities of ten thousand buildings and more.

The larger city is the mask V2 of :mod:`tests.benchmarks.test_polygon_peers`.
"""

import sys
from pathlib import Path
from time import perf_counter

import numpy as np
import pytest
import shapely
from pyarrow import parquet

from geounet.vector.outline import Cleaner
from geounet.vector.polygonize import Polygonizer
from geounet.vector.polygons import Polygons
from tests.benchmarks.table import record
from tests.benchmarks.test_polygon_peers import MASKS, measured
from tests.vector.planar import check_planar
from tests.vector.test_refit import town

TOWN = 300
TURNS = 3
CITY_LIMIT = 4.0
RAW = ("--simplify", "0", "--min-area", "0", "--no-square")
CLEAN = ("--simplify", "0.6", "--min-area", "5", "--name", "1=building", "--square")


def made(mask: np.ndarray, cleaner: Cleaner) -> Polygons:
    polygonizer = Polygonizer(mask.shape[1])
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


def read_outlines(folder: Path) -> np.ndarray:
    """All polygons of the classes' files."""
    columns = [
        parquet.read_table(path, columns=["geometry"]).column("geometry")
        for path in sorted(folder.glob("*.parquet"))
    ]
    return np.concatenate([shapely.from_wkb(column.to_numpy()) for column in columns])


@pytest.mark.timeout(3600)
@pytest.mark.skipif(not MASKS.is_dir(), reason="see the module's docstring")
def test_a_city_sieved_simplified_and_squared(tmp_path: Path) -> None:
    """Whole processes with GeoParquet; afterwards the polygons still share their borders."""

    def run(folder: str, words: tuple[str, ...]) -> tuple[float, int]:
        return measured(
            sys.executable, "-m", "geounet_cli.app", "vectorize", str(MASKS / "V2.tif"), "-q",
            "-o", str(tmp_path / folder), "-f", "parquet", "--no-smooth", "--overwrite", *words,
        )  # fmt: skip

    run("raw", RAW)  # compiled code and files in memory
    run("clean", CLEAN)
    pairs = [(run("raw", RAW), run("clean", CLEAN)) for _ in range(TURNS)]
    ratio = float(np.median([clean[0] / raw[0] for raw, clean in pairs]))
    raw, clean = pairs[-1]
    before, after = read_outlines(tmp_path / "raw"), read_outlines(tmp_path / "clean")
    for outlines in (before, after):
        assert shapely.is_valid(outlines).all()
        assert shapely.coverage_is_valid(outlines)
    assert shapely.area(after).sum() == pytest.approx(shapely.area(before).sum(), rel=1e-9)
    record(
        "City of 400 Mpx, sieved, simplified by 0.6 m and squared: whole run over that of raw"
        f" outlines ({clean[0]:.1f} s and {clean[1]} MB, {raw[0]:.1f} s and {raw[1]} MB;"
        f" {len(before)} polygons before, {len(after)} after)",
        ratio, CITY_LIMIT,
    )  # fmt: skip
    assert ratio <= CITY_LIMIT
