import numpy as np
import pytest
import torch
from scipy import ndimage

from geounet.resample import Axis, resample_axis
from geounet.train.augment import (
    Palette,
    Sample,
    elastic_field,
    paste,
    recolour,
    repaint,
    window_map,
)
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


def test_a_palette_is_taken_on_part_of_the_way() -> None:
    rng = np.random.default_rng(0)
    image = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(1)) * 0.4 + 0.1
    goal = Palette(np.array([0.6, 0.3, 0.5], np.float32), np.full(3, 0.08, np.float32))
    parts = []
    for _ in range(40):
        result = repaint(rng, image, goal)
        assert result.min() >= 0 and result.max() <= 1
        before, after = image.mean(dim=(1, 2)).numpy(), result.mean(dim=(1, 2)).numpy()
        # All bands move by the same part of their way.
        part = (after - before) / (goal.mean - before)
        assert np.ptp(part) < 0.02
        parts.append(part.mean())
        ratio = (result.std(dim=(1, 2)) / image.std(dim=(1, 2))).numpy()
        assert (ratio < 1.001).all() and (ratio > 0.39).all()
    assert min(parts) < 0.15 and max(parts) > 0.85
    even = torch.full((3, 8, 8), 0.5)
    assert repaint(rng, even, goal).std(dim=(1, 2)).max() < 1e-6  # no noise out of nothing


def test_a_rectangle_is_pasted_with_its_labels_and_weights() -> None:
    def plain(value: int) -> Sample:
        return Sample(
            torch.full((3, 40, 40), float(value)),
            torch.full((40, 40), value, dtype=torch.uint8),
            torch.full((40, 40), float(value)),
        )

    for seed in range(10):
        into, other = plain(1), plain(2)
        mixed = paste(np.random.default_rng(seed), into, other)
        assert mixed.boundary is not None
        new = mixed.labels == 2
        rows, cols = new.any(1).nonzero().ravel(), new.any(0).nonzero().ravel()
        assert 12 <= len(rows) <= 28 and 12 <= len(cols) <= 28
        assert new.sum() == len(rows) * len(cols)  # one rectangle
        assert torch.equal(mixed.image[0] == 2, new)
        assert torch.equal(mixed.boundary == 2, new)
        assert (into.labels == 1).all()
    bare = paste(np.random.default_rng(0), plain(1)._replace(boundary=None), plain(2))
    assert bare.boundary is None


@pytest.mark.parametrize("scale", [1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 6.7])
def test_a_coarse_window_looks_as_prediction_reads_it(scale: float) -> None:
    """As much detail is left, within a tenth, as the reader leaves of a scene at that scale."""
    rough = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(600, 600)), 0.8)
    image = np.clip(rough * 150 + 128, 0, 255).astype(np.uint8)
    scene = scene_of("rough", image[None], np.ones((600, 600), np.uint8), 1.0)
    axis = Axis(600, int(600 / scale))
    # Off the grid of the pyramid's pixels, as nearly every window is.
    at = ((np.arange(axis.size_out) + 0.7) * axis.step - 0.5).astype(np.float32)
    x, y = np.meshgrid(at, at)
    shown = scene.window(x, y, axis.step).image[0].numpy()
    taps = axis.taps(0, axis.size_out)
    read = resample_axis(resample_axis(image / 255.0, 0, taps, 0), 1, taps, 0)
    assert 0.85 < shown.std() / read.std() < 1.15
