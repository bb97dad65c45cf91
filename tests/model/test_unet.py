"""The U-Net of the paper, figure by figure, and its padded kin."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from geounet.bands import normalise
from geounet.errors import ConfigError, ModelError
from geounet.jobs.calibrate import calibrated
from geounet.jobs.plan import SegmentOptions, make_plan
from geounet.mirror import mirror_index
from geounet.model.architectures import ARCHITECTURES
from geounet.model.bundle import ModelBundle
from geounet.model.networks import build_network
from geounet.model.runtime import Hardware
from geounet.model.torch_runtime import TorchRuntime
from geounet.model.unet import PAPER_MARGIN, TiledUnetPaper, UnetPaper, light_unet, residual_unet
from geounet.raster.scene import describe
from geounet.tiles import round_up
from tests.helpers import noise, spec_for, write_scene
from tests.jobs.test_exact_tiling import tiled

PAPER = ARCHITECTURES["unet-paper"]


def count(network: nn.Module) -> int:
    return sum(value.numel() for value in network.parameters())


def test_the_papers_figures() -> None:
    with torch.device("meta"):
        network = UnetPaper(bands=1, classes=2)
        output = network(torch.empty(1, 1, 572, 572))
    assert output.shape == (1, 2, 388, 388)
    rows, cols = (572 - side for side in output.shape[2:])
    assert rows == cols == 2 * 92 == 2 * PAPER_MARGIN
    # Weights and biases along figure 1: pairs of 3x3 down, 2x2 up and pairs of 3x3, the 1x1 head.
    sizes = [64, 128, 256, 512, 1024]
    expected = 0
    for source, target in zip([1, *sizes], sizes, strict=False):
        expected += 9 * source * target + target + 9 * target * target + target
    for size in sizes[:-1]:
        expected += 4 * 2 * size * size + size
        expected += 9 * 2 * size * size + size + 9 * size * size + size
    expected += 64 * 2 + 2
    assert count(network) == expected
    assert round(expected / 1e6, 1) == 31.0
    convolutions = [item for item in network.modules() if isinstance(item, nn.Conv2d)]
    assert len(convolutions) + 4 == 23  # "In total the network has 23 convolutional layers."
    assert all(item.padding == (0, 0) for item in convolutions)


def test_channels_and_sizes_on_the_way() -> None:
    """Figure 1: 568 x 64, 280 x 128, 136 x 256, 64 x 512, 28 x 1024, then 52, 100, 196, 388."""
    seen: list[tuple[int, int]] = []
    with torch.device("meta"):
        network = UnetPaper(1, 2)
        for block in [*network.down, *network.up]:
            block.register_forward_hook(
                lambda _, __, out: seen.append((out.shape[1], out.shape[3]))
            )
        network(torch.empty(1, 1, 572, 572))
    down = [(64, 568), (128, 280), (256, 136), (512, 64), (1024, 28)]
    assert seen == [*down, (512, 52), (256, 100), (128, 196), (64, 388)]


def test_weights_start_as_in_the_paper() -> None:
    torch.manual_seed(0)
    layer = UnetPaper(3, 2, width=16).down[2][2]
    assert layer.weight.std().item() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.02)
    assert not layer.bias.any()


@pytest.mark.parametrize("side", [224, 240, 576])
def test_patches_of_whole_strides_fit(side: int) -> None:
    with torch.device("meta"):
        output = TiledUnetPaper(3, 2, width=1)(torch.empty(1, 3, side, side + 16))
    assert output.shape[2:] == (side - 2 * PAPER.shrink, side + 16 - 2 * PAPER.shrink)


def test_every_output_pixel_sees_92_pixels_and_its_pooling_cell() -> None:
    """The output of one patch equals that of a larger one: nothing was padded."""
    network = TiledUnetPaper(2, 2, width=2, dropout=0.0).double().eval()
    image = torch.randn(1, 2, 320, 288, dtype=torch.float64)
    with torch.inference_mode():
        large, small = network(image), network(image[:, :, 32:272, 16:256])
    torch.testing.assert_close(large[:, :, 32:80, 16:64], small, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("height", "width", "tile"), [(70, 105, 224), (97, 33, 240), (61, 90, None)]
)
def test_tiled_equals_whole_scene(
    tmp_path: Path, height: int, width: int, tile: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every pixel, against one forward pass over the whole mirrored scene."""
    data = noise(height, width, seed=height)
    scene = describe(write_scene(tmp_path / "scene.tif", data))
    torch.manual_seed(1)
    spec = spec_for(16, 107, 96, shrink=96, arch="unet-paper", options={"width": 2, "dropout": 0.0})
    runtime = TorchRuntime(build_network(spec), Hardware("cpu", "float64"))
    monkeypatch.setattr("tests.jobs.test_exact_tiling.RUNTIME", runtime)
    options = SegmentOptions(tile_size=tile, batch=3, device="cpu", precision="float64")
    plan = make_plan(scene, spec, options)
    assert plan.promise == "identical to whole-scene inference"
    assert plan.grid.margin == 96
    assert (len(plan.grid) == 1) == (tile is None)
    result = tiled(plan, ModelBundle(spec, b"", ""))

    rows = mirror_index(-96, round_up(height, 16) + 192, height)
    cols = mirror_index(-96, round_up(width, 16) + 192, width)
    valid = np.ones((height, width), bool)
    image = normalise(data, valid, plan.stretch, spec.mean, spec.std)
    expected = runtime.predict(image[None][:, :, rows[:, None], cols[None]])[0].argmax(0)
    assert (result != expected[:height, :width]).sum() == 0
    assert len(np.unique(result)) > 1


