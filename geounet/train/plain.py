"""The training loop that everyone writes first, to measure what the rest of geounet adds.

``python -m geounet.train.plain configs/landcover-rgb.toml --steps 4000 --out runs/plain``

Same network, same pretrained encoder, same scenes, batch and window as the configuration says, and
as many steps as asked for; but windows anywhere, at the scenes' own resolution, flipped and nothing
else, cross-entropy plus half a Dice, Adam at one rate, and the last weights instead of an average.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from geounet.errors import ConfigError, GeounetError
from geounet.train.check import load_checks, run_check
from geounet.train.config import TrainConfig, load_config
from geounet.train.fit import inner, losses
from geounet.train.load import load_pools
from geounet.train.network import initial_network
from geounet.train.samples import Batch, standardise
from geounet.train.scenes import LabelledScene

_RATE = 1e-3


def plain_batch(
    scenes: Sequence[LabelledScene], config: TrainConfig, rng: np.random.Generator
) -> Batch:
    """Windows from anywhere in the scenes, by area, flipped at random."""
    size = config.fit.window
    area = np.array([math.prod(scene.shape) for scene in scenes], dtype=np.float64)
    images, labels = [], []
    for _ in range(config.fit.batch):
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


def train_plainly(config: TrainConfig, steps: int) -> nn.Module:
    """The network after so many steps, in training mode."""
    fit = replace(config.fit, loss={}, dice=0.5, class_weights={}, weight_map=None)
    config = replace(config, fit=fit, town=None)
    pools = load_pools(config)
    scenes = [scene for pool in pools if pool.share > 0 for scene in pool.scenes]
    network = initial_network(config).train()
    if fit.bfloat16:
        network = network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(network.parameters(), lr=_RATE)
    rng = np.random.default_rng(fit.seed)
    for _ in range(steps):
        optimizer.zero_grad(set_to_none=True)
        _loss(network, plain_batch(scenes, config, rng), config).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return network


def _loss(network: nn.Module, batch: Batch, config: TrainConfig) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16, enabled=config.fit.bfloat16):
        logits = network(batch.images)
    batch = Batch(batch.images, inner(batch.labels, logits), None)
    terms = losses(logits, batch, config)
    return torch.stack([config.fit.terms[name] * value for name, value in terms.items()]).sum()


def main() -> int:
    """Parse, train, measure, write ``result.json`` and the weights."""
    parser = argparse.ArgumentParser(prog="python -m geounet.train.plain", description=__doc__)
    parser.add_argument("config", type=Path, help="TOML file of the run to compare with")
    parser.add_argument("--steps", type=int, required=True, help="as many as that run did")
    parser.add_argument("--out", type=Path, required=True, help="folder of weights and result")
    arguments = parser.parse_args()
    try:
        config = load_config(arguments.config)
        if arguments.steps < 1:
            raise ConfigError(f"--steps {arguments.steps} must be at least 1")
        arguments.out.mkdir(parents=True, exist_ok=True)
        begun = time.monotonic()
        network = train_plainly(config, arguments.steps).eval()
        result = {
            "steps": arguments.steps,
            "minutes": round((time.monotonic() - begun) / 60, 2),
            "checks": {item.name: run_check(item, network, config) for item in load_checks(config)},
        }
    except GeounetError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    torch.save(network.state_dict(), arguments.out / "weights.pt")
    (arguments.out / "result.json").write_text(json.dumps(result, indent=2), encoding="utf-8")
    print(json.dumps(result, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
