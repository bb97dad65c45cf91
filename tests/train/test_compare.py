import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from geounet.errors import ConfigError
from geounet.model.bundle import load_bundle
from geounet.train import compare as comparing
from geounet.train import plain
from geounet.train.check import load_checks
from geounet.train.compare import (
    Comparison,
    LeftOut,
    compare,
    load_comparison,
    markdown,
    without,
)
from geounet.train.config import NetworkConfig, load_config
from geounet.train.export import export
from geounet.train.fit import CHECKPOINT, fit
from geounet.train.load import find_images, load_pools
from geounet.train.neighbours import Separation, neighbour_pairs, separation
from geounet.train.network import read_checkpoint
from geounet.train.samples import Batch
from tests.train.tiny import config_for

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["compare.toml", "compare-gpu.toml"])
def test_the_comparisons_load(name: str) -> None:
    comparison = load_comparison(ROOT / "configs" / name)
    assert comparison.objects == "building"
    configs = list(comparison.runs.values())
    assert len(configs) >= 9
    # Runs differ in what their names say and in nothing else that decides who wins.
    for config in configs:
        assert config.source == configs[0].source
        assert config.fit.batch == configs[0].fit.batch
        assert config.fit.steps == configs[0].fit.steps
    assert len({json.dumps(str(config)) for config in configs}) == len(configs)


def test_runs_change_what_they_name(tmp_path: Path) -> None:
    base = (ROOT / "configs" / "compare-base.toml").read_text()
    (tmp_path / "base.toml").write_text(base)
    path = tmp_path / "compare.toml"
    head = 'base = "base.toml"\nobjects = "building"\n[[run]]\nname = "a"\n'
    path.write_text(head + '[[run]]\nname = "b"\n[run.set.fit]\nloss = { dice = 1 }\n')
    runs = load_comparison(path).runs
    assert runs["b"] == replace(runs["a"], fit=replace(runs["a"].fit, loss={"dice": 1}))
    for text, message in (
        (head + '[[run]]\nname = "a"\n', "run 'a' needs a name of its own"),
        (
            head + '[[run]]\nname = "b"\n[run.set.fit]\nstep = 1\n',
            r"run 'b': unknown key fit\.step",
        ),
        (head.replace("building", "bridge"), "'bridge' is no class"),
        ('base = "base.toml"', "key objects is missing"),
        (head.split("[[")[0] + "run = 3", r"run must be one \[\[run\]\]"),
        (head.replace("base.toml", "none.toml"), r"none\.toml: cannot be read"),
    ):
        path.write_text(text)
        with pytest.raises(ConfigError, match=message):
            load_comparison(path)


def test_leaving_out_trains_on_the_rest_and_checks_the_scene(tmp_path: Path) -> None:
    config = config_for(tmp_path, steps=2)
    lone = replace(config.source[0], name="lone", images=("train_1.tif",), share=0.5)
    config = replace(config, source=(*config.source, lone))
    run = without(config, LeftOut("blocks", ("train_1.tif",), 1.0))
    (pool,) = load_pools(run)  # the source of that scene alone takes no part
    assert [scene.name for scene in pool.scenes] == ["train_0"]
    checks = load_checks(run)
    assert [check.name for check in checks] == ["held back", "left out"]
    assert [scene.name for scene in checks[1].scenes] == ["train_1"]
    assert checks[1].gsd == 1.0
    itself = load_checks(without(config, LeftOut("blocks", ("train_1.tif",))))
    assert itself[1].gsd == config.network.resolution == 0.5
    with pytest.raises(ConfigError, match="no scene is left to train on"):
        load_pools(without(config, LeftOut("lone", ("train_*.tif",))))
    network = replace(config.network, arch="linear")
    rows = compare(Comparison({"a": replace(run, network=network)}, "building"), tmp_path / "out")
    assert rows[0]["checks"]["left out"]["iou"].keys() == {"land", "building", "water", "miou"}


def test_every_place_is_left_out_of_the_recipe() -> None:
    comparison = load_comparison(ROOT / "configs" / "leave-out.toml")
    shipped = load_config(ROOT / "configs" / "landcover-gpu.toml")
    assert [name.split()[-1].lower() for name in comparison.runs] == [
        "t4", "t7", "kampala", "zanzibar", "nairobi", "bishop", "massachusetts",
    ]  # fmt: skip
    data = ROOT / shipped.data
    for config in comparison.runs.values():
        assert config.network == shipped.network
        assert config.augment == shipped.augment
        check = config.check[-1]
        if not data.is_dir():
            pytest.skip("the data sets do not lie beside the repository")
        left = set(find_images(check, data))
        assert left
        assert left.isdisjoint(path for item in config.source for path in find_images(item, data))


