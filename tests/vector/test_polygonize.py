"""The polygonizer against rasterio (exact outlines), scipy (sums) and shapely (validity)."""

from collections.abc import Sequence

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.features import shapes
from scipy import ndimage
from shapely.geometry import shape

from geounet.errors import ConfigError
from geounet.vector import polygonize
from geounet.vector.polygonize import Polygonizer
from geounet.vector.polygons import Polygons
from tests.vector.masks import masks, outlines, same


def normal(geometries: Sequence[shapely.Geometry], classes: Sequence[int]) -> list[tuple[int, str]]:
    """Point sets in a comparable form (nodes on straight borders dropped)."""
    plain = shapely.normalize(shapely.simplify(np.asarray(geometries, object), 0))
    return sorted((int(c), g.wkt) for c, g in zip(classes, plain, strict=True))


def check(mask: np.ndarray, polygons: Polygons) -> None:
    """Everything that must hold for every mask."""
    geometries = polygons.to_shapely()
    expected = list(shapes(mask, mask=mask != 255, connectivity=4))
    assert normal(geometries, polygons.class_id) == normal(
        [shape(geometry) for geometry, _ in expected], [int(value) for _, value in expected]
    )
    assert np.array_equal(shapely.area(geometries), polygons.pixels)
    assert shapely.is_valid(geometries).all()
    if len(geometries):
        assert shapely.coverage_is_valid(geometries)


