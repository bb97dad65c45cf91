"""Compare a class mask with labels, strip by strip: pixels, borders, objects, and a picture."""

import json
import math
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from geounet.decision import Storage
from geounet.errors import ConfigError, SceneError
from geounet.files import write_whole
from geounet.jobs.errormap import ErrorMap
from geounet.jobs.objects import ObjectCollector
from geounet.jobs.options import OutputOptions
from geounet.jobs.plan import SegmentOptions
from geounet.jobs.report import Listener
from geounet.jobs.segment import segment_scenes
from geounet.jobs.thresholds import Thresholds, find_thresholds
from geounet.jobs.truth import Truth
from geounet.labels.source import Labels, open_labels
from geounet.legend import NODATA_ID, Legend
from geounet.metrics import PartialConfusion, alone, mean_score
from geounet.model.bundle import ModelBundle
from geounet.raster.classes import ClassMask, class_rows, describe_mask
from geounet.raster.scene import Scene
from geounet.score.boundary import TOLERANCE, BoundaryCounter, BoundaryScores
from geounet.score.objects import MATCH, ObjectScores
from geounet.tiles import Window

if TYPE_CHECKING:
    from distributed import Client


@dataclass(frozen=True)
class EvaluateOptions:
    """What is measured, and how."""

    tolerance: float = TOLERANCE
    """Of the boundary score."""
    unit: Literal["px", "m"] = "px"
    """Unit of ``tolerance``."""
    objects: tuple[str, ...] | None = None
    """Classes whose objects are matched; None: ``building``, where there is such a class."""
    iou: float = MATCH
    """Least intersection over union of matching objects."""
    min_object: float = 0.0
    """Objects smaller than this many m2 (pixels without a CRS) are left out."""

    def pixels(self, scene: Scene) -> float:
        """The tolerance in pixels of ``scene``.

        Raises:
            ConfigError: it is given in metres, and the scene has no ground sample distance.
        """
        if self.unit == "px":
            return self.tolerance
        if scene.georef.gsd is None:
            raise ConfigError(
                f"{scene.uri}: has no ground sample distance, so a tolerance of"
                f" {self.tolerance:g} m has no meaning; give it in pixels"
            )
        return self.tolerance / scene.georef.gsd


@dataclass(frozen=True)
class Evaluation:
    """How well a mask agrees with labels."""

    mask: str
    """What was judged."""
    labels: str
    """What it was compared with."""
    legend: Legend
    """The classes, in the order of all scores."""
    label_names: tuple[str, ...]
    """What each row of the confusion stands for."""
    confusion: PartialConfusion
    boundary: BoundaryScores
    tolerance: float
    """Of the boundary score, in pixels."""
    objects: dict[str, ObjectScores]
    """By class name."""
    thresholds: Thresholds | None = None
    """Those that suit the labels best, if they were asked for."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; scores that do not exist are None."""
        pixels, edges = self.confusion, self.boundary
        columns = {
            "iou": pixels.iou, "dice": pixels.f1, "precision": pixels.precision,
            "recall": pixels.recall, "boundary_precision": edges.precision,
            "boundary_recall": edges.recall, "boundary_f1": edges.f1,
        }  # fmt: skip
        classes = {
            name: {key: _number(values[index]) for key, values in columns.items()}
            | {"true_pixels": int(pixels.true[index]), "found_pixels": int(pixels.found[index])}
            for index, name in enumerate(self.legend.names)
        }
        objects = {
            name: {
                "true": item.true, "found": item.found, "matched": item.matched,
                "precision": _number(item.precision), "recall": _number(item.recall),
                "f1": _number(item.f1), "mean_iou": _number(item.iou),
            }
            for name, item in self.objects.items()
        }  # fmt: skip
        return {
            "mask": self.mask,
            "labels": self.labels,
            "pixels": pixels.pixels,
            "unpredicted_pixels": pixels.unpredicted,
            "unlabelled_pixels": pixels.unlabelled,
            "accuracy": _number(pixels.accuracy),
            "mean_iou": _number(pixels.mean_iou.value),
            "mean_dice": _number(mean_score(pixels.f1).value),
            "mean_boundary_f1": _number(mean_score(edges.f1).value),
            "classes_scored": pixels.mean_iou.classes,
            "boundary_tolerance_px": self.tolerance,
            "classes": classes,
            "objects": objects,
            "thresholds": self.thresholds.to_dict() if self.thresholds else None,
            "confusion": {
                "columns": list(self.legend.names),
                "rows": dict(zip(self.label_names, pixels.counts.tolist(), strict=True)),
            },
        }


def write_report(path: Path, evaluation: Evaluation) -> None:
    """Write the figures as JSON, whole or not at all."""
    write_whole(path, (json.dumps(evaluation.to_dict(), indent=2) + "\n").encode())


