"""How near squared buildings come to what was drawn, and what a building costs."""

from pathlib import Path
from time import perf_counter

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from shapely.affinity import affine_transform

from geounet.vector.outline import Cleaner
from geounet.vector.square import square
from tests.benchmarks.table import record
from tests.vector.masks import outlines
from tests.vector.test_refit import row_scores
from tests.vector.test_square import OBLIQUE, RIGHT_ANGLED, corners, disc, iou, outline

PIXEL = 0.3
"""Metres."""
OAM = Path(__file__).parents[3] / "shared" / "data" / "oam"
TEE = shapely.Polygon(
    [(-25, 4), (-25, 18), (25, 18), (25, 4), (7, 4), (7, -20), (-7, -20), (-7, 4)]
)
PLAIN = {name: RIGHT_ANGLED[name] for name in ("rectangle", "ell", "court")} | {"tee": TEE}
ROUND = {f"circle {radius}": disc(radius) for radius in (10, 20, 40)}


def figures(shapes: dict[str, shapely.Polygon], noisy: bool) -> dict[str, tuple[float, ...]]:
    """Per shape: IoU of raw and squared, share of right vertex counts, distance in m, ms each."""
    result = {}
    for name, truth in shapes.items():
        rng = np.random.default_rng(1)
        pairs = [outline(truth, rng, noisy=noisy) for _ in range(60)]
        truths, raws = (np.array(column) for column in zip(*pairs, strict=True))
        start = perf_counter()
        squared, done = square(raws, 2.5)
        took = (perf_counter() - start) / len(raws)
        assert done.all()
        same = np.mean([corners(polygon) == corners(truth) for polygon in squared])
        far = shapely.hausdorff_distance(
            shapely.boundary(truths), shapely.boundary(squared), densify=0.2
        )
        result[name] = (
            iou(truths, raws).mean(), iou(truths, squared).mean(), float(same),
            far.mean() * PIXEL, took * 1000,
        )  # fmt: skip
        print(
            f"{name:12} {'noisy' if noisy else 'clean'}: IoU raw {result[name][0]:.4f}, squared"
            f" {result[name][1]:.4f}, vertices right {same:.2f}, {result[name][3]:.3f} m,"
            f" {result[name][4]:.2f} ms"
        )
    return result


@pytest.mark.parametrize(
    ("noisy", "least", "right", "far"), [(False, 0.990, 0.99, 0.05), (True, 0.965, 0.98, 0.20)]
)
def test_right_angled_buildings(noisy: bool, least: float, right: float, far: float) -> None:
    square(np.array([TEE]), 2.5)  # compiled
    mean = np.mean(list(figures(PLAIN, noisy).values()), axis=0)
    record(
        "Polygons",
        f"Right-angled buildings, {'noisy' if noisy else 'clean'} outlines: mean distance from the"
        f" truth over {far} m (IoU {mean[0]:.4f} raw, {mean[1]:.4f} squared; vertex count right for"
        f" {mean[2]:.1%}; {mean[4]:.1f} ms each)",
        mean[3] / far,
        1,
    )
    assert mean[1] >= least
    assert mean[2] >= right
    assert mean[3] <= far


@pytest.mark.parametrize("noisy", [False, True])
def test_oblique_walls_and_circles(noisy: bool) -> None:
    for raw, squared, right, far, _ in figures(OBLIQUE, noisy).values():
        assert squared > raw
        assert right >= (0.8 if noisy else 0.98)
        assert far <= (0.35 if noisy else 0.1)
    for raw, squared, *_ in figures(ROUND, noisy).values():
        assert squared > raw


@pytest.mark.parametrize("noisy", [False, True])
def test_row_houses(noisy: bool) -> None:
    raw, squared = row_scores(np.random.default_rng(0), noisy, 60)
    kind = "noisy" if noisy else "clean"
    record(
        "Polygons",
        f"Row houses, {kind} outlines: area missed by squared outlines over that by raw ones"
        f" (IoU {raw.mean():.4f} raw, {squared.mean():.4f} squared)",
        (1 - squared.mean()) / (1 - raw.mean()),
        1,
    )
    assert squared.mean() > raw.mean()


@pytest.mark.real
@pytest.mark.skipif(not OAM.is_dir(), reason="no hand-drawn footprints beside the repository")
def test_hand_drawn_footprints() -> None:
    """Of whole masks, in their coverage: IoU of each footprint with its polygon."""
    before, after = [], []
    for path in sorted(OAM.glob("*_mask.tif")):
        with rasterio.open(path) as dataset:
            mask, transform, crs = dataset.read(1), dataset.transform, dataset.crs
        place = path.name.split("_")[0]
        drawn = gpd.read_file(OAM / f"{place}_labels.geojson").to_crs(crs).geometry.to_numpy()
        back = ~transform
        drawn = shapely.buffer(
            [affine_transform(item, [back.a, back.b, back.d, back.e, back.c, back.f])
             for item in drawn], 0,
        )  # fmt: skip
        inside = shapely.box(2, 2, mask.shape[1] - 2, mask.shape[0] - 2)
        whole = shapely.get_parts(shapely.unary_union(drawn))
        whole = whole[shapely.within(whole, inside)]
        exact = outlines(mask)
        cleaner = Cleaner({}, 2.0, squared=[1])
        cleaner.push(exact)
        clean = cleaner.finish()
        for polygons, scores in ((exact, before), (clean, after)):
            houses = polygons.to_shapely()[polygons.class_id == 1]
            tree = shapely.STRtree(houses)
            footprint, house = tree.query(whole, predicate="intersects")
            best = np.zeros(len(whole))
            np.maximum.at(best, footprint, iou(whole[footprint], houses[house]))
            scores.append(best)
        print(
            f"{path.stem:16} {len(whole):4} footprints: IoU raw {before[-1].mean():.4f},"
            f" squared {after[-1].mean():.4f}"
        )
    raw, squared = np.concatenate(before), np.concatenate(after)
    record(
        "Polygons",
        f"Hand-drawn footprints: area missed by squared outlines over that by raw ones"
        f" ({len(raw)} footprints, IoU {raw.mean():.4f} raw, {squared.mean():.4f} squared)",
        (1 - squared.mean()) / (1 - raw.mean()),
        1,
    )
    assert squared.mean() >= raw.mean()
