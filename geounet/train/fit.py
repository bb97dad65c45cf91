"""The training loop: AdamW, warm-up and cosine, averaged weights, exact resumption.

One process, or several under ``torchrun``; on the processor or on GPUs. In all of them a batch is
the same windows and the gradient that of the whole batch (see :mod:`geounet.train.ranks`).
"""

import json
import math
import time
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import get_ema_multi_avg_fn

from geounet.errors import ConfigError, OutputError
from geounet.files import replacing
from geounet.train.check import Check, load_checks, run_check
from geounet.train.config import FitConfig, TrainConfig
from geounet.train.feed import Feed
from geounet.train.load import load_pools
from geounet.train.logbook import Logbook, means
from geounet.train.loss import TERMS, Evidence
from geounet.train.network import RESUMED, initial_network, read_checkpoint
from geounet.train.pace import Pace
from geounet.train.ranks import Place, agreed, autocast, choose_device, joined
from geounet.train.samples import Batch, Sampler
from geounet.train.settings import build

CHECKPOINT, BEST = "last.pt", "best.pt"
_LOG_EVERY = 10  # steps averaged per line
_SETTINGS = ("weight_decay", "factor")  # of the optimizer's groups, from the configuration


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
    place: Place
    step: int = 0
    """Steps done."""
    seconds: float = 0.0
    """Wall time trained, over all resumptions."""
    best: float = -1.0
    """Highest mean of the checks' mean IoU so far."""
    stale: int = 0
    """Checks since then."""

    def __post_init__(self) -> None:
        # Gradients are averaged over the processes while they are computed. The processor has no
        # batch normalisation over processes: there each one's statistics are of its own part.
        self.forward: nn.Module = self.network
        if self.place.world > 1:
            self.forward = DistributedDataParallel(self.network)
        # Looked up once: a thousand small tensors take longer to find than to average.
        own, other = self.average.state_dict(), self.network.state_dict()
        pairs = [(own[key], other[key]) for key in own]
        self.averaged = [pair for pair in pairs if pair[0].is_floating_point()]
        self.counted = [pair for pair in pairs if not pair[0].is_floating_point()]

    def progress(self, fit: FitConfig) -> float:
        """Part of the run that is over, by steps or by the clock, whichever is further on."""
        by_clock = self.seconds / (60 * fit.minutes) if fit.minutes > 0 else 0.0
        return max(self.step / fit.steps, by_clock)

    def over(self, fit: FitConfig) -> bool:
        """Whether the schedule has ended, or the checks have stopped improving."""
        return self.progress(fit) >= 1 or (fit.patience > 0 and self.stale >= fit.patience)


def start(config: TrainConfig, place: Place | None = None, again: bool = False) -> State:
    """A network to train, with pretrained weights where the configuration asks for them; without,
    where a checkpoint is to be restored ``again``.
    """
    place = place or Place(choose_device(config.fit.device, 0))
    network = initial_network(config, bare=again).to(place.device)
    if config.fit.bfloat16:
        network = network.to(memory_format=torch.channels_last)
    if place.world > 1 and place.device.type == "cuda":
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
    average = deepcopy(network).eval().requires_grad_(False)
    return State(network, average, _optimizer(network, config.fit), place)


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
    # One kernel for all weights on a GPU, where starting thousands would take longer than they run.
    on_gpu = next(network.parameters()).is_cuda
    return torch.optim.AdamW(groups, lr=fit.rate, fused=True if on_gpu else None)


def train_step(state: State, batch: Batch, config: TrainConfig) -> dict[str, Tensor]:
    """One optimizer step; returns what the log shows, scalars on the device: reading one there and
    then would make a GPU wait for the next step to be prepared.
    """
    fit, place = config.fit, state.place
    rate = learning_rate(state.step, state.progress(fit), fit)
    for group in state.optimizer.param_groups:
        group["lr"] = rate * group["factor"]
    # For networks with dropout; the windows of another process are dropped from otherwise.
    torch.manual_seed(fit.seed * 1_000_003 + state.step + 7_919 * place.rank)
    state.forward.train()
    images = batch.images
    if fit.bfloat16:
        images = images.contiguous(memory_format=torch.channels_last)
    with autocast(place.device, fit.bfloat16):
        logits = state.forward(images)
    terms = losses(logits, batch, config)
    total = torch.stack([fit.terms[name] * value for name, value in terms.items()]).sum()
    state.optimizer.zero_grad(set_to_none=True)
    total.backward()  # type: ignore[no-untyped-call]
    norm = nn.utils.clip_grad_norm_(state.network.parameters(), fit.clip)
    state.optimizer.step()
    state.step += 1
    _update_average(state, fit.ema)
    entry = {"loss": total, **terms, "norm": norm, "rate": torch.tensor(rate)}
    return {key: value.detach() for key, value in entry.items()}


