"""Which labels an evaluation compares with, and what their values mean."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from geounet.errors import ConfigError
from geounet.files import read_toml
from geounet.labels.coding import LabelCoding, coding_for, plain_coding
from geounet.labels.source import LabelFiles
from geounet.legend import Legend


@dataclass(frozen=True)
class Truth:
    """Labels to compare with."""

    files: LabelFiles
    """Where they lie."""
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Value -> names of the classes it allows (none: ignored); values not listed are ignored.
    Empty: class ids in rasters, class names in polygons, and any other value is an error."""
    outside: tuple[str, ...] = ()
    """Classes that pixels in no polygon may have; none: they are ignored."""

    def coding(self, legend: Legend, numbers: Mapping[int, int] | None = None) -> LabelCoding:
        """The meaning of the values, for the classes of ``legend``.

        Args:
            legend: the classes.
            numbers: class id -> the value of a raster where ``labels`` say nothing; None: the id.

        Raises:
            ConfigError: a name that is no class, or ``outside`` for a raster.
        """
        if self.outside and not self.files.polygons:
            raise ConfigError(f"{self.files.path}: is a raster, so nothing lies outside polygons")
        if self.labels:
            return coding_for(self.labels, legend, self.outside)
        plain = plain_coding(legend, self.files.polygons, numbers)
        if not self.outside:
            return plain
        table = {name: (name,) for name in legend.names}
        return coding_for(table, legend, self.outside, strict=True)


def read_table(path: Path) -> Mapping[str, tuple[str, ...]]:
    """The table ``[labels]`` of a TOML file: ``0 = ["land", "water"]``.

    Raises:
        ConfigError: the file cannot be read, or the table is missing or of another form.
    """
    labels = read_toml(path).get("labels")
    if not isinstance(labels, dict) or not labels:
        raise ConfigError(f'{path}: needs a table [labels] with rows like 0 = ["land", "water"]')
    for value, names in labels.items():
        if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
            raise ConfigError(f"{path}: labels.{value}: {names!r} must be a list of class names")
    return {value: tuple(names) for value, names in labels.items()}
