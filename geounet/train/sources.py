"""What a run is trained and checked on, as its configuration says it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from geounet.errors import ConfigError
from geounet.train.settings import SEEDS, check_ranges


@dataclass(frozen=True)
class PolygonsConfig:
    """Labels drawn as polygons; ``{stem}`` in a path is the image's name without its suffix."""

    path: str
    """File of polygons below ``data``, in any format and CRS that GDAL reads."""
    column: str = ""
    """Attribute that holds the value which ``labels`` explains; none: all polygons have ``*``."""
    outside: tuple[str, ...] = ()
    """Classes that pixels in no polygon may have; none: they are ignored."""

    def __post_init__(self) -> None:
        if not self.path.lower().rpartition(".")[2].startswith("tif"):
            return
        raise ConfigError(f"polygons.path {self.path!r} is a raster; name a file of polygons")


@dataclass(frozen=True)
class SourceConfig:
    """A set of labelled scenes that share an encoding, for training or for checking."""

    name: str
    """For the log and the card."""
    images: tuple[str, ...]
    """Paths or glob patterns below ``data``; masks are ``NAME_mask.tif`` beside them, unless
    ``masks`` or ``polygons`` says otherwise."""
    labels: Mapping[str, tuple[str, ...]]
    """Mask value -> names of the classes that a pixel of this value may have; one name is a full
    label, several a partial one, none: ignored. Another value than these, nodata and 255 is an
    error."""
    share: float = 0.0
    """Part of every batch; the shares of a run are scaled to the sum 1. Unused in checks."""
    hold: Mapping[str, float] = field(default_factory=dict)
    """Class name -> share of this source's windows that must hold the class; the rest is drawn as
    without: every label as often as the others. Unused in checks."""
    gsd: tuple[float, float] = (0.0, 0.0)
    """Metres per pixel that windows are sampled at, log-uniform between the two; a check is made at
    the first; 0 means the model's ``resolution``, at which it will predict. Scenes without a CRS
    count as scenes of that resolution, as in prediction."""
    bidx: tuple[int, ...] = ()
    """Bands of the images that feed the network's, from 1 on, in order, as with ``segment -b``."""
    exclude: tuple[str, ...] = ()
    """Paths or patterns taken out of ``images``; a source that loses all of them takes no part."""
    texture: bool = False
    """Narrow label sets that hold ``water`` and other classes by the texture of the scene, see
    :mod:`geounet.train.texture`; needs the classes of :class:`~geounet.train.texture.Sets`."""
    credit: str = ""
    """Attribution and licence, for the card."""
    masks: str = ""
    """GeoTIFF of label values below ``data``, such as ``labels/{stem}.tif``; ``{stem}`` as in
    :class:`PolygonsConfig`. What it names is never taken for an image."""
    polygons: PolygonsConfig | None = None
    """Where the labels are polygons: their files; ``labels`` then explains the values of an
    attribute."""
    aoi: str = ""
    """File of polygons below ``data`` outside of which labels are ignored; ``{stem}`` as in
    :class:`PolygonsConfig`. A scene with no labelled polygon needs one."""
    ignore: str = ""
    """File of polygons inside of which labels are ignored."""

    def __post_init__(self) -> None:
        if not self.images or not self.labels:
            raise ConfigError(f"source {self.name!r} needs images and labels")
        _check_mix(self)
        self._check_masks()
        for value in self.labels:
            if self.polygons is None and not (value.isdecimal() and int(value) <= 255):
                raise ConfigError(f"source {self.name!r}: label {value!r} must be 0 .. 255")

    def _check_masks(self) -> None:
        if self.masks and self.polygons is not None:
            raise ConfigError(
                f"source {self.name!r}: masks {self.masks!r} and polygons"
                f" {self.polygons.path!r} are both given; leave out one"
            )
        if self.masks and not self.masks.lower().endswith((".tif", ".tiff")):
            raise ConfigError(
                f"source {self.name!r}: masks {self.masks!r} is no GeoTIFF; name one, or give"
                " polygons"
            )


@dataclass(frozen=True)
class TownConfig:
    """Synthetic towns, drawn by :func:`geounet.train.town.make_town` when the run starts."""

    share: float
    """Part of every batch."""
    gsd: tuple[float, float]
    """Metres per pixel that windows are sampled at."""
    scenes: int = 12
    """Number of towns."""
    seed: int = 1000
    """Seed of the first; the towns of demonstrations have small seeds and stay unseen."""
    size: int = 768
    """Pixels a side of 0.5 m."""
    hold: Mapping[str, float] = field(default_factory=dict)
    """As in :class:`SourceConfig`."""
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Class of a town (land, building, water, vegetation, road) -> names of the classes that a
    pixel of it may have; none: ignored. One not named here is the legend's class of its name."""

    def __post_init__(self) -> None:
        _check_mix(self)
        many = {"scenes": (1, math.inf), "size": (1, math.inf), "seed": (0, SEEDS)}
        check_ranges("town", self, many)

    @property
    def name(self) -> str:
        """For errors and the card."""
        return "synthetic towns"


def _check_mix(source: SourceConfig | TownConfig) -> None:
    """What a source and the towns have in common: how much of them is seen, and how."""
    if not 0 <= source.share < math.inf:
        raise ConfigError(f"source {source.name!r}: share {source.share} must be >= 0")
    parts = source.hold.values()
    if not (all(part > 0 for part in parts) and sum(parts) <= 1 + 1e-9):
        raise ConfigError(
            f"source {source.name!r}: hold {dict(source.hold)} needs shares above 0 whose sum is"
            " at most 1"
        )
    if len(source.gsd) != 2 or not 0 <= source.gsd[0] <= source.gsd[1] < math.inf:
        raise ConfigError(f"source {source.name!r}: gsd {source.gsd} must be two ascending numbers")