def losses(logits: Tensor, batch: Batch, config: TrainConfig) -> dict[str, Tensor]:
    """The terms of the loss that have a weight, by name."""
    fit = config.fit
    weights = [fit.class_weights.get(item.name, 1.0) for item in config.legend]
    evidence = Evidence(
        logits.float(),
        inner(batch.labels, logits),
        torch.tensor(weights, device=logits.device) if fit.class_weights else None,
        None if batch.boundary is None else inner(batch.boundary, logits),
        fit.focus,
        fit.tversky,
    )
    return {name: TERMS[name](evidence) for name, weight in fit.terms.items() if weight > 0}


def inner(plane: Tensor, logits: Tensor) -> Tensor:
    """The middle of labels or weights that unpadded convolutions give logits for."""
    rows, cols = (
        (before - after) // 2
        for before, after in zip(plane.shape[-2:], logits.shape[-2:], strict=True)
    )
    return plane[..., rows : plane.shape[-2] - rows, cols : plane.shape[-1] - cols]


@torch.no_grad()
def _update_average(state: State, decay: float) -> None:
    """Move the average towards the weights; early on faster, so that it forgets the start."""
    keep = min(decay, (1 + state.step) / (10 + state.step))
    average, latest = zip(*state.averaged, strict=True)
    get_ema_multi_avg_fn(keep)(average, latest, 0)  # type: ignore[no-untyped-call]
    for count, seen in state.counted:
        count.copy_(seen)


def save_checkpoint(path: Path, state: State, config: TrainConfig) -> None:
    """Write a checkpoint, whole or not at all."""
    content = {
        "network": state.network.state_dict(),
        "average": state.average.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "step": state.step,
        "seconds": state.seconds,
        "best": state.best,
        "stale": state.stale,
        "config": json.dumps(asdict(config)),
    }
    try:
        with replacing(path) as stream:
            torch.save(content, stream)
    except RuntimeError as error:  # what torch makes of a full disk
        raise OutputError(f"{path}: cannot be written: {str(error).splitlines()[0]}") from error


def restore(state: State, config: TrainConfig, path: Path) -> State:
    """Bring a run that was started back to where its checkpoint was written.

    Raises:
        ConfigError: it cannot be read, or is of another network, legend or kind of loop.
    """
    content = read_checkpoint(path, RESUMED)
    before = build(TrainConfig, json.loads(content["config"]), "")
    for key in ("network", "legend"):
        if getattr(before, key) != getattr(config, key):
            raise ConfigError(f"{path}: was written with another {key}; start a new run instead")
    state.network.load_state_dict(content["network"])
    state.average.load_state_dict(content["average"])
    _restore_optimizer(state.optimizer, content["optimizer"], path)
    state.step, state.seconds = content["step"], content["seconds"]
    if _best_counts(before, config, path):
        state.best, state.stale = content["best"], content["stale"]
    return state


def _restore_optimizer(
    optimizer: torch.optim.Optimizer, content: dict[str, Any], path: Path
) -> None:
    """Take the moments of a checkpoint; what the configuration says of the groups stays."""
    said = [
        {key: group[key] for key in _SETTINGS if key in group} for group in optimizer.param_groups
    ]
    try:
        optimizer.load_state_dict(content)
    except ValueError as error:
        raise ConfigError(f"{path}: was written by another loop; name another folder") from error
    for group, settings in zip(optimizer.param_groups, said, strict=True):
        group.update(settings)


def _best_counts(before: TrainConfig, config: TrainConfig, path: Path) -> bool:
    """Whether the best score of a checkpoint is one to go on from: early stopping was on, on the
    same checks, and the weights that it was reached with are still there.
    """
    # Checkpoints of the first release know no early stopping.
    if before.fit.patience == 0 or before.check != config.check:
        return False
    return config.fit.patience == 0 or path.with_name(BEST).is_file()


