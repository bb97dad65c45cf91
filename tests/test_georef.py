import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geounet.errors import ConfigError
from geounet.georef import Georef

UTM = (0.5, 0.0, 465_000.0, 0.0, -0.5, 5_250_000.0)


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int32, np.int64, np.float32, np.float64])
def test_points_are_exact_whatever_their_dtype(dtype: type) -> None:
    points = np.array([[0, 0], [1, 0], [0, 1], [101, 77]], dtype)
    result = Georef("UTM", UTM, "plane").to_crs(points)
    assert result.dtype == np.float64
    expected = [[465_000, 5_250_000], [465_000.5, 5_250_000], [465_000, 5_249_999.5]]
    assert result.tolist() == [*expected, [465_050.5, 5_249_961.5]]


@given(st.lists(st.floats(-1e5, 1e5), min_size=6, max_size=6), st.integers(0, 9), st.integers(0, 9))
def test_points_follow_the_affine_transform(values: list[float], row: int, col: int) -> None:
    a, b, c, d, e, f = values
    if a * e - b * d == 0:
        return
    georef = Georef("any", (a, b, c, d, e, f), "plane")
    x, y = georef.to_crs(np.array([[col, row]]))[0]
    assert x == a * col + b * row + c
    assert y == d * col + e * row + f


@given(st.floats(0.01, 100), st.floats(0, 2 * math.pi))
def test_pixel_area_does_not_depend_on_rotation_or_direction(size: float, angle: float) -> None:
    cos, sin = size * math.cos(angle), size * math.sin(angle)
    for flip in (1, -1):  # south-up and north-up
        georef = Georef("any", (cos, -sin * flip, 0.0, sin, cos * flip, 0.0), "plane")
        assert math.isclose(georef.pixel_area, size**2, rel_tol=1e-9)
        assert math.copysign(1, georef.determinant) == flip


def test_areas_by_surface() -> None:
    north_up = (2.0, 0.0, 0.0, 0.0, -3.0, 0.0)
    assert Georef(None, north_up, "pixels").pixel_area == 1.0
    assert Georef("feet", north_up, "plane", unit=0.3048).pixel_area == pytest.approx(6 * 0.3048**2)
    assert Georef("degrees", north_up, "ellipsoid", gsd=0.6).pixel_area == pytest.approx(0.36)
    with pytest.raises(ConfigError, match="ground sample distance"):
        _ = Georef("degrees", north_up, "ellipsoid").pixel_area


def test_no_points_and_pickling() -> None:
    georef = Georef("UTM", UTM, "plane", gsd=0.5)
    assert georef.to_crs(np.empty((0, 2), np.int32)).shape == (0, 2)
    assert pickle.loads(pickle.dumps(georef)) == georef


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        ((1.0, 0.0, 0.0, 0.0, 1.0), "six finite"),
        ((1.0, 0.0, math.nan, 0.0, 1.0, 0.0), "nan"),
        ((1.0, 0.0, 0.0, 0.0, math.inf, 0.0), "inf"),
        ((1.0, 2.0, 0.0, 2.0, 4.0, 0.0), "to a line"),
    ],
)
def test_transforms_that_cannot_be_used(transform: tuple[float, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Georef("any", transform, "plane")  # type: ignore[arg-type]


def test_the_surface_fits_the_crs() -> None:
    with pytest.raises(ConfigError, match="'plane' does not fit crs None"):
        Georef(None, UTM, "plane")
    with pytest.raises(ConfigError, match="'pixels' does not fit crs 'UTM'"):
        Georef("UTM", UTM, "pixels")
