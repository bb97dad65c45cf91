"""Raster attribute tables, read back by GDAL itself (a VRT repeats the table of its source)."""

from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import rasterio
from rasterio.shutil import copy
from rio_cogeo.cogeo import cog_validate

from geounet.errors import SceneError
from geounet.raster.attributes import Attribute, attribute_table, aux_path, read_attributes
from geounet.raster.mask import MaskWriter
from geounet.raster.scene import describe
from tests.helpers import LEGEND, noise, write_scene

ZOO = Path(__file__).parents[3] / "shared" / "data" / "zoo"


def test_gdal_reads_the_table_of_a_mask(tmp_path: Path) -> None:
    scene = describe(write_scene(tmp_path / "s.tif", noise(40, 30)))
    mask = tmp_path / "s_mask.tif"
    with MaskWriter(mask, scene, LEGEND, {}) as writer:
        writer.write_rows(np.zeros((40, 30), np.uint8))
        writer.finish()
        writer.publish()
    assert {path.name for path in tmp_path.iterdir()} == {
        "s.tif", "s_mask.tif", "s_mask.tif.aux.xml",
    }  # fmt: skip
    assert cog_validate(mask, strict=True)[0]
    with rasterio.open(mask) as dataset:
        assert str(aux_path(mask)) in dataset.files
        copy(dataset, tmp_path / "again.vrt", driver="VRT")
    table = ET.parse(tmp_path / "again.vrt").find("VRTRasterBand/GDALRasterAttributeTable")
    assert table is not None
    assert [item.text for item in table.iterfind("FieldDefn/Usage")] == ["5", "2", "6", "7", "8"]
    rows = [[cell.text for cell in row] for row in table.iterfind("Row")]
    assert rows == [[str(c.id), c.name, *map(str, c.color)] for c in LEGEND]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    aux_path(tmp_path / "m.tif").write_text(attribute_table(LEGEND))
    expected = {item.id: Attribute(item.name, item.color) for item in LEGEND}
    assert read_attributes(tmp_path / "m.tif", 1) == expected
    assert read_attributes(tmp_path / "m.tif", 2) == {}
    assert read_attributes(tmp_path / "other.tif", 1) == {}


def test_category_names_and_ranges(tmp_path: Path) -> None:
    band = '<PAMDataset><PAMRasterBand band="1">{}</PAMRasterBand></PAMDataset>'
    names = "<CategoryNames><Category>bare</Category><Category/><Category>wet</Category>"
    aux_path(tmp_path / "m.tif").write_text(band.format(names + "</CategoryNames>"))
    assert read_attributes(tmp_path / "m.tif", 1) == {
        0: Attribute("bare", None),
        2: Attribute("wet", None),
    }
    columns = "".join(
        f"<FieldDefn><Name>c</Name><Type>{kind}</Type><Usage>{usage}</Usage></FieldDefn>"
        for kind, usage in ((0, 3), (0, 4), (2, 2))
    )
    cells = [("1", "1", "one"), ("2", "5", "a range"), ("7.5", "7.5", "no class"), ("x", "x", "x")]
    rows = "".join(f"<Row>{''.join(f'<F>{cell}</F>' for cell in row)}</Row>" for row in cells)
    table = f"<GDALRasterAttributeTable>{columns}{rows}</GDALRasterAttributeTable>"
    aux_path(tmp_path / "m.tif").write_text(band.format(table))
    assert read_attributes(tmp_path / "m.tif", 1) == {1: Attribute("one", None)}


def test_a_damaged_table_is_named(tmp_path: Path) -> None:
    aux_path(tmp_path / "m.tif").write_text("<PAMDataset><PAMRaster")
    with pytest.raises(SceneError, match=r"m\.tif\.aux\.xml: cannot be read"):
        read_attributes(tmp_path / "m.tif", 1)


@pytest.mark.real
@pytest.mark.skipif(not ZOO.is_dir(), reason="no odd GeoTIFFs beside the repository")
def test_a_table_without_values_or_usages() -> None:
    table = read_attributes(ZOO / "nlcd_paletted_rat_5070.tif", 1)
    assert table[11] == Attribute("Open Water", (71, 107, 161))
    assert table[0].name is None