def test_resampled_scene_does_not_depend_on_tiles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = describe(write_scene(tmp_path / "scene.tif", noise(90, 70)))
    spec = spec_for(
        16, 107, 96, shrink=96, arch="unet-paper", resolution=0.7,
        options={"width": 2, "dropout": 0.0},
    )  # fmt: skip
    runtime = TorchRuntime(build_network(spec), Hardware("cpu", "float64"))
    monkeypatch.setattr("tests.jobs.test_exact_tiling.RUNTIME", runtime)
    masks = []
    for tile in (400, 256):
        options = SegmentOptions(tile_size=tile, device="cpu", precision="float64")
        plan = make_plan(scene, spec, options)
        assert plan.promise == "identical to whole-scene inference"
        masks.append(tiled(plan, ModelBundle(spec, b"", "")))
    assert (masks[0] != masks[1]).sum() == 0


def test_a_margin_that_the_network_cannot_work_with_is_refused(tmp_path: Path) -> None:
    path = write_scene(tmp_path / "scene.tif", noise(60, 60))
    spec = spec_for(16, 107, 96, shrink=96, arch="unet-paper")
    with pytest.raises(ConfigError, match="need at least 96; use --margin auto"):
        make_plan(describe(path), spec, SegmentOptions(margin=32, device="cpu"))
    with pytest.raises(ConfigError, match="nothing to calibrate"):
        calibrated(str(path), ModelBundle(spec, b"", ""), tmp_path / "out", SegmentOptions())
    with pytest.raises(ConfigError, match="shrink 96 must be"):
        spec_for(16, 107, 64, shrink=96)


@pytest.mark.parametrize("make", [light_unet, residual_unet])
def test_padded_variants_keep_the_size_and_follow_the_width(
    make: Callable[..., nn.Module],
) -> None:
    with torch.device("meta"):
        half, full = make(4, 3, width=0.5), make(4, 3, width=1.0)
        assert half(torch.empty(2, 4, 32, 64)).shape == (2, 3, 32, 64)
    assert 3.9 < count(full) / count(half) < 4.1
    assert 30e6 < count(full) < 34e6


@pytest.mark.parametrize(
    ("arch", "options", "message"),
    [
        ("unet-light", {"depth": 3}, "depth"),
        ("unet-light", {"width": -1}, "width -1 must be positive"),
        ("unet-residual", {"width": 0.0}, r"width 0\.0 must be positive"),
        ("unet-paper", {"width": 0}, "width 0 must be at least 1"),
        ("unet-paper", {"dropout": 1.5}, "dropout probability"),
        ("unet-paper", {"width": 0.5}, "unet-paper cannot be built"),
        ("fcn-8s", {"width": math.nan}, "width nan must be positive"),
        ("fcn-16s", {"head": 0}, "head 0 must be at least 1"),
        ("fcn-32s", {"kernel": 2}, "kernel 2 odd"),
    ],
)
def test_options_that_do_not_fit_are_named(
    arch: str, options: dict[str, float], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        build_network(spec_for(arch=arch, options=options))