@settings(max_examples=120, deadline=None)
@given(masks(), st.data())
def test_equals_rasterio_for_every_way_to_cut_rows(mask: np.ndarray, data: st.DataObject) -> None:
    confidence = np.random.default_rng(len(mask)).integers(0, 256, mask.shape).astype(np.uint8)
    whole = outlines(mask, confidence=confidence)
    check(mask, whole)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(mask)), max_size=len(mask))))
    same(whole, outlines(mask, cuts, confidence))


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_change_nothing(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    mask = np.random.default_rng(3).integers(0, 3, (61, 47)).astype(np.uint8)
    whole = outlines(mask)
    monkeypatch.setattr(polygonize, "STRIP", 7)
    same(whole, outlines(mask, [20, 21], threads=threads))


def spiral(size: int) -> np.ndarray:
    """A one-pixel wide spiral: one outline that turns through every row."""
    mask = np.zeros((size, size), np.uint8)
    row, col, step = 0, -1, (0, 1)
    length = size
    lengths = [size] + [n for n in range(size - 1, 0, -2) for _ in (0, 1)]
    for length in lengths:
        for _ in range(length):
            row, col = row + step[0], col + step[1]
            if 0 <= row < size and 0 <= col < size:
                mask[row, col] = 1
        step = (step[1], -step[0])
    return mask


def comb(height: int, width: int) -> np.ndarray:
    """Teeth that join in the last row only."""
    mask = np.zeros((height, width), np.uint8)
    mask[:, ::2] = 1
    mask[-1] = 1
    return mask


CASES = {
    "one pixel": np.zeros((1, 1), np.uint8),
    "one row": np.array([[0, 0, 1, 255, 1, 2, 2]], np.uint8),
    "one column": np.array([[0], [1], [1], [255], [3]], np.uint8),
    "all nodata": np.full((5, 7), 255, np.uint8),
    "spiral": spiral(31),
    "checkerboard": (np.indices((12, 17)).sum(0) % 2).astype(np.uint8),
    "three-coloured diagonals": (np.indices((12, 17)).sum(0) % 3).astype(np.uint8),
    "comb": comb(9, 21),
    "comb upside down": comb(9, 21)[::-1],
    "nested squares": np.minimum.reduce(
        [*np.indices((15, 18)), *np.indices((15, 18))[:, ::-1, ::-1]]
    ).astype(np.uint8)
    % 2,
    "diamond of pixels": (np.abs(np.indices((9, 9)) - 4).sum(0) == 3).astype(np.uint8),
    "no zero": np.full((3, 4), 254, np.uint8),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("height", [1, 2, 5])
def test_hard_shapes(name: str, height: int) -> None:
    mask = CASES[name]
    polygons = outlines(mask, range(height, len(mask), height))
    check(mask, polygons)
    same(polygons, outlines(mask))


@settings(max_examples=40, deadline=None)
@given(masks(), st.integers(1, 9))
def test_sums_equal_labelled_pixels(mask: np.ndarray, step: int) -> None:
    confidence = np.random.default_rng(5).integers(0, 256, mask.shape).astype(np.uint8)
    polygons = outlines(mask, range(step, len(mask), step), confidence)
    found = {}
    starts = polygons.points[polygons.ring_offsets[polygons.polygon_offsets[:-1]]]
    for k, (col, row) in enumerate(starts):
        found[row, col] = (polygons.class_id[k], polygons.pixels[k], polygons.confidence[k])
    expected = {}
    for value in np.unique(mask[mask != 255]):
        labels, count = ndimage.label(mask == value)
        for label in range(1, count + 1):
            inside = labels == label
            first = tuple(np.argwhere(inside)[0])
            expected[first] = (value, inside.sum(), confidence[inside].mean() / 255)
    assert found.keys() == expected.keys()
    for first, row in expected.items():
        np.testing.assert_allclose(found[first], row, rtol=1e-12)


def test_nodes_stand_where_three_regions_meet() -> None:
    mask = np.array([[0, 0, 1], [0, 0, 1], [2, 2, 2]], np.uint8)
    polygons = outlines(mask)
    nodes = {tuple(point) for point in polygons.points[polygons.nodes].tolist()}
    assert nodes == {(2, 0), (3, 2), (0, 2), (2, 2)}  # the outside counts as a region
    assert np.isnan(polygons.confidence).all()


def test_order_is_last_row_then_first_pixel() -> None:
    mask = np.array([[0, 1, 2], [0, 1, 0], [0, 0, 0], [3, 4, 3]], np.uint8)
    assert outlines(mask).class_id.tolist() == [2, 1, 0, 3, 4, 3]


def test_polygons_come_out_when_they_close() -> None:
    polygonizer = Polygonizer(5)
    mask = np.zeros((6, 5), np.uint8)
    mask[1:3, 1:3] = 1
    assert len(polygonizer.push(mask[:3])) == 0
    batch = polygonizer.push(mask[3:4])
    assert batch.class_id.tolist() == [1]
    assert len(polygonizer.push(mask[4:])) == 0
    assert polygonizer.finish().pixels.tolist() == [26]


def test_every_class_counts_without_nodata() -> None:
    mask = np.array([[255, 0], [255, 255]], np.uint8)
    polygonizer = Polygonizer(2, nodata=None)
    batches = [polygonizer.push(mask), polygonizer.finish()]
    polygons = Polygons.concat(batches)
    assert dict(zip(polygons.class_id, polygons.pixels, strict=True)) == {255: 3, 0: 1}


def test_shells_run_clockwise_on_the_screen_and_holes_against_it() -> None:
    mask = np.zeros((3, 3), np.uint8)
    mask[1, 1] = 1
    polygons = outlines(mask)
    shell = polygons.points[slice(*polygons.ring_offsets[1:3])]
    assert shell.tolist() == [[0, 0], [3, 0], [3, 3], [0, 3], [0, 0]]
    hole = polygons.points[slice(*polygons.ring_offsets[2:4])]
    assert hole.tolist() == [[1, 1], [1, 2], [2, 2], [2, 1], [1, 1]]


def test_wkb_goes_through_the_affine_map_with_shells_counter_clockwise() -> None:
    mask = np.random.default_rng(8).integers(0, 3, (20, 31)).astype(np.uint8)
    polygons = outlines(mask)
    for transform in [(0.3, 0.1, 5e5, 0.2, -0.3, 5e6), (2.0, 0.0, 1.0, 0.0, 2.0, 3.0)]:
        expected = polygons.to_shapely(transform)
        found = shapely.from_wkb(polygons.to_wkb(transform).to_numpy(zero_copy_only=False))
        assert shapely.equals_exact(shapely.normalize(found), shapely.normalize(expected)).all()
        assert shapely.is_ccw(shapely.get_exterior_ring(found)).all()


def test_take_and_bounds() -> None:
    mask = np.random.default_rng(9).integers(0, 3, (20, 31)).astype(np.uint8)
    polygons = outlines(mask)
    index = np.array([5, 0, 17, 5])
    expected = polygons.to_shapely()
    assert (polygons.take(index).to_shapely() == expected[index]).all()
    np.testing.assert_array_equal(polygons.bounds(), shapely.bounds(expected))
    assert len(polygons.take(index[:0])) == 0
    assert len(Polygons.empty().to_shapely()) == len(Polygons.empty().to_wkb()) == 0


def test_eight_connectivity_is_valid() -> None:
    mask = np.eye(5, dtype=np.uint8)
    polygonizer = Polygonizer(5, connectivity=8)
    polygons = Polygons.concat([polygonizer.push(mask), polygonizer.finish()])
    assert shapely.is_valid(polygons.to_shapely()).all()
    assert shapely.coverage_is_valid(polygons.to_shapely())


def test_errors_name_what_is_wrong() -> None:
    for arguments in ({"width": 0}, {"width": 3, "nodata": 256}, {"width": 3, "connectivity": 6}):
        with pytest.raises(ConfigError):
            Polygonizer(**arguments)  # type: ignore[arg-type]
    polygonizer = Polygonizer(3)
    rows = np.zeros((2, 3), np.uint8)
    with pytest.raises(ConfigError, match=r"\(2, 4\)"):
        polygonizer.push(np.zeros((2, 4), np.uint8))
    with pytest.raises(ConfigError, match="confidence"):
        polygonizer.push(rows, np.zeros((1, 3), np.uint8))
    polygonizer = Polygonizer(3)
    polygonizer.push(rows)
    with pytest.raises(ConfigError, match="every push"):
        polygonizer.push(rows, rows)
    polygonizer.finish()
    with pytest.raises(ConfigError, match="finished"):
        polygonizer.push(rows)
    assert len(Polygonizer(3).finish()) == 0
