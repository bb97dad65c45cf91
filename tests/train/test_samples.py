from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from geounet.errors import ConfigError, SceneError
from geounet.train import samples
from geounet.train.check import load_checks, run_check, scene_at, tally
from geounet.train.config import SourceConfig, TownConfig, TrainConfig
from geounet.train.pool import Pool
from geounet.train.samples import (
    Sampler,
    find_images,
    label_table,
    load_pools,
    make_scene,
    read_scene,
)
from tests.helpers import LEGEND, write_scene
from tests.train.tiny import blocks, config_for, write_pair


def test_label_table_knows_full_partial_and_ignored() -> None:
    table = label_table({"0": ("land", "water"), "7": ("building",)}, LEGEND)
    assert table[[0, 7]].tolist() == [0b101, 0b010]
    assert table.sum() == 0b101 + 0b010


def test_reading_applies_the_table(tmp_path: Path) -> None:
    image, mask = blocks(40, 56)
    path = write_pair(tmp_path, "a", image, mask)
    scene = read_scene(path, 3, label_table({"0": ("land",), "1": ("building", "water")}, LEGEND))
    assert scene.gsd == pytest.approx(0.5, rel=0.01)
    assert np.array_equal(scene.levels[0], image)
    assert set(np.unique(scene.labels[mask == 0])) == {0b001}
    assert set(np.unique(scene.labels[mask == 1])) == {0b110}
    assert set(np.unique(scene.labels[mask == 2])) == {0}
    assert scene.counts == {0b001: (mask == 0).sum(), 0b110: (mask == 1).sum()}
    for value, spots in scene.spots.items():
        assert (scene.labels.ravel()[spots] == value).all()


def test_pixels_without_data_are_ignored(tmp_path: Path) -> None:
    image, mask = blocks(40, 56)
    image[:, :7] = 0
    write_scene(tmp_path / "a.tif", image, nodata=0)
    write_scene(tmp_path / "a_mask.tif", mask[None])
    scene = read_scene(tmp_path / "a.tif", 3, np.full(256, 1, dtype=np.uint8))
    assert (scene.labels[:7] == 0).all()
    assert (scene.labels[7:] == 1).all()


def test_scenes_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    image, mask = blocks(40, 56)
    table = np.ones(256, dtype=np.uint8)
    write_scene(tmp_path / "deep.tif", image.astype(np.uint16))
    with pytest.raises(SceneError, match="uint16"):
        read_scene(tmp_path / "deep.tif", 3, table)
    write_scene(tmp_path / "b.tif", image)
    write_scene(tmp_path / "b_mask.tif", mask[None, :, 1:])
    with pytest.raises(SceneError, match="its mask has"):
        read_scene(tmp_path / "b.tif", 3, table)
    with pytest.raises(SceneError, match="4 bands of uint8 needed, 3"):
        read_scene(tmp_path / "b.tif", 4, table)


def test_patterns_and_exclusions(tmp_path: Path) -> None:
    for name in ("t1", "t2", "t6"):
        write_pair(tmp_path, name, *blocks(32, 32))
    source = SourceConfig("s", ("t*.tif",), {"0": ("land",)}, exclude=("t6.tif",))
    assert [path.name for path in find_images(source, tmp_path)] == ["t1.tif", "t2.tif"]
    with pytest.raises(ConfigError, match=r"no image 'u\*\.tif'"):
        find_images(replace(source, images=("u*.tif",)), tmp_path)


def test_a_checked_scene_is_never_trained_on(tmp_path: Path) -> None:
    config = config_for(tmp_path)
    with pytest.raises(ConfigError, match="both trained on and checked"):
        load_pools(replace(config, check=config.source))


def test_a_batch_is_a_function_of_seed_and_step(tmp_path: Path) -> None:
    config = config_for(tmp_path)
    pools = load_pools(config)
    first, again = Sampler(config, pools), Sampler(config, pools)
    first.batch(0)
    for one, other in zip(first.batch(3)[:2], again.batch(3)[:2], strict=True):
        assert one.equal(other)
    assert not first.batch(4)[0].equal(first.batch(3)[0])


def test_shares_hold_in_every_batch(tmp_path: Path) -> None:
    config = config_for(tmp_path)
    config = replace(config, fit=replace(config.fit, batch=10, window=32))
    image = np.zeros((3, 32, 32), dtype=np.uint8)
    pools = [
        Pool((make_scene(str(v), image, np.full((32, 32), v, dtype=np.uint8), 1.0),), share, (0, 0))
        for v, share in ((1, 3.0), (2, 1.0), (4, 1.0))
    ]
    for step in range(5):
        labels = Sampler(config, pools).batch(step)[1].amax((1, 2))
        assert [int((labels == value).sum()) for value in (1, 2, 4)] == [6, 2, 2]


def test_rare_classes_are_drawn_as_often(tmp_path: Path) -> None:
    labels = np.full((64, 64), 1, dtype=np.uint8)
    labels[5, 5:9] = 2
    scene = make_scene("rare", np.zeros((3, 64, 64), dtype=np.uint8), labels, 1.0)
    pool = Pool((scene,), 1.0, (0, 0))
    rng = np.random.default_rng(0)
    hits = [labels[int(row), int(col)] for _, col, row in (pool.draw(rng) for _ in range(300))]
    assert np.mean(np.array(hits) == 2) == pytest.approx(0.5, abs=0.1)


def held(config: TrainConfig, pool: Pool, batches: int) -> np.ndarray:
    """Which of 10 windows a batch hold each label set: bool ``(windows, 8)`` by bit."""
    config = replace(config, fit=replace(config.fit, batch=10, window=32))
    sampler = Sampler(config, [pool])
    labels = torch.cat([sampler.batch(step)[1] for step in range(batches)]).numpy()
    return np.stack([(labels == 1 << bit).any(axis=(1, 2)) for bit in range(8)], axis=1)


