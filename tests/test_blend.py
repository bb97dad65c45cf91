"""Weights of overlapping patches."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from geounet.blend import BlendWeights
from geounet.tiles import TileGrid


@given(
    st.integers(1, 150), st.integers(1, 150), st.integers(1, 40), st.integers(1, 40),
    st.integers(0, 60),
)  # fmt: skip
def test_weights_sum_to_one_everywhere(
    height: int, width: int, core_rows: int, core_cols: int, margin: int
) -> None:
    grid = TileGrid(height, width, (core_rows, core_cols), margin)
    weights = BlendWeights(grid)
    total = np.zeros((height, width))
    for tile in grid:
        part, own = weights.inside(tile.index), weights.of(tile.index)
        assert own.shape == (part.height, part.width)
        assert (own > 0).all()
        total[part.row : part.row_end, part.col : part.col_end] += own
    assert abs(total - 1).max() < 1e-6


def test_the_weight_falls_smoothly_from_the_middle_to_the_edge() -> None:
    grid = TileGrid(300, 300, (100, 100), 20)
    middle = BlendWeights(grid).of(4)
    assert middle.shape == (140, 140)
    line = middle[70]
    assert line[40:100].tolist() == [1.0] * 60  # covered by this patch alone
    assert (np.diff(line[:40]) > 0).all()
    assert line[0] < 1e-3
    np.testing.assert_allclose(line, line[::-1], atol=1e-6)


def test_a_single_patch_counts_fully() -> None:
    assert (BlendWeights(TileGrid(30, 40, (32, 48), 16)).of(0) == 1).all()
