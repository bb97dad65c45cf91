"""Scenes that stay on the disk train like those in memory, in memory that does not follow them."""

import json
import pickle
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.windows import Window as RasterioWindow

from geounet.errors import ConfigError
from geounet.legend import LandClass
from geounet.tiles import Window
from geounet.train.check import load_checks, run_check
from geounet.train.config import TrainConfig, WeightMapConfig
from geounet.train.fit import fit
from geounet.train.load import load_pools, load_scenes
from geounet.train.network import initial_network
from geounet.train.pixels import FilePixels, HeldPixels
from geounet.train.samples import Sampler
from geounet.train.sources import PolygonsConfig, SourceConfig
from tests.helpers import NORTH_UP, noise, write_scene
from tests.train.tiny import LABELS, config_for

pytestmark = pytest.mark.usefixtures("tiny_architecture")


def on_disk(config: TrainConfig) -> TrainConfig:
    return replace(config, fit=replace(config.fit, scene_memory=0))


def large_pair(folder: Path, name: str, height: int, width: int) -> None:
    """Noise in compressed blocks, a corner without data, and a mask in strips."""
    image = noise(height, width, seed=height)
    image[:, : height // 4, : width // 3] = 0
    mask = noise(height, width, 1, seed=width) % 3
    block = {"tiled": True, "blockxsize": 64, "blockysize": 48, "compress": "deflate"}
    write_scene(folder / f"{name}.tif", image, nodata=0, **block)
    write_scene(folder / f"{name}_mask.tif", mask)


def test_batches_equal_those_of_scenes_in_memory(tmp_path: Path) -> None:
    config = config_for(tmp_path, weight_map=WeightMapConfig(("building",)))
    large_pair(tmp_path, "train_2", 301, 517)
    # From twice as fine to sixteen times as coarse: every level of the pyramid.
    source = replace(config.source[0], gsd=(0.25, 8.0))
    config = replace(config, source=(source,), fit=replace(config.fit, batch=8))
    pools, far = load_pools(config), load_pools(on_disk(config))
    for one, other in zip(pools[0].scenes, far[0].scenes, strict=True):
        assert isinstance(one.pixels, HeldPixels)
        assert isinstance(other.pixels, FilePixels)
        assert one.counts == other.counts
        for value, spots in one.spots.items():
            np.testing.assert_array_equal(spots, other.spots[value])
    # A loader process gets the scenes pickled.
    far = pickle.loads(pickle.dumps(far))
    near, away = Sampler(config, pools), Sampler(config, far)
    for step in range(4):
        for first, second in zip(near.batch(step), away.batch(step), strict=True):
            assert first is not None
            assert second is not None
            assert first.equal(second)


def test_runs_and_checks_equal_those_of_scenes_in_memory(tmp_path: Path) -> None:
    config = config_for(tmp_path, steps=3)
    one = fit(config, tmp_path / "near").network.state_dict()
    other = fit(on_disk(config), tmp_path / "far").network.state_dict()
    assert all(torch.equal(value, other[key]) for key, value in one.items())
    network = initial_network(config).eval()
    coarse = replace(config, check=(replace(config.check[0], gsd=(0.8, 0.8)),))
    (near,), (far,) = load_checks(coarse), load_checks(on_disk(coarse))
    assert run_check(near, network, coarse) == run_check(far, network, coarse)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_every_window_of_every_level(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    height, width = data.draw(st.integers(1, 300)), data.draw(st.integers(1, 300))
    folder = tmp_path_factory.mktemp("scene")
    config = config_for(folder)
    large_pair(folder, "odd", height, width)
    source = SourceConfig("odd", ("odd.tif",), LABELS)
    ((scene,),) = load_scenes(on_disk(config), (source,))
    files = scene.pixels
    assert isinstance(files, FilePixels)
    held = files.held()
    for level, plane in enumerate(held.levels):
        rows, cols = plane.shape[1:]
        row, col = data.draw(st.integers(0, rows - 1)), data.draw(st.integers(0, cols - 1))
        window = Window(
            row, col, data.draw(st.integers(1, rows - row)), data.draw(st.integers(1, cols - col))
        )
        np.testing.assert_array_equal(files.image(level, window), held.image(level, window))
        if level == 0:
            np.testing.assert_array_equal(files.labels(window), held.labels(window))
            np.testing.assert_array_equal(files.valid(window), held.valid(window))


def test_the_smallest_scenes_come_into_memory_first(tmp_path: Path) -> None:
    config = config_for(tmp_path, scene_memory=1)
    large_pair(tmp_path, "train_2", 700, 700)
    scenes = load_pools(config)[0].scenes
    assert [type(scene.pixels) for scene in scenes] == [HeldPixels, HeldPixels, FilePixels]


def test_texture_needs_the_whole_scene(tmp_path: Path) -> None:
    config = config_for(tmp_path)
    classes = [LandClass(i, n, (0, 0, i)) for i, n in enumerate(("water", "vegetation", "road"))]
    source = replace(config.source[0], texture=True, labels={"0": ("land",)})
    with pytest.raises(ConfigError, match="texture needs the classes water, vegetation, road and"):
        replace(config, source=(source,))
    source = replace(source, labels={"0": ("water", "road"), "1": (), "2": ()})
    config = replace(config, legend=tuple(classes), source=(source,), check=())
    with pytest.raises(ConfigError, match=r"train_0\.tif: texture looks at a whole scene"):
        load_pools(on_disk(config))


SIDE = 9000


def sparse(folder: Path, name: str) -> Path:
    """A scene that takes no room on the disk but for one block: most of it is class 0."""
    settings = {
        "driver": "GTiff", "height": SIDE, "width": SIDE, "dtype": "uint8", "tiled": True,
        "blockxsize": 512, "blockysize": 512, "compress": "deflate", "sparse_ok": True,
        "crs": "EPSG:32633", "transform": NORTH_UP,
    }  # fmt: skip
    place = RasterioWindow(SIDE // 2, SIDE // 2, 60, 40)
    for suffix, bands, value in (("", 3, 200), ("_mask", 1, 1)):
        with rasterio.open(folder / f"{name}{suffix}.tif", "w", count=bands, **settings) as dataset:
            dataset.write(np.full((bands, 40, 60), value, np.uint8), window=place)
    return folder / f"{name}.tif"


@pytest.mark.parametrize("polygons", [False, True])
def test_memory_does_not_follow_the_scene(tmp_path: Path, polygons: bool) -> None:
    config = on_disk(config_for(tmp_path))
    sparse(tmp_path, "big")
    labels = {"0": ("land",), "1": ("building",)}
    source = SourceConfig("big", ("big.tif",), labels, share=1.0, gsd=(0.5, 2.0))
    if polygons:
        left, top = NORTH_UP @ (SIDE // 2, SIDE // 2)
        right, bottom = NORTH_UP @ (SIDE // 2 + 60, SIDE // 2 + 40)
        ring = [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]
        shape = {"type": "Polygon", "coordinates": [ring]}
        feature = {"type": "Feature", "properties": {}, "geometry": shape}
        crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32633"}}
        text = {"type": "FeatureCollection", "crs": crs, "features": [feature]}
        (tmp_path / "big.geojson").write_text(json.dumps(text))
        where = PolygonsConfig("{stem}.geojson", outside=("land",))
        source = replace(source, polygons=where, labels={"*": ("building",)})
    config = replace(config, source=(source,))
    tracemalloc.start()
    try:
        pools = load_pools(config)
        batch = Sampler(config, pools).batch(0)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert pools[0].scenes[0].counts == {1: SIDE**2 - 2400, 2: 2400}
    assert (batch.labels == 2).any()
    # The scene has 243 MB of colours and 81 MB of labels.
    assert peak < 130e6
