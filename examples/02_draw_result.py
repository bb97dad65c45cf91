"""Draw a scene beside the polygons that geounet made of it, in the legend's colours.

python examples/02_draw_result.py demo/town.tif demo/town.gpkg town.png --model landcover-rgb
"""

import argparse
from pathlib import Path

import geopandas as gpd
import matplotlib.pyplot as plt
import rasterio
from rasterio.plot import plotting_extent

from geounet.model.bundle import DEFAULT_MODEL, load_bundle


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scene", type=Path)
    parser.add_argument("polygons", type=Path, help="GeoPackage with a layer per class")
    parser.add_argument("picture", type=Path, help=".png or .jpg to write")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="gives the legend")
    chosen = parser.parse_args()
    figure, (left, right) = plt.subplots(1, 2, figsize=(14, 7), layout="constrained")
    with rasterio.open(chosen.scene) as scene:
        left.imshow(scene.read([1, 2, 3]).transpose(1, 2, 0), extent=plotting_extent(scene))
    for item in load_bundle(chosen.model).spec.legend:
        frame = gpd.read_file(chosen.polygons, layer=item.name)
        if not frame.empty:
            frame = frame.to_crs(scene.crs) if scene.crs else frame  # --dst-crs may differ
            frame.plot(ax=right, facecolor=[c / 255 for c in item.color], edgecolor="k", lw=0.2)
    right.set(xlim=left.get_xlim(), ylim=left.get_ylim(), aspect="equal")
    for axes in (left, right):
        axes.axis("off")
    figure.savefig(chosen.picture, dpi=90)
    print(f"{chosen.picture}: {chosen.scene.name} and its polygons")


if __name__ == "__main__":
    main()
