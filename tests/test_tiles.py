import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geounet.errors import ConfigError
from geounet.tiles import Tile, TileGrid, Window, balanced_core, round_up


@st.composite
def grids(draw: st.DrawFn) -> TileGrid:
    """Rasters of any odd, non-square size, down to one pixel and smaller than a tile."""
    stride = draw(st.sampled_from([1, 2, 3, 8, 32]))
    core = tuple(stride * draw(st.integers(1, 6)) for _ in range(2))
    margin = stride * draw(st.integers(0, 4))
    height, width = draw(st.integers(1, 70)), draw(st.integers(1, 70))
    return TileGrid(height, width, (core[0], core[1]), margin, stride)


@given(grids())
def test_cores_partition_the_raster(grid: TileGrid) -> None:
    owners = np.zeros((grid.height, grid.width), np.int64)
    for tile in grid:
        core = tile.core
        assert 0 <= core.row < core.row_end <= grid.height
        assert 0 <= core.col < core.col_end <= grid.width
        owners[core.row : core.row_end, core.col : core.col_end] += 1
    assert (owners == 1).all()
    assert sum(tile.core.pixels for tile in grid) == grid.height * grid.width


@given(grids())
def test_patches_are_alike_aligned_and_hold_their_core(grid: TileGrid) -> None:
    for tile in grid:
        patch, core = tile.patch, tile.core
        assert (patch.height, patch.width) == grid.patch_shape
        assert patch.row % grid.stride == patch.col % grid.stride == 0
        assert patch.height % grid.stride == patch.width % grid.stride == 0
        assert core.row - patch.row == core.col - patch.col == grid.margin
        assert patch.row_end - core.row_end >= grid.margin
        assert patch.col_end - core.col_end >= grid.margin


@given(grids())
def test_the_grid_is_a_sequence_in_row_major_order(grid: TileGrid) -> None:
    tiles: list[Tile] = list(grid)
    assert len(tiles) == len(grid) == grid.shape[0] * grid.shape[1]
    assert [tile.index for tile in tiles] == list(range(len(grid)))
    assert tiles == sorted(tiles, key=lambda tile: (tile.core.row, tile.core.col))
    assert all(grid[index] == tile for index, tile in enumerate(tiles))
    for outside in (-1, len(grid)):
        with pytest.raises(IndexError, match=f"tile {outside} of {len(grid)}"):
            grid[outside]


@given(st.integers(1, 5000), st.integers(1, 40), st.sampled_from([1, 2, 7, 32]))
def test_balanced_core_needs_no_more_pieces_and_less_overhang(
    extent: int, cells: int, stride: int
) -> None:
    largest = cells * stride
    core = balanced_core(extent, largest, stride)
    assert 0 < core <= largest
    assert core % stride == 0
    pieces = -(-extent // core)
    assert pieces == -(-extent // largest)
    # One step smaller would need another piece.
    assert core == stride or pieces * (core - stride) < extent


def test_balanced_core_of_the_docstring() -> None:
    assert balanced_core(2100, 1024, 32) == 704


@given(st.floats(0, 1e6), st.integers(1, 512))
def test_round_up_is_the_least_multiple_not_below(value: float, multiple: int) -> None:
    result = round_up(value, multiple)
    assert result % multiple == 0
    assert result - multiple < value <= result


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"height": 0}, "raster of 0 x 9"),
        ({"width": -3}, "raster of 7 x -3"),
        ({"stride": 0}, "stride 0"),
        ({"core": (12, 16)}, "core height 12 must be a multiple of the network's stride 8"),
        ({"core": (16, 0)}, "core width 0"),
        ({"margin": 4}, "margin 4"),
        ({"margin": -8}, "margin -8"),
    ],
)
def test_errors_carry_the_value(fields: dict[str, int], message: str) -> None:
    good = {"height": 7, "width": 9, "core": (16, 16), "margin": 8, "stride": 8}
    with pytest.raises(ConfigError, match=message):
        TileGrid(**{**good, **fields})  # type: ignore[arg-type]


def test_an_empty_window_is_refused() -> None:
    with pytest.raises(ConfigError, match="0 x 5 pixels is empty"):
        Window(3, 4, 0, 5)