def test_as_many_windows_hold_a_class_as_are_asked_for(tmp_path: Path) -> None:
    labels = np.zeros((200, 200), dtype=np.uint8)
    for value, (row, col) in {1: (40, 40), 2: (40, 160), 4: (160, 100)}.items():
        labels[row : row + 5, col : col + 5] = value  # never two of them in one window
    scene = make_scene("apart", np.zeros((3, 200, 200), dtype=np.uint8), labels, 1.0)
    config = config_for(tmp_path)
    free = held(config, Pool((scene,), 1.0, (0, 0)), 40).mean(axis=0)
    assert free[:3] == pytest.approx(1 / 3, abs=0.07)
    pool = Pool((scene,), 1.0, (0, 0), {4: 0.6, 2: 0.1})
    shares = held(config, pool, 40).mean(axis=0)
    # The rest of the windows, 0.3, is drawn as without.
    assert shares[:3] == pytest.approx([0.1, 0.2, 0.7], abs=0.07)


def test_a_window_that_must_hold_a_class_is_drawn_until_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = np.ones((120, 120), dtype=np.uint8)
    labels[60:63, 60:63] = 2
    scene = make_scene("small", np.zeros((3, 120, 120), dtype=np.uint8), labels, 1.0)
    config = config_for(tmp_path)
    wild = replace(config, augment=replace(config.augment, elastic=8.0, stretch=0.8))
    pool = Pool((scene,), 1.0, (2.0, 3.0), {2: 1.0})
    assert held(wild, pool, 10)[:, 1].all()
    monkeypatch.setattr(samples, "_TRIES", 1)
    assert not held(wild, pool, 10)[:, 1].all()


def test_without_shares_no_number_is_drawn_for_them() -> None:
    rng, same = np.random.default_rng(0), np.random.default_rng(0)
    assert Pool((), 1.0, (0, 0)).due(rng) is None
    assert rng.random() == same.random()


def test_a_class_that_no_pixel_has_cannot_be_asked_for(tmp_path: Path) -> None:
    config = config_for(tmp_path)
    source = replace(config.source[0], hold={"building": 0.5})
    assert load_pools(replace(config, source=(source,)))[0].hold == {2: 0.5}
    partial = replace(source, labels={"0": ("land",), "1": ("building", "water")})
    with pytest.raises(ConfigError, match=r"'blocks': hold\.building: no pixel .* building alone"):
        load_pools(replace(config, source=(partial,)))


def test_towns_have_full_labels(tmp_path: Path) -> None:
    config = replace(config_for(tmp_path), town=TownConfig(0.1, (0.5, 1.0), scenes=1, size=128))
    town = load_pools(config)[-1].scenes[0]
    assert set(town.counts) <= {1, 2, 4, 8, 16}
    assert sum(town.counts.values()) == 128 * 128


def test_tally_counts_only_what_is_known() -> None:
    labels = torch.tensor([[0b001, 0b010, 0b110, 0b101, 0]], dtype=torch.uint8)
    said = torch.tensor([[0, 0, 0, 1, 1]], dtype=torch.uint8)
    counts = tally(said, labels, 3)
    assert counts[0].tolist() == [1, 2, 0]  # wrong at {1} and at {1, 2}; unknown at {0, 2}
    assert counts[1].tolist() == [0, 1, 1]
    assert counts[2].tolist() == [0, 0, 0]


def test_resampled_scene_has_the_asked_size(tmp_path: Path) -> None:
    image, mask = blocks(41, 57)
    scene = make_scene("a", image, mask, 0.5)
    shrunk, labels = scene_at(scene, 1.0)
    assert shrunk.shape == (3, 20, 28)
    assert labels.shape == (20, 28)
    same, _ = scene_at(scene, 0)
    assert np.abs(same.numpy() * 255 - image).max() < 0.01


class ByColor(torch.nn.Module):
    """Class 1 where the first band is bright, 2 where the second is, else 0: the right answer."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.cat([torch.full_like(image[:, :1], 0.5), image[:, :2]], dim=1)


def test_a_check_of_a_perfect_network_is_one(tmp_path: Path) -> None:
    config = config_for(tmp_path)
    plain = replace(config.network, mean=(0.0,) * 3, std=(1.0,) * 3)
    config = replace(config, network=plain)
    (check,) = load_checks(config)
    result = run_check(check, ByColor(), config)
    assert result == {"land": 1.0, "building": 1.0, "water": 1.0, "miou": 1.0}


def test_objects_are_those_that_the_labels_came_from_or_connected_regions() -> None:
    mask = np.ones((20, 30), dtype=np.uint8)
    mask[5:15, 5:25] = 2  # two buildings that touch: one region
    numbers = np.zeros(mask.shape, dtype=np.int32)
    numbers[5:15, 5:15], numbers[5:15, 15:25], numbers[0, 0] = 4, 9, 5
    scene = make_scene("s", np.zeros((3, 20, 30), np.uint8), mask, 1.0)
    y, x = np.mgrid[2:18, -3:27].astype(np.float32)
    _, labels = scene.window(x, y, 1.0)
    joined = scene.objects(x, y, labels.numpy(), 0b10)
    assert len(np.unique(joined)) == 2
    apart = replace(scene, instances=numbers).objects(x, y, labels.numpy(), 0b10)
    assert set(np.unique(apart)) == {0, 4, 9}
    assert ((apart > 0) == (labels.numpy() == 2)).all()
    assert (apart[3:13, 8:18] == 4).all()
