"""The size of tiles, which decides on memory and on what margins cost."""

import pytest

from geounet.jobs.tiling import MAX_SIDE, Ground, Sides, choose_tiling, worthwhile_side
from tests.helpers import spec_for


@pytest.mark.parametrize(("radius", "side"), [(1, 1024), (40, 1280), (320, MAX_SIDE)])
def test_patches_are_as_large_as_their_margins_are_worth(radius: int, side: int) -> None:
    spec = spec_for(1, radius, radius)
    sides = Sides(None, 10_000, worthwhile_side(spec))
    tiling = choose_tiling(Ground((50_000, 50_000), 0), spec, "exact", None, sides)
    patch = tiling.core[0] + 2 * tiling.margin
    assert 0.9 * side < patch <= side
    if radius < 64:
        assert (patch / tiling.core[0]) ** 2 < 1.15
