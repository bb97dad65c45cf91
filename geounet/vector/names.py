"""Names of the polygon formats, apart from their writers, which take long to import."""

from typing import Literal, get_args

FormatName = Literal["gpkg", "fgb", "parquet", "shp", "geojson"]
"""Polygon formats, named by their file extensions."""

FORMAT_NAMES: tuple[FormatName, ...] = get_args(FormatName)
