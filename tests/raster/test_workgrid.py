"""Resampling, judged by torch's antialiased interpolation of the whole raster."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geounet.raster.scene import describe, open_scene
from geounet.raster.workgrid import WorkGrid
from geounet.resample import Axis
from geounet.tiles import Window
from tests.helpers import noise, write_scene


def whole(data: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    image = torch.from_numpy(data.astype(np.float64))[None]
    return torch.nn.functional.interpolate(
        image, shape, mode="bilinear", antialias=True, align_corners=False
    )[0].numpy()


@pytest.mark.parametrize("factor", [0.149, 0.37, 0.5, 0.99, 1.01, 2.0, 3.3])
def test_windows_equal_the_whole_raster_resampled(tmp_path: Path, factor: float) -> None:
    data = noise(131, 87)
    scene = describe(write_scene(tmp_path / "a.tif", data))
    grid = WorkGrid.scaled(131, 87, factor, factor)
    expected = whole(data, grid.shape)
    height, width = grid.shape
    with open_scene(scene) as dataset:
        for window in (
            Window(0, 0, height, width),
            Window(height // 3, width // 4, max(1, height // 2), max(1, width // 2)),
            Window(height - 1, width - 1, 1, 1),
        ):
            patch, valid = grid.read(dataset, window, (1, 2, 3))
            own = expected[:, window.row : window.row_end, window.col : window.col_end]
            np.testing.assert_allclose(patch, own, atol=2e-3)
            assert valid.all()


def test_overhang_is_mirrored_on_the_working_grid(tmp_path: Path) -> None:
    data = noise(40, 30)
    scene = describe(write_scene(tmp_path / "a.tif", data))
    grid = WorkGrid.scaled(40, 30, 0.5, 0.5)
    with open_scene(scene) as dataset:
        inside, _ = grid.read(dataset, Window(0, 0, 20, 15), (1, 2, 3))
        patch, _ = grid.read(dataset, Window(-7, -3, 34, 21), (1, 2, 3))
    np.testing.assert_array_equal(patch, np.pad(inside, ((0, 0), (7, 7), (3, 3)), mode="reflect"))


def test_pixels_without_data_do_not_bleed(tmp_path: Path) -> None:
    data = np.full((3, 40, 40), 100, np.uint8)
    data[:, :, :13] = 0
    scene = describe(write_scene(tmp_path / "a.tif", data, nodata=0))
    grid = WorkGrid.scaled(40, 40, 0.5, 0.5)
    with open_scene(scene) as dataset:
        patch, valid = grid.read(dataset, Window(0, 0, 20, 20), (1, 2, 3))
    assert not valid[:, :6].any()
    assert valid[:, 7:].all()
    np.testing.assert_allclose(patch[:, valid], 100, rtol=1e-5)


@settings(max_examples=200)
@given(st.integers(1, 500), st.integers(1, 500), st.lists(st.integers(0, 500), max_size=6))
def test_ownership_is_a_partition(size_in: int, size_out: int, cuts: list[int]) -> None:
    axis = Axis(size_in, size_out)
    edges = sorted({0, size_out, *(cut for cut in cuts if cut < size_out)})
    spans = [axis.owned(a, b) for a, b in pairwise(edges)]
    assert spans[0][0] == 0
    assert spans[-1][1] == size_in
    assert all(one[1] == two[0] for one, two in pairwise(spans))


@settings(max_examples=200)
@given(st.integers(1, 300), st.integers(1, 300), st.integers(0, 299), st.integers(1, 50))
def test_taps_sum_to_one_and_stay_inside(size_in: int, size_out: int, start: int, n: int) -> None:
    axis = Axis(size_in, size_out)
    start = min(start, size_out - 1)
    index, weight = axis.taps(start, min(n, size_out - start))
    np.testing.assert_allclose(weight.sum(axis=1), 1, atol=1e-6)
    assert index.min() >= 0
    assert index.max() < size_in
