import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import torch

from geounet.errors import ConfigError, GeounetError, OutputError
from geounet.model.bundle import load_bundle
from geounet.model.networks import build_network
from geounet.train import fit as loop
from geounet.train.check import load_checks, run_check
from geounet.train.config import AugmentConfig, FitConfig, WeightMapConfig
from geounet.train.curves import plot, read_log
from geounet.train.export import export
from geounet.train.fit import BEST, CHECKPOINT, fit, learning_rate
from geounet.train.load import load_pools
from geounet.train.logbook import CURVES, LOG
from geounet.train.network import read_checkpoint
from geounet.train.samples import Sampler
from tests.train.tiny import config_for

pytestmark = pytest.mark.usefixtures("tiny_architecture")


def test_rate_warms_up_and_falls() -> None:
    plan = FitConfig(steps=1000, rate=0.1, warmup=10)
    assert learning_rate(0, 0.0, plan) == pytest.approx(0.01)
    assert learning_rate(9, 0.0, plan) == pytest.approx(0.1)
    assert learning_rate(500, 0.5, plan) == pytest.approx(0.05, rel=0.02)
    assert learning_rate(999, 1.0, plan) == pytest.approx(0.001)
    rates = [learning_rate(step, step / 1000, plan) for step in range(10, 1000)]
    assert rates == sorted(rates, reverse=True)


