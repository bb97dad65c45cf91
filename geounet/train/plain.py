"""The training loop that everyone writes first, to measure what the rest of geounet adds.

``python -m geounet.train.plain configs/landcover-rgb.toml --steps 4000 --out runs/plain``

Same network, same pretrained encoder, same scenes, batch and window as the configuration says, and
as many steps as asked for; but windows anywhere, at the scenes' own resolution, flipped and nothing
else, cross-entropy plus half a Dice, Adam at one rate, and the last weights instead of an average.
At the end it and the shipped model are measured alike, and their difference is printed. Checkpoints
are written as in :mod:`~geounet.train.fit`; ``--resume`` goes on.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from geounet.errors import ConfigError, GeounetError
from geounet.files import write_whole
from geounet.model.bundle import DEFAULT_MODEL, load_bundle
from geounet.train.check import load_checks, run_check
from geounet.train.config import TrainConfig, load_config
from geounet.train.feed import Feed
from geounet.train.fit import CHECKPOINT, State, inner, losses, restore, save_checkpoint
from geounet.train.load import load_pools
from geounet.train.network import initial_network, packaged_network
from geounet.train.ranks import Place, autocast, choose_device
from geounet.train.samples import Batch, standardise
from geounet.train.scenes import LabelledScene

_RATE = 1e-3


@dataclass(frozen=True, eq=False)
class PlainSampler:
    """Windows from anywhere in the scenes, by area, flipped at random."""

    config: TrainConfig
    scenes: Sequence[LabelledScene]

    def batch(self, step: int, part: range | None = None) -> Batch:
        """The windows of a step; a function of seed and step, so that a run that was cut off goes
        on as if it had not been.
        """
        config, scenes = self.config, self.scenes
        size = config.fit.window
        rng = np.random.default_rng((config.fit.seed, step))
        area = np.array([math.prod(scene.shape) for scene in scenes], dtype=np.float64)
        images, labels = [], []
        for _ in part if part is not None else range(config.fit.batch):
            scene = scenes[rng.choice(len(scenes), p=area / area.sum())]
            height, width = scene.shape
            top, left = (rng.integers(max(1, side - size + 1)) for side in (height, width))
            y, x = np.mgrid[top : top + size, left : left + size].astype(np.float32)
            flip = tuple(axis for axis in (0, 1) if rng.random() < 0.5)
            view = scene.window(np.flip(x, flip).copy(), np.flip(y, flip).copy(), 1.0)
            mean, std = config.network.mean, config.network.std
            images.append(standardise(view.image, mean, std, view.valid))
            labels.append(view.labels)
        return Batch(torch.stack(images), torch.stack(labels), None)


def train_plainly(config: TrainConfig, steps: int, out: Path, again: bool = False) -> State:
    """Train so many steps; ``last.pt`` in ``out`` is that of any run, and can be packaged.

    Raises:
        ConfigError: there is a checkpoint in the folder and ``again``, to go on from it, is off.
    """
    path = out / CHECKPOINT
    if path.exists() and not again:
        raise ConfigError(f"{path} exists; add --resume, or name another folder")
    fit = replace(config.fit, loss={}, dice=0.5, class_weights={}, weight_map=None)
    config = replace(config, fit=fit)
    scenes = [scene for pool in load_pools(config) if pool.share > 0 for scene in pool.scenes]
    state = _start(config, again)
    if again:
        restore(state, config, path)
    feed = Feed(PlainSampler(config, scenes), state.place, fit.batch, fit.workers)
    begun, saved = time.monotonic() - state.seconds, time.monotonic()
    for batch in feed.steps(state.step, steps):
        torch.manual_seed(fit.seed * 1_000_003 + state.step)
        state.optimizer.zero_grad(set_to_none=True)
        _loss(state, batch, config).backward()  # type: ignore[no-untyped-call]
        state.optimizer.step()
        state.step, state.seconds = state.step + 1, time.monotonic() - begun
        if time.monotonic() - saved > 60 * fit.save_minutes:
            save_checkpoint(path, state, config)
            saved = time.monotonic()
    save_checkpoint(path, state, config)
    return state


def _start(config: TrainConfig, again: bool) -> State:
    place = Place(choose_device(config.fit.device, 0))
    network = initial_network(config, bare=again).train().to(place.device)
    if config.fit.bfloat16:
        network = network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(network.parameters(), lr=_RATE)
    return State(network, network, optimizer, place)


def _loss(state: State, batch: Batch, config: TrainConfig) -> Tensor:
    with autocast(state.place.device, config.fit.bfloat16):
        logits = state.network(batch.images)
    batch = Batch(batch.images, inner(batch.labels, logits), None)
    terms = losses(logits, batch, config)
    return torch.stack([config.fit.terms[name] * value for name, value in terms.items()]).sum()


def measure(config: TrainConfig, state: State, model: str) -> dict[str, Any]:
    """What the plain loop reached on every check, and what a model file reaches.

    Raises:
        ConfigError: the model has other classes or bands.
        ModelError: the model cannot be read.
    """
    bundle = load_bundle(model)
    name = bundle.spec.name
    network, own = packaged_network(bundle, config)
    network.to(state.place.device)
    scores = {}
    for check in load_checks(config):
        plain = run_check(check, state.network.eval(), config)
        scores[check.name] = {"plain": plain, name: run_check(check, network, own)}
    minutes = round(state.seconds / 60, 2)
    return {"steps": state.step, "minutes": minutes, "model": name, "checks": scores}


def table(result: Mapping[str, Any]) -> str:
    """The same for people: a line per check and class."""
    model = result["model"]
    lines = [["check", "class", "plain", model, "difference"], ["---"] * 5]
    for name, scores in result["checks"].items():
        # A class without true pixels has a score where it is predicted, maybe by one of both.
        keys = dict.fromkeys([*scores["plain"], *scores[model]])
        for key in sorted(keys, key=lambda key: key == "miou"):  # the mean stays last
            plain, other = (scores[who].get(key, math.nan) for who in ("plain", model))
            label = "mean IoU" if key == "miou" else key
            figures = (f"{plain:.3f}", f"{other:.3f}", f"{other - plain:+.3f}")
            lines.append([name, label, *("-" if "nan" in text else text for text in figures)])
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def main() -> int:
    """Parse, train, measure, write ``result.json`` and ``table.md``, print the table."""
    parser = argparse.ArgumentParser(prog="python -m geounet.train.plain", description=__doc__)
    parser.add_argument("config", type=Path, help="TOML file of the run to compare with")
    parser.add_argument("--steps", type=int, required=True, help="as many as that run did")
    parser.add_argument("--out", type=Path, required=True, help="folder of checkpoint and result")
    parser.add_argument("--resume", action="store_true", help="go on from the folder's checkpoint")
    parser.add_argument("--against", default=DEFAULT_MODEL, help="the model to compare with")
    arguments = parser.parse_args()
    try:
        config = load_config(arguments.config)
        if arguments.steps < 1:
            raise ConfigError(f"--steps {arguments.steps} must be at least 1")
        load_bundle(arguments.against)  # not found out after hours
        state = train_plainly(config, arguments.steps, arguments.out, arguments.resume)
        result = measure(config, state, arguments.against)
        write_whole(arguments.out / "result.json", json.dumps(result, indent=2).encode())
        write_whole(arguments.out / "table.md", table(result).encode())
    except GeounetError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(table(result), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
