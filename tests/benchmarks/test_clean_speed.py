"""What clean polygons cost beside raw ones, on a city of ten thousand buildings."""

from time import perf_counter

import numpy as np

from geounet.vector.outline import Cleaner
from geounet.vector.polygonize import Polygonizer
from geounet.vector.polygons import Polygons
from tests.vector.planar import check_planar
from tests.vector.test_refit import town

TOWN = 300


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