def test_resuming_equals_an_unbroken_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_for(tmp_path, steps=7, save_minutes=0.0)
    whole = fit(config, tmp_path / "whole")

    def interrupted(state: loop.State, *rest: object) -> dict[str, float]:
        if state.step == 4:
            raise KeyboardInterrupt
        return train_step(state, *rest)  # type: ignore[arg-type]

    train_step = loop.train_step
    monkeypatch.setattr(loop, "train_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit(config, tmp_path / "broken")
    monkeypatch.setattr(loop, "train_step", train_step)
    assert read_checkpoint(tmp_path / "broken" / CHECKPOINT)["step"] == 4
    resumed = fit(config, tmp_path / "broken", again=True)

    assert resumed.step == whole.step == 7
    for kind in ("network", "average"):
        expected = getattr(whole, kind).state_dict()
        for key, value in getattr(resumed, kind).state_dict().items():
            assert torch.equal(value, expected[key]), (kind, key)


def test_overfits_its_scene(tmp_path: Path) -> None:
    config = config_for(tmp_path, steps=150, batch=4, rate=2e-2, warmup=5)
    still = AugmentConfig(
        rotate=False, stretch=0, elastic=0, brightness=0, gamma=0, saturation=0, grey=0, haze=0,
        blur=0, noise=0,
    )  # fmt: skip
    source = replace(config.source[0], images=("train_0.tif",))
    state = fit(replace(config, augment=still, source=(source,)), tmp_path / "run")
    (check,) = load_checks(replace(config, check=(source,)))
    result = run_check(check, state.average, config)
    assert result["miou"] > 0.98, result
    lines = [json.loads(line) for line in (tmp_path / "run" / LOG).read_text().splitlines()]
    assert lines[-1]["final"] == "held back"
    losses = [line["loss"] for line in lines if "loss" in line]
    assert losses[-1] < losses[0] / 5


def test_the_clock_can_end_a_run(tmp_path: Path) -> None:
    config = config_for(tmp_path, steps=100_000, minutes=0.02, save_minutes=100)
    state = fit(config, tmp_path / "run")
    assert 1 <= state.step < 100_000
    assert state.seconds >= 1.2
    assert state.optimizer.param_groups[0]["lr"] < config.fit.rate / 10


def test_a_run_is_not_overwritten_nor_mixed_up(tmp_path: Path) -> None:
    config = config_for(tmp_path, steps=1)
    with pytest.raises(ConfigError, match="leave out --resume"):
        fit(config, tmp_path / "run", again=True)
    fit(config, tmp_path / "run")
    with pytest.raises(ConfigError, match="add --resume"):
        fit(config, tmp_path / "run")
    other = replace(config, network=replace(config.network, mean=(0.4, 0.4, 0.4)))
    with pytest.raises(ConfigError, match="another network"):
        fit(other, tmp_path / "run", again=True)
    more = replace(config, fit=replace(config.fit, steps=3))
    assert fit(more, tmp_path / "run", again=True).step == 3


def test_a_run_can_start_from_another_ones_weights(tmp_path: Path) -> None:
    config = config_for(tmp_path, steps=2)
    before = fit(config, tmp_path / "first").average.state_dict()
    network = replace(config.network, pretrained=str(tmp_path / "first" / CHECKPOINT))
    after = loop.start(replace(config, network=network)).network.state_dict()
    assert all(torch.equal(value, before[key]) for key, value in after.items())


def test_weights_that_do_not_fit_are_named(tmp_path: Path) -> None:
    config = config_for(tmp_path, steps=1)
    fit(config, tmp_path / "first")
    path = tmp_path / "first" / CHECKPOINT
    network = replace(config.network, arch="linear", pretrained=str(path))
    with pytest.raises(ConfigError, match="the weights are of another network"):
        loop.start(replace(config, network=network))
    absent = replace(config.network, pretrained=str(tmp_path / "absent.pt"))
    with pytest.raises(ConfigError, match=r"pretrained .*absent\.pt: no such file; give a model"):
        loop.start(replace(config, network=absent))
    for content in (b"", path.read_bytes()[:2000], b"not a checkpoint"):
        path.write_bytes(content)
        with pytest.raises(ConfigError, match=r"last\.pt: not a checkpoint, or damaged"):
            fit(config, tmp_path / "first", again=True)


def test_a_wild_rate_is_reported(tmp_path: Path) -> None:
    config = config_for(tmp_path, steps=50, rate=1e30, warmup=1)
    with pytest.raises(ConfigError, match=r"gradient not finite; lower fit\.rate"):
        fit(config, tmp_path / "run")


def test_export_writes_averaged_weights_and_facts(tmp_path: Path) -> None:
    config = config_for(tmp_path, steps=3)
    state = fit(config, tmp_path / "run")
    export(tmp_path / "run" / CHECKPOINT, tmp_path / "tiny.safetensors", "a test", margin=8)
    bundle = load_bundle(tmp_path / "tiny.safetensors")
    spec = bundle.spec
    assert (spec.stride, spec.margin, spec.exact, spec.resolution) == (2, 8, True, 0.5)
    # Last 1x1; nearest upsampling and pooling reach 1 more; 3x3 on the coarse grid 2; first 3x3 1.
    assert spec.radius == 4
    assert spec.bytes_per_pixel > 0
    network = build_network(spec).eval()
    network.load_state_dict(bundle.tensors())
    image = torch.randn(1, 3, 32, 32)
    with torch.inference_mode():
        assert torch.allclose(network(image), state.average(image), atol=0.02)
    assert [stage["steps"] for stage in spec.card["stages"]] == [3]
    assert spec.card["stages"][0]["shares"] == {"blocks": 1.0}
    assert spec.card["machine"] == "a test"
    assert set(spec.card["accuracy_iou"]["held back"]) >= {"land", "building", "water", "miou"}


def test_export_rounds_as_much_as_the_file_says(tmp_path: Path) -> None:
    fit(config_for(tmp_path, steps=1), tmp_path / "run")
    path = tmp_path / "run" / CHECKPOINT
    content = torch.load(path)
    weights = content["average"]
    weights["encoder.1.running_var"][:] = torch.linspace(1e-6, 1e6, 12)  # beyond float16
    weights["last.weight"][0, 0] = 1e5
    torch.save(content, path)
    export(path, tmp_path / "tiny.safetensors", "a test")
    stored = load_bundle(tmp_path / "tiny.safetensors").tensors()
    for key, value in weights.items():
        kept = value.ndim < 2 or key == "last.weight"
        assert torch.equal(stored[key], value if kept else value.half().float()), key


def test_the_log_becomes_a_picture(tmp_path: Path) -> None:
    config = config_for(tmp_path, steps=20, check_every=10)
    fit(config, tmp_path / "run")
    log = read_log(tmp_path / "run" / LOG)
    assert [line["step"] for line in log] == [10, 10, 20, 20]
    plot(log, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_a_check_that_measured_nothing_is_not_drawn(tmp_path: Path) -> None:
    log = [
        {"step": 10, "check": "coarse", "land": 0.5},
        {"step": 10, "check": "fine"},
        {"step": 20, "check": "fine", "miou": 0.5},
    ]
    plot(log, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_a_resumed_log_forgets_what_was_lost(tmp_path: Path) -> None:
    steps = [(10, 1.0), (20, 2.0), (30, 3.0), (25, 4.0), (35, 5.0)]
    lines = [json.dumps({"step": step, "loss": loss}) for step, loss in steps]
    (tmp_path / LOG).write_text("\n".join(lines))
    assert [line["loss"] for line in read_log(tmp_path / LOG)] == [1.0, 2.0, 4.0, 5.0]
    (tmp_path / LOG).write_text("{")
    with pytest.raises(ConfigError, match="not a training log"):
        read_log(tmp_path / LOG)


def test_a_line_that_was_cut_off_does_not_spoil_the_log(tmp_path: Path) -> None:
    config = config_for(tmp_path, steps=10, check_every=10)
    fit(config, tmp_path / "run")
    log = tmp_path / "run" / LOG
    whole = log.read_text()
    log.write_text(whole + '{"step": 20, "lo')
    more = replace(config, fit=replace(config.fit, steps=20))
    fit(more, tmp_path / "run", again=True)
    assert log.read_text().startswith(whole + '{"step": 20, "seconds"')
    assert [line["step"] for line in read_log(log)] == [10, 10, 20, 20]


def test_a_full_disk_leaves_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_for(tmp_path, steps=1)
    fit(config, tmp_path / "run")
    before = (tmp_path / "run" / CHECKPOINT).read_bytes()

    def full(_: object, stream: BinaryIO) -> None:
        stream.write(before[:100])
        raise RuntimeError("unexpected pos 64 vs 0\nand where in C++ that was")

    monkeypatch.setattr(torch, "save", full)
    more = replace(config, fit=replace(config.fit, steps=2))
    with pytest.raises(OutputError, match=r"last\.pt: cannot be written: unexpected pos 64 vs 0$"):
        fit(more, tmp_path / "run", again=True)
    assert (tmp_path / "run" / CHECKPOINT).read_bytes() == before
    assert not list((tmp_path / "run").glob(".*"))


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    config = config_for(tmp_path, steps=1)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="is no folder and cannot become one"):
        fit(config, tmp_path / "file")
    (tmp_path / "run" / LOG).mkdir(parents=True)
    with pytest.raises(OutputError, match=r"log\.jsonl: cannot be written"):
        fit(replace(config, fit=replace(config.fit, steps=10)), tmp_path / "run")


def test_early_stopping_keeps_the_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_for(tmp_path, steps=100, check_every=2, patience=2)
    scores = iter([0.3, 0.5, 0.4, 0.5, 0.9])
    monkeypatch.setattr(loop, "run_check", lambda *_: {"miou": next(scores)})
    state = fit(config, tmp_path / "run")
    assert (state.step, state.best, state.stale) == (8, 0.5, 2)
    best = read_checkpoint(tmp_path / "run" / BEST)
    assert (best["step"], best["best"], best["stale"]) == (4, 0.5, 0)
    # The count goes on where it stood: a run that has stopped does not start again.
    monkeypatch.setattr(loop, "run_check", lambda *_: {"miou": 1.0})
    again = fit(config, tmp_path / "run", again=True)
    assert (again.step, again.stale) == (8, 2)


@pytest.mark.parametrize("final", [0.7, 0.4])
def test_the_end_of_a_run_may_be_its_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, final: float
) -> None:
    config = config_for(tmp_path, steps=5, check_every=2, patience=9)
    scores = iter([0.3, 0.5, final, 0.6, 0.6])
    monkeypatch.setattr(loop, "run_check", lambda *_: {"miou": next(scores)})
    fit(config, tmp_path / "run")
    best, last = (read_checkpoint(tmp_path / "run" / name) for name in (BEST, CHECKPOINT))
    assert (best["step"], best["best"]) == ((5, 0.7) if final > 0.5 else (4, 0.5))
    assert (last["step"], last["best"]) == (5, best["best"])
    # A run that goes on has the end of the first to beat.
    fit(replace(config, fit=replace(config.fit, steps=6)), tmp_path / "run", again=True)
    assert read_checkpoint(tmp_path / "run" / BEST)["step"] == (5 if final > 0.5 else 6)


@pytest.mark.parametrize("case", ["patience", "checks", "best"])
def test_a_best_score_that_no_longer_counts_is_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    """Early stopping turned on, other checks, or weights that are gone: judging begins anew."""
    config = config_for(tmp_path, steps=8, check_every=2, patience=0 if case == "patience" else 3)
    scores = iter([0.9, 0.5, 0.5, 0.5, 0.5])
    monkeypatch.setattr(loop, "run_check", lambda *_: {"miou": next(scores)})
    fit(config, tmp_path / "run")
    best = tmp_path / "run" / BEST
    assert best.is_file() == (case != "patience")
    more = replace(config, fit=replace(config.fit, steps=12, patience=3))
    if case == "checks":
        more = replace(more, check=(replace(config.check[0], gsd=(1.0, 1.0)),))
    elif case == "best":
        best.unlink()
    scores = iter([0.3, 0.4, 0.4])
    state = fit(more, tmp_path / "run", again=True)
    assert (state.step, state.best, state.stale) == (12, 0.4, 0)
    assert read_checkpoint(best)["step"] == 12


def test_changed_settings_of_the_optimizer_hold_after_resuming(tmp_path: Path) -> None:
    config = config_for(tmp_path, steps=1)
    before = fit(config, tmp_path / "run")
    changed = replace(config, fit=replace(config.fit, weight_decay=0.5, encoder_rate=0.125))
    state = loop.restore(loop.start(changed), changed, tmp_path / "run" / CHECKPOINT)
    groups = state.optimizer.param_groups
    said = [(group["weight_decay"], group["factor"]) for group in groups]
    assert said == [(0.5, 0.125), (0.0, 0.125), (0.5, 1.0), (0.0, 1.0)]
    for group, old in zip(groups, before.optimizer.param_groups, strict=True):
        for weight, same in zip(group["params"], old["params"], strict=True):
            moment = state.optimizer.state[weight]["exp_avg"]
            assert torch.equal(moment, before.optimizer.state[same]["exp_avg"])


def test_resuming_needs_no_pretrained_weights(tmp_path: Path) -> None:
    config = config_for(tmp_path, steps=2)
    fit(config, tmp_path / "first")
    path = tmp_path / "first" / CHECKPOINT
    config = replace(config, network=replace(config.network, pretrained=str(path)))
    longer = replace(config, fit=replace(config.fit, steps=4))
    for name in ("there", "gone"):
        fit(config, tmp_path / name)
    whole = fit(longer, tmp_path / "there", again=True).network.state_dict()
    path.unlink()
    resumed = fit(longer, tmp_path / "gone", again=True).network.state_dict()
    assert all(torch.equal(value, whole[key]) for key, value in resumed.items())
    with pytest.raises(ConfigError, match="no such file"):
        fit(longer, tmp_path / "new")


def test_a_missing_checkpoint_is_told_apart(tmp_path: Path) -> None:
    absent = tmp_path / "absent.pt"
    with pytest.raises(
        ConfigError, match=r"absent\.pt: no such checkpoint; name last\.pt of a run$"
    ):
        export(absent, tmp_path / "tiny.safetensors", "a test")
    with pytest.raises(ConfigError, match=r"last\.pt: no such checkpoint; leave out --resume"):
        fit(config_for(tmp_path), tmp_path / "run", again=True)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"window": 33}, r"fit\.window 33 must be a multiple of the network's stride 2"),
        ({"patience": 1}, r"needs fit\.check_every"),
        ({"loss": {"huber": 1.0}}, r"fit\.loss\.huber is unknown; known: cross_entropy"),
        ({"loss": {"dice": 0.0}}, "one above 0"),
        ({"weight_map": WeightMapConfig(("bridge",))}, "bridge"),
        ({"device": "abacus"}, "none of auto, cpu"),
        ({"device": "cuda:99"}, "GPU 99 is not on this machine"),
    ],
)
def test_what_cannot_be_trained_is_named(
    tmp_path: Path, facts: dict[str, Any], message: str
) -> None:
    with pytest.raises(GeounetError, match=message):
        fit(config_for(tmp_path, **facts), tmp_path / "run")


