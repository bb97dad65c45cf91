"""Two processes under ``torchrun`` against one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from geounet.errors import ConfigError
from geounet.train.config import load_config
from geounet.train.fit import CHECKPOINT, fit
from geounet.train.logbook import LOG
from geounet.train.network import initial_network, read_checkpoint
from geounet.train.ranks import Place, autocast, joined
from tests.train.tiny import blocks, write_pair

CONFIG = """
data = {folder}
[network]
name = "tiny"
arch = "unet-paper"
options = {{ width = 2, dropout = 0.0 }}
bands = ["red", "green", "blue"]
resolution = 0.5
mean = [0.5, 0.5, 0.5]
std = [0.25, 0.25, 0.25]
[[legend]]
id = 0
name = "land"
color = [200, 180, 140]
[[legend]]
id = 1
name = "building"
color = [200, 40, 40]
[[legend]]
id = 2
name = "water"
color = [40, 80, 200]
[[source]]
name = "blocks"
images = ["train_*.tif"]
share = 1.0
[source.labels]
0 = ["land", "water"]
1 = ["building"]
2 = ["water"]
[[check]]
name = "held back"
images = ["held.tif"]
[check.labels]
0 = []
1 = ["building"]
2 = []
[fit]
steps = 10
batch = 4
window = 224
warmup = 2
bfloat16 = false
check_every = 0
loss = {{ cross_entropy = 1, dice = 0.5, iou = 0.2, focal = 0.2, tversky = 0.2 }}
weight_map = {{ classes = ["building"] }}
"""


def test_two_processes_learn_what_one_learns(tmp_path: Path) -> None:
    for seed, name in enumerate(("train_0", "train_1", "held")):
        write_pair(tmp_path, name, *blocks(64, 72, seed))
    path = tmp_path / "config.toml"
    path.write_text(CONFIG.format(folder=json.dumps(str(tmp_path))))
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [
            sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2",
            "-m", "geounet.train", str(path), "--out", str(tmp_path / "two"),
        ],
        cwd=root, capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{root}:{root / 'cli'}"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    fit(load_config(path), tmp_path / "one")

    one, two = (read_checkpoint(tmp_path / name / CHECKPOINT) for name in ("one", "two"))
    assert one["step"] == two["step"] == 10
    for kind in ("network", "average"):
        for key, value in one[kind].items():
            torch.testing.assert_close(two[kind][key], value, rtol=1e-4, atol=1e-5)
    # The second process writes nothing: every line stands once, with the whole batch's loss.
    logs = [
        [json.loads(line) for line in (tmp_path / name / LOG).read_text().splitlines()]
        for name in ("one", "two")
    ]
    assert [line["step"] for line in logs[1]] == [10, 10]
    assert logs[1][0]["loss"] == pytest.approx(logs[0][0]["loss"], rel=1e-3)
    before = initial_network(load_config(path)).state_dict()
    assert all(not torch.equal(value, before[key]) for key, value in two["network"].items())


def test_a_batch_that_cannot_be_shared_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(ConfigError, match="8 must be a multiple of the 3"), joined("cpu", 8):
        pass


def test_parts_make_up_the_batch() -> None:
    cpu = torch.device("cpu")
    parts = [Place(cpu, rank, 3).part(12) for rank in range(3)]
    assert sorted(index for part in parts for index in part) == list(range(12))
    # A batch is in order of its sources: each process sees the first and the last of them.
    assert [list(part) for part in parts] == [[0, 3, 6, 9], [1, 4, 7, 10], [2, 5, 8, 11]]


def test_bfloat16_is_used_where_it_is_native() -> None:
    cpu = torch.device("cpu")
    native = bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    layer, image = torch.nn.Conv2d(3, 4, 3), torch.zeros(1, 3, 8, 8)
    for wanted, expected in ((False, torch.float32), (True, torch.bfloat16)):
        with autocast(cpu, wanted):
            assert layer(image).dtype == (expected if native else torch.float32)
