"""Scenes labelled by polygons train like those with a mask of the same content."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.features import shapes

from geounet.errors import ConfigError, LabelError
from geounet.tiles import Window
from geounet.train.check import load_checks
from geounet.train.config import TrainConfig
from geounet.train.load import load_pools
from geounet.train.samples import Sampler
from geounet.train.settings import build
from geounet.train.sources import PolygonsConfig
from tests.helpers import NORTH_UP
from tests.train.tiny import config_for


def drawn(folder: Path, stem: str) -> None:
    """``STEM_labels.geojson`` from ``STEM_mask.tif``, without its class 0."""
    with rasterio.open(folder / f"{stem}_mask.tif") as dataset:
        mask, transform = dataset.read(1), dataset.transform
    features = [
        {"type": "Feature", "properties": {"use": {1: "house", 2: "lake"}[value]}, "geometry": ring}
        for ring, value in shapes(mask, mask > 0, transform=transform)
    ]
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32633"}}
    text = json.dumps({"type": "FeatureCollection", "crs": crs, "features": features})
    (folder / f"{stem}_labels.geojson").write_text(text)


def with_polygons(folder: Path) -> tuple[TrainConfig, TrainConfig]:
    """A run on masks, and the same on polygons."""
    config = config_for(folder)
    for stem in ("train_0", "train_1", "held_0"):
        drawn(folder, stem)
    table = {"house": ("building",), "lake": ("water",)}
    where = PolygonsConfig("{stem}_labels.geojson", "use", ("land",))
    sources, checks = (
        tuple(replace(item, labels=table, polygons=where) for item in items)
        for items in (config.source, config.check)
    )
    return config, replace(config, source=sources, check=checks)


def test_batches_equal_those_of_masks(tmp_path: Path) -> None:
    masks, polygons = with_polygons(tmp_path)
    one, two = (Sampler(item, load_pools(item)).batch(3) for item in (masks, polygons))
    for first, second in zip(
        vars(one).values() if hasattr(one, "__dict__") else one,
        vars(two).values() if hasattr(two, "__dict__") else two,
        strict=True,
    ):
        assert (first is None and second is None) or first.equal(second)
    for first, second in zip(load_checks(masks), load_checks(polygons), strict=True):
        whole = Window(0, 0, *first.scenes[0].shape)
        pair = [check.scenes[0].pixels.labels(whole) for check in (first, second)]
        np.testing.assert_array_equal(*pair)
    assert build(TrainConfig, json.loads(json.dumps(asdict(polygons))), "") == polygons


def box(left: int, top: int, right: int, bottom: int) -> dict[str, Any]:
    """A rectangle of pixels."""
    corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
    ring = [list(NORTH_UP @ corner) for corner in corners]
    geometry = {"type": "Polygon", "coordinates": [ring]}
    return {"type": "Feature", "properties": {}, "geometry": geometry}


def test_labels_count_in_the_area_of_interest_and_not_in_ignored_places(tmp_path: Path) -> None:
    masks, polygons = with_polygons(tmp_path)
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32633"}}
    for name, shape in (("train_0_aoi", box(10, 5, 50, 60)), ("holes", box(20, 20, 30, 33))):
        text = {"type": "FeatureCollection", "crs": crs, "features": [shape]}
        (tmp_path / f"{name}.geojson").write_text(json.dumps(text))
    kept = np.zeros((64, 72), bool)
    kept[5:60, 10:50] = True
    kept[20:33, 20:30] = False
    for config in (masks, polygons):
        source = replace(
            config.source[0], images=("train_0.tif",), aoi="{stem}_aoi.geojson",
            ignore="holes.geojson",
        )  # fmt: skip
        whole = Window(0, 0, 64, 72)
        before, after = (
            load_pools(replace(config, source=(item,)))[0].scenes[0].pixels.labels(whole)
            for item in (replace(source, aoi="", ignore=""), source)
        )
        assert (before != 0).all()
        np.testing.assert_array_equal(after, np.where(kept, before, 0))


def test_faults_are_named(tmp_path: Path) -> None:
    _, config = with_polygons(tmp_path)
    source = replace(config.source[0], labels={"house": ("building",)})
    with pytest.raises(LabelError, match="'lake' is no class"):
        load_pools(replace(config, source=(source,)))
    assert source.polygons is not None
    other = replace(source, polygons=replace(source.polygons, column="kind"))
    with pytest.raises(LabelError, match="has no column 'kind'; it has use"):
        load_pools(replace(config, source=(other,)))
    with pytest.raises(ConfigError, match="is a raster"):
        PolygonsConfig("labels.tif")
