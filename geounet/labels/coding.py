"""What the values of labels mean: each stands for the classes that a pixel may be of.

One class is an ordinary label, several are a partial one ("anything but a building"), none means
that the pixel is ignored. Readers turn values into *codes*, the numbers of these sets.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from geounet.errors import ConfigError, LabelError
from geounet.legend import Legend

IGNORED = 255
"""Code of pixels whose label says nothing."""
ANY = "*"
"""The value that stands for every value that is not named, of polygons."""


@dataclass(frozen=True)
class LabelCoding:
    """Values of labels, and the sets of classes that they stand for."""

    sets: tuple[tuple[str, ...], ...]
    """Names of the classes that a pixel of code ``i`` may have; at least one, in no set twice."""
    codes: Mapping[str, int] = field(default_factory=dict)
    """Value, as text -> its code, or 255 where pixels of the value are ignored."""
    outside: int = IGNORED
    """Code of pixels in no polygon."""
    strict: bool = False
    """Whether a value that is not named is an error; otherwise its pixels are ignored."""

    def __post_init__(self) -> None:
        if not self.sets or len(self.sets) >= IGNORED:
            raise ConfigError(f"{len(self.sets)} kinds of labels: give 1 .. {IGNORED - 1}")
        for code in (*self.codes.values(), self.outside):
            if not (0 <= code < len(self.sets) or code == IGNORED):
                raise ConfigError(f"code {code} must be below {len(self.sets)}, or {IGNORED}")

    def code(self, value: str, where: str) -> int:
        """The code of a value.

        Args:
            value: as text.
            where: what holds it, for the error.

        Raises:
            LabelError: the value is not named, and the coding is strict.
        """
        found = self.codes.get(value, self.codes.get(ANY))
        if found is not None:
            return found
        if self.strict:
            raise LabelError(
                f"{where}: {value!r} is no class; known: {', '.join(self.codes)};"
                f" say what it means, such as {value}=CLASS, or {value}= to ignore it"
            )
        return IGNORED

    def allowed(self, legend: Legend) -> np.ndarray:
        """Which classes each code allows: bool ``(codes, classes)``."""
        table = np.zeros((len(self.sets), len(legend)), dtype=bool)
        for code, names in enumerate(self.sets):
            for name in names:
                table[code, legend.names.index(legend[name].name)] = True
        return table


def coding_for(
    labels: Mapping[str, Sequence[str]],
    legend: Legend,
    outside: Sequence[str] = (),
    strict: bool = False,
) -> LabelCoding:
    """The coding of a table like those of a training configuration.

    Args:
        labels: value -> names of the classes that it allows; none: ignored.
        legend: the classes there are.
        outside: classes that pixels in no polygon may have; none: they are ignored.
        strict: see :class:`LabelCoding`.

    Raises:
        ConfigError: a name that is no class.
    """
    numbers: dict[tuple[str, ...], int] = {}

    def number(names: Sequence[str]) -> int:
        for name in names:
            legend[name]
        key = tuple(name for name in legend.names if name in names)
        return numbers.setdefault(key, len(numbers)) if key else IGNORED

    codes = {value: number(names) for value, names in labels.items()}
    beyond = number(outside)
    return LabelCoding(tuple(numbers), codes, beyond, strict)


def plain_coding(
    legend: Legend, polygons: bool, numbers: Mapping[int, int] | None = None
) -> LabelCoding:
    """The coding of labels that need no table: numbers of classes in rasters, names of polygons.

    Args:
        legend: the classes.
        polygons: whether the labels are polygons.
        numbers: class id -> the value that stands for it in rasters; None: the id itself.
    """
    own = numbers or {}
    values = legend.names if polygons else tuple(str(own.get(item.id, item.id)) for item in legend)
    labels = {value: (name,) for value, name in zip(values, legend.names, strict=True)}
    return coding_for(labels, legend, strict=True)