def evaluate_mask(
    mask: str | Path,
    truth: Truth,
    options: EvaluateOptions,
    picture: Path | None = None,
    names: Mapping[int, str] | None = None,
) -> Evaluation:
    """Compare a mask with labels; memory does not grow with the mask, but for its objects.

    Args:
        mask: a GeoTIFF of class ids, 255 without data.
        truth: the labels, of any grid.
        options: what is measured.
        picture: where to write a PNG map of errors; None: nowhere.
        names: names of the mask's values, where it carries none or wrong ones.

    Raises:
        SceneError: the mask cannot be read, or has no pixel in common with the labels.
        LabelError: the labels cannot be read, or contradict themselves or the mask.
        ConfigError: an option that does not fit.
    """
    classes = describe_mask(mask, names)
    scene, legend = classes.scene, classes.legend
    coding = truth.coding(legend, classes.codes)
    allowed = coding.allowed(legend)
    tolerance = options.pixels(scene)
    confusion = PartialConfusion.empty(allowed)
    # A tolerance in pixels counts them as they are; one in metres is the same in all directions.
    aspect = scene.georef.aspect if options.unit == "m" else 1.0
    edges = BoundaryCounter(allowed, tolerance, aspect)
    drawn = ErrorMap(scene.shape, legend, allowed) if picture else None
    with open_labels(truth.files, scene, coding) as labels:
        collectors = {
            name: ObjectCollector(index, allowed, scene, labels.areas)
            for index, name in _object_classes(options, legend, allowed)
        }
        for codes, found in _strips(classes, labels):
            confusion = confusion.plus(codes, found)
            edges.push(codes, found)
            for collector in collectors.values():
                collector.push(codes, found)
            if drawn:
                drawn.push(codes, found)
    if not confusion.pixels:
        raise SceneError(f"{mask}: no pixel has both a class and a label in {truth.files.path}")
    if drawn and picture:
        drawn.write(picture)
    least = options.min_object / scene.georef.pixel_area
    return Evaluation(
        str(mask),
        str(truth.files.path),
        legend,
        tuple(" or ".join(names) for names in coding.sets),
        confusion,
        edges.finish(),
        tolerance,
        {name: item.finish(least, options.iou) for name, item in collectors.items()},
    )


def evaluate_model(
    scene: str | Path,
    model: "ModelRun",
    truth: Truth,
    options: EvaluateOptions,
    picture: Path | None,
) -> Evaluation:
    """Segment a scene into a mask that is thrown away afterwards, and compare that.

    The mask is written to the temporary folder, compressed, and where thresholds are asked for the
    probabilities beside it; nothing of the scene's size is held in memory.

    Raises:
        GeounetError: whatever :func:`evaluate_mask` or the segmentation raises.
    """
    with tempfile.TemporaryDirectory(prefix="geounet") as folder:
        storage: Storage | None = "uint8" if model.thresholds else None
        output = OutputOptions(folder=Path(folder), polygons=False, probabilities=storage)
        # Files that are thrown away are no news, and an error is told by raising it.
        listener = replace(model.listener, finished=lambda report: None)
        (report,) = segment_scenes(
            [str(scene)], model.bundle, model.client, model.options, output, listener
        )
        if report.error is not None:
            raise report.error
        if report.outputs is None:
            raise RuntimeError(f"{scene}: neither results nor an error")
        for notice in report.notices:
            listener.noted(notice)
        result = evaluate_mask(report.outputs.mask, truth, options, picture)
        spec, found = model.bundle.spec, None
        if report.outputs.probabilities:
            limits = model.options.limits(spec)
            found = find_thresholds(report.outputs.probabilities, truth, spec.legend, limits)
    return replace(result, mask=f"{scene} by {spec.name}", thresholds=found)


@dataclass(frozen=True)
class ModelRun:
    """A model, and how it is run."""

    bundle: ModelBundle
    client: "Client"
    """From :func:`geounet.jobs.execute.dask_client`."""
    options: SegmentOptions
    listener: Listener = field(default_factory=Listener)
    """Told about progress."""
    thresholds: bool = False
    """Whether the thresholds are sought that suit the labels best."""


def _object_classes(
    options: EvaluateOptions, legend: Legend, allowed: np.ndarray
) -> list[tuple[int, str]]:
    """Index and name of the classes whose objects are matched; those that labels name alone."""
    names = options.objects
    if names is None:
        names = tuple(name for name in legend.names if name == "building")
    indices = [legend.names.index(legend[name].name) for name in names]
    named = np.asarray(alone(allowed).any(axis=0))
    if options.objects:
        for index in indices:
            if not named[index]:
                raise ConfigError(f"objects of {legend.names[index]!r}: no label names it alone")
    return [(index, legend.names[index]) for index in indices if named[index]]


def _strips(mask: ClassMask, labels: Labels) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Label codes and class indices, uint8 ``(n, width)`` each, from top to bottom."""
    table = np.full(256, NODATA_ID, np.uint8)
    table[[item.id for item in mask.legend]] = range(len(mask.legend))
    row = 0
    for ids in class_rows(mask):
        yield labels.read(Window(row, 0, *ids.shape)), table[ids]
        row += len(ids)


def _number(value: float) -> float | None:
    """A score, rounded to six digits; None where there is none."""
    return None if math.isnan(value) else round(float(value), 6)
