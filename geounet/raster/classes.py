"""Class masks as they are found: which values they hold, what those are called, and their rows.

A mask of geounet carries its legend. For others the names come from what the file offers, in this
order: class names in its metadata, its raster attribute table, its palette (colours only), and at
last the values themselves.
"""

import colorsys
import json
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from rasterio.enums import MaskFlags

from geounet.errors import ConfigError, SceneError
from geounet.legend import NODATA_ID, LandClass, Legend, Outline
from geounet.raster.attributes import Attribute, read_attributes
from geounet.raster.scene import (
    Scene,
    alpha_beside,
    describe,
    open_scene,
    read_values,
    read_window,
)
from geounet.tiles import Window

T = TypeVar("T")

LEGEND_TAG = "GEOUNET_LEGEND"
"""Band metadata that holds the whole legend of a mask that geounet wrote."""

BACKGROUND = "background"
"""Name of the class that stands for the ground around the only class of a mask."""

STRIP = 256
"""Rows read at a time."""

SQUARE_NAMES = {"building", "buildings", "house", "houses", "roof", "roofs", "footprint"}
"""Words in a class's name by which its outlines get right angles."""

SMOOTH_NAMES = {"water", "lake", "lakes", "river", "rivers", "pond", "sea", "ocean"}
"""Words in a class's name by which its outlines are rounded."""

_LEAST, _MOST = -(1 << 31), (1 << 31) - 1
# Class values are 32-bit integers in the polygons' tables.

HUE_STEP = 0.618034
"""Golden ratio: hues this far apart stay distinct however many there are."""


@dataclass(frozen=True)
class ClassMask:
    """A raster of class values and what they mean; holds no open handle."""

    scene: Scene
    """The raster."""
    band: int
    """1-based band that holds the classes."""
    legend: Legend
    """The classes, ids 0 to 254."""
    values: tuple[int, ...]
    """The raster's value of each class, in the legend's order; mostly equal to the ids."""
    nodata: frozenset[int]
    """Further values, which mean that there are no data."""
    source: str
    """Where the names come from, in words."""
    background: int | None = None
    """Id of the class that stands for whatever has no data; None: that has no class."""
    scanned: bool = False
    """Whether the raster was read whole to find its values, so that no other can turn up."""

    @property
    def hidden(self) -> frozenset[str]:
        """Classes without polygons, unless asked for."""
        return frozenset(item.name for item in self.legend if item.id == self.background)

    @property
    def codes(self) -> dict[int, int]:
        """Ids of the legend to the raster's values."""
        return {item.id: value for item, value in zip(self.legend, self.values, strict=True)}


def describe_mask(
    uri: str | Path, names: Mapping[int, str] | None = None, nodata: frozenset[int] = frozenset()
) -> ClassMask:
    """Find out what a class mask holds.

    Args:
        uri: a GeoTIFF with one band, alpha aside.
        names: the user's names for values; they win over the file's.
        nodata: values without polygons, besides the file's nodata value.

    Raises:
        SceneError: no such file, several bands, values that are not whole numbers, more than 255
            of them, or none.
        ConfigError: a name that cannot be used.
    """
    scene = describe(uri)
    bands = [band + 1 for band, color in enumerate(scene.colors) if color != "alpha"]
    if len(bands) != 1:
        raise SceneError(
            f"{uri}: has {len(bands)} image bands, a class mask has one; is this a picture?"
        )
    band = bands[0]
    with open_scene(scene) as dataset:
        tags = dataset.tags(band)
        palette = _palette(dataset, band)
    if scene.nodata is not None and _is_whole(scene.nodata, scene.dtype):
        nodata = nodata | {int(scene.nodata)}
    own = _own_legend(tags)
    if own:
        legend = _renamed(own, names or {}, nodata)
        ids = tuple(item.id for item in legend)
        return ClassMask(scene, band, legend, ids, nodata | {NODATA_ID}, "its own legend")
    known, source = _known(tags, scene, band, palette)
    for value, name in (names or {}).items():
        known[value] = Attribute(name, known[value].color if value in known else None)
    named = {value for value, item in known.items() if item.name}
    values = tuple(sorted((named | _present(scene, band, nodata)) - nodata))
    if not values:
        raise SceneError(f"{uri}: no pixel has a class; is its nodata value right?")
    for value in (values[0], values[-1]):
        if not _LEAST <= value <= _MOST:
            raise SceneError(
                f"{uri}: holds the value {value}, class values lie in {_LEAST} .. {_MOST};"
                f" leave it out with --nodata {value}"
            )
    mask = ClassMask(scene, band, _legend(uri, values, known), values, nodata,
                     "names given" if names else source, scanned=True)  # fmt: skip
    return _with_background(mask) if len(values) == 1 else mask