def fit(config: TrainConfig, out: Path, again: bool = False) -> State:
    """Train until the schedule ends, writing ``last.pt`` and the log into ``out``.

    Args:
        config: the run.
        out: folder, made if missing; one that holds a checkpoint is only used with ``again``.
        again: resume from the folder's checkpoint.
    """
    path = out / CHECKPOINT
    if path.exists() and not again:
        raise ConfigError(f"{path} exists; add --resume, or name another folder")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{out}: is no folder and cannot become one: {error.strerror}") from error
    with joined(config.fit.device, config.fit.batch) as place:
        state = start(config, place, again)
        if again:
            restore(state, config, path)
        feed = Feed(
            Sampler(config, load_pools(config)), place, config.fit.batch, config.fit.workers
        )
        checks = load_checks(config) if place.leads else []
        with Logbook(out, quiet=not place.leads) as book:
            _loop(state, feed, checks, book, config, path)
            if place.leads:
                save_checkpoint(path, state, config)
                _conclude(state, checks, book, config, path)
    return state


def _loop(
    state: State, feed: Feed, checks: list[Check], book: Logbook, config: TrainConfig, path: Path
) -> None:
    """Steps until the run is over; the leading process logs, checks and saves."""
    fit, place = config.fit, state.place
    pace = Pace()
    entries: list[dict[str, Tensor]] = []
    saved = mark = time.monotonic()
    waited, waited_since = 0.0, mark
    if state.over(fit):
        return
    for batch in feed.steps(state.step, fit.steps):
        if fit.minutes > 0 and place.device.type == "cpu":
            # The clock decides anyway: give way to other processes.
            torch.set_num_threads(pace.threads())
        entry = train_step(state, batch, config)
        now = time.monotonic()
        state.seconds, mark = agreed(state.seconds + now - mark, place), now
        book.advance(state.step, state.progress(fit))
        entries.append(entry)
        checking = fit.check_every > 0 and state.step % fit.check_every == 0
        saving = place.leads and now - saved > 60 * fit.save_minutes
        if len(entries) == _LOG_EVERY or checking or saving or state.over(fit):
            _must_be_finite(entries, state, fit)
        if len(entries) == _LOG_EVERY:
            waiting = (feed.waited - waited) / max(now - waited_since, 1e-9)
            waited, waited_since = feed.waited, now
            more = {"waiting": round(waiting, 4), "threads": torch.get_num_threads()}
            book.write(state.step, state.seconds, {**means(entries), **more})
            entries.clear()
        if checking:
            _judge(state, checks, book, config, path)
            # Time that the checks took is not time between batches.
            waited_since += time.monotonic() - now
        if saving:
            save_checkpoint(path, state, config)
            saved = now
        if state.over(fit):
            break


def _must_be_finite(entries: Sequence[Mapping[str, Tensor]], state: State, fit: FitConfig) -> None:
    """Refuse to go on, and to keep weights, after a gradient that was not finite."""
    for index, entry in enumerate(entries):
        if not math.isfinite(float(entry["norm"])):
            step = state.step - len(entries) + index
            raise ConfigError(f"step {step}: gradient not finite; lower fit.rate {fit.rate}")


def _judge(
    state: State, checks: list[Check], book: Logbook, config: TrainConfig, path: Path
) -> None:
    """Measure the average, keep it if it is the best so far, count if it is not."""
    scores = _measure(state, checks, book, config, "check")
    if not _improved(state, agreed(_mean(scores), state.place), config, path):
        state.stale += 1


def _conclude(
    state: State, checks: list[Check], book: Logbook, config: TrainConfig, path: Path
) -> None:
    """Measure the last average, and keep it if it is the best; the leading process's alone."""
    scores, every = _measure(state, checks, book, config, "final"), config.fit.check_every
    judged = every > 0 and state.step % every == 0  # by the last check
    if config.fit.patience and not judged and _improved(state, _mean(scores), config, path):
        save_checkpoint(path, state, config)  # a run that goes on has this one to beat


def _improved(state: State, score: float, config: TrainConfig, path: Path) -> bool:
    """Whether a score is the best so far; then the average is kept, if anything is."""
    if score <= state.best:
        return False
    state.best, state.stale = score, 0
    if config.fit.patience and state.place.leads:
        save_checkpoint(path.with_name(BEST), state, config)
    return True


def _mean(scores: Sequence[float]) -> float:
    return sum(scores) / len(scores) if scores else -1.0


def _measure(
    state: State, checks: list[Check], book: Logbook, config: TrainConfig, kind: str
) -> list[float]:
    """Log the accuracy on every check's scenes; returns their mean IoUs."""
    scores: list[Mapping[str, float]] = []
    for check in checks:
        scores.append(run_check(check, state.average, config))
        book.write(state.step, state.seconds, {kind: check.name, **scores[-1]})
    book.draw()
    return [score["miou"] for score in scores if "miou" in score]
