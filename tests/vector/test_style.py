import sqlite3
from contextlib import closing
from xml.etree import ElementTree as ET

import pytest

from geounet.georef import Georef
from geounet.legend import LandClass, Legend
from geounet.vector.spool import PolygonSpool
from geounet.vector.style import (
    mask_qml,
    mask_sld,
    polygon_qml,
    polygon_sld,
    style_paths,
    write_mask_styles,
    write_polygon_styles,
)
from geounet.vector.write import write_polygons

LEGEND = Legend(
    (LandClass(0, "land", (240, 230, 140)), LandClass(3, "building", (255, 0, 16)),
     LandClass(7, "water", (0, 92, 230)))
)  # fmt: skip
SLD = {"sld": "http://www.opengis.net/sld"}


def test_polygon_qml_fills_with_the_class_colour():
    text = polygon_qml(LEGEND["building"])
    assert text.startswith("<!DOCTYPE qgis")
    root = ET.fromstring(text)
    renderer = root.find("renderer-v2")
    assert root.tag == "qgis"
    assert renderer.get("type") == "singleSymbol"
    layer = renderer.find("symbols/symbol[@type='fill']/layer[@class='SimpleFill']")
    options = {item.get("name"): item.get("value") for item in layer.iterfind("Option/Option")}
    assert options["color"] == "255,0,16,255"
    assert options["outline_color"] == "153,0,10,255"
    assert options["style"] == "solid"


def test_mask_qml_names_every_class():
    renderer = ET.fromstring(mask_qml(LEGEND)).find("pipe/rasterrenderer")
    assert renderer.get("type") == "paletted"
    entries = [
        (int(item.get("value")), item.get("color"), item.get("label"))
        for item in renderer.iterfind("colorPalette/paletteEntry")
    ]
    assert entries == [(0, "#f0e68c", "land"), (3, "#ff0010", "building"), (7, "#005ce6", "water")]


def test_sld():
    root = ET.fromstring(polygon_sld(LEGEND["water"]).encode())
    assert root.find("sld:NamedLayer/sld:Name", SLD).text == "water"
    fill = root.find(".//sld:PolygonSymbolizer/sld:Fill/sld:CssParameter", SLD)
    assert (fill.get("name"), fill.text) == ("fill", "#005ce6")
    entries = ET.fromstring(mask_sld(LEGEND).encode()).findall(".//sld:ColorMapEntry", SLD)
    assert [(e.get("quantity"), e.get("color"), e.get("label")) for e in entries] == [
        ("0", "#f0e68c", "land"), ("3", "#ff0010", "building"), ("7", "#005ce6", "water"),
    ]  # fmt: skip


def test_side_files(tmp_path):
    mask = tmp_path / "a.b_mask.tif"
    assert write_mask_styles(mask, LEGEND) == style_paths(mask)
    write_polygon_styles(tmp_path / "a.b_water.shp", LEGEND["water"])
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["a.b_mask.qml", "a.b_mask.sld", "a.b_water.qml", "a.b_water.sld"]
    assert "paletted" in (tmp_path / "a.b_mask.qml").read_text()
    for path in tmp_path.iterdir():
        ET.parse(path)


@pytest.fixture
def geopackage(tmp_path):
    pixels = Georef(None, (1, 0, 0, 0, -1, 0), "pixels")
    with PolygonSpool(tmp_path, LEGEND, pixels) as spool:
        return write_polygons(spool, tmp_path, "scene", ["gpkg"]).paths[0]


def test_embedded_styles_are_defaults(geopackage):
    with closing(sqlite3.connect(geopackage)) as database:
        rows = database.execute(
            "SELECT f_table_name, f_geometry_column, styleName, useAsDefault, styleQML, styleSLD"
            " FROM layer_styles ORDER BY id"
        ).fetchall()
        (kind,) = database.execute(
            "SELECT data_type FROM gpkg_contents WHERE table_name = 'layer_styles'"
        ).fetchone()
        columns = database.execute(
            "SELECT table_name, column_name FROM gpkg_geometry_columns"
        ).fetchall()
        problems = database.execute("PRAGMA integrity_check").fetchall()
    assert kind == "attributes"
    assert problems == [("ok",)]
    assert [row[:4] for row in rows] == [(name, "geom", name, 1) for name in LEGEND.names]
    assert sorted(row[:2] for row in rows) == sorted(columns)
    for row, item in zip(rows, LEGEND, strict=True):
        assert row[4:] == (polygon_qml(item), polygon_sld(item))
