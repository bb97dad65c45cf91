"""The margin curve of a network whose radius is known."""

from dataclasses import replace
from pathlib import Path

import pytest

from geounet.errors import ConfigError, ModelError, OutputError
from geounet.jobs import calibrate
from geounet.jobs.calibrate import calibrated
from geounet.jobs.margin_plot import draw_margin_curve
from geounet.jobs.plan import SegmentOptions, make_plan
from geounet.model.bundle import load_bundle
from geounet.raster.scene import describe
from tests.helpers import brightness_model, noise, spec_for, write_scene


def test_one_convolution_needs_one_pixel(tmp_path: Path) -> None:
    scene = write_scene(tmp_path / "s.tif", noise(700, 600))
    model = load_bundle(brightness_model(tmp_path / "m.safetensors"))
    result = calibrated(str(scene), model, tmp_path / "c.safetensors", SegmentOptions(device="cpu"))
    assert result.spec.margin == 1  # nothing below the radius, so the radius itself
    assert load_bundle(tmp_path / "c.safetensors") == result


def test_a_scene_of_one_tile_promises_nothing(tmp_path: Path) -> None:
    scene = write_scene(tmp_path / "s.tif", noise(600, 500))
    model = load_bundle(brightness_model(tmp_path / "m.safetensors"))
    with pytest.raises(ConfigError, match=r"s.tif: is 2 x 1 tiles of 512 px, too small"):
        calibrated(str(scene), model, tmp_path / "c.safetensors", SegmentOptions(device="cpu"))
    assert not (tmp_path / "c.safetensors").exists()


def test_scene_without_data_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibrate, "CORE", 32)
    scene = write_scene(tmp_path / "s.tif", noise(70, 60) * 0, nodata=0)
    model = load_bundle(brightness_model(tmp_path / "m.safetensors"))
    with pytest.raises(ModelError, match=r"s.tif: holds no data"):
        calibrated(str(scene), model, tmp_path / "c.safetensors", SegmentOptions(device="cpu"))


CURVE = ((32, 4e-2), (64, 2e-4), (96, 9e-5), (128, 0.0))


@pytest.mark.parametrize(
    ("size", "tile", "margin"),
    # The larger the core, the fewer pixels lie near a border; a single tile has none.
    [(8000, 2304, 64), (8000, 832, 96), (8000, 512, 128), (2000, 2304, 32)],
)
def test_the_plan_scales_the_curve_to_its_core(
    tmp_path: Path, size: int, tile: int, margin: int
) -> None:
    scene = replace(describe(write_scene(tmp_path / "s.tif", noise(9, 9))), height=size, width=size)
    spec = spec_for(32, 500, 96, margin_curve=CURVE)
    plan = make_plan(scene, spec, SegmentOptions(device="cpu", tile_size=tile))
    assert plan.grid.margin == margin
    assert "1e-04" in plan.promise


def test_the_curve_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every point of it, shares of zero at the bottom."""
    from matplotlib.axes import Axes

    drawn = []
    real = Axes.semilogy

    def spy(axes: Axes, x: list[int], y: list[float], **style: object) -> object:
        drawn.extend(zip(x, y, strict=True))
        return real(axes, x, y, **style)

    monkeypatch.setattr(Axes, "semilogy", spy)
    spec = spec_for(32, 500, 96, margin_curve=CURVE)
    assert draw_margin_curve(tmp_path / "c.png", spec)
    assert drawn == [*CURVE[:-1], (128, 1e-7)]
    assert [path.name for path in tmp_path.iterdir()] == ["c.png"]
    with pytest.raises(OutputError, match=r"c\.png: cannot be written"):
        draw_margin_curve(tmp_path / "c.png" / "c.png", spec)


def test_without_a_curve_nothing_is_promised(tmp_path: Path) -> None:
    scene = describe(write_scene(tmp_path / "s.tif", noise(300, 300)))
    plan = make_plan(scene, spec_for(32, 500, 64), SegmentOptions(device="cpu", tile_size=512))
    assert (plan.grid.margin, plan.promise) == (64, "approximate")
