"""How results look in a GIS: the legend's colours and names as QGIS styles (QML) and OGC SLD 1.0.

QGIS opens a file coloured when a style of the same name lies beside it (``.qml``) or, for a
GeoPackage, when its ``layer_styles`` table holds one; GeoServer and others read ``.sld``.
"""

import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from xml.etree import ElementTree as ET

from geounet.legend import LandClass, Legend

QGIS_VERSION = "3.22.0"
"""Oldest long-term QGIS whose style format this is."""

OUTLINE_SHADE = 0.6
"""An outline is its fill's colour times this: visible on the fill and off it."""

_QML_HEAD = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
_XML_HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
_SLD = "http://www.opengis.net/sld"
_OGC = "http://www.opengis.net/ogc"


def polygon_qml(land_class: LandClass) -> str:
    """QGIS style of a polygon layer: one fill in the class's colour with a darker outline."""
    root = ET.Element("qgis", version=QGIS_VERSION, styleCategories="Symbology")
    renderer = ET.SubElement(
        root, "renderer-v2", type="singleSymbol", symbollevels="0", enableorderby="0",
        forceraster="0",
    )  # fmt: skip
    symbols = ET.SubElement(renderer, "symbols")
    symbol = ET.SubElement(
        symbols, "symbol", type="fill", name="0", alpha="1", clip_to_extent="1", force_rhr="0"
    )
    layer = ET.SubElement(symbol, "layer", {"class": "SimpleFill"}, enabled="1", locked="0")
    layer.set("pass", "0")
    options = ET.SubElement(layer, "Option", type="Map")
    values = {
        "color": _rgba(land_class.color),
        "style": "solid",
        "outline_color": _rgba(_shaded(land_class.color)),
        "outline_style": "solid",
        "outline_width": "0.2",
        "outline_width_unit": "MM",
        "joinstyle": "miter",
    }
    for name, value in values.items():
        ET.SubElement(options, "Option", type="QString", name=name, value=value)
    ET.SubElement(root, "layerGeometryType").text = "2"
    return _QML_HEAD + _text(root)


def mask_qml(legend: Legend) -> str:
    """QGIS style of a class mask: paletted, one named entry per class."""
    root = ET.Element("qgis", version=QGIS_VERSION, styleCategories="Symbology")
    pipe = ET.SubElement(root, "pipe")
    renderer = ET.SubElement(
        pipe, "rasterrenderer", type="paletted", band="1", opacity="1", alphaBand="-1",
        nodataColor="",
    )  # fmt: skip
    ET.SubElement(renderer, "rasterTransparency")
    palette = ET.SubElement(renderer, "colorPalette")
    for item in legend:
        ET.SubElement(
            palette, "paletteEntry", value=str(item.id), color=_hex(item.color), alpha="255",
            label=item.name,
        )  # fmt: skip
    # Nearest neighbour zoomed in and out: a mean of class ids is not a class.
    ET.SubElement(pipe, "rasterresampler", maxOversampling="2")
    ET.SubElement(root, "blendMode").text = "0"
    return _QML_HEAD + _text(root)


def polygon_sld(land_class: LandClass) -> str:
    """SLD of a polygon layer."""
    root, style = _sld_root(land_class.name)
    symbolizer = ET.SubElement(_sld_rule(style, land_class.name), "PolygonSymbolizer")
    fill = ET.SubElement(symbolizer, "Fill")
    ET.SubElement(fill, "CssParameter", name="fill").text = _hex(land_class.color)
    stroke = ET.SubElement(symbolizer, "Stroke")
    ET.SubElement(stroke, "CssParameter", name="stroke").text = _hex(_shaded(land_class.color))
    ET.SubElement(stroke, "CssParameter", name="stroke-width").text = "0.7"
    return _XML_HEAD + _text(root)


def mask_sld(legend: Legend, name: str = "mask") -> str:
    """SLD of a class mask: a colour map of exact values."""
    root, style = _sld_root(name)
    symbolizer = ET.SubElement(_sld_rule(style, name), "RasterSymbolizer")
    colors = ET.SubElement(symbolizer, "ColorMap", type="values")
    for item in legend:
        ET.SubElement(
            colors, "ColorMapEntry", color=_hex(item.color), quantity=str(item.id),
            label=item.name, opacity="1",
        )  # fmt: skip
    return _XML_HEAD + _text(root)


