"""Accuracy on scenes that are not trained on, with full or partial labels."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from geounet.errors import ConfigError
from geounet.legend import Legend
from geounet.mirror import mirror_index
from geounet.tiles import Tile, TileGrid, Window, round_up
from geounet.train.config import TrainConfig
from geounet.train.load import load_scenes
from geounet.train.loss import allowed_planes
from geounet.train.network import model_spec
from geounet.train.ranks import autocast
from geounet.train.samples import standardise
from geounet.train.scenes import LabelledScene, View
from geounet.train.sources import SourceConfig

_CORE, _MARGIN, _STRIDE = 448, 64, 32


@dataclass(frozen=True, eq=False)
class SampledScene:
    """A scene at another ground sample distance, as the network sees it."""

    scene: LabelledScene
    scale: float
    """Scene pixels per pixel, along the mean of both axes."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        (height, width), (cols, rows) = self.scene.shape, self._steps
        return max(1, round(height / rows)), max(1, round(width / cols))

    @property
    def _steps(self) -> tuple[float, float]:
        """Columns and rows of the scene per pixel."""
        cols, rows = self.scene.steps
        return self.scale * cols, self.scale * rows

    def patch(self, window: Window) -> View:
        """A window that may overhang the scene, where it is mirrored."""
        rows = mirror_index(window.row, window.height, self.shape[0])
        cols = mirror_index(window.col, window.width, self.shape[1])
        y, x = np.meshgrid(rows, cols, indexing="ij")
        across, down = self._steps
        return self.scene.window(
            ((x + 0.5) * across - 0.5).astype(np.float32),
            ((y + 0.5) * down - 0.5).astype(np.float32),
            self.scale,
        )


@dataclass(frozen=True, eq=False)
class Check:
    """Scenes to measure, and the ground sample distance to do it at (0, of a model without
    a resolution: as they are).
    """

    name: str
    scenes: tuple[LabelledScene, ...]
    gsd: float
    alone: frozenset[str]
    """Classes that a label names alone, whether or not a pixel has it."""

    def sampled(self) -> Iterator[SampledScene]:
        """The scenes at that distance."""
        for scene in self.scenes:
            yield SampledScene(scene, (self.gsd or scene.gsd) / scene.gsd)


def load_checks(config: TrainConfig) -> list[Check]:
    """The scenes of every ``[[check]]``.

    Raises:
        ConfigError: nothing can be measured on one of them, or see
            :func:`~geounet.train.load.load_scenes`.
    """
    groups = load_scenes(config, config.check)
    for item, scenes in zip(config.check, groups, strict=True):
        # As tally counts: sets of several classes tell what is wrong, never what is right.
        if not any(value.bit_count() == 1 for scene in scenes for value in scene.counts):
            raise ConfigError(
                f"check {item.name!r}: no pixel of its {len(scenes)} scenes has data and a label"
                " that names one class alone, so nothing can be measured; name one in check.labels,"
                " or leave the check out"
            )
    return [
        Check(
            item.name, scenes, item.gsd[0] or config.network.resolution, named_alone(item, config)
        )
        for item, scenes in zip(config.check, groups, strict=True)
    ]


def named_alone(source: SourceConfig, config: TrainConfig) -> frozenset[str]:
    """The classes that a source's labels name alone, whether or not a pixel has it."""
    legend = Legend(config.legend)
    beyond = source.polygons.outside if source.polygons else ()
    sets = [{legend[name].name for name in names} for names in (*source.labels.values(), beyond)]
    return frozenset(name for names in sets if len(names) == 1 for name in names)


def overlap_tiles(scene: SampledScene, config: TrainConfig) -> TileGrid:
    """The tiles in which a scene is predicted."""
    margin = round_up(max(_MARGIN, model_spec(config).shrink), _STRIDE)
    return TileGrid(*scene.shape, (_CORE, _CORE), margin, _STRIDE)


def predicted_logits(
    scene: SampledScene, tiles: Iterable[Tile], network: nn.Module, config: TrainConfig
) -> Iterator[tuple[Window, Tensor, Tensor]]:
    """Some of a scene's :func:`overlap_tiles`: where, logits ``(classes, h, w)`` on the network's
    device, and label sets, uint8 ``(h, w)``; network in evaluation mode.
    """
    mean, std, bfloat16 = config.network.mean, config.network.std, config.fit.bfloat16
    device = next((value.device for value in network.parameters()), torch.device("cpu"))
    shrink = model_spec(config).shrink
    for tile in tiles:
        core, view = tile.core, scene.patch(tile.patch)
        inputs = standardise(view.image, mean, std, view.valid)[None].to(device)
        if bfloat16:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        with torch.inference_mode(), autocast(device, bfloat16):
            logits = network(inputs)[0]
        margin = core.row - tile.patch.row
        trim = margin - shrink
        inside = view.labels[margin:, margin:][: core.height, : core.width]
        yield core, logits[:, trim : trim + core.height, trim : trim + core.width], inside


def predicted_tiles(
    scene: SampledScene, network: nn.Module, config: TrainConfig
) -> Iterator[tuple[Window, Tensor, Tensor]]:
    """Overlap tiles that cover a scene: where, class indices and label sets, uint8 ``(h, w)``."""
    tiles = overlap_tiles(scene, config)
    for core, logits, labels in predicted_logits(scene, tiles, network, config):
        yield core, logits.argmax(0).to("cpu", torch.uint8), labels


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
    """Class indices and label sets of each of a check's scenes, uint8 ``(h, w)`` both, whole."""
    for scene in check.sampled():
        classes, labels = (torch.zeros(scene.shape, dtype=torch.uint8) for _ in range(2))
        for core, found, sets in predicted_tiles(scene, network, config):
            rows, cols = slice(core.row, core.row_end), slice(core.col, core.col_end)
            classes[rows, cols], labels[rows, cols] = found, sets
        yield classes, labels


def run_check(check: Check, network: nn.Module, config: TrainConfig) -> dict[str, float]:
    """Intersection over union of the classes, and their mean, ``miou``, see :func:`iou`; memory
    does not follow the size of the scenes.
    """
    counts = np.zeros((len(config.legend), 3), dtype=np.int64)
    for scene in check.sampled():
        for _, classes, labels in predicted_tiles(scene, network, config):
            counts += tally(classes, labels, len(config.legend))
    return iou(counts, check, config)


def accuracy(
    checks: Iterable[Check], network: nn.Module, config: TrainConfig
) -> dict[str, dict[str, float]]:
    """What a card tells of each check: its ground sample distance, and :func:`run_check`."""
    return {
        check.name: {
            "gsd": check.gsd or check.scenes[0].gsd,
            **run_check(check, network, config),
        }
        for check in checks
    }


def iou(counts: np.ndarray, check: Check, config: TrainConfig) -> dict[str, float]:
    """Intersection over union from the counts of :func:`tally`, and the mean, ``miou``.

    The rule of ``geounet evaluate``: a class that a label names alone counts 0 where it is only
    predicted; one that is neither true nor predicted has no score, nor has one that no label names
    alone.
    """
    result = {
        item.name: round(float(hit / (hit + wrong + missed)), 4)
        for item, (hit, wrong, missed) in zip(config.legend, counts, strict=True)
        # Texture may narrow a label to a class that none names alone.
        if hit + missed > 0 or (item.name in check.alone and wrong > 0)
    }
    if result:
        result["miou"] = round(sum(result.values()) / len(result), 4)
    return result
