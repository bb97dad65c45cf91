import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from geounet.bands import Stretch, normalise, percentile_stretch
from geounet.errors import ConfigError

DTYPES = ["bool", "uint8", "int16", "uint16", "int32", "uint32", "float16", "float32", "float64"]
MEAN, STD = (0.4, 0.5), (0.2, 0.1)


@st.composite
def scenes(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Two bands of any dtype, NaN and infinities among them, and which pixels are valid."""
    shape = draw(st.tuples(st.integers(1, 6), st.integers(1, 7)))
    data = draw(hnp.arrays(draw(st.sampled_from(DTYPES)), (2, *shape)))
    return data, draw(hnp.arrays(bool, shape))


@given(scenes(), st.floats(0, 49))
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_network_input_is_finite_whatever_the_scene_holds(
    scene: tuple[np.ndarray, np.ndarray], cut: float
) -> None:
    data, valid = scene
    before = data.copy()
    try:
        stretch = percentile_stretch(data, valid, cut)
    except ConfigError as error:  # only float64's outermost values span more than float64 can hold
        assert data.dtype == np.float64, error
        return
    result = normalise(data, valid, stretch, MEAN, STD)
    assert result.dtype == np.float32
    assert result.shape == data.shape
    assert np.isfinite(result).all()
    assert (result[:, ~valid] == 0).all()
    for band in range(2):
        lowest, highest = -MEAN[band] / STD[band], (1 - MEAN[band]) / STD[band]
        assert ((result[band] >= lowest - 1e-5) & (result[band] <= highest + 1e-5)).all()
    assert data.tobytes() == before.tobytes(), "the scene's own array must not change"


@given(hnp.arrays(np.uint8, (2, 3, 5)))
def test_eight_bit_formula(data: np.ndarray) -> None:
    stretch = Stretch((0.0, 10.0), (255.0, 20.0))
    result = normalise(data, np.ones((3, 5), bool), stretch, MEAN, STD)
    first = (data[0] / 255.0 - 0.4) / 0.2
    second = (np.clip((data[1] - 10.0) / 10.0, 0, 1) - 0.5) / 0.1
    np.testing.assert_allclose(result, np.stack([first, second]), atol=1e-5)


@pytest.mark.parametrize("dtype", ["int32", "float32", "float64"])
def test_narrow_stretch_far_from_zero_keeps_its_steps(dtype: str) -> None:
    data = np.array([[[16_000_000, 16_000_001, 16_000_002, 16_000_004]]], dtype)
    stretch = Stretch((16_000_000.0,), (16_000_004.0,))
    result = normalise(data, np.ones((1, 4), bool), stretch, (0.0,), (1.0,))
    assert result.ravel().tolist() == [0.0, 0.25, 0.5, 1.0]


def test_percentiles_of_valid_and_finite_pixels_alone() -> None:
    data = np.arange(101, dtype=np.float32).reshape(1, 1, 101)
    valid = np.ones((1, 101), bool)
    assert percentile_stretch(data, valid, 2.0) == Stretch((2.0,), (98.0,))
    data[0, 0, 51:54] = [math.nan, math.inf, -math.inf]
    data[0, 0, 90:] = 1e30
    valid[0, 90:] = False
    stretch = percentile_stretch(data, valid, 0.0)
    assert stretch == Stretch((0.0,), (89.0,))


@pytest.mark.parametrize("value", [0, 7, -3e4, 1e17, -1e30])
def test_a_constant_band_has_a_stretch(value: float) -> None:
    stretch = percentile_stretch(np.full((1, 2, 2), value), np.ones((2, 2), bool))
    assert stretch.low == (value,)
    assert stretch.high[0] > value


def test_no_valid_pixel_at_all() -> None:
    data, valid = np.full((1, 2, 3), math.nan), np.zeros((2, 3), bool)
    stretch = percentile_stretch(data, valid)
    assert (normalise(data, valid, stretch, (0.5,), (0.2,)) == 0).all()


@pytest.mark.parametrize(
    ("low", "high"),
    [
        ((), ()),
        ((0.0,), (1.0, 2.0)),
        ((1.0,), (1.0,)),
        ((0.0,), (math.nan,)),
        ((0.0,), (math.inf,)),
    ],
)
def test_stretches_that_cannot_be(low: tuple[float, ...], high: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match="stretch"):
        Stretch(low, high)


def test_band_counts_must_agree() -> None:
    with pytest.raises(ConfigError, match=r"2 bands do not match stretch \(1\)"):
        normalise(np.zeros((2, 1, 1)), np.ones((1, 1), bool), Stretch((0.0,), (1.0,)), MEAN, STD)
