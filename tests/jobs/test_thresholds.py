"""Thresholds chosen on labels, and the copy of the model that carries them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from geounet_cli.app import app
from typer.testing import CliRunner

from geounet.decision import decision_for, stored
from geounet.errors import ConfigError, GeounetError, OutputError
from geounet.jobs import thresholds
from geounet.jobs.thresholds import find_thresholds
from geounet.jobs.truth import Truth
from geounet.labels.source import LabelFiles
from geounet.metrics import Confusion
from geounet.model.bundle import load_bundle
from tests.helpers import LEGEND, brightness_model, write_scene
from tests.train.tiny import blocks

FULL = "0=land,1=building,2=water"
HEIGHT, WIDTH = 300, 131


@pytest.fixture
def case(tmp_path: Path) -> tuple[Path, Path, Path]:
    """A scene whose buildings are so dim that most look like land, its labels, and a model."""
    truth = np.concatenate([blocks(100, WIDTH, seed)[1] for seed in (1, 2, 3)])
    rng = np.random.default_rng(0)
    scene = rng.integers(108, 124, (3, HEIGHT, WIDTH)).astype(np.uint8)
    scene[0][truth == 1] += 10
    scene[1][truth == 2] += 30
    truth[:20] = 255
    scene[:, :, :9] = 0
    return (
        write_scene(tmp_path / "s.tif", scene, nodata=0),
        write_scene(tmp_path / "truth.tif", truth[None]),
        brightness_model(tmp_path / "m.safetensors"),
    )


def run(scene: Path, labels: Path, model: Path, *more: str, meaning: str = FULL) -> Any:
    command = ["evaluate", str(scene), str(labels), "-m", str(model), "--device", "cpu"]
    return CliRunner().invoke(app, [*command, "--labels", meaning, *more])


def report(path: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(path.read_text())
    return result


def test_the_copy_does_what_was_promised(case: tuple[Path, Path, Path], tmp_path: Path) -> None:
    scene, labels, model = case
    new, first, second = (tmp_path / name for name in ("new.safetensors", "1.json", "2.json"))
    before = model.read_bytes()
    done = run(scene, labels, model, "--thresholds", "--save", str(new), "-o", str(first))
    assert done.exit_code == 0, done.output
    assert "thresholds of the best F1" in done.output
    assert model.read_bytes() == before
    own, copy = load_bundle(model), load_bundle(new)
    found = report(first)["thresholds"]
    assert copy.spec.thresholds == {name: item["threshold"] for name, item in found.items()}
    tensors = copy.stored_tensors()
    assert all(value.equal(tensors[key]) for key, value in own.stored_tensors().items())
    done = run(scene, labels, new, "-o", str(second))
    assert done.exit_code == 0, done.output
    now, then = (report(path)["classes"] for path in (first, second))
    assert report(second)["thresholds"] is None
    for name, item in found.items():
        # The promise is counted from probabilities in steps of 1/254.
        assert then[name]["dice"] == pytest.approx(item["f1_together"], abs=2e-3)
    assert then["building"]["dice"] > now["building"]["dice"] + 0.1


def test_one_class_alone_gets_exactly_its_best_f1(
    case: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    scene, labels, model = case
    new, first, second = (tmp_path / name for name in ("new.safetensors", "1.json", "2.json"))
    partial = "0=land+water,1=building,2=land+water"
    limits = ("--threshold", "water=0.6")
    done = run(
        scene, labels, model, "--thresholds", "--save", str(new), "-o", str(first), *limits,
        meaning=partial,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    found = report(first)["thresholds"]
    assert list(found) == ["building"]
    assert load_bundle(new).spec.thresholds == {
        "water": 0.6, "building": found["building"]["threshold"],
    }  # fmt: skip
    run(scene, labels, new, "-o", str(second), "--threshold", "water=none", meaning=partial)
    again = report(second)["classes"]["building"]["dice"]
    assert again == pytest.approx(found["building"]["f1_alone"], abs=1e-6)


def test_strips_do_not_show_and_the_mask_is_that_of_the_rule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(5)
    truth = blocks(HEIGHT, WIDTH, 1)[1]
    shares = rng.dirichlet(np.ones(3), truth.shape).transpose(2, 0, 1)
    shares = (shares + np.eye(3)[truth].transpose(2, 0, 1)) / 2
    known = rng.random(truth.shape) < 0.9
    steps = stored(shares, known, "uint8")
    raster = write_scene(tmp_path / "p.tif", steps, nodata=255)
    labels = Truth(LabelFiles(write_scene(tmp_path / "truth.tif", truth[None])))
    found = find_thresholds(raster, labels, LEGEND, {})
    for rows, chunk in ((1, 1), (37, 500)):
        monkeypatch.setattr(thresholds, "_STRIP", rows)
        monkeypatch.setattr(thresholds, "_CHUNK", chunk)
        assert find_thresholds(raster, labels, LEGEND, {}).to_dict() == found.to_dict()
    mask, _ = decision_for(LEGEND, None, found.values).decide(steps / np.float32(254), known)
    whole = Confusion.of(truth, mask, 3)
    np.testing.assert_array_equal(found.together.counts, whole.counts)
    assert found.together.unpredicted == (~known).sum()


def test_what_cannot_be_is_said_at_once(case: tuple[Path, Path, Path], tmp_path: Path) -> None:
    scene, labels, model = case
    link = tmp_path / "link.safetensors"
    link.symlink_to(model)

    def failure(*more: str, meaning: str = FULL) -> GeounetError:
        done = run(scene, labels, model, "--thresholds", *more, meaning=meaning)
        assert isinstance(done.exception, GeounetError)
        assert "\n" not in str(done.exception)
        return done.exception

    taken = tmp_path / "taken.safetensors"
    taken.write_bytes(b"something")
    assert "exists; replace it with --overwrite" in str(failure("--save", str(taken)))
    for path in (model, link):
        error = failure("--save", str(path), "--overwrite")
        assert isinstance(error, OutputError)
        assert "is the model itself" in str(error)
    assert isinstance(failure("--save", str(tmp_path / "x.pt")), ConfigError)
    error = failure(meaning="0=land+building,1=land+building,2=land+building")
    assert "no pixel's label names a class alone" in str(error)
    assert run(scene, labels, model, "--save", str(tmp_path / "n.safetensors")).exit_code == 2
    mask = ["evaluate", str(labels), str(labels), "--thresholds"]
    assert CliRunner().invoke(app, mask).exit_code == 2
    done = run(scene, labels, model, "--thresholds", "--save", str(taken), "--overwrite", "-q")
    assert done.exit_code == 0, done.output
    assert load_bundle(taken).spec.thresholds