def test_worker_processes_make_the_same_batches(tmp_path: Path) -> None:
    config = config_for(tmp_path, steps=5, weight_map=WeightMapConfig(("building",)))
    one = fit(config, tmp_path / "thread").network.state_dict()
    many = replace(config, fit=replace(config.fit, workers=2))
    other = fit(many, tmp_path / "processes").network.state_dict()
    assert all(torch.equal(value, other[key]) for key, value in one.items())


def test_the_weight_map_changes_what_is_learned(tmp_path: Path) -> None:
    config = config_for(tmp_path, steps=2)
    mapped = replace(config, fit=replace(config.fit, weight_map=WeightMapConfig(("building",))))
    batch = Sampler(mapped, load_pools(mapped)).batch(0)
    assert batch.boundary is not None
    assert batch.boundary.shape == batch.labels.shape
    assert batch.boundary.max() > 0
    plain = fit(config, tmp_path / "plain").network.state_dict()
    other = fit(mapped, tmp_path / "mapped").network.state_dict()
    assert any(not torch.equal(value, other[key]) for key, value in plain.items())


def test_the_log_tells_losses_waiting_and_board(tmp_path: Path) -> None:
    config = config_for(
        tmp_path, steps=20, check_every=10, loss={"cross_entropy": 1.0, "lovasz": 0.5}
    )
    fit(config, tmp_path / "run")
    log = read_log(tmp_path / "run" / LOG)
    step = next(line for line in log if "loss" in line)
    assert step["loss"] == pytest.approx(step["cross_entropy"] + 0.5 * step["lovasz"], rel=2e-3)
    assert 0 <= step["waiting"] <= 1
    assert (tmp_path / "run" / CURVES).read_bytes().startswith(b"\x89PNG")
    if find_spec("tensorboard"):
        assert list((tmp_path / "run" / "tensorboard").glob("events.*"))
