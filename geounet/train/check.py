"""Accuracy on scenes that are not trained on, with full or partial labels."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from geounet.legend import Legend
from geounet.mirror import mirror_index
from geounet.tiles import TileGrid, round_up
from geounet.train.config import SourceConfig, TrainConfig
from geounet.train.loss import allowed_planes
from geounet.train.network import model_spec
from geounet.train.samples import LabelledScene, find_images, read_labelled, standardise

_CORE, _MARGIN, _STRIDE = 448, 64, 32


@dataclass(frozen=True, eq=False)
class Check:
    """Scenes to measure, and the ground sample distance to do it at (0: as they are)."""

    name: str
    scenes: tuple[LabelledScene, ...]
    gsd: float


def load_checks(config: TrainConfig) -> list[Check]:
    """Read the scenes of every ``[[check]]``."""
    return [_load(item, config) for item in config.check]


def _load(item: SourceConfig, config: TrainConfig) -> Check:
    legend, bands, data = Legend(config.legend), len(config.network.bands), Path(config.data)
    scenes = [read_labelled(path, item, data, legend, bands) for path in find_images(item, data)]
    return Check(item.name, tuple(scenes), item.gsd[0])


def predict(network: nn.Module, image: Tensor, bfloat16: bool, shrink: int = 0) -> Tensor:
    """Class index of every pixel of a normalised float32 ``(bands, h, w)`` image: uint8 ``(h, w)``.

    Overlap tiles, mirrored at the edge; network in evaluation mode. Its output is ``shrink`` pixels
    smaller than its input on each side.
    """
    height, width = image.shape[1:]
    classes = torch.zeros((height, width), dtype=torch.uint8)
    device = next((value.device for value in network.parameters()), image.device)
    margin = round_up(max(_MARGIN, shrink), _STRIDE)
    with torch.inference_mode():
        for tile in TileGrid(height, width, (_CORE, _CORE), margin, _STRIDE):
            core, patch = tile.core, tile.patch
            rows = torch.from_numpy(mirror_index(patch.row, patch.height, height))
            cols = torch.from_numpy(mirror_index(patch.col, patch.width, width))
            inputs = image[:, rows[:, None], cols[None, :]][None].to(device)
            if bfloat16:
                inputs = inputs.contiguous(memory_format=torch.channels_last)
            with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
                logits = network(inputs)[0]
            start = margin - shrink
            best = logits[:, start : start + core.height, start : start + core.width]
            classes[core.row : core.row_end, core.col : core.col_end] = best.argmax(0).cpu()
    return classes


def scene_at(scene: LabelledScene, gsd: float) -> tuple[Tensor, Tensor]:
    """The whole scene, image in 0..1 and label sets, sampled at ``gsd`` metres (0: as it is)."""
    scale = gsd / scene.gsd if gsd else 1.0
    height, width = (max(1, round(size / scale)) for size in scene.labels.shape)
    y, x = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    return scene.window(
        ((x + 0.5) * scale - 0.5).astype(np.float32),
        ((y + 0.5) * scale - 0.5).astype(np.float32),
        scale,
    )


def tally(predicted: Tensor, labels: Tensor, classes: int) -> np.ndarray:
    """Counts per class over the pixels where it is known whether they are of the class.

    Args:
        predicted: uint8 ``(h, w)``, class indices.
        labels: uint8 ``(h, w)``, label sets.
        classes: number of classes.

    Returns:
        int64 ``(classes, 3)``: true positives, false positives, false negatives. With full labels
        these are the ordinary ones.
    """
    allowed = allowed_planes(labels[None], classes)[0]
    single = allowed.sum(0) == 1
    counts = np.zeros((classes, 3), dtype=np.int64)
    for index in range(classes):
        yes = allowed[index] & single
        no = ~allowed[index] & (labels != 0)
        said = predicted == index
        counts[index] = [int(part.sum()) for part in (said & yes, said & no, ~said & yes)]
    return counts


def predicted(
    check: Check, network: nn.Module, config: TrainConfig
) -> Iterator[tuple[Tensor, Tensor]]:
    """Class indices and label sets of each of a check's scenes, uint8 ``(h, w)`` both."""
    mean, std = config.network.mean, config.network.std
    shrink = model_spec(config).shrink
    for scene in check.scenes:
        image, labels = scene_at(scene, check.gsd)
        yield predict(network, standardise(image, mean, std), config.fit.bfloat16, shrink), labels


def run_check(check: Check, network: nn.Module, config: TrainConfig) -> dict[str, float]:
    """Intersection over union of every class that has labelled pixels, and their mean, ``miou``."""
    counts = np.zeros((len(config.legend), 3), dtype=np.int64)
    for classes, labels in predicted(check, network, config):
        counts += tally(classes, labels, len(config.legend))
    return iou(counts, config)


def iou(counts: np.ndarray, config: TrainConfig) -> dict[str, float]:
    """The same from the counts of :func:`tally`."""
    result = {
        item.name: round(float(hit / (hit + wrong + missed)), 4)
        for item, (hit, wrong, missed) in zip(config.legend, counts, strict=True)
        if hit + missed > 0
    }
    if result:
        result["miou"] = round(sum(result.values()) / len(result), 4)
    return result
