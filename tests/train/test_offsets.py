"""Offsets of the classes' logits: found on training scenes, written into the last layer."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from geounet.errors import ConfigError
from geounet.model.bundle import load_bundle, save_bundle
from geounet.train.offsets import Sample, adjust, fit_offsets, main, shifted
from tests.helpers import brightness_model
from tests.train.tiny import config_for


def sample_of(seed: int, shift: tuple[float, ...], sets: int = 0, share: float = 1.0) -> Sample:
    """Logits that name the true class more often than not, shifted; labels are full, or ``sets``
    stands for each of the other classes.
    """
    rng = np.random.default_rng(seed)
    true = rng.choice(3, 20_000, p=(0.7, 0.2, 0.1))
    logits = rng.normal(0, 1, (3, len(true)))
    logits[true, np.arange(len(true))] += 3
    labels = (1 << true).astype(np.uint8)
    judged: tuple[int, ...] = (0, 1, 2)
    if sets:
        labels[labels != 2] = sets
        judged = (1,)
    shifted = logits + np.array(shift)[:, None]
    return Sample(shifted.astype(np.float32), labels, judged, share)


def test_a_shift_is_found_and_undone() -> None:
    straight = fit_offsets([sample_of(0, (0, 0, 0))])
    offsets = fit_offsets([sample_of(0, (-2, 0.75, 0))])
    np.testing.assert_allclose(offsets - straight, np.array([2, -0.75, 0]) - 1.25 / 3, atol=0.26)
    spoilt, fresh = sample_of(0, (-2, 0.75, 0)), sample_of(1, (-2, 0.75, 0))
    for sample in (spoilt, fresh):  # not only where it was fitted
        assert sample.score(offsets) > sample.score(np.zeros(3)) + 0.1
    assert abs(offsets.mean()) < 1e-6


def test_sources_count_by_their_share() -> None:
    """One has building called too seldom, the other, of one label, too often."""
    seldom, often = sample_of(0, (0, -2, 0)), sample_of(1, (0, 2, 0), sets=5, share=0.01)
    offset = fit_offsets([seldom, often])[1]
    assert offset > 0.8
    assert fit_offsets([replace(seldom, share=0.01), replace(often, share=1.0)])[1] < -0.3


def test_labels_that_allow_several_classes_tell_what_is_wrong() -> None:
    sets = np.array([2, 5, 5, 0], np.uint8)
    logits = np.zeros((3, 4), np.float32)
    logits[1] = (1, 1, -1, 1)  # found; wrong; not called; no label
    assert Sample(logits, sets, (1,), 1.0).score(np.zeros(3)) == 0.5


def test_a_model_gets_them(tmp_path: Path) -> None:
    """A model that never calls buildings calls them again; all else stays as it was."""
    config = config_for(tmp_path)
    norm = {"mean": (0.5,) * 3, "std": (0.25,) * 3}
    model = brightness_model(tmp_path / "m.safetensors", resolution=0.5, **norm)
    spoilt = load_bundle(str(model))
    tensors = dict(spoilt.tensors())
    tensors["bias"] = tensors["bias"] - torch.tensor([0.0, 31.3, 0.0])  # just below land
    spec = replace(spoilt.spec, margin_curve=((1, 0.1), (2, 0.0)))
    save_bundle(model, spec, tensors)
    told: list[str] = []
    better = adjust(config, load_bundle(str(model)), tmp_path / "better.safetensors", told.append)
    offsets = better.spec.card["offsets"]
    assert offsets["building"] - offsets["land"] > 0.1
    assert better.spec.card["accuracy_iou"]["held back"]["miou"] > 0.9
    assert better.spec.margin_curve == ()
    written = load_bundle(str(tmp_path / "better.safetensors")).tensors()
    assert set(written) == set(tensors)
    for name, value in tensors.items():
        assert torch.equal(written[name], value) == (name != "bias")
    assert "without offsets" in told[0]


def test_a_network_without_a_bias_per_class_is_refused() -> None:
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 3, 1), torch.nn.ReLU(), torch.nn.Conv2d(3, 3, 1, bias=False)
    ).eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(ConfigError, match="no bias per class"):
        shifted(network, np.array([1, 0, -1], np.float32), 3, 16)
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, before[name])


def test_a_file_that_exists_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "m.safetensors").write_text("mine")
    words = ["offsets", "no.toml", "landcover-rgb", "-o", str(tmp_path / "m.safetensors")]
    monkeypatch.setattr("sys.argv", words)
    assert main() == 1
    assert "exists; replace it with --overwrite" in capsys.readouterr().err
    assert (tmp_path / "m.safetensors").read_text() == "mine"
