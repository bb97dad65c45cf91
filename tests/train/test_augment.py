import numpy as np
import pytest
import torch
from scipy import ndimage

from geounet.train.augment import elastic_field, recolour, window_map
from geounet.train.config import AugmentConfig
from tests.train.tiny import scene_of

STILL = AugmentConfig(
    rotate=False, stretch=0, elastic=0, brightness=0, gamma=0, saturation=0, haze=0, blur=0, noise=0
)
FULL = AugmentConfig(elastic_share=1.0)


def test_elastic_field_is_the_papers() -> None:
    rng = np.random.default_rng(0)
    fields = np.stack([elastic_field(rng, 65, 10.0) for _ in range(600)])
    assert fields.shape == (600, 2, 65, 65)
    assert fields.dtype == np.float32
    # The coarse vectors stand at corners, edge middles and the centre: 10 px there.
    coarse = fields[:, :, ::32, ::32]
    assert coarse.shape[2:] == (3, 3)
    assert coarse.std(axis=0).mean() == pytest.approx(10.0, rel=0.03)
    assert abs(coarse.mean()) < 0.3
    # x and y displacements, and neighbouring coarse vectors, are drawn independently.
    assert abs(np.corrcoef(coarse[:, 0].ravel(), coarse[:, 1].ravel())[0, 1]) < 0.05
    assert abs(np.corrcoef(coarse[:, 0, 0, 0], coarse[:, 0, 0, 1])[0, 1]) < 0.15


def test_elastic_field_is_smooth() -> None:
    field = elastic_field(np.random.default_rng(1), 256, 10.0)
    assert np.abs(np.diff(field, axis=1)).max() < 0.6
    assert np.abs(np.diff(field, n=2, axis=2)).max() < 0.02


def test_the_map_without_changes_is_a_flip_and_quarter_turns() -> None:
    for seed in range(12):
        x, y = window_map(np.random.default_rng(seed), 33, 2.0, STILL)
        corners = {(round(float(x[r, c])), round(float(y[r, c]))) for r in (0, -1) for c in (0, -1)}
        assert corners == {(-32, -32), (-32, 32), (32, -32), (32, 32)}
        assert x[16, 16] == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("scale", [0.5, 1.0, 1.8, 4.5])
def test_borders_are_mirrored_never_black(scale: float) -> None:
    image = np.full((3, 50, 71), 200, dtype=np.uint8)
    scene = scene_of("plain", image, np.full((50, 71), 2, dtype=np.uint8), 1.0)
    for seed in range(8):
        rng = np.random.default_rng(seed)
        offset = window_map(rng, 96, scale, FULL)
        col, row = rng.choice([0.0, 70.0]), rng.choice([0.0, 49.0])
        sampled, labels, _ = scene.window(offset[0] + col, offset[1] + row, scale)
        assert sampled.min().item() == pytest.approx(200 / 255, abs=1e-5)
        assert sampled.max().item() == pytest.approx(200 / 255, abs=1e-5)
        assert (labels == 2).all()


@pytest.mark.parametrize("seed", range(8))
def test_image_and_labels_stay_aligned(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = ndimage.gaussian_filter(rng.normal(size=(150, 190)), 6) > 0
    image = np.where(truth, 255, 0).astype(np.uint8)[None].repeat(3, axis=0)
    scene = scene_of("blobs", image, np.where(truth, 2, 1).astype(np.uint8), 1.0)
    scale = float(rng.uniform(0.5, 1.3))
    offset = window_map(rng, 128, scale, FULL)
    sampled, labels, _ = scene.window(offset[0] + 95, offset[1] + 75, scale)
    same = (sampled[0] > 0.5).numpy() == (labels == 2).numpy()
    assert same.mean() > 0.995
    assert 0.1 < (labels == 2).float().mean() < 0.9


def test_the_plain_window_is_numpys_reflection() -> None:
    image = np.random.default_rng(0).integers(0, 256, (2, 20, 31), dtype=np.uint8)
    labels = np.random.default_rng(1).integers(0, 4, (20, 31)).astype(np.uint8)
    scene = scene_of("noise", image, labels, 1.0)
    y, x = np.meshgrid(np.arange(-7, 29), np.arange(-5, 40), indexing="ij")
    sampled, classes, _ = scene.window(x.astype(np.float32), y.astype(np.float32), 1.0)
    pad = ((7, 9), (5, 9))
    expected = np.pad(image, ((0, 0), *pad), mode="reflect")
    assert np.abs(sampled.numpy() * 255 - expected).max() < 0.01
    assert np.array_equal(classes.numpy(), np.pad(labels, pad, mode="reflect"))


def test_recolour_keeps_range_and_follows_its_seed() -> None:
    image = torch.rand(3, 40, 50, generator=torch.Generator().manual_seed(0))
    seen = []
    for seed in range(20):
        first = recolour(np.random.default_rng(seed), image, FULL)
        again = recolour(np.random.default_rng(seed), image, FULL)
        assert torch.equal(first, again)
        assert first.shape == image.shape
        assert first.dtype == torch.float32
        assert first.min() >= 0 and first.max() <= 1
        seen.append(first.mean().item())
    assert np.std(seen) > 0.03


def test_recolour_takes_any_number_of_bands_and_can_be_off() -> None:
    image = torch.rand(4, 16, 16)
    assert recolour(np.random.default_rng(0), image, FULL).shape == image.shape
    assert torch.equal(recolour(np.random.default_rng(0), image, STILL), image)
