import numpy as np
import pytest

from geounet.symmetry import SYMMETRIES, Tta

ARRAY = np.arange(2 * 3 * 5).reshape(2, 3, 5)


@pytest.mark.parametrize(("way", "count"), [(None, 1), ("flips", 4), ("d4", 8)])
def test_symmetries_differ_and_can_be_undone(way: Tta | None, count: int) -> None:
    seen = {(item.apply(ARRAY).shape, item.apply(ARRAY).tobytes()) for item in SYMMETRIES[way]}
    assert len(seen) == count
    for item in SYMMETRIES[way]:
        np.testing.assert_array_equal(item.undo(item.apply(ARRAY)), ARRAY)


def test_flips_keep_the_shape_and_d4_is_closed() -> None:
    assert all(item.apply(ARRAY).shape == ARRAY.shape for item in SYMMETRIES["flips"])
    square = np.arange(16).reshape(4, 4)
    group = {item.apply(square).tobytes() for item in SYMMETRIES["d4"]}
    for one in SYMMETRIES["d4"]:
        assert {one.apply(two.apply(square)).tobytes() for two in SYMMETRIES["d4"]} == group
