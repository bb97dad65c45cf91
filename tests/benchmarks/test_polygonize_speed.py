"""How fast polygons are made, as ratios within one run."""

from time import perf_counter

import numpy as np
import pytest
from rasterio.features import shapes
from scipy import ndimage
from shapely.geometry import shape

from geounet.vector.outline import Cleaner
from geounet.vector.polygonize import Polygonizer
from geounet.vector.polygons import Polygons

STRIP = 512


@pytest.fixture(scope="module")
def city() -> np.ndarray:
    """Four classes in blobs of many sizes, and a little speckle."""
    rng = np.random.default_rng(0)
    mask = np.zeros((3000, 2900), np.uint8)
    for value, size in ((3, 25), (2, 60), (1, 8)):
        noise = ndimage.gaussian_filter(rng.standard_normal((3000, 2900)), size)
        mask[noise > 1.2 * noise.std()] = value
    spots = rng.random(mask.shape) < 5e-4
    mask[spots] = rng.integers(0, 4, spots.sum())
    return mask


def polygonized(mask: np.ndarray) -> Polygons:
    polygonizer = Polygonizer(mask.shape[1])
    batches = [polygonizer.push(mask[row : row + STRIP]) for row in range(0, len(mask), STRIP)]
    return Polygons.concat([*batches, polygonizer.finish()])


def median_ratio(slow: list[float], fast: list[float]) -> float:
    return float(np.median(np.array(slow) / np.array(fast)))


def test_much_faster_than_rasterio(city: np.ndarray) -> None:
    polygonized(city[:64]).to_wkb()  # compiled
    theirs, ours = [], []
    for _ in range(3):
        start = perf_counter()
        expected = len([shape(outline) for outline, _ in shapes(city, connectivity=4)])
        theirs.append(perf_counter() - start)
        start = perf_counter()
        polygons = polygonized(city)
        polygons.to_wkb()
        ours.append(perf_counter() - start)
        assert len(polygons) == expected
    assert median_ratio(theirs, ours) >= 5  # 8 and more on large scenes


def test_time_grows_with_pixels(city: np.ndarray) -> None:
    polygonized(city[:64])
    one, four = [], []
    wide = np.tile(city, (2, 2))
    for _ in range(3):
        start = perf_counter()
        polygonized(city)
        one.append(perf_counter() - start)
        start = perf_counter()
        polygonized(wide)
        four.append(perf_counter() - start)
    assert median_ratio(four, one) <= 7


def test_cleaning_costs_a_few_times_the_outlines(city: np.ndarray) -> None:
    least = dict.fromkeys(range(4), 40)

    def cleaned(polygons: Polygons) -> Polygons:
        cleaner = Cleaner(least, 2.0)
        cleaner.push(polygons)
        return cleaner.finish()

    cleaned(polygonized(city[:256]))  # compiled
    raw, clean = [], []
    for _ in range(3):
        start = perf_counter()
        polygons = polygonized(city)
        raw.append(perf_counter() - start)
        start = perf_counter()
        cleaned(polygons)
        clean.append(perf_counter() - start)
    assert median_ratio(clean, raw) <= 3
