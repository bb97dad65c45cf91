"""A run that was killed and goes on ends where an unbroken one does, bit for bit."""

from pathlib import Path
from typing import Any

import pytest
import torch

from geounet.train.config import TrainConfig
from geounet.train.fit import CHECKPOINT, fit
from geounet.train.network import read_checkpoint
from tests.helpers import kill_after
from tests.train.tiny import config_for

STEPS = 40
KILLED = """
import sys, time
from pathlib import Path
import torch
from geounet.model import networks
from geounet.model.architectures import Architecture
from geounet.train import fit as loop
from tests.train.test_killed import run_in
from tests.train.tiny import build_tiny

def slowly(state, *rest):
    if state.step == 5:
        print("begun", flush=True)
    time.sleep(0.05 * (state.step > 5))
    return train_step(state, *rest)

torch.set_num_threads(1)
networks.ARCHITECTURES["tiny"] = Architecture(build_tiny, 2)
train_step, loop.train_step = loop.train_step, slowly
loop.fit(run_in(Path(sys.argv[1])), Path(sys.argv[1]) / "killed")
"""


def run_in(folder: Path) -> TrainConfig:
    """A run that saves after every step, of a network with dropout and batch normalisation."""
    return config_for(folder, steps=STEPS, save_minutes=0.0)


def same(one: Any, other: Any) -> bool:
    """Whether two nested values are equal, tensors to the bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


@pytest.mark.usefixtures("tiny_architecture")
def test_a_run_goes_on_after_a_kill_as_if_unbroken(tmp_path: Path) -> None:
    kill_after(KILLED, tmp_path, 0.4)
    assert 4 <= read_checkpoint(tmp_path / "killed" / CHECKPOINT)["step"] < STEPS
    config = run_in(tmp_path)
    fit(config, tmp_path / "whole")
    fit(config, tmp_path / "killed", again=True)
    whole, resumed = (read_checkpoint(tmp_path / name / CHECKPOINT) for name in ("whole", "killed"))
    assert whole["step"] == resumed["step"] == STEPS
    for part in ("network", "average", "optimizer"):
        assert same(whole[part], resumed[part]), part
    state = whole["optimizer"]["state"]
    assert state and all(item["exp_avg"].abs().max() > 0 for item in state.values())
