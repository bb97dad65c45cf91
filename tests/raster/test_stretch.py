"""The range of values of a scene that is mostly empty."""

from pathlib import Path

import numpy as np
import pytest

from geounet.raster.scene import describe
from geounet.raster.stretch import scene_stretch
from tests.helpers import write_scene


@pytest.mark.parametrize("place", [(0, 0), (1200, 1500), (2740, 2740)])
def test_a_corner_with_data_is_found(tmp_path: Path, place: tuple[int, int]) -> None:
    """Between the windows of the first grid there are 280 px, as large as the data."""
    rng = np.random.default_rng(0)
    data = rng.integers(200, 3000, (1, 260, 260), dtype=np.uint16)
    canvas = np.zeros((1, 3000, 3000), np.uint16)
    canvas[:, place[0] : place[0] + 260, place[1] : place[1] + 260] = data
    sparse = describe(write_scene(tmp_path / "sparse.tif", canvas, nodata=0))
    stretch = scene_stretch(sparse, (1,), "uint8", (0.0, 255.0))
    low, high = np.percentile(data, (2, 98))
    assert stretch.low[0] == pytest.approx(low, abs=30)
    assert stretch.high[0] == pytest.approx(high, abs=30)


def test_nothing_but_nodata(tmp_path: Path) -> None:
    empty = np.zeros((1, 300, 300), np.uint16)
    scene = describe(write_scene(tmp_path / "s.tif", empty, nodata=0))
    assert scene_stretch(scene, (1,), "uint8", (0.0, 255.0)).low == (0.0,)
