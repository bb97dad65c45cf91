"""The size of tiles, which decides on memory and on what margins cost."""

from typing import Literal

import pytest

from geounet.errors import ConfigError
from geounet.jobs.tiling import (
    IDENTICAL,
    MAX_SIDE,
    WITHIN_PROMISE,
    Ground,
    Sides,
    choose_tiling,
    worthwhile_side,
)
from tests.helpers import spec_for


@pytest.mark.parametrize(("radius", "side"), [(1, 1024), (40, 1280), (320, MAX_SIDE)])
def test_patches_are_as_large_as_their_margins_are_worth(radius: int, side: int) -> None:
    spec = spec_for(1, radius, radius)
    sides = Sides(None, 10_000, worthwhile_side(spec))
    tiling = choose_tiling(Ground((50_000, 50_000), 0), spec, "exact", None, sides)
    patch = tiling.core[0] + 2 * tiling.margin
    assert 0.9 * side < patch <= side
    if radius < 64:
        assert (patch / tiling.core[0]) ** 2 < 1.15


TRAINED = ((32, 2.0e-3), (64, 5.5e-4), (96, 1.4e-4), (128, 1.7e-5))
"""Margin curve of a U-Net on ResNet-18, cores of 512 px."""


@pytest.mark.parametrize("shape", [(4096, 4096), (20_000, 20_000), (3000, 100_000), (40_000, 900)])
def test_processors_get_tall_patches(shape: tuple[int, int]) -> None:
    """Narrower ones of no more pixels, whose borders between tiles still keep the promise."""
    spec = spec_for(32, 303, 128, margin_curve=TRAINED)
    ground = Ground(shape, 0)
    square = choose_tiling(ground, spec, "auto", None, Sides(None, 2300, 2560))
    tall = choose_tiling(ground, spec, "auto", None, Sides(None, 2300, 2560, tall=True))
    rows, cols = (size + 2 * tall.margin for size in tall.core)
    assert cols < square.core[1] + 2 * square.margin or shape[1] < 1024
    assert rows * cols <= 2300**2
    assert tall.core[0] * shape[1] <= max(64 << 20, 2300 * shape[1])
    for tiling in (square, tall):
        assert tiling.promise == WITHIN_PROMISE
        borders = sum(-(-s // c) - 1 for s, c in zip(shape, tiling.core, strict=True))
        share = dict(TRAINED)[tiling.margin]
        # Sixteen cores of 512 px have six borders.
        per_border = share * 2048 / 6
        if shape[0] == shape[1]:
            assert borders * per_border / shape[0] <= 1e-4
    assert choose_tiling(ground, spec, "auto", None, Sides(1024, 2300, 2560, tall=True)) == (
        choose_tiling(ground, spec, "auto", None, Sides(1024, 2300, 2560))
    )


def test_fine_scenes_do_not_get_tall_patches() -> None:
    """A working row holds so many more pixels of the result, which wait for their row of tiles."""
    spec = spec_for(32, 303, 128, margin_curve=TRAINED)
    sides = Sides(None, 2300, 2560, tall=True)
    coarse, fine = (
        choose_tiling(Ground((4096, 8000), 0, fineness=value), spec, "auto", None, sides)
        for value in (1, 36)
    )
    assert coarse.core[0] + 2 * coarse.margin > 2300 >= fine.core[0] + 2 * fine.margin


def test_patches_of_all_rows_are_not_charged_for_margins() -> None:
    """What fits only without mirrored rows is taken where the network will not see any."""
    spec = spec_for(32, 303, 128, margin_curve=TRAINED)
    sides = Sides(None, 2246, 2560, tall=True)
    part, whole = (
        choose_tiling(Ground((4096, 4096), 0, value), spec, "auto", None, sides)
        for value in (False, True)
    )
    assert (part.core, whole.core) == ((4096, 832), (4096, 1024))
    assert part.margin == whole.margin
    assert 4096 * (1024 + 2 * whole.margin) <= 2246**2 < (4096 + 192) * (1024 + 192)


@pytest.mark.parametrize("margin", ["auto", "exact"])
def test_wide_rasters_get_low_patches_where_margins_are_slight(
    margin: Literal["auto", "exact"],
) -> None:
    """Half as many rows wait for their row of tiles; narrow rasters and a chosen side stay."""
    spec = spec_for(2, 6, 6)
    free = Sides(None, 10_000, worthwhile_side(spec), tall=True)
    low = choose_tiling(Ground((30_000, 20_000), 0), spec, margin, None, free)
    rows, cols = (size + 2 * low.margin for size in low.core)
    assert rows <= free.worthwhile // 2 < cols
    assert 0.9 * free.worthwhile**2 < rows * cols <= free.worthwhile**2
    for width, sides in ((4000, free), (20_000, Sides(1024, 10_000, tall=True))):
        core = choose_tiling(Ground((30_000, width), 0), spec, margin, None, sides).core
        assert core[0] > 900


def test_a_raster_of_one_tile_needs_no_margin() -> None:
    spec = spec_for(32, 303, 128, margin_curve=TRAINED)
    tiling = choose_tiling(Ground((1500, 1500), 0), spec, "auto", None, Sides(None, 2300, 2560))
    assert (tiling.margin, tiling.core) == (32, (1504, 1504))


@pytest.mark.parametrize(
    ("exact", "merge", "largest"), [(True, "crop", 320), (True, "blend", 512), (False, "crop", 512)]
)
def test_margins_stop_where_more_changes_nothing(
    exact: bool, merge: Literal["crop", "blend"], largest: int
) -> None:
    """At the network's reach, or where a patch holds the whole raster."""
    spec = spec_for(32, 303, 128, exact=exact)
    ground, sides = Ground((500, 400), 0), Sides(None, 2300, 2560)
    tiling = choose_tiling(ground, spec, 99_999, merge, sides)
    assert tiling.margin == largest
    assert (tiling.promise == IDENTICAL) == (largest == 320)


FAR = ((32, 2.0e-2), (128, 4.7e-3), (256, 2.5e-4), (384, 7.0e-5), (512, 0.0))
"""Margin curve of a network that looks far, cores of 512 px."""


@pytest.mark.parametrize("budget", [500, 800, 1056, 1124, 1300, 1500, 2000])
@pytest.mark.parametrize("margin", ["auto", "exact", 384])
def test_little_memory_does_not_multiply_the_work(
    budget: int, margin: int | Literal["auto", "exact"]
) -> None:
    """A margin that leaves a core of a few pixels has the network see each pixel a thousand times:
    what was asked for takes more memory, and ``auto`` gives up the promise and says by how much.
    """
    spec = spec_for(32, 519, 384, margin_curve=FAR)
    ground, sides = Ground((6000, 6000), 0), Sides(None, budget, 2560)
    tiling = choose_tiling(ground, spec, margin, None, sides)
    patch = tiling.core[0] + 2 * tiling.margin
    pieces = -(-6000 // tiling.core[0])
    seen = (6000 + 2 * tiling.margin * (pieces - 1)) ** 2 / 6000**2
    if margin != "auto":
        assert tiling.margin >= 384
        assert seen < 9
        return
    assert seen <= 4
    assert patch <= budget
    if tiling.promise != WITHIN_PROMISE:
        per_border = dict(FAR)[tiling.margin] * 2048 / 6
        expected = 2 * (pieces - 1) * per_border / 6000
        assert tiling.promise == f"about {expected:.0e} of the pixels differ"
        assert expected > 1e-4


@pytest.mark.parametrize("budget", [800, 1120, 1300, 2000])
def test_a_model_whose_usual_margin_is_the_exact_one_takes_the_memory_for_it(budget: int) -> None:
    """Nothing narrower has been measured, so nothing can be said of it."""
    spec = spec_for(32, 519, 544)
    tiling = choose_tiling(Ground((6000, 6000), 0), spec, "auto", None, Sides(None, budget, 2560))
    assert (tiling.margin, tiling.promise) == (544, IDENTICAL)
    assert tiling.core[0] >= 500


def test_a_tile_too_small_for_the_promise_is_used_as_far_as_it_goes() -> None:
    spec = spec_for(32, 519, 384, margin_curve=FAR)
    ground = Ground((6000, 6000), 0)
    small = choose_tiling(ground, spec, "auto", None, Sides(96, 2000))
    assert (small.margin, small.core) == (32, (32, 32))
    assert small.promise.endswith("of the pixels differ")
    with pytest.raises(ConfigError, match="use --tile-size 1152 or more"):
        choose_tiling(ground, spec, 384, None, Sides(768, 2000))
    assert choose_tiling(ground, spec, 384, None, Sides(1152, 2000)).core[0] >= 352
