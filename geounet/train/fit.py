"""The training loop: AdamW, warm-up and cosine, averaged weights, exact resumption."""

import json
import math
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from geounet.errors import ConfigError
from geounet.train.check import load_checks, run_check
from geounet.train.config import FitConfig, TrainConfig, build
from geounet.train.loss import partial_label_loss
from geounet.train.network import initial_network, read_checkpoint
from geounet.train.pace import Pace
from geounet.train.samples import Sampler, load_pools

CHECKPOINT = "last.pt"
LOG = "log.jsonl"
_LOG_EVERY = 10  # steps averaged per line


def learning_rate(step: int, progress: float, fit: FitConfig) -> float:
    """Linear warm-up over the first steps, half a cosine over ``progress`` 0..1, down to 1 %."""
    warm = min(1.0, (step + 1) / max(1, fit.warmup))
    fall = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return fit.rate * warm * (0.01 + 0.99 * fall)


@dataclass(eq=False)
class State:
    """All that a run changes while it goes."""

    network: nn.Module
    average: nn.Module
    """Exponential moving average of weights and of batch statistics: what is checked, exported."""
    optimizer: torch.optim.Optimizer
    step: int = 0
    """Steps done."""
    seconds: float = 0.0
    """Wall time trained, over all resumptions."""

    def progress(self, fit: FitConfig) -> float:
        """Part of the run that is over, by steps or by the clock, whichever is further on."""
        by_clock = self.seconds / (60 * fit.minutes) if fit.minutes > 0 else 0.0
        return max(self.step / fit.steps, by_clock)


def start(config: TrainConfig) -> State:
    """A network to train, with pretrained weights where the configuration asks for them."""
    network = initial_network(config)
    if config.fit.bfloat16:
        network = network.to(memory_format=torch.channels_last)
    average = deepcopy(network).eval().requires_grad_(False)
    return State(network, average, _optimizer(network, config.fit))


def _optimizer(network: nn.Module, fit: FitConfig) -> torch.optim.Optimizer:
    """AdamW in four groups: encoder or not, decayed (two axes or more) or not."""
    groups = []
    for encoder in (True, False):
        for decay in (True, False):
            members = [
                value
                for key, value in network.named_parameters()
                if key.startswith("encoder.") == encoder and (value.ndim > 1) == decay
            ]
            factor = fit.encoder_rate if encoder else 1.0
            weight_decay = fit.weight_decay if decay else 0.0
            if members:
                groups.append({"params": members, "weight_decay": weight_decay, "factor": factor})
    return torch.optim.AdamW(groups, lr=fit.rate)


def train_step(
    state: State, images: Tensor, labels: Tensor, config: TrainConfig
) -> dict[str, float]:
    """One optimizer step; returns what the log shows."""
    fit = config.fit
    rate = learning_rate(state.step, state.progress(fit), fit)
    for group in state.optimizer.param_groups:
        group["lr"] = rate * group["factor"]
    torch.manual_seed(fit.seed * 1_000_003 + state.step)  # for networks with dropout
    state.network.train()
    if fit.bfloat16:
        images = images.contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16, enabled=fit.bfloat16):
        logits = state.network(images)
    labels = inner(labels, logits)
    weights = [fit.class_weights.get(item.name, 1.0) for item in config.legend]
    loss = partial_label_loss(logits, labels, torch.tensor(weights))
    total = loss.cross_entropy + fit.dice * loss.dice
    state.optimizer.zero_grad(set_to_none=True)
    total.backward()  # type: ignore[no-untyped-call]
    norm = nn.utils.clip_grad_norm_(state.network.parameters(), fit.clip)
    if not math.isfinite(float(norm)):
        raise ConfigError(f"step {state.step}: gradient not finite; lower fit.rate {fit.rate}")
    state.optimizer.step()
    state.step += 1
    _update_average(state, fit.ema)
    return {
        "loss": total.item(),
        "cross_entropy": loss.cross_entropy.item(),
        "dice": loss.dice.item(),
        "norm": float(norm),
        "rate": rate,
    }


