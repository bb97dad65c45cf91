"""What the command line adds to the loop: notes of changes, and memory that runs out."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from geounet.errors import ConfigError
from geounet.train import fit as loop
from geounet.train.config import FitConfig
from geounet.train.load import load_pools
from geounet.train.run import changes, enough_memory, run
from geounet.train.sources import TownConfig
from tests.train.tiny import config_for

pytestmark = pytest.mark.usefixtures("tiny_architecture")


def test_a_resumed_run_names_what_has_changed(tmp_path: Path) -> None:
    config, notes = config_for(tmp_path, steps=1), list[str]()
    run(config, tmp_path / "run", False, notes.append)
    run(config, tmp_path / "run", True, notes.append)
    assert not notes
    extra = replace(config.source[0], name="more", share=0.5)
    source = replace(config.source[0], share=2.0, gsd=(0.5, 1.0))
    other = replace(
        config,
        source=(extra, source),
        fit=replace(config.fit, seed=5, window=64, loss={"dice": 1.0}),
    )
    run(other, tmp_path / "run", True, notes.append)
    (note,) = notes
    assert note.startswith(f"note: {tmp_path / 'run' / 'last.pt'} was written with other settings:")
    for change in (
        "source.blocks.share 1.0 (now 2.0)", "source.blocks.gsd [0.0, 0.0] (now [0.5, 1.0])",
        "source.more none (now something else)", "fit.seed 1 (now 5)", "fit.window 32 (now 64)",
        "fit.loss.dice none (now 1.0)",
    ):  # fmt: skip
        assert change in note
    assert "\n" not in note


def test_settings_of_an_earlier_release_have_not_changed(tmp_path: Path) -> None:
    after = json.loads(json.dumps(asdict(config_for(tmp_path))))
    before = json.loads(json.dumps(after))
    del before["source"][0]["masks"]
    assert not list(changes(before, after))


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 7.63 GiB"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate"),
    ],
)
def test_memory_that_runs_out_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def full(*_: object) -> None:
        raise error

    monkeypatch.setattr(loop, "train_step", full)
    with pytest.raises(ConfigError, match=r"^out of memory with fit\.batch 2 .* fit\.window 32 px"):
        run(config_for(tmp_path), tmp_path / "run", False)
    with pytest.raises(RuntimeError, match="another"), enough_memory(FitConfig(1)):
        raise RuntimeError("another")


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"gsd": (0.5, 50.0)}, r"gsd 50 is more than 32 times .* 0\.5 m of .*give 0\.016 to 16"),
        ({"gsd": (0.001, 0.5)}, r"'blocks': gsd 0\.001 is more than 32 times coarser or finer"),
    ],
)
def test_scales_far_from_the_scenes_are_refused(
    tmp_path: Path, facts: dict[str, Any], message: str
) -> None:
    config = config_for(tmp_path)
    with pytest.raises(ConfigError, match=message):
        load_pools(replace(config, source=(replace(config.source[0], **facts),)))
    town = TownConfig(0.1, facts["gsd"], scenes=1, size=64)
    with pytest.raises(ConfigError, match=r"'synthetic towns': gsd .* m of a town"):
        load_pools(replace(config, town=town))


def test_a_resolution_far_from_the_scenes_is_refused_where_gsd_is_left_out(tmp_path: Path) -> None:
    config = config_for(tmp_path)
    coarse = replace(config, network=replace(config.network, resolution=40.0))
    message = r"'blocks': gsd \(network\.resolution\) 40 is more than 32 .*give 0\.016 to 16"
    with pytest.raises(ConfigError, match=message):
        load_pools(coarse)
    source = replace(config.source[0], gsd=(0.5, 1.0))
    assert load_pools(replace(coarse, source=(source,)))


def test_windows_are_not_larger_than_memory() -> None:
    with pytest.raises(ConfigError, match=r"fit\.window 32000 must be 1 \.\. 4096"):
        FitConfig(1, window=32000)
