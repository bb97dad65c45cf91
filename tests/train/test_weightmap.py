import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from geounet.train.weightmap import boundary_weights, connected_instances


def brute_force(instances: np.ndarray, w0: float, sigma: float) -> np.ndarray:
    """One exact distance transform per object, in float64."""
    numbers = [value for value in np.unique(instances) if value]
    if len(numbers) < 2:
        return np.zeros(instances.shape)
    planes = [ndimage.distance_transform_edt(instances != value) for value in numbers]
    first, second = np.sort(np.stack(planes), axis=0)[:2]
    return w0 * np.exp(-((first + second) ** 2) / (2 * sigma**2))


def close(weights: np.ndarray, expected: np.ndarray) -> None:
    """To 1e-6: half a step of float32 at weights of 16 to 32."""
    np.testing.assert_allclose(weights, expected, rtol=0, atol=1e-6)


@settings(max_examples=60)
@given(
    height=st.integers(1, 60),
    width=st.integers(1, 60),
    objects=st.integers(0, 14),
    sigma=st.floats(0.5, 8),
    w0=st.floats(0.1, 20),
    seed=st.integers(0, 2**16),
)
def test_equals_brute_force(
    height: int, width: int, objects: int, sigma: float, w0: float, seed: int
) -> None:
    """Touching, overlapped, split and tiny objects: whatever numbers stand in the array."""
    rng = np.random.default_rng(seed)
    instances = np.zeros((height, width), dtype=np.int32)
    for number in rng.permutation(objects) + 1:
        row, col = rng.integers(height), rng.integers(width)
        tall, wide = rng.integers(1, 12, 2)
        instances[row : row + tall, col : col + wide] = number * 7
    weights = boundary_weights(instances, w0, sigma)
    assert weights.dtype == np.float32
    close(weights, brute_force(instances, w0, sigma))


@pytest.mark.parametrize("side", [256, 512])
def test_a_window_of_a_hundred_objects(side: int) -> None:
    rng = np.random.default_rng(3)
    instances = np.zeros((side, side), dtype=np.int32)
    for number in range(1, 101):
        row, col = rng.integers(0, side - 6, 2)
        instances[row : row + rng.integers(4, 20), col : col + rng.integers(4, 20)] = number
    weights = boundary_weights(instances)
    assert weights.max() > 8
    close(weights, brute_force(instances, 10.0, 5.0))


def test_the_formula_by_hand() -> None:
    """Two objects with a gap of three pixels: in its middle both are two pixels away."""
    instances = np.zeros((1, 9), dtype=np.int32)
    instances[0, 2], instances[0, 6] = 1, 2
    weights = boundary_weights(instances, 10.0, 5.0)[0]
    assert weights[4] == pytest.approx(10 * np.exp(-16 / 50), rel=1e-6)
    assert weights[2] == pytest.approx(10 * np.exp(-16 / 50), rel=1e-6)  # d1 = 0, d2 = 4
    assert weights[0] == pytest.approx(10 * np.exp(-64 / 50), rel=1e-6)


def test_objects_are_regions_of_one_class() -> None:
    labels = np.array(
        [[2, 2, 1, 2], [1, 1, 2, 1], [4, 2, 2, 6], [4, 0, 1, 2]], dtype=np.uint8
    )  # 6 may be of two classes: no object
    found = connected_instances(labels, (2, 4))
    assert found.dtype == np.int32
    assert len(np.unique(found)) == 1 + 5
    assert found[0, 0] == found[0, 1] != found[0, 3]
    assert found[1, 2] == found[2, 1]
    assert found[2, 0] == found[3, 0] not in (found[2, 1], 0)
    assert not found[(labels != 2) & (labels != 4)].any()