def _is_whole(nodata: float, dtype: str) -> bool:
    """Whether pixels can have this value as a class has its own; -3.4e38, the usual value of float
    rasters in some programs, is told by the pixels' validity alone.
    """
    large = np.dtype(dtype).kind == "f" and abs(nodata) > _MOST
    return bool(np.isfinite(nodata)) and nodata % 1 == 0 and not large


def _with_background(mask: ClassMask) -> ClassMask:
    """What a mask of a single class calls no data is the ground around that class.

    Borders of data are final, borders between classes are cleaned: without a class on the other
    side the outlines of such masks would stay staircases.
    """
    (item,) = mask.legend
    below = item.id == 0
    ground = LandClass(1 if below else 0, BACKGROUND, (255, 255, 255))
    value = min(mask.nodata, default=0)
    return replace(
        mask,
        legend=Legend((item, ground) if below else (ground, item)),
        values=(*mask.values, value) if below else (value, *mask.values),
        background=ground.id,
    )


def _renamed(own: Legend, names: Mapping[int, str], nodata: frozenset[int]) -> Legend:
    """The legend with the user's names and without the values that are no data."""
    classes = {item.id: item for item in own if item.id not in nodata}
    for value, name in names.items():
        base = classes.get(value) or LandClass(value, name, _hue(value), 0.0, usual_outline(name))
        classes[value] = replace(base, name=name)
    return Legend(tuple(classes[value] for value in sorted(classes)))


def class_rows(mask: ClassMask) -> Iterator[np.ndarray]:
    """Rows from top to bottom, uint8 ``(n, width)``: ids of the legend, 255 without data.

    The next rows are read while the caller works on these.

    Raises:
        SceneError: the file cannot be read, or holds a value that its legend does not name.
    """
    translate = _translator(mask)
    with open_scene(mask.scene) as dataset, ThreadPoolExecutor(1) as reader:

        def read(top: int) -> np.ndarray:
            return translate(*_rows(dataset, mask.scene, mask.band, top))

        yield from _ahead(reader, read, range(0, mask.scene.height, STRIP))


