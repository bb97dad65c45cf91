import numpy as np
import pytest

from geounet.train.texture import Sets, narrow

WATER, VEGETATION, DRY, OPEN, ROAD = 0b00100, 0b01000, 0b01011, 0b01111, 0b10000
SETS = Sets(water=WATER, vegetation=VEGETATION, road=ROAD)


def lake_in_a_wood(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """A smooth dark lake in a brown wood; image uint8 and bool lake."""
    rng = np.random.default_rng(0)
    rows, cols = np.mgrid[:height, :width]
    lake = (rows - height / 2) ** 2 + (cols - width / 2) ** 2 < (height / 3) ** 2
    wood = np.array((95, 80, 60)) + rng.normal(0, 35, (height, width, 1))
    calm = rng.normal((25, 32, 35), 2, (height, width, 3))
    image = np.where(lake[..., None], calm, wood).clip(0, 250).astype(np.uint8)
    return image.transpose(2, 0, 1).copy(), lake


@pytest.mark.parametrize("gsd", [1.0, 2.0])
def test_a_lake_is_found_and_the_wood_is_a_wood(gsd: float) -> None:
    image, lake = lake_in_a_wood(301, 333)
    labels = np.full(lake.shape, OPEN, dtype=np.uint8)
    labels[:20] = ROAD
    narrowed = narrow(image, labels, gsd, SETS)
    assert labels[25, 0] == OPEN, "the input stays as it was"
    assert (narrowed[:20] == ROAD).all()
    near, far = ~lake, ~lake
    near[:20], near[20 + round(50 / gsd) :] = False, False
    far[: 20 + round(75 / gsd)] = False
    assert (narrowed[lake] == WATER).mean() > 0.8
    assert (narrowed[lake] == DRY).mean() < 0.01
    # Houses may stand near the road; far from it the trees are a wood.
    assert (narrowed[near] == DRY).mean() > 0.7
    assert (narrowed[near] == VEGETATION).mean() < 0.1
    assert (narrowed[far] == VEGETATION).mean() > 0.7
    assert (narrowed[~lake] == WATER).mean() < 0.03


def test_ponds_and_empty_parts_are_not_claimed() -> None:
    image, lake = lake_in_a_wood(120, 120)
    image[:, :30] = 255
    narrowed = narrow(image, np.full(lake.shape, OPEN, dtype=np.uint8), 1.0, SETS)
    assert (narrowed != WATER).all(), "0.5 ha is below the smallest water body"
    assert (narrowed[:30] == OPEN).all()