def write_polygon_styles(path: Path, land_class: LandClass) -> tuple[Path, Path]:
    """Write ``.qml`` and ``.sld`` beside a polygon file; returns their paths."""
    return _write_pair(path, polygon_qml(land_class), polygon_sld(land_class))


def write_mask_styles(path: Path, legend: Legend) -> tuple[Path, Path]:
    """Write ``.qml`` and ``.sld`` beside a mask, each whole or not at all; returns their paths.

    Raises:
        OSError: the folder or the disk fails.
    """
    paths = style_paths(path)
    hidden = path.with_name(f".{path.stem}.{os.getpid()}.style")
    try:
        written = _write_pair(hidden, mask_qml(legend), mask_sld(legend, path.stem))
        for source, target in zip(written, paths, strict=True):
            source.replace(target)
    finally:
        for left in style_paths(hidden):
            left.unlink(missing_ok=True)
    return paths


def style_paths(path: Path) -> tuple[Path, Path]:
    """Where the style files of a mask or polygon file lie."""
    return path.with_suffix(".qml"), path.with_suffix(".sld")


def embed_styles(path: Path, classes: Sequence[LandClass], geometry_column: str) -> None:
    """Store each layer's style as its default in a GeoPackage whose layers bear the class names.

    The table is QGIS's own; it is registered as attributes, as the GeoPackage standard asks of
    every user table.
    """
    columns = (
        "f_table_catalog, f_table_schema, f_table_name, f_geometry_column, styleName, styleQML,"
        " styleSLD, useAsDefault, description, owner"
    )
    rows = [
        ("", "", item.name, geometry_column, item.name, polygon_qml(item), polygon_sld(item),
         1, f"geounet: class {item.id}, {item.name}", "")
        for item in classes
    ]  # fmt: skip
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("PRAGMA synchronous = OFF")  # the whole file is flushed by its writer
        database.execute(_LAYER_STYLES)
        database.executemany(
            f"INSERT INTO layer_styles ({columns}) VALUES (?,?,?,?,?,?,?,?,?,?)",  # noqa: S608
            rows,
        )
        database.execute(
            "INSERT INTO gpkg_contents (table_name, data_type, identifier, description, srs_id)"
            " VALUES ('layer_styles', 'attributes', 'layer_styles', 'QGIS layer styles', 0)"
        )


_LAYER_STYLES = """
CREATE TABLE layer_styles (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    f_table_catalog TEXT(256), f_table_schema TEXT(256), f_table_name TEXT(256),
    f_geometry_column TEXT(256), styleName TEXT(30), styleQML TEXT, styleSLD TEXT,
    useAsDefault BOOLEAN, description TEXT, owner TEXT(30), ui TEXT(30),
    update_time DATETIME DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
)"""


def _write_pair(path: Path, qml: str, sld: str) -> tuple[Path, Path]:
    paths = style_paths(path)
    for target, text in zip(paths, (qml, sld), strict=True):
        target.write_text(text, encoding="utf-8", newline="\n")
    return paths


def _sld_root(name: str) -> tuple[ET.Element, ET.Element]:
    root = ET.Element("StyledLayerDescriptor", version="1.0.0", xmlns=_SLD)
    root.set("xmlns:ogc", _OGC)
    layer = ET.SubElement(root, "NamedLayer")
    ET.SubElement(layer, "Name").text = name
    user_style = ET.SubElement(layer, "UserStyle")
    ET.SubElement(user_style, "Name").text = name
    return root, ET.SubElement(user_style, "FeatureTypeStyle")


def _sld_rule(style: ET.Element, name: str) -> ET.Element:
    rule = ET.SubElement(style, "Rule")
    ET.SubElement(rule, "Name").text = name
    ET.SubElement(rule, "Title").text = name
    return rule


def _text(root: ET.Element) -> str:
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"


def _hex(color: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*color)


def _rgba(color: tuple[int, int, int]) -> str:
    return "{},{},{},255".format(*color)


def _shaded(color: tuple[int, int, int]) -> tuple[int, int, int]:
    red, green, blue = (round(value * OUTLINE_SHADE) for value in color)
    return red, green, blue
