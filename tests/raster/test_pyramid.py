"""Cloud Optimized GeoTIFFs put together from blocks: every level, form and size reads back."""

import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from rasterio.io import MemoryFile
from rio_cogeo.cogeo import cog_validate

from geounet.decision import STEPS
from geounet.georef import Frame
from geounet.raster import tiff
from geounet.raster.locate import georeference
from geounet.raster.mask import MaskWriter, ProbabilityWriter
from geounet.raster.pyramid import average, compressed, most_frequent
from tests.helpers import LEGEND, NORTH_UP

SIZES = st.tuples(st.integers(1, 9), st.integers(1, 9))


def frame(height: int, width: int) -> Frame:
    with MemoryFile() as file, file.open(
        driver="GTiff", count=1, height=height, width=width, dtype="uint8", crs="EPSG:32633",
        transform=NORTH_UP,
    ) as dataset:  # fmt: skip
        return Frame(height, width, georeference(dataset)[0])


def quads(field: np.ndarray) -> list[list[np.ndarray]]:
    """The pixels, up to four, under each pixel of the overview."""
    height, width = field.shape
    return [
        [field[row : row + 2, col : col + 2].ravel() for col in range(0, width, 2)]
        for row in range(0, height, 2)
    ]


def voted(values: np.ndarray) -> int:
    counts = Counter(value for value in values.tolist() if value != 255)
    return max(counts, key=lambda value: counts[value]) if counts else 255  # the first of equals


@given(SIZES, st.integers(0, 2**32 - 1))
def test_most_frequent_of_four(shape: tuple[int, int], seed: int) -> None:
    field = np.random.default_rng(seed).choice(np.array([0, 1, 2, 255], np.uint8), shape)
    expected = [[voted(values) for values in row] for row in quads(field)]
    np.testing.assert_array_equal(most_frequent(field[None], 255)[0], expected)


@given(SIZES, st.integers(0, 2**32 - 1))
def test_average_of_what_has_data(shape: tuple[int, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    field = rng.random(shape, dtype=np.float32)
    field[rng.random(shape) < 0.4] = np.nan
    expected = [
        [np.mean(v[~np.isnan(v)]) if not np.isnan(v).all() else np.nan for v in row]
        for row in quads(field)
    ]
    np.testing.assert_allclose(average(field[None], np.nan)[0], expected, rtol=1e-6)
    steps = np.where(np.isnan(field), 255, np.rint(field * STEPS)).astype(np.uint8)
    known = [[v[v != 255] for v in row] for row in quads(steps)]
    rounded = [[np.rint(v.mean()) if v.size else 255 for v in row] for row in known]
    np.testing.assert_array_equal(average(steps[None], 255)[0], rounded)


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize(
    "shape", [(1100, 2300), (513, 40), (2049, 255), (512, 512), (257, 40), (256, 256)]
)
def test_every_level_of_a_mask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int], big: bool
) -> None:
    if big:
        monkeypatch.setattr(tiff, "_LARGEST", 1)
    coarse = np.random.default_rng(0).choice(
        np.array([0, 1, 2, 255], np.uint8), (shape[0] // 3 + 1, shape[1] // 3 + 1)
    )
    mask = np.kron(coarse, np.ones((3, 3), np.uint8))[: shape[0], : shape[1]]
    path = tmp_path / "m.tif"
    with MaskWriter(path, frame(*shape), LEGEND, {}) as writer:
        for row in range(0, shape[0], 333):
            writer.write_rows(mask[row : row + 333])
        writer.finish()
        writer.publish()
    assert path.read_bytes()[2:4] in ((b"+\0", b"\0+") if big else (b"*\0", b"\0*"))
    assert cog_validate(path, strict=True, quiet=True) == (True, [], [])
    level, factors = mask[None], []
    while max(level.shape) > 256:
        level = most_frequent(level, 255)
        factors.append(level)
    with rasterio.open(path) as dataset:
        np.testing.assert_array_equal(dataset.read(1), mask)
        assert dataset.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert len(dataset.overviews(1)) == len(factors)
    for number, expected in enumerate(factors):
        with rasterio.open(path, overview_level=number) as dataset:
            assert dataset.nodata == 255
            assert dataset.colormap(1)[1] == (200, 40, 40, 255)
            np.testing.assert_array_equal(dataset.read(), expected)


@pytest.mark.parametrize("storage", ["uint8", "float16"])
def test_every_level_of_probabilities(tmp_path: Path, storage: str) -> None:
    values = np.random.default_rng(0).random((3, 700, 1100), dtype=np.float32)
    rows = values.astype(np.float16) if storage == "float16" else np.rint(values * 254).astype("u1")
    path = tmp_path / "p.tif"
    with ProbabilityWriter(path, frame(700, 1100), LEGEND, {}, storage) as writer:  # type: ignore[arg-type]
        for row in range(0, 700, 300):
            writer.write_rows(rows[:, row : row + 300])
        writer.finish()
        writer.publish()
    assert cog_validate(path, strict=True, quiet=True) == (True, [], [])
    with rasterio.open(path) as dataset:
        assert dataset.descriptions == LEGEND.names
        np.testing.assert_array_equal(dataset.read(), rows.astype(dataset.dtypes[0]))
    with rasterio.open(path, overview_level=0) as dataset:
        found = dataset.read() / (254 if storage == "uint8" else 1)
    expected = values.reshape(3, 350, 2, 550, 2).mean(axis=(2, 4))
    assert np.abs(found - expected).max() < 0.005


def test_blocks_need_no_filter_of_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Filters belong to all threads, and blocks are compressed on several."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        monkeypatch.setattr(warnings, "simplefilter", lambda *_: None)
        compressed(np.zeros((1, 4, 4), np.uint8), {"tiled": True})
    assert not caught
