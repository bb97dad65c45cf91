"""Squared buildings in their coverage: valid, no gaps, topology kept."""

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.features import rasterize
from rasterio.transform import Affine
from scipy import ndimage
from shapely.affinity import rotate, translate

from geounet.vector.arcs import Coverage
from geounet.vector.outline import Cleaner
from geounet.vector.polygons import Polygons
from geounet.vector.refit import NOTHING, SCALE, in_steps, refit
from geounet.vector.sieve import sieve
from tests.vector.masks import outlines


def town(seed: int, height: int, width: int, noise: float = 0.0) -> np.ndarray:
    """Vegetation (3), water (2) and turned rectangles (1) on open land (0)."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((height, width), np.uint8)
    mask[ndimage.gaussian_filter(rng.standard_normal((height, width)), 9) > 0] = 3
    mask[ndimage.gaussian_filter(rng.standard_normal((height, width)), 15) > 0.03] = 2
    rows, cols = np.indices(mask.shape)
    for _ in range(1 + height * width // 2000):
        x, y = rng.uniform(0, [width, height])
        long, short = rng.uniform(4, 16, 2)
        angle = rng.uniform(0, np.pi)
        along = (cols - x) * np.cos(angle) + (rows - y) * np.sin(angle)
        across = (rows - y) * np.cos(angle) - (cols - x) * np.sin(angle)
        mask[(abs(along) < long) & (abs(across) < short)] = 1
        if rng.random() < 0.3:
            mask[(abs(along) < long / 3) & (abs(across) < short / 3)] = rng.integers(0, 4)
    spots = rng.random(mask.shape) < noise
    mask[spots] = rng.integers(0, 4, spots.sum())
    mask[:, : int(rng.integers(0, 6))] = 255
    return mask


def check(exact: Polygons, clean: Polygons) -> None:
    before, after = exact.to_shapely(), clean.to_shapely()
    assert shapely.is_valid(after).all()
    assert shapely.coverage_is_valid(after)
    assert shapely.is_ccw(shapely.get_exterior_ring(after)).all()
    np.testing.assert_array_equal(
        shapely.get_num_interior_rings(before), shapely.get_num_interior_rings(after)
    )
    assert abs(shapely.area(after).sum() - shapely.area(shapely.union_all(after))) < 1e-6


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(10, 130),
    st.integers(10, 130),
    st.sampled_from([0.0, 0.003]),
    st.sampled_from([0.0, 1.5, 3.0]),
    st.sampled_from([(1,), (1, 2), (0, 1, 2, 3)]),
)
def test_coverage_stays_valid(
    seed: int, height: int, width: int, noise: float, tolerance: float, squared: tuple[int, ...]
) -> None:
    mask = town(seed, height, width, noise)
    exact = sieve(outlines(mask), dict.fromkeys(range(4), 12))
    cleaner = Cleaner(dict.fromkeys(range(4), 12), tolerance, squared=squared)
    cleaner.push(outlines(mask))
    clean = cleaner.finish()
    check(exact, clean)
    np.testing.assert_array_equal(clean.class_id, exact.class_id)
    np.testing.assert_array_equal(clean.pixels, exact.pixels)


def row_houses(rng: np.random.Generator, noisy: bool) -> tuple[np.ndarray, np.ndarray]:
    """Three to six houses wall to wall, turned; fronts in line or staggered, backs too. The true
    outlines, and a mask in which neighbours are of different classes, 1 and 2.
    """
    count = int(rng.integers(3, 7))
    sides = np.concatenate([[0], np.cumsum(rng.uniform(14, 26, count))])
    fronts = rng.uniform(0, 5, count) * rng.integers(2)
    backs = rng.uniform(22, 34, count) if rng.integers(2) else np.full(count, 28.0)
    boxes = [shapely.box(sides[k], fronts[k], sides[k + 1], backs[k]) for k in range(count)]
    angle = rng.uniform(0, 180)
    turned = [rotate(box, angle, origin=(0, 0)) for box in boxes]
    left, top, _, _ = shapely.union_all(turned).bounds
    east, south = 15 - left + rng.uniform(), 15 - top + rng.uniform()
    houses = np.array([translate(house, east, south) for house in turned])
    _, _, right, bottom = shapely.union_all(houses).bounds
    size = (int(bottom) + 16, int(right) + 16)
    mask = rasterize(
        [(house, 1 + k % 2) for k, house in enumerate(houses)],
        out_shape=size, transform=Affine.identity(), dtype="uint8",
    )  # fmt: skip
    if noisy:  # a class each as a network would see it, the most likely wins
        soft = [ndimage.gaussian_filter((mask == value).astype(float), 1.5) for value in range(3)]
        waves = [ndimage.gaussian_filter(rng.standard_normal(size), 2.5) for _ in range(3)]
        likely = [one + 0.06 * wave / wave.std() for one, wave in zip(soft, waves, strict=True)]
        mask = np.argmax(likely, axis=0).astype(np.uint8)
    return houses, mask


def cleaned_rows(mask: np.ndarray) -> tuple[Polygons, Polygons]:
    """Sieved, and squared."""
    least = dict.fromkeys(range(3), 12)
    cleaner = Cleaner(least, 2.0, squared=[1, 2])
    cleaner.push(outlines(mask))
    return sieve(outlines(mask), least), cleaner.finish()


def touching(polygons: np.ndarray) -> set[tuple[int, int]]:
    """Pairs that have a wall in common, not only a corner."""
    one, other = shapely.STRtree(polygons).query(polygons, predicate="intersects")
    shared = shapely.length(shapely.intersection(polygons[one], polygons[other]))
    return {(int(a), int(b)) for a, b, size in zip(one, other, shared, strict=True) if size > 1}


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_row_houses_keep_their_walls_in_common(seed: int, noisy: bool) -> None:
    _, mask = row_houses(np.random.default_rng(seed), noisy)
    exact, clean = cleaned_rows(mask)
    check(exact, clean)
    np.testing.assert_array_equal(clean.class_id, exact.class_id)
    before, after = exact.to_shapely(), clean.to_shapely()
    built = exact.class_id > 0
    long = shapely.length(shapely.intersection(before[built][:, None], before[built])) > 8
    found = touching(after[built])
    assert {(int(a), int(b)) for a, b in np.argwhere(long)} <= found


def test_row_houses_come_nearer_to_the_truth() -> None:
    rng = np.random.default_rng(0)
    for noisy, least in ((False, 0.985), (True, 0.975)):
        raw, squared = row_scores(rng, noisy, 12)
        assert squared.mean() > max(least, raw.mean() + 0.02)


def test_row_houses_are_squared_with_their_neighbours() -> None:
    """Of two houses that share a wall, the second has right angles as well."""
    rng = np.random.default_rng(5)
    right = []
    for number in range(16):
        _, mask = row_houses(rng, number % 2 > 0)
        _, clean = cleaned_rows(mask)
        for house in clean.to_shapely()[clean.class_id > 0]:
            sides = np.diff(shapely.get_coordinates(shapely.get_exterior_ring(house)), axis=0)
            length = np.hypot(sides[:, 0], sides[:, 1])
            turn = np.diff(np.arctan2(sides[:, 1], sides[:, 0]), append=0.0)
            turn[-1] = np.arctan2(*sides[0, ::-1]) - np.arctan2(*sides[-1, ::-1])
            off = np.abs((turn + np.pi / 4) % (np.pi / 2) - np.pi / 4)
            long = np.minimum(length, np.roll(length, -1)) > 4
            right.append(bool((off[long] < np.radians(3)).all()))
    assert np.mean(right) > 0.9


def row_scores(rng: np.random.Generator, noisy: bool, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """IoU of each true house with its raw and its squared outline."""
    scores: tuple[list[float], list[float]] = ([], [])
    for _ in range(rows):
        houses, mask = row_houses(rng, noisy)
        for polygons, own in zip(cleaned_rows(mask), scores, strict=True):
            found = polygons.to_shapely()[polygons.class_id > 0]
            common = shapely.area(shapely.intersection(houses[:, None], found))
            whole = shapely.area(houses)[:, None] + shapely.area(found) - common
            own.extend((common / whole).max(axis=1))
    return np.array(scores[0]), np.array(scores[1])


def test_neighbours_follow_a_wall_that_moves_either_way() -> None:
    mask = np.zeros((60, 80), np.uint8)
    mask[:, 40:] = 3  # a border that meets the building above and below
    mask[20:40, 25:60] = 1
    exact = outlines(mask)
    coverage = Coverage.of(exact, SCALE)
    row = np.flatnonzero(exact.class_id == 1)
    for shift in (-1.3, 0.0, 1.3):
        wanted = shapely.box(25 - shift, 20 - shift, 60 + shift, 40 + shift)
        wanted = shapely.normalize(wanted).reverse()
        moved, accepted = refit(coverage, row, in_steps(np.array([wanted], object)))
        assert accepted.all()
        polygons = moved.polygons()
        check(exact, polygons)
        found = polygons.to_shapely()[row[0]]
        assert shapely.hausdorff_distance(found, wanted) < 1 / SCALE
        assert shapely.area(polygons.to_shapely()).sum() == 60 * 80


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        (shapely.box(2, 2, 20, 20), "swallows the pond"),
        (shapely.box(2, 2, 13.5, 12), "cuts the pond"),
        (shapely.box(-3, 2, 12, 12), "leaves the raster"),
    ],
)
def test_what_would_touch_others_is_refused(wanted: shapely.Polygon, why: str) -> None:
    mask = np.zeros((30, 30), np.uint8)
    mask[2:12, 2:12] = 1
    mask[5:9, 13:16] = 2
    exact = outlines(mask)
    row = np.flatnonzero(exact.class_id == 1)
    same_turn = np.array([shapely.normalize(wanted).reverse()], object)
    moved, accepted = refit(Coverage.of(exact, SCALE), row, in_steps(same_turn))
    assert not accepted.any(), why
    np.testing.assert_array_equal(moved.polygons().to_shapely(), exact.to_shapely())


def test_square_buildings_become_rectangles() -> None:
    mask = np.zeros((90, 90), np.uint8)
    rows, cols = np.indices(mask.shape) - 45
    along, across = cols * 0.8 + rows * 0.6, rows * 0.8 - cols * 0.6
    mask[(abs(along) < 30) & (abs(across) < 15)] = 1
    cleaner = Cleaner({}, 2.0, squared=[1])
    cleaner.push(outlines(mask))
    clean = cleaner.finish()
    building = clean.to_shapely()[clean.class_id == 1][0]
    assert shapely.get_num_coordinates(building) == 5
    assert abs(building.area - 60 * 30) < 20


def test_long_walls_across_many_cells_keep_apart() -> None:
    """More cells than the index of segments has room for at first: it grows, and what was found
    before is still found.
    """
    mask = np.zeros((700, 700), np.uint8)
    rows, cols = np.indices(mask.shape) - 350
    along, across = cols * 0.8 + rows * 0.6, rows * 0.8 - cols * 0.6
    for middle in (-40, 0, 40):
        mask[(abs(along) < 300) & (abs(across - middle) < 15)] = 1
    exact = outlines(mask)
    cleaner = Cleaner({}, 2.0, squared=[1])
    cleaner.push(exact)
    clean = cleaner.finish()
    check(exact, clean)
    buildings = clean.to_shapely()[clean.class_id == 1]
    assert (shapely.get_num_coordinates(buildings) == 5).all()
    np.testing.assert_allclose(shapely.area(buildings), 600 * 30, rtol=0.01)


def test_no_buildings_no_change() -> None:
    exact = outlines(np.eye(5, dtype=np.uint8) * 2)
    coverage = Coverage.of(exact, SCALE)
    moved, accepted = refit(coverage, np.empty(0, np.int64), NOTHING)
    assert moved is coverage
    assert not len(accepted)
