import subprocess
import sys

import numpy as np
import pytest

from geounet.train.town import make_town


def test_same_seed_gives_the_same_town_and_another_seed_another() -> None:
    rgb, mask = make_town(5, 301, 257)
    again, again_mask = make_town(5, 301, 257)
    assert np.array_equal(rgb, again)
    assert np.array_equal(mask, again_mask)
    assert not np.array_equal(mask, make_town(6, 301, 257)[1])


@pytest.mark.parametrize(
    ("height", "width", "gsd"), [(1, 1, 0.5), (7, 203, 0.5), (311, 64, 1.0), (90, 121, 0.25)]
)
def test_any_size_and_resolution(height: int, width: int, gsd: float) -> None:
    rgb, mask = make_town(1, height, width, gsd)
    assert rgb.shape == (3, height, width)
    assert rgb.dtype == np.uint8
    assert mask.shape == (height, width)
    assert mask.dtype == np.uint8
    assert mask.max() <= 4


@pytest.mark.parametrize("seed", range(6))
def test_every_class_has_its_share_of_a_town(seed: int) -> None:
    rgb, mask = make_town(seed, 700, 801)
    share = np.bincount(mask.ravel(), minlength=5) / mask.size
    assert share.min() > 0.005, share
    assert 30 < rgb.mean() < 180


def test_classes_differ_in_colour() -> None:
    rgb, mask = make_town(2, 512, 512)
    mean = [rgb[:, mask == label].mean(axis=1) for label in range(5)]
    red, green, blue = mean[3]
    assert green > red
    assert green > blue
    assert mean[1][0] > mean[1][2], "roofs are mostly warm"
    assert mean[2].mean() < mean[0].mean(), "water is darker than bare land"


def test_another_process_draws_the_same_without_torch() -> None:
    code = (
        "import sys, zlib; from geounet.train.town import make_town;"
        "rgb, mask = make_town(3, 65, 70);"
        "assert 'torch' not in sys.modules; print(zlib.crc32(rgb.tobytes() + mask.tobytes()))"
    )
    drawn = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
        for _ in range(2)
    ]
    assert drawn[0] == drawn[1]
