"""Networks from their facts. Nothing is downloaded; heavy libraries are imported when needed."""

from collections.abc import Callable
from inspect import signature
from typing import TYPE_CHECKING, Any

from geounet.errors import ModelError
from geounet.model.architectures import ARCHITECTURES
from geounet.model.spec import ModelSpec

if TYPE_CHECKING:
    from torch import nn

_SMP = "smp:"


def build_network(spec: ModelSpec) -> "nn.Module":
    """The network of ``spec`` with random weights, in training mode.

    It maps float32 ``(batch, bands, height, width)`` (normalised, sides multiples of the stride) to
    logits ``(batch, classes, height - 2 * shrink, width - 2 * shrink)``.

    Raises:
        ModelError: the architecture or encoder is unknown, or its options do not fit.
    """
    if spec.arch.startswith(_SMP):
        return smp_network(spec)
    if spec.arch not in ARCHITECTURES:
        raise ModelError(
            f"model {spec.name!r}: unknown architecture {spec.arch!r};"
            f" known: smp:NAME, {', '.join(sorted(ARCHITECTURES))}"
        )
    try:
        return ARCHITECTURES[spec.arch].build(spec)
    except (TypeError, ValueError) as error:
        raise ModelError(f"model {spec.name!r}: {spec.arch} cannot be built: {error}") from error


def smp_network(spec: ModelSpec, encoder_weights: str | None = None) -> "nn.Module":
    """An architecture of segmentation-models-pytorch.

    Args:
        spec: its facts.
        encoder_weights: name of a set of weights that smp downloads; None: random ones.
    """
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
    if name == "DPT":
        options.setdefault("dynamic_img_size", True)  # patches of any size, not of the encoder's
    try:
        _check_options(factory, spec)
        network = factory(
            encoder_name=spec.encoder,
            encoder_weights=encoder_weights,
            in_channels=len(spec.bands),
            classes=len(spec.legend),
            **options,
        )
        _check_stride(network, spec)
        return network
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ModelError(f"model {spec.name!r}: {spec.arch} cannot be built: {error}") from error


def _check_stride(network: "nn.Module", spec: ModelSpec) -> None:
    """Refuse a stride that is none of the encoder's: tiles whose pooling cells do not lie alike
    differ from the whole scene, whatever the margin.
    """
    own = int(getattr(network.encoder, "output_stride", 1))
    if spec.stride % own:
        raise ValueError(
            f"stride {spec.stride} must be a multiple of {own}, the stride of encoder"
            f" {spec.encoder}"
        )


def _check_options(factory: "Callable[..., nn.Module]", spec: ModelSpec) -> None:
    """Refuse misspelt options: smp hands what it does not know to the encoder, and only those of
    timm say what they do not know either.
    """
    known = [key for key in signature(factory).parameters if key != "kwargs"]
    unknown = [key for key in spec.options if key not in known]
    if unknown and not str(spec.encoder).startswith("tu-"):
        raise TypeError(f"no option {unknown[0]!r}; known: {', '.join(known)}")
