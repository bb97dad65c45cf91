"""The network of a training run: its facts, and the weights that it starts from."""

from dataclasses import replace
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import nn

from geounet.errors import ConfigError
from geounet.legend import Legend
from geounet.model.architectures import ARCHITECTURES
from geounet.model.bundle import ModelBundle, load_bundle
from geounet.model.networks import build_network
from geounet.model.pretrained import (
    LITE_SIZES,
    load_encoder_file,
    load_imagenet_lite,
    network_from_hub,
)
from geounet.model.spec import ModelSpec
from geounet.tiles import round_up
from geounet.train.config import TrainConfig

IMAGENET = {f"imagenet-lite{size}": size for size in LITE_SIZES}
"""Values of ``network.pretrained`` for encoder weights from ImageNet, and the encoder's size."""
_PARTS = {"network", "average", "optimizer", "step", "seconds", "config"}
RESUMED = "leave out --resume to start anew"
"""What to do about a checkpoint to go on from that is missing."""
_HUB, _ENCODER = "hub:", "encoder:"


def model_spec(config: TrainConfig) -> ModelSpec:
    """The facts of the network to train; radius and margin are measured at export."""
    network = config.network
    own = ARCHITECTURES.get(network.arch)
    shrink = own.shrink if own else 0
    return ModelSpec(
        name=network.name,
        arch=network.arch,
        encoder=network.encoder,
        options=network.options,
        bands=network.bands,
        legend=Legend(config.legend),
        mean=network.mean,
        std=network.std,
        resolution=network.resolution,
        stride=own.stride if own else network.stride,
        shrink=shrink,
        radius=0,
        margin=shrink,
    )


def initial_network(config: TrainConfig, bare: bool = False) -> nn.Module:
    """The network to train, with pretrained weights where the configuration asks for them, unless
    ``bare``: a checkpoint's take their place, and where they came from need not be there any more.
    """
    torch.manual_seed(config.fit.seed)
    spec = model_spec(config)
    least = 2 * spec.shrink + 1
    if config.fit.window % spec.stride or config.fit.window < least:
        raise ConfigError(
            f"fit.window {config.fit.window} must be a multiple of the network's stride"
            f" {spec.stride} and at least {round_up(least, spec.stride)}"
        )
    source = None if bare else config.network.pretrained
    if source is not None and source.startswith(_HUB):
        return network_from_hub(spec, source.removeprefix(_HUB))
    network = build_network(spec)
    if source in IMAGENET:
        load_imagenet_lite(network, IMAGENET[source])
    elif source is not None and source.startswith(_ENCODER):
        load_encoder_file(network, Path(source.removeprefix(_ENCODER)))
    elif source is not None:
        _start_from(network, source)
    return network


def packaged_network(bundle: ModelBundle, config: TrainConfig) -> tuple[nn.Module, TrainConfig]:
    """The network of a model file in evaluation mode, and the configuration as it sees scenes: with
    the file's normalisation.

    Raises:
        ConfigError: the model has other classes or bands than the configuration.
    """
    spec = bundle.spec
    if spec.legend.names != Legend(config.legend).names or spec.bands != config.network.bands:
        raise ConfigError(f"model {spec.name!r}: has other classes or bands than the configuration")
    network = build_network(spec)
    network.load_state_dict(bundle.tensors())
    norm = replace(config.network, mean=spec.mean, std=spec.std)
    return network.eval(), replace(config, network=norm)


def _start_from(network: nn.Module, source: str) -> None:
    """Take the weights of a model file or of an earlier run."""
    if source.endswith(".safetensors"):
        weights = load_bundle(source).tensors()
    elif not Path(source).is_file():
        raise ConfigError(
            f"network.pretrained {source}: no such file; give a model, the checkpoint of a run,"
            f" {IMAGENET!r}, 'encoder:PATH' or 'hub:NAME', or leave it out"
        )
    else:
        weights = read_checkpoint(Path(source))["average"]
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise ConfigError(
            f"network.pretrained {source}: the weights are of another network; give"
            " 'encoder:PATH' for the encoder's alone"
        ) from error


def read_checkpoint(path: Path, remedy: str = "name last.pt of a run") -> dict[str, Any]:
    """The content of a checkpoint: plain values and tensors, nothing executable.

    Raises:
        ConfigError: it cannot be read; ``remedy`` is what to do where there is none.
    """
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such checkpoint; {remedy}") from error
    except (OSError, RuntimeError, EOFError, UnpicklingError) as error:
        raise ConfigError(
            f"{path}: not a checkpoint, or damaged; name another, or train anew"
        ) from error
    if not isinstance(content, dict) or not set(content) >= _PARTS:
        raise ConfigError(f"{path}: not a checkpoint of a training run; name last.pt of one")
    return content
