"""Thresholds that suit a model to a place: found on labels, stored in a copy of the model."""

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from geounet.decision import STEPS, Decision, decision_for
from geounet.errors import ConfigError, OutputError
from geounet.files import check_free
from geounet.jobs.truth import Truth
from geounet.labels.source import open_labels
from geounet.legend import NODATA_ID, Legend
from geounet.metrics import PartialConfusion
from geounet.model.bundle import ModelBundle, check_file_name, save_bundle
from geounet.raster.scene import describe, open_scene, read_values
from geounet.score.thresholds import ThresholdTally
from geounet.tiles import Window

_STRIP = 256  # rows read at once
_CHUNK = 1 << 20  # pixels decided at once: bounds the float copy of their probabilities


@dataclass(frozen=True)
class Thresholds:
    """Thresholds, and what they are worth on the labels that they were chosen on."""

    values: Mapping[str, float]
    """Class name -> threshold: those found, and for other classes those that were in force."""
    alone: Mapping[str, float]
    """Class name -> the best F1 of the class against the rest; only classes that labels name."""
    together: PartialConfusion
    """Of the mask that all of ``values`` give at once, where classes compete for pixels."""
    legend: Legend
    """The columns of ``together``."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, by class that a threshold was found for."""
        after = dict(zip(self.legend.names, self.together.f1.tolist(), strict=True))
        return {
            name: {
                "threshold": self.values[name],
                "f1_alone": round(f1, 6),
                "f1_together": None if math.isnan(after[name]) else round(after[name], 6),
            }
            for name, f1 in self.alone.items()
        }


def find_thresholds(
    shares: Path, truth: Truth, legend: Legend, limits: Mapping[str, float]
) -> Thresholds:
    """The thresholds that maximise each class's F1 against the rest; reads the raster twice.

    Args:
        shares: uint8 probabilities as ``segment`` writes them, band ``i + 1`` of class ``i``.
        truth: the labels, of any grid.
        legend: the classes.
        limits: thresholds in force, kept for the classes that labels do not name alone.

    Raises:
        ConfigError: no label names a class alone.
        SceneError: the raster cannot be read.
        LabelError: the labels cannot be read, or contradict themselves or the classes.
    """
    allowed = truth.coding(legend).allowed(legend)
    tally = ThresholdTally(allowed)
    for codes, steps in _strips(shares, truth, legend):
        tally.push(codes, steps)
    found = {name: best for name, best in zip(legend.names, tally.best(), strict=True) if best}
    if not found:
        raise ConfigError(
            f"{truth.files.path}: no pixel's label names a class alone, so there is nothing to"
            " choose a threshold by"
        )
    values = {**limits, **{name: best.threshold for name, best in found.items()}}
    decision = decision_for(legend, thresholds=values)
    together = PartialConfusion.empty(allowed)
    for codes, steps in _strips(shares, truth, legend):
        together = together.plus(codes, _decided(decision, steps))
    return Thresholds(values, {name: best.f1 for name, best in found.items()}, together, legend)


def _strips(shares: Path, truth: Truth, legend: Legend) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Label codes, uint8 ``(n, width)``, and probabilities, uint8 ``(classes, n, width)``."""
    scene = describe(shares)
    bands = tuple(range(1, len(legend) + 1))
    with (
        open_labels(truth.files, scene, truth.coding(legend)) as labels,
        open_scene(scene) as dataset,
    ):
        for row in range(0, scene.height, _STRIP):
            window = Window(row, 0, min(_STRIP, scene.height - row), scene.width)
            yield labels.read(window), read_values(dataset, window, bands)


def _decided(decision: Decision, steps: np.ndarray) -> np.ndarray:
    """The class index of each pixel, 255 without data, from stored probabilities."""
    found = np.full(steps.shape[1:], NODATA_ID, np.uint8)
    rows = max(1, _CHUNK // steps.shape[2])
    for top in range(0, len(found), rows):
        part = steps[:, top : top + rows]
        best = decision.likeliest(part.astype(np.float32) / np.float32(STEPS))
        found[top : top + rows] = np.where(part[0] == NODATA_ID, NODATA_ID, best)
    return found


def check_copy(path: Path, bundle: ModelBundle, overwrite: bool) -> None:
    """Refuse, before anything is computed, a name that a copy of ``bundle`` must not have.

    Raises:
        ConfigError: it is no name of a model file.
        OutputError: it exists and ``overwrite`` is off, or it is the model itself.
    """
    check_file_name(path)
    if not path.exists():
        return
    if not path.is_file():
        raise OutputError(f"{path}: is no file; name another")
    check_free(path, overwrite)
    if hashlib.sha256(path.read_bytes()).hexdigest() == bundle.digest:
        raise OutputError(f"{path}: is the model itself, which is never changed; name another file")


def save_thresholds(
    path: Path, bundle: ModelBundle, values: Mapping[str, float], overwrite: bool = False
) -> ModelBundle:
    """Write a copy of a model with thresholds, whole or not at all.

    Raises:
        ConfigError: a class or value that does not fit; see :func:`check_copy`.
        OutputError: see :func:`check_copy`.
        ModelError: the file cannot be written.
    """
    check_copy(path, bundle, overwrite)
    return save_bundle(path, replace(bundle.spec, thresholds=dict(values)), bundle.stored_tensors())
