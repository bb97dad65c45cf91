"""The table of networks against the networks themselves."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from geounet.legend import LandClass, Legend
from geounet.model.architectures import ARCHITECTURES, SMP, Cost
from geounet.model.bundle import ModelBundle, load_bundle, save_bundle
from geounet.model.fcn import Fcn, bilinear_kernel
from geounet.model.networks import build_network
from geounet.model.radius import structural_radius
from geounet.model.spec import ModelSpec
from tests.helpers import spec_for

FIVE = Legend(tuple(LandClass(i, f"class_{i}", (i, i, i)) for i in range(5)))


def spec_of(name: str) -> ModelSpec:
    if name in SMP:
        return spec_for(32, arch=name, encoder=SMP[name].encoder, legend=FIVE)
    own = ARCHITECTURES[name]
    return spec_for(own.stride, 0, own.shrink, shrink=own.shrink, arch=name, legend=FIVE)


def cost_of(spec: ModelSpec) -> Cost:
    with torch.device("meta"):
        network = build_network(spec).eval()
        image = torch.empty(1, len(spec.bands), 1024, 1024)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(image)
    parameters = sum(value.numel() for value in network.parameters())
    return Cost(parameters, round(counter.get_total_flops() / 1024**2 / 1e3, 1))


@pytest.mark.parametrize("name", [*ARCHITECTURES, *SMP])
def test_listed_figures(name: str) -> None:
    listed = (ARCHITECTURES.get(name) or SMP[name]).cost
    assert listed == cost_of(spec_of(name))


@pytest.mark.parametrize("name", SMP)
def test_every_smp_architecture_takes_any_bands(name: str) -> None:
    bands = ("red", "green", "blue", "nir")
    spec = spec_for(
        32, arch=name, encoder=SMP[name].encoder, bands=bands, mean=(0.5,) * 4, std=(0.2,) * 4
    )
    with torch.device("meta"):
        network = build_network(spec).eval()
        assert network(torch.empty(1, 4, 128, 160)).shape == (1, 3, 128, 160)


@pytest.mark.parametrize(
    ("name", "options", "largest"),
    [
        ("unet-light", {"width": 1 / 64}, 1024),
        ("unet-residual", {"width": 1 / 64}, 1024),
        ("fcn-8s", {"width": 1 / 64, "head": 2}, 2048),
    ],
)
def test_own_networks_tile_exactly(name: str, options: dict[str, float], largest: int) -> None:
    own = ARCHITECTURES[name]
    network = build_network(spec_for(own.stride, arch=name, options=options))
    if name == "fcn-8s":  # scores that start at zero would hide the way through them
        for score in network.get_submodule("scores").children():
            nn.init.normal_(score.weight)
    assert structural_radius(network, 3, own.stride, largest).exact


def test_networks_that_pool_globally_are_known() -> None:
    network = build_network(spec_for(16, arch="smp:DeepLabV3Plus", encoder="resnet18"))
    assert structural_radius(network, 3, 32, 512).exact is SMP["smp:DeepLabV3Plus"].exact


def test_vgg_sized_fcn_has_its_weights() -> None:
    """VGG-16 without its classifier's last layer has 134.26 M weights (Simonyan & Zisserman)."""
    with torch.device("meta"):
        network = Fcn(3, 1, 32, width=1.0, head=4096, kernel=7)
    layers = [item for item in network.modules() if isinstance(item, nn.Conv2d)]
    weights = sum(item.weight.numel() for item in layers[:-1])
    assert len(layers) == 16
    assert weights == pytest.approx(134.26e6, rel=1e-3)


def test_bilinear_transposed_convolution_enlarges_bilinearly() -> None:
    network = Fcn(3, 2, 8, width=1 / 64, head=2)
    image = torch.randn(1, 2, 6, 7)
    with torch.no_grad():
        enlarged = network.enlarge(image)
    expected = nn.functional.interpolate(image, scale_factor=8, mode="bilinear")
    # At the edge the transposed convolution sees zeros where the interpolation repeats.
    torch.testing.assert_close(enlarged[..., 8:-8, 8:-8], expected[..., 8:-8, 8:-8])
    assert bilinear_kernel(4)[1].tolist() == [0.1875, 0.5625, 0.5625, 0.1875]


def test_finer_streams_start_from_the_coarser() -> None:
    """Skip scores start at zero: FCN-8s begins as FCN-32s enlarged in three steps."""
    network = Fcn(3, 2, 8, width=1 / 64, head=2).eval()
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        coarse = network.fully(nn.Sequential(*network.encoder)(image))
        expected = network.enlarge(network.doublings[1](network.doublings[0](coarse)))
        assert torch.equal(network(image), expected)
        nn.init.normal_(network.scores[1].weight)
        assert not torch.equal(network(image), expected)


def test_packaged_and_read_back(tmp_path: Path) -> None:
    for name in ("unet-paper", "unet-light", "unet-residual", "fcn-16s"):
        own = ARCHITECTURES[name]
        width = 2 if name == "unet-paper" else 1 / 32
        options = {"width": width}
        spec = spec_for(own.stride, 0, own.shrink, shrink=own.shrink, arch=name, options=options)
        network = build_network(spec).eval()
        save_bundle(tmp_path / "m.safetensors", spec, network.state_dict())
        bundle: ModelBundle = load_bundle(tmp_path / "m.safetensors")
        again = build_network(bundle.spec).eval()
        again.load_state_dict(bundle.tensors())
        image = torch.randn(1, 3, 224, 224)
        with torch.inference_mode():
            assert torch.equal(network(image), again(image))
