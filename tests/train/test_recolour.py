"""Each change of colour alone: that it happens, how much, and whether bands differ."""

from dataclasses import fields
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from geounet.train.augment import recolour
from geounet.train.config import AugmentConfig

STILL: dict[str, Any] = {item.name: type(item.default)(0) for item in fields(AugmentConfig)}
STILL["haze_strength"] = AugmentConfig.haze_strength  # a width, nothing that happens
SEEDS = 200


def picture(bands: int = 3) -> Tensor:
    """Values in 0.4 .. 0.5, so that moderate changes stay clear of 0 and 1."""
    noise = torch.rand(bands, 24, 20, generator=torch.Generator().manual_seed(0))
    return 0.4 + 0.1 * noise


def changed(image: Tensor, **changes: float) -> np.ndarray:
    """What many seeds make of an image: float64 ``(seeds, bands, h, w)``."""
    config = AugmentConfig(**{**STILL, **changes})
    results = [recolour(np.random.default_rng(seed), image, config) for seed in range(SEEDS)]
    return torch.stack(results).double().numpy()


def lines(image: Tensor, results: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slope and offset, ``(seeds, bands)``, of results that are linear in the image by band."""
    slopes, offsets = np.empty(results.shape[:2]), np.empty(results.shape[:2])
    for band, plane in enumerate(image.double().numpy()):
        x, y = plane.ravel(), results[:, band].reshape(len(results), -1)
        slopes[:, band], offsets[:, band] = np.polyfit(x, y.T, 1)
        line = slopes[:, band, None] * x + offsets[:, band, None]
        np.testing.assert_allclose(y, line, atol=1e-5)
    return slopes, offsets


def test_all_off_is_the_image_itself() -> None:
    image = picture()
    assert (changed(image) == image.double().numpy()).all()


def test_brightness_is_a_gain_of_all_bands_and_a_smaller_one_of_each() -> None:
    image = picture()
    slopes, offsets = lines(image, changed(image, brightness=0.25))
    mean = image.mean().item()
    gains = (slopes * mean + offsets) / mean  # the mean colour knows no contrast
    common = gains.mean(axis=1)
    assert common.min() < 0.85 < 1.15 < common.max()
    assert gains.min() > 0.75 * 0.875 - 1e-3
    assert gains.max() < 1.25 * 1.125 + 1e-3
    apart = gains / common[:, None]
    assert np.abs(apart - 1).max() < 0.25
    assert np.abs(np.corrcoef(apart.T)[0, 1] + 0.5) < 0.2  # independent, but for their mean
    assert (gains.std(axis=1) > 0.01).mean() > 0.9


def test_contrast_turns_each_band_about_its_mean() -> None:
    image = picture()
    slopes, offsets = lines(image, changed(image, brightness=0.25))
    mean = image.mean(dim=(1, 2)).double().numpy()
    gain = (slopes * mean + offsets) / mean
    contrast = slopes / gain
    assert contrast.min() > 0.75 * 0.875 - 1e-3
    assert contrast.max() < 1.25 * 1.125 + 1e-3
    assert contrast.std() == pytest.approx(((0.5**2 + 0.25**2) / 12) ** 0.5, rel=0.15)
    assert (contrast.std(axis=1) > 0.01).mean() > 0.9
    assert abs(np.corrcoef(contrast[:, 0], gain[:, 0])[0, 1]) < 0.25


def test_gamma_is_nearly_that_of_all_bands() -> None:
    image = picture()
    results = changed(image, gamma=0.3)
    powers = np.log(results) / image.double().log().numpy()
    assert powers.std(axis=(2, 3)).max() < 1e-4
    logs = np.log(powers.mean(axis=(2, 3)))
    common = logs.mean(axis=1)
    assert common.std() == pytest.approx(0.3, rel=0.2)
    assert abs(common.mean()) < 0.08
    assert (logs - common[:, None]).std() == pytest.approx(0.06 * (2 / 3) ** 0.5, rel=0.2)


def test_saturation_scales_the_distance_to_grey() -> None:
    image = picture()
    results = changed(image, saturation=0.5)
    before = (image[0] - image[1]).double().numpy()
    after = results[:, 0] - results[:, 1]
    factors = (after * before).sum(axis=(1, 2)) / (before * before).sum()
    np.testing.assert_allclose(after, factors[:, None, None] * before, atol=1e-5)
    assert factors.min() == pytest.approx(0.5, abs=0.05)
    assert factors.max() == pytest.approx(1.5, abs=0.05)
    luma = np.array([0.2989, 0.587, 0.114])
    lights = np.tensordot(results, luma, (1, 0))
    np.testing.assert_allclose(lights, np.broadcast_to(lights[0], lights.shape), atol=2e-4)
    for saturation in (0.5, 0.0):
        grey = changed(image, saturation=saturation, grey=1.0)
        assert np.ptp(grey, axis=1).max() < 1e-6
    # Colours of other than three bands are not known.
    four = picture(4)
    assert (changed(four, saturation=0.5) == four.double().numpy()).all()
    assert (changed(four, grey=1.0) == four.double().numpy()).all()


def test_haze_lifts_and_flattens_all_bands_alike() -> None:
    image = picture()
    slopes, offsets = lines(image, changed(image, haze=1.0))
    strength = 1 - slopes
    assert strength.min() > 0.0
    assert strength.std() > 0.03
    light = offsets / strength
    assert 0.4 < light.min() < light.max() <= 1.0
    np.testing.assert_allclose(slopes, slopes[:, :1].repeat(3, 1), atol=1e-4)
    np.testing.assert_allclose(light, light[:, :1].repeat(3, 1), atol=1e-3)


def test_blur_spreads_a_point_evenly_and_keeps_its_light() -> None:
    image = torch.zeros(3, 21, 21)
    image[:, 10, 10] = 1.0
    results = changed(image, blur=1.0)
    np.testing.assert_allclose(results.sum(axis=(2, 3)), 1.0, atol=1e-5)
    for mirrored in (results[..., ::-1], results[..., ::-1, :], results.swapaxes(2, 3)):
        np.testing.assert_allclose(results, mirrored, atol=1e-6)
    peaks = results[:, 0, 10, 10]
    assert (peaks < 1).all()
    assert np.ptp(peaks) > 0.2  # from sharp to soft
    assert (results == results[:, :1]).all()


def test_noise_is_of_every_pixel_and_band_by_itself() -> None:
    image = torch.full((3, 64, 64), 0.5)
    noise = changed(image, noise=0.02) - 0.5
    widths = noise.std(axis=(1, 2, 3))
    assert widths.max() < 0.0205
    assert widths.min() < 0.004
    assert widths.mean() == pytest.approx(0.01, rel=0.15)
    assert abs(noise.mean()) < 1e-4
    strong = noise[int(widths.argmax())]
    across = np.corrcoef(strong.reshape(3, -1))
    assert np.abs(across - np.eye(3)).max() < 0.08
    beside = np.corrcoef(strong[0, :, 1:].ravel(), strong[0, :, :-1].ravel())
    assert abs(beside[0, 1]) < 0.08


@pytest.mark.parametrize("name", ["grey", "haze", "blur"])
def test_shares_are_those_of_windows(name: str) -> None:
    image = picture()
    results = changed(image, **{name: 0.3})
    moved = np.abs(results - image.double().numpy()).max(axis=(1, 2, 3)) > 1e-4
    assert moved.mean() == pytest.approx(0.3, abs=0.1)
