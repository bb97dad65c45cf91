"""Write the sample scene: a synthetic town as a georeferenced GeoTIFF, and its true classes.

python examples/01_make_sample_scene.py town.tif --size 1536 --seed 7 --mask truth.tif
"""

import argparse
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import from_origin

from geounet.train.town import make_town


def write(path: Path, bands: np.ndarray, gsd: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    count, height, width = bands.shape
    place = {"crs": "EPSG:32633", "transform": from_origin(465_000.0, 5_250_000.0, gsd, gsd)}
    form = {"tiled": True, "compress": "deflate", "predictor": 2, "dtype": "uint8"}
    with rasterio.open(path, "w", "GTiff", width, height, count, **place, **form) as target:
        target.write(bands)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    parser.add_argument("--size", type=int, default=1536, help="rows and columns")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--mask", type=Path, help="also write the true classes here")
    chosen = parser.parse_args()
    rgb, mask = make_town(chosen.seed, chosen.size, chosen.size, gsd=0.5)
    write(chosen.output, rgb, 0.5)
    if chosen.mask:
        write(chosen.mask, mask[None], 0.5)
    print(f"{chosen.output}: {chosen.size} x {chosen.size} pixels of 0.5 m")


if __name__ == "__main__":
    main()