def inner(labels: Tensor, logits: Tensor) -> Tensor:
    """The middle of ``labels`` that unpadded convolutions give logits for."""
    rows, cols = (
        (before - after) // 2
        for before, after in zip(labels.shape[-2:], logits.shape[-2:], strict=True)
    )
    return labels[..., rows : labels.shape[-2] - rows, cols : labels.shape[-1] - cols]


@torch.no_grad()
def _update_average(state: State, decay: float) -> None:
    """Move the average towards the weights; early on faster, so that it forgets the start."""
    keep = min(decay, (1 + state.step) / (10 + state.step))
    source = state.network.state_dict()
    for key, value in state.average.state_dict().items():
        if value.is_floating_point():
            value.lerp_(source[key], 1 - keep)
        else:
            value.copy_(source[key])


def save_checkpoint(path: Path, state: State, config: TrainConfig) -> None:
    """Write a checkpoint, whole or not at all."""
    content = {
        "network": state.network.state_dict(),
        "average": state.average.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "step": state.step,
        "seconds": state.seconds,
        "config": json.dumps(asdict(config)),
    }
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as stream:
        torch.save(content, stream)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)


def resume(config: TrainConfig, path: Path) -> State:
    """The state that a checkpoint holds; the network must be the one of ``config``."""
    content = read_checkpoint(path)
    state = start(config)
    before = build(TrainConfig, json.loads(content["config"]), "")
    for key in ("network", "legend"):
        if getattr(before, key) != getattr(config, key):
            raise ConfigError(f"{path}: was written with another {key}; start a new run instead")
    state.network.load_state_dict(content["network"])
    state.average.load_state_dict(content["average"])
    state.optimizer.load_state_dict(content["optimizer"])
    state.step, state.seconds = content["step"], content["seconds"]
    return state


def _batches(sampler: Sampler, first: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches from step ``first`` on, each made in a thread while the one before is trained on."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(sampler.batch, first)
        while True:
            first += 1
            batch, coming = coming.result(), pool.submit(sampler.batch, first)
            yield batch


def fit(config: TrainConfig, out: Path, again: bool = False) -> State:
    """Train until the schedule ends, writing ``last.pt`` and ``log.jsonl`` into ``out``.

    Args:
        config: the run.
        out: folder, made if missing; one that holds a checkpoint is only used with ``again``.
        again: resume from the folder's checkpoint.
    """
    path = out / CHECKPOINT
    if path.exists() and not again:
        raise ConfigError(f"{path} exists; add --resume, or name another folder")
    out.mkdir(parents=True, exist_ok=True)
    state = resume(config, path) if again else start(config)
    sampler, checks = Sampler(config, load_pools(config)), load_checks(config)
    pace = Pace()
    entries: list[dict[str, float]] = []
    saved = mark = time.monotonic()
    for images, labels in _batches(sampler, state.step):
        if state.progress(config.fit) >= 1:
            break
        if config.fit.minutes > 0:  # the clock decides anyway: give way to other processes
            torch.set_num_threads(pace.threads())
        entry = train_step(state, images, labels, config)
        now = time.monotonic()
        state.seconds, mark = state.seconds + now - mark, now
        entries.append(entry)
        if len(entries) == _LOG_EVERY:
            _log(out, state, {**_means(entries), "threads": torch.get_num_threads()})
            entries.clear()
        if config.fit.check_every and state.step % config.fit.check_every == 0:
            for check in checks:
                _log(out, state, {"check": check.name, **run_check(check, state.average, config)})
        if now - saved > 60 * config.fit.save_minutes:
            save_checkpoint(path, state, config)
            saved = now
    save_checkpoint(path, state, config)
    for check in checks:
        _log(out, state, {"final": check.name, **run_check(check, state.average, config)})
    return state


def _means(entries: Sequence[dict[str, float]]) -> dict[str, float]:
    """Mean of every key, to four significant digits."""
    return {
        key: float(f"{sum(entry[key] for entry in entries) / len(entries):.4g}")
        for key in entries[0]
    }


def _log(out: Path, state: State, entry: dict[str, Any]) -> None:
    """Append a line to the run's log."""
    line = {"step": state.step, "seconds": round(state.seconds, 1), **entry}
    with (out / LOG).open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(line) + "\n")
