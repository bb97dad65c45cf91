"""The facts of a model: everything but the weights that prediction, tiling and the card need."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from geounet.decision import check_thresholds
from geounet.errors import ConfigError
from geounet.legend import Legend

FORMAT = 1
"""Version of the facts' layout; a reader refuses a later one."""


@dataclass(frozen=True)
class ModelSpec:
    """A network's architecture, what it expects as input and what it promises as output."""

    name: str
    """Short name, as the user would give it to ``-m``."""
    arch: str
    """``smp:NAME`` for an architecture of segmentation-models-pytorch, else one of geounet's."""
    bands: tuple[str, ...]
    """Names of the input bands, in order, such as ``("red", "green", "blue")``."""
    legend: Legend
    """Class ``i`` of the network's output is the legend's ``i``-th class."""
    mean: tuple[float, ...]
    """Mean per band of input values stretched to 0..1."""
    std: tuple[float, ...]
    """Standard deviation per band of input values stretched to 0..1."""
    resolution: float
    """Ground sample distance that the network was trained at, in metres; 0 if it has none."""
    stride: int
    """Total downsampling factor; patches are multiples of it."""
    radius: int
    """Structural receptive radius in pixels: how far an input pixel can reach in the output."""
    margin: int
    """Context around a core of ``calibration_core`` pixels that keeps the promise, in pixels; a
    multiple of ``stride``. Larger cores may need less, see ``margin_curve``."""
    shrink: int = 0
    """Pixels by which the output is smaller than the input on each side (unpadded convolutions), a
    multiple of ``stride``; 0 where the network pads. No margin can be smaller."""
    encoder: str | None = None
    """Encoder of an ``smp:`` architecture."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Further keyword arguments of the architecture, such as ``decoder_channels``."""
    dtype: str = "uint8"
    """Scene dtype that ``value_range`` belongs to."""
    value_range: tuple[float, float] = (0.0, 255.0)
    """Scene values of ``dtype`` that become 0 and 1; other dtypes are stretched by percentiles."""
    margin_curve: tuple[tuple[int, float], ...] = ()
    """Measured (margin, share of pixels that differ from the exact margin), by margin."""
    calibration_core: int = 512
    """Side of the cores that ``margin_curve`` was measured with; shares fall with larger ones."""
    exact: bool = True
    """False where the network pools globally, so that no margin makes tiling exact."""
    bytes_per_pixel: int = 2500
    """Peak working memory of a float32 forward per input pixel, as measured."""
    card: Mapping[str, Any] = field(default_factory=dict)
    """Training data, licences, attribution and measured accuracy, for people."""
    thresholds: Mapping[str, float] = field(default_factory=dict)
    """Class name -> probability (0 to 1) from which a pixel is called that class, as chosen on
    validation data; see :class:`geounet.decision.Decision`. Empty: the most probable class wins."""

    def __post_init__(self) -> None:
        count = len(self.bands)
        if not count or len(self.mean) != count or len(self.std) != count:
            raise ConfigError(
                f"model {self.name!r}: {count} bands need as many means ({len(self.mean)})"
                f" and standard deviations ({len(self.std)})"
            )
        if not all(map(math.isfinite, self.mean)):
            raise ConfigError(f"model {self.name!r}: mean {self.mean} must be finite")
        if not all(value > 0 and math.isfinite(value) for value in self.std):
            raise ConfigError(f"model {self.name!r}: std {self.std} must be positive")
        if self.stride < 1 or self.margin < 0 or self.margin % self.stride:
            raise ConfigError(
                f"model {self.name!r}: margin {self.margin} must be a multiple of"
                f" the stride {self.stride}"
            )
        if not 0 <= self.shrink <= self.margin or self.shrink % self.stride:
            raise ConfigError(
                f"model {self.name!r}: shrink {self.shrink} must be a multiple of the stride"
                f" {self.stride} and at most the margin {self.margin}"
            )
        if not 0 <= self.resolution < math.inf:
            raise ConfigError(f"model {self.name!r}: resolution {self.resolution} must be >= 0")
        if len(self.value_range) != 2 or not self.value_range[1] > self.value_range[0]:
            raise ConfigError(f"model {self.name!r}: value_range {self.value_range} is empty")
        if not (isinstance(self.options, Mapping) and isinstance(self.card, Mapping)):
            raise ConfigError(f"model {self.name!r}: options and card must be tables")
        if not isinstance(self.thresholds, Mapping):
            raise ConfigError(f"model {self.name!r}: thresholds {self.thresholds} must be a table")
        check_thresholds(self.thresholds, self.legend)

    @property
    def reach(self) -> int:
        """Context in pixels that makes a tile exact: what unpadded convolutions use up, since they
        see nothing but true pixels, else the receptive radius.
        """
        return self.shrink or self.radius

    def to_json(self) -> str:
        """The facts as one JSON object."""
        facts = asdict(self)
        facts["legend"] = self.legend.to_dict()
        return json.dumps({"format": FORMAT, **facts}, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "ModelSpec":
        """Inverse of :meth:`to_json`.

        Raises:
            ConfigError: not such an object, a later format, or a field that is missing or invalid.
        """
        try:
            facts = dict(json.loads(text))
            version = facts.pop("format")
            if version > FORMAT:
                raise ConfigError(
                    f"model format {version} is newer than this geounet reads ({FORMAT});"
                    " upgrade geounet"
                )
            facts["legend"] = Legend.from_dict(facts["legend"])
            facts["margin_curve"] = tuple((int(m), float(s)) for m, s in facts["margin_curve"])
            for name in ("bands", "mean", "std", "value_range"):
                facts[name] = tuple(facts[name])
            return cls(**facts)
        except (LookupError, TypeError, ValueError, ArithmeticError, RecursionError) as error:
            raise ConfigError(f"model facts cannot be read: {error!r}") from error