def _rows(dataset: Any, scene: Scene, band: int, top: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Values, and where they are valid; None where values alone say so, as whole numbers do."""
    window = Window(top, 0, min(STRIP, scene.height - top), scene.width)
    flags = dataset.mask_flag_enums[band - 1]
    alpha = MaskFlags.all_valid in flags and alpha_beside(dataset, (band,)) is not None
    masked = MaskFlags.per_dataset in flags or alpha
    if np.dtype(scene.dtype).kind in "iu" and not masked:
        return read_values(dataset, window, (band,))[0], None
    data, valid = read_window(dataset, window, (band,))
    return data[0], None if valid.all() else valid


def _translator(mask: ClassMask) -> Callable[[np.ndarray, np.ndarray | None], np.ndarray]:
    """Values and validity to ids."""
    void = NODATA_ID if mask.background is None else mask.background
    meant = dict.fromkeys(mask.nodata, void)
    meant |= {value: item.id for item, value in zip(mask.legend, mask.values, strict=True)}
    known, ids = np.array(list(meant)), np.array(list(meant.values()), np.uint8)
    order = np.argsort(known, kind="stable")
    known, ids = known[order], ids[order]
    lookup = np.full(256, void, np.uint8)
    small = (known >= 0) & (known < 256)
    lookup[known[small]] = ids[small]
    to_ids, expected = lookup.tobytes(), known[small].astype(np.uint8).tobytes()
    same = bool(np.array_equal(known, ids))

    def translate(data: np.ndarray, valid: np.ndarray | None) -> np.ndarray:
        if data.dtype == np.uint8:
            own = data if valid is None else data[valid]
            unnamed = b"" if mask.scanned else bytearray(np.ascontiguousarray(own))
            right = not unnamed.translate(None, expected)
            # (translating is five times as fast as indexing)
            values = data if same else bytearray(np.ascontiguousarray(data)).translate(to_ids)
            result = np.frombuffer(values, np.uint8).reshape(data.shape)
        else:
            place = np.minimum(np.searchsorted(known, data), len(known) - 1)
            result = ids[place]
            right = bool((known[place] == data)[... if valid is None else valid].all())
        if not right:
            seen = np.unique(data if valid is None else data[valid])
            value = seen[~np.isin(seen, known)][0]
            raise SceneError(
                f"{mask.scene.uri}: holds the value {value}, which its legend does not name;"
                f" give it a name with --name {value}=NAME"
            )
        if valid is not None:
            result[~valid] = void
        return result

    return translate


def _present(scene: Scene, band: int, nodata: frozenset[int]) -> set[int]:
    """All values that occur in valid pixels, in one reading."""
    found: set[int] = set()
    with open_scene(scene) as dataset, ThreadPoolExecutor(1) as reader:
        tops = range(0, scene.height, STRIP)
        for data, valid in _ahead(reader, partial(_rows, dataset, scene, band), tops):
            own = data if valid is None else data[valid]
            if data.dtype == np.uint8:
                if not _lies_within(own, found):
                    rest = bytes(np.ascontiguousarray(own)).translate(None, bytes(found))
                    while rest:
                        found.add(rest[0])
                        rest = rest.translate(None, rest[:1])
                continue
            values = np.unique(own)
            if data.dtype.kind == "f" and np.any(values % 1 != 0):
                fraction = values[values % 1 != 0][0]
                raise SceneError(
                    f"{scene.uri}: holds the value {fraction}, classes are whole numbers;"
                    " is this a class mask?"
                )
            found.update(int(value) for value in values)
            if len(found - nodata) > NODATA_ID:
                raise SceneError(
                    f"{scene.uri}: holds more than {NODATA_ID} different values;"
                    " is this a class mask?"
                )
    return found


def _lies_within(data: np.ndarray, found: set[int]) -> bool:
    """Whether uint8 values are known, if those are a range and perhaps 255: the quick look."""
    low, high = min(found - {NODATA_ID}, default=0), max(found - {NODATA_ID}, default=0)
    if len(found - {NODATA_ID}) != high - low + 1:
        return False
    beyond = data - np.uint8(low) > high - low  # wraps below
    if NODATA_ID in found:
        beyond &= data != NODATA_ID
    return not beyond.any()


def _ahead(reader: ThreadPoolExecutor, read: Callable[[int], T], tops: range) -> Iterator[T]:
    """What ``read`` returns for each of ``tops``; the next is read while the caller works."""
    ahead = reader.submit(read, tops[0])
    for top in tops[1:]:
        rows, ahead = ahead.result(), reader.submit(read, top)
        yield rows
    yield ahead.result()


def _own_legend(tags: Mapping[str, str]) -> Legend | None:
    try:
        return Legend.from_dict(json.loads(tags[LEGEND_TAG]))
    except (KeyError, TypeError, ValueError, ConfigError):
        return None


def _palette(dataset: Any, band: int) -> dict[int, tuple[int, int, int]]:
    try:
        colors = dataset.colormap(band)
    except ValueError:
        return {}
    return {value: tuple(color[:3]) for value, color in colors.items()}


def _known(
    tags: Mapping[str, str], scene: Scene, band: int, palette: dict[int, tuple[int, int, int]]
) -> tuple[dict[int, Attribute], str]:
    """Names and colours that the file offers, and which part of it does."""
    colors = {value: Attribute(None, color) for value, color in palette.items()}
    names = _tagged_names(tags)
    if names:
        own = {value: Attribute(name, palette.get(value)) for value, name in names.items()}
        return colors | own, "its metadata"
    table = read_attributes(Path(scene.uri), band)
    if any(item.name for item in table.values()):
        merged = {
            value: Attribute(item.name, item.color or palette.get(value))
            for value, item in table.items()
        }
        return colors | merged, "its attribute table"
    return colors, "its values"


def _tagged_names(tags: Mapping[str, str]) -> dict[int, str]:
    """``CLASS_NAMES`` (JSON, value to name) or ``CLASS_<value>`` items."""
    try:
        found = json.loads(tags.get("CLASS_NAMES", "{}"))
        return {int(value): str(name) for value, name in found.items()} or {
            int(key.removeprefix("CLASS_")): name
            for key, name in tags.items()
            if re.fullmatch(r"CLASS_\d+", key)
        }
    except (ValueError, AttributeError):
        return {}


def _legend(uri: str | Path, values: tuple[int, ...], known: Mapping[int, Attribute]) -> Legend:
    """Classes of foreign values: an id each, a name that files may bear, a colour."""
    if len(values) > NODATA_ID:
        raise SceneError(
            f"{uri}: has {len(values)} classes, {NODATA_ID} can be told apart;"
            " leave some out with --nodata"
        )
    free = iter(sorted(set(range(NODATA_ID)) - set(values)))
    names: set[str] = set()
    classes = []
    for number, value in enumerate(values):
        item = known.get(value, Attribute(None, None))
        name = _usable(item.name, value, names)
        names.add(name)
        color = item.color or _hue(number)
        class_id = value if 0 <= value < NODATA_ID else next(free)
        classes.append((class_id, LandClass(class_id, name, color, 0.0, usual_outline(name))))
    if [class_id for class_id, _ in classes] != sorted(class_id for class_id, _ in classes):
        # The ids follow the values; where some values cannot be ids, all are numbered anew.
        classes = [
            (number, LandClass(number, item.name, item.color, 0.0, item.outline))
            for number, (_, item) in enumerate(classes)
        ]
    return Legend(tuple(item for _, item in classes))


def usual_outline(name: str) -> Outline:
    """How outlines of a class of this name are usually drawn."""
    words = set(name.split("_"))
    if words & SQUARE_NAMES:
        return "square"
    return "smooth" if words & SMOOTH_NAMES else "plain"


def _usable(name: str | None, value: int, taken: set[str]) -> str:
    """The name in lower-case letters, digits and ``_``; by the value where nothing is left."""
    plain = unicodedata.normalize("NFKD", name or "").encode("ascii", "ignore").decode().lower()
    word = re.sub("[^a-z0-9]+", "_", plain).strip("_")
    if not word:
        word = f"class_{value}" if value >= 0 else f"class_minus_{-value}"
    elif not word[0].isalpha() or word.startswith(("gpkg_", "rtree_", "sqlite_", "layer_styles")):
        word = f"class_{word}"  # a GeoPackage keeps those names for itself
    if word in taken:
        word = f"{word}_{abs(value)}"
    while word in taken:
        word += "_"
    return word


def _hue(number: int) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(number * HUE_STEP % 1, 0.55, 0.85)
    return round(255 * red), round(255 * green), round(255 * blue)
