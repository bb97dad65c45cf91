"""Checks of a run: scenes at another resolution, counts of partial labels, and their mean IoU."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from geounet.errors import ConfigError
from geounet.labels.coding import coding_for
from geounet.metrics import PartialConfusion
from geounet.tiles import Window
from geounet.train.check import SampledScene, load_checks, run_check, tally
from tests.helpers import LEGEND
from tests.train.tiny import LABELS, blocks, config_for, scene_of, write_pair


def test_tally_counts_only_what_is_known() -> None:
    labels = torch.tensor([[0b001, 0b010, 0b110, 0b101, 0]], dtype=torch.uint8)
    said = torch.tensor([[0, 0, 0, 1, 1]], dtype=torch.uint8)
    counts = tally(said, labels, 3)
    assert counts[0].tolist() == [1, 2, 0]  # wrong at {1} and at {1, 2}; unknown at {0, 2}
    assert counts[1].tolist() == [0, 1, 1]
    assert counts[2].tolist() == [0, 0, 0]


def test_resampled_scene_has_the_asked_size() -> None:
    image, mask = blocks(41, 57)
    scene = scene_of("a", image, mask, 0.5)
    half = SampledScene(scene, 2.0)
    assert half.shape == (20, 28)
    view = half.patch(Window(-3, 0, 26, 28))
    assert view.image.shape == (3, 26, 28)
    assert view.image[:, :3].flip(1).allclose(view.image[:, 4:7])
    same = SampledScene(scene, 1.0).patch(Window(0, 0, 41, 57)).image
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


@pytest.mark.parametrize(
    "labels", [LABELS, {"0": ("land",), "1": ("building", "land"), "2": ("water",)}]
)
def test_a_check_means_over_the_classes_that_evaluate_means_over(
    tmp_path: Path, labels: Mapping[str, tuple[str, ...]]
) -> None:
    config = config_for(tmp_path)
    config = replace(config, network=replace(config.network, mean=(0.0,) * 3, std=(1.0,) * 3))
    image, truth = blocks(64, 72, 2)
    write_pair(tmp_path, "held_0", image, np.where(truth == 2, 0, truth).astype(np.uint8))
    (check,) = load_checks(replace(config, check=(replace(config.check[0], labels=labels),)))
    result = run_check(check, ByColor(), config)
    coding = coding_for(labels, LEGEND)
    codes = np.array([coding.codes[str(v)] for v in (0, 1, 0)], np.uint8)[truth]
    judged = PartialConfusion.empty(coding.allowed(LEGEND)).plus(codes, truth)
    assert result["water"] == judged.iou[2] == 0
    assert ("building" in result) == (not np.isnan(judged.iou[1])) == (labels is LABELS)
    assert result["miou"] == pytest.approx(judged.mean_iou.value, abs=1e-4)


@pytest.mark.parametrize("exclude", [(), ("held_*.tif",)])
def test_a_check_on_which_nothing_can_be_measured_is_refused(
    tmp_path: Path, exclude: tuple[str, ...]
) -> None:
    config = config_for(tmp_path)
    labels = LABELS if exclude else {"0": (), "1": ("building", "water"), "2": ()}
    check = replace(config.check[0], labels=labels, exclude=exclude)
    with pytest.raises(
        ConfigError, match=r"check 'held back': no pixel .* nothing can be measured"
    ):
        load_checks(replace(config, check=(check,)))
