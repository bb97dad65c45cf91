"""What a run shows and writes: the bar, TensorBoard, and the time spent waiting for data."""

import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from geounet.train import fit as loop
from geounet.train import logbook
from geounet.train.curves import read_log
from geounet.train.fit import fit
from geounet.train.logbook import LOG, Logbook
from geounet.train.samples import Sampler
from tests.train.tiny import config_for


@pytest.mark.parametrize("terminal", [True, False])
def test_a_bar_shows_step_part_and_loss_on_a_terminal_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    shown = io.StringIO()
    monkeypatch.setattr(
        logbook, "Console",
        lambda **_: Console(file=shown, force_terminal=terminal, width=100),
    )  # fmt: skip
    for quiet in (True, False):
        with Logbook(tmp_path, quiet=quiet) as book:
            book.advance(7, 0.25)
            book.write(7, 1.0, {"loss": 0.5})
        assert bool(shown.getvalue()) == (terminal and not quiet)
    for text in ("step 7", "25%", "loss 0.500") if terminal else ():
        assert text in shown.getvalue()
    assert len(read_log(tmp_path / LOG)) == 1


def test_numbers_go_to_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with Logbook(tmp_path) as book:
        book.write(10, 1.0, {"loss": 0.5, "rate": 0.1})
        book.write(20, 2.0, {"loss": 0.25, "rate": 0.1})
        book.write(20, 2.0, {"check": "held back", "miou": 0.75})
    found = EventAccumulator(str(tmp_path / "tensorboard"))
    found.Reload()
    assert set(found.Tags()["scalars"]) == {"train/loss", "train/rate", "held back/miou"}
    assert [(item.step, item.value) for item in found.Scalars("train/loss")] == [
        (10, 0.5), (20, 0.25),
    ]  # fmt: skip
    assert found.Scalars("held back/miou")[0].value == 0.75


def slowed(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, after a rest that no other program can shorten or use."""

    def slow(*arguments: Any) -> Any:
        time.sleep(0.15)
        return function(*arguments)

    return slow


@pytest.mark.usefixtures("tiny_architecture")
@pytest.mark.parametrize("starved", [True, False])
def test_the_log_tells_a_starved_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, starved: bool
) -> None:
    """Batches that take longer than steps are waited for; else they are ready when needed."""
    if starved:
        monkeypatch.setattr(Sampler, "batch", slowed(Sampler.batch))
    else:
        monkeypatch.setattr(loop, "train_step", slowed(loop.train_step))
    fit(config_for(tmp_path, steps=20), tmp_path / "run")
    waiting = [line["waiting"] for line in read_log(tmp_path / "run" / LOG) if "waiting" in line]
    # The first batch is waited for in any case.
    assert waiting[-1] > 0.6 if starved else waiting[-1] < 0.4
