"""The configuration that users start from loads, and fits the folders that it describes."""

from dataclasses import replace
from pathlib import Path

import geopandas as gpd
import numpy as np
from shapely.geometry import box

from geounet.tiles import Window
from geounet.train.check import load_checks
from geounet.train.config import load_config
from geounet.train.load import load_pools
from geounet.train.samples import Sampler
from tests.helpers import NORTH_UP, noise, write_scene

CONFIG = Path(__file__).parents[2] / "configs" / "own.toml"


def draw(folder: Path, stem: str) -> None:
    """A scene of 0.5 m, and a GeoPackage of one building in another CRS: rows and columns 20-40."""
    write_scene(folder / "images" / f"{stem}.tif", noise(64, 72))
    left, top = NORTH_UP @ (20, 20)
    building = gpd.GeoDataFrame(geometry=[box(left, top - 10, left + 10, top)], crs="EPSG:32633")
    building.to_crs("EPSG:4326").to_file(folder / "labels" / f"{stem}.gpkg")


def test_own_scenes_and_polygons(tmp_path: Path) -> None:
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    for stem in ("town", "held"):
        draw(tmp_path, stem)
    config = load_config(CONFIG)
    assert config.data == "."
    config = replace(config, data=str(tmp_path), fit=replace(config.fit, batch=2, window=64))
    pools, (check,) = load_pools(config), load_checks(config)
    expected = np.ones((64, 72), np.uint8)
    expected[20:40, 20:40] = 2
    for (scene,) in (pools[0].scenes, check.scenes):
        np.testing.assert_array_equal(scene.pixels.labels(Window(0, 0, 64, 72)), expected)
    assert pools[0].scenes[0].name == "town"
    assert check.scenes[0].name == "held"
    assert Sampler(config, pools).batch(1).images.shape == (2, 3, 64, 64)
