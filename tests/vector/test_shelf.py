from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geounet.errors import OutputError
from geounet.vector.polygonize import Polygonizer
from geounet.vector.polygons import Polygons
from geounet.vector.shelf import Shelf
from tests.vector.masks import COLUMNS, masks


@given(masks(), st.integers(1, 7))
def test_what_is_taken_back_is_what_was_laid_aside(mask: np.ndarray, rows: int) -> None:
    polygonizer, shelf = Polygonizer(mask.shape[1]), Shelf()
    batches = [polygonizer.push(mask[row : row + rows]) for row in range(0, len(mask), rows)]
    batches.append(polygonizer.finish())
    for batch in batches:
        shelf.append(batch)
    expected, taken = Polygons.concat(batches), shelf.take()
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(taken, name), getattr(expected, name))
        assert getattr(taken, name).dtype == getattr(expected, name).dtype
    assert not len(shelf.take())


def test_a_folder_without_room_is_named(tmp_path: Path) -> None:
    polygons = Polygonizer(3)
    polygons.push(np.zeros((2, 3), np.uint8))
    with pytest.raises(OutputError, match=r"gone.*free disk space"):
        Shelf(tmp_path / "gone").append(polygons.finish())


def test_nothing_is_left_in_the_folder(tmp_path: Path) -> None:
    polygonizer, shelf = Polygonizer(3), Shelf(tmp_path)
    polygonizer.push(np.zeros((2, 3), np.uint8))
    shelf.append(polygonizer.finish())
    shelf.close()
    assert not list(tmp_path.iterdir())
    assert not len(shelf.take())