def test_a_run_leaves_out_what_its_source_knows(tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text((ROOT / "configs" / "compare-base.toml").read_text())
    path = tmp_path / "c.toml"
    head = 'base = "base.toml"\nobjects = "building"\n[[run]]\nname = "a"\nleave_out = '
    for text, message in (
        ('{ source = "paris", images = ["x.tif"] }', "'paris' is unknown; known: dubai, oam"),
        ('{ source = "oam" }', r"run 'a': key leave_out\.images is missing"),
        ('{ source = "oam", images = ["x.tif"], scale = 1 }', r"unknown key leave_out\.scale"),
        ("3", "run 'a': leave_out: 3 must be a table"),
    ):
        path.write_text(head + text)
        with pytest.raises(ConfigError, match=message):
            load_comparison(path)


def test_neighbours_against_every_pair_of_pixels() -> None:
    rng = np.random.default_rng(1)
    instances = rng.integers(0, 9, (13, 17)) * (rng.random((13, 17)) < 0.2)
    for gap in (0, 1, 2, 5, 30):
        expected = set()
        pixels = [(r, c, int(instances[r, c])) for r, c in np.argwhere(instances)]
        for row, col, one in pixels:
            for row2, col2, other in pixels:
                if one < other and (row - row2) ** 2 + (col - col2) ** 2 <= gap * gap:
                    expected.add((one, other))
        assert neighbour_pairs(instances, gap) == expected


def test_separation_by_hand() -> None:
    truth = np.zeros((5, 24), dtype=int)
    truth[1:4, 1:5], truth[1:4, 6:10], truth[1:4, 11:15], truth[1:4, 20:24] = 1, 2, 3, 4
    # The first two run together, the third is apart, the fourth is far away.
    said = (truth == 1) | (truth == 2) | (truth == 3)
    said[2, 5] = True
    assert separation(truth, said, 3) == (1, 2)
    said[1:4, 11:14] = False  # of the third a quarter is left: not found, no pair
    assert separation(truth, said, 3) == (1, 1)
    assert separation(truth, truth > 0, 3) == (0, 2)
    assert separation(truth, np.ones_like(truth, dtype=bool), 30).share == 1.0
    assert np.isnan(Separation(0, 0).share)


def test_a_comparison_runs_once_and_writes_its_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_for(tmp_path, steps=2)
    network = NetworkConfig(
        name="n", arch="linear", bands=config.network.bands, resolution=0.5,
        mean=config.network.mean, std=config.network.std,
    )  # fmt: skip
    config = replace(config, network=network)
    dice = replace(config, fit=replace(config.fit, loss={"dice": 1.0}))
    comparison = Comparison({"cross-entropy": config, "Dice": dice}, "building")
    rows = compare(comparison, tmp_path / "out")
    assert [row["run"] for row in rows] == ["cross-entropy", "Dice"]
    assert rows[0]["parameters"] == 3 * 3 * 9 + 3
    held = rows[0]["checks"]["held back"]
    assert set(held["iou"]) == {"land", "building", "water", "miou"}
    table = (tmp_path / "out" / "table.md").read_text()
    assert table == markdown(rows)
    assert len(table.splitlines()) == 4

    def refuse(*_: object) -> None:
        raise AssertionError("was done before")

    monkeypatch.setattr(comparing, "fit", refuse)
    assert compare(comparison, tmp_path / "out") == rows


def test_runs_beside_each_other_leave_the_table_to_the_last(tmp_path: Path) -> None:
    base = config_for(tmp_path, steps=2)
    base = replace(base, network=replace(base.network, arch="linear"))
    comparison = Comparison({"one": base, "two": base}, "building")
    alone = compare(comparison.only("two"), tmp_path / "out")
    assert not (tmp_path / "out" / "table.md").exists()
    rows = compare(comparison, tmp_path / "out")
    assert rows[1] == alone[0]
    assert (tmp_path / "out" / "table.md").read_text() == markdown(rows)
    with pytest.raises(ConfigError, match="run 'three' is unknown; known: one, two"):
        comparison.only("three")


def test_the_plain_loop_learns_from_flipped_windows(tmp_path: Path) -> None:
    config = config_for(tmp_path)
    network = replace(config.network, arch="linear")
    config = replace(config, network=network, fit=replace(config.fit, window=24))
    pools = load_pools(config)
    batch = plain.PlainSampler(config, pools[0].scenes).batch(0)
    assert batch.images.shape == (2, 3, 24, 24)
    # Colours and labels stay together through the flips: one colour per class.
    image, labels = batch.images[0], batch.labels[0]
    for value in labels.unique():
        assert image[:, labels == value].std(1).max() < 1e-5
    once, twice = (plain.train_plainly(config, 4, tmp_path / name) for name in "ab")
    for key, value in once.network.state_dict().items():
        assert torch.equal(value, twice.network.state_dict()[key])


def test_the_plain_loop_goes_on_where_it_was_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_for(tmp_path, save_minutes=0.0)
    config = replace(config, network=replace(config.network, arch="linear"))
    whole = plain.train_plainly(config, 5, tmp_path / "whole").network.state_dict()
    made = 0

    def cut_off(*arguments: Any) -> Batch:
        nonlocal made
        made += 1
        if made == 4:
            raise KeyboardInterrupt
        return batch(*arguments)

    batch = plain.PlainSampler.batch
    monkeypatch.setattr(plain.PlainSampler, "batch", cut_off)
    out = tmp_path / "broken"
    with pytest.raises(KeyboardInterrupt):
        plain.train_plainly(config, 5, out)
    assert read_checkpoint(out / CHECKPOINT)["step"] in (2, 3)  # the next batch is made meanwhile
    with pytest.raises(ConfigError, match="exists; add --resume"):
        plain.train_plainly(config, 5, out)
    resumed = plain.train_plainly(config, 5, out, again=True)
    assert resumed.step == 5
    assert all(torch.equal(v, whole[key]) for key, v in resumed.network.state_dict().items())
    export(out / CHECKPOINT, tmp_path / "plain.safetensors", "a test")
    weights = load_bundle(tmp_path / "plain.safetensors").tensors()
    assert all(torch.allclose(value, whole[key], rtol=1e-3) for key, value in weights.items())
    with pytest.raises(ConfigError, match="was written by another loop"):
        fit(config, out, again=True)


def test_a_class_that_one_of_both_calls_wrongly_has_one_score() -> None:
    scores = {"plain": {"land": 0.5, "water": 0.0, "miou": 0.25}, "m": {"land": 0.75, "miou": 0.75}}
    lines = plain.table({"model": "m", "checks": {"c": scores}}).splitlines()[2:]
    assert lines == [
        "| c | land | 0.500 | 0.750 | +0.250 |",
        "| c | water | 0.000 | - | - |",
        "| c | mean IoU | 0.250 | 0.750 | +0.500 |",
    ]


def test_the_plain_loop_is_measured_against_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = config_for(tmp_path, steps=2)
    config = replace(config, network=replace(config.network, arch="linear"))
    fit(config, tmp_path / "run")
    model = tmp_path / "model.safetensors"
    export(tmp_path / "run" / CHECKPOINT, model, "a test")
    monkeypatch.setattr(plain, "load_config", lambda _: config)
    out = tmp_path / "plain"
    command = ["plain", "some.toml", "--steps", "3", "--out", str(out), "--against", str(model)]
    monkeypatch.setattr("sys.argv", command)
    assert plain.main() == 0
    result = json.loads((out / "result.json").read_text())
    scores = result["checks"]["held back"]
    assert scores.keys() == {"plain", config.network.name}
    printed = capsys.readouterr().out
    assert printed == (out / "table.md").read_text()
    last = [cell.strip() for cell in printed.splitlines()[-1].strip("|").split("|")]
    before, after = (scores[key]["miou"] for key in ("plain", config.network.name))
    assert last[:2] == ["held back", "mean IoU"]
    assert [float(cell) for cell in last[2:]] == pytest.approx(
        [before, after, after - before], abs=1e-3
    )
    # What is done is not trained again, only measured.
    monkeypatch.setattr("sys.argv", [*command, "--resume"])
    assert plain.main() == 0
    assert json.loads((out / "result.json").read_text())["minutes"] == result["minutes"]
    for wrong, message in (
        (["--against", str(out / "none.safetensors")], "none.safetensors"),
        (["--against", "landcover-rgb"], "has other classes or bands"),
        (["--steps", "0"], "--steps 0 must be at least 1"),
    ):
        monkeypatch.setattr("sys.argv", [*command, "--resume", *wrong])
        assert plain.main() == 1
        assert message in capsys.readouterr().err
