"""Raster attribute tables: what a GIS shows as the names and colours of a class mask.

GDAL keeps them in ``<raster>.aux.xml``, rasterio neither reads nor writes them; the file's form is
that of GDAL's persistent auxiliary metadata (PAMDataset).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

from geounet.errors import SceneError
from geounet.legend import Legend

LARGEST = 64 << 20
"""Bytes of an auxiliary file that are worth reading."""

INTEGER, REAL, STRING = 0, 1, 2
"""Types of columns."""
GENERIC, COUNT, NAME, MIN, MAX, MIN_MAX, RED, GREEN, BLUE = 0, 1, 2, 3, 4, 5, 6, 7, 8
"""Usages of columns."""


@dataclass(frozen=True)
class Attribute:
    """What is known of a value of a raster."""

    name: str | None
    """As it stands in the file; None if the value has none."""
    color: tuple[int, int, int] | None
    """Red, green, blue, 0 to 255."""


def aux_path(path: Path) -> Path:
    """Where GDAL looks for a raster's attribute table."""
    return path.with_name(f"{path.name}.aux.xml")


def attribute_table(legend: Legend) -> str:
    """The auxiliary file of a class mask: a row per class with value, name and colour."""
    root = ET.Element("PAMDataset")
    band = ET.SubElement(root, "PAMRasterBand", band="1")
    table = ET.SubElement(band, "GDALRasterAttributeTable", tableType="thematic")
    columns = (
        ("Value", INTEGER, MIN_MAX),
        ("Class", STRING, NAME),
        ("Red", INTEGER, RED),
        ("Green", INTEGER, GREEN),
        ("Blue", INTEGER, BLUE),
    )
    for index, (name, kind, usage) in enumerate(columns):
        column = ET.SubElement(table, "FieldDefn", index=str(index))
        ET.SubElement(column, "Name").text = name
        ET.SubElement(column, "Type").text = str(kind)
        ET.SubElement(column, "Usage").text = str(usage)
    for index, item in enumerate(legend):
        row = ET.SubElement(table, "Row", index=str(index))
        for value in (item.id, item.name, *item.color):
            ET.SubElement(row, "F").text = str(value)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"


def read_attributes(path: Path, band: int) -> dict[int, Attribute]:
    """Names and colours of a raster's values from its auxiliary file; empty if there is none.

    Category names are taken where there is no table.

    Raises:
        SceneError: the file is not what its name promises.
    """
    path = aux_path(path)
    if not path.is_file() or path.stat().st_size > LARGEST:
        return {}
    try:
        root = ET.fromstring(path.read_bytes())  # noqa: S314 (expat bounds the growth of entities)
        own = next(item for item in root.iter("PAMRasterBand") if item.get("band") == str(band))
    except StopIteration:
        return {}
    except (OSError, ET.ParseError) as error:
        raise SceneError(
            f"{path}: cannot be read as auxiliary metadata ({error}); mend or remove it"
        ) from error
    table = own.find("GDALRasterAttributeTable")
    if table is not None:
        return dict(_rows(table))
    names = own.findall("CategoryNames/Category")
    return {value: Attribute(item.text, None) for value, item in enumerate(names) if item.text}


def _rows(table: ET.Element) -> Iterator[tuple[int, Attribute]]:
    """Rows of a table by value; those of ranges of values are left out."""
    columns = table.findall("FieldDefn")
    usages = [int(_text(column, "Usage", "0")) for column in columns]
    kinds = [int(_text(column, "Type", "0")) for column in columns]

    def column_of(usage: int) -> int | None:
        return usages.index(usage) if usage in usages else None

    low, high = column_of(MIN_MAX), column_of(MIN_MAX)
    if low is None:
        low, high = column_of(MIN), column_of(MAX)
    name = column_of(NAME)
    if name is None and STRING in kinds:  # ERDAS and others leave the usage out
        name = kinds.index(STRING)
    shades = [column_of(usage) for usage in (RED, GREEN, BLUE)]
    first, step = _number(table.get("Row0Min", "0")), _number(table.get("BinSize", "1"))
    for index, row in enumerate(table.findall("Row")):
        cells = [cell.text or "" for cell in row.findall("F")]
        if len(cells) < len(columns):
            continue
        value = first + index * step if low is None else _number(cells[low])
        if value != int(value) or (high is not None and _number(cells[high]) != value):
            continue
        color = None
        if None not in shades:
            parts = [int(_number(cells[shade])) for shade in shades if shade is not None]
            color = (parts[0] & 255, parts[1] & 255, parts[2] & 255)
        text = cells[name].strip() if name is not None else ""
        yield int(value), Attribute(text or None, color)


def _text(element: ET.Element, name: str, default: str) -> str:
    child = element.find(name)
    return child.text if child is not None and child.text else default


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return 0.5  # no class has this value
    return value if math.isfinite(value) else 0.5
