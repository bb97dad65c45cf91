"""Networks in the forms that run without the libraries that built them, kept in the user's cache.

Building a network imports segmentation-models-pytorch, and with it timm and torchvision: several
seconds, more than a small scene takes. So a network is traced once, as TorchScript for torch and
as ONNX for the other runtimes, and kept under the digest of its model file. Both forms take patches
of any size; that is checked on a second size before a form is kept.
"""

import os
import secrets
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from platformdirs import user_cache_path

from geounet.errors import ModelError
from geounet.model.bundle import ModelBundle

if TYPE_CHECKING:
    import torch

FORMAT = 1
"""Version of the conversion; a change makes what is cached out of date."""
_TOLERANCE = 1e-3
# A form that took a size for a constant is off by the size of the values themselves or fails.


def cache_folder() -> Path:
    """Where converted models are kept: ``$GEOUNET_CACHE``, else the user's cache folder."""
    chosen = os.environ.get("GEOUNET_CACHE")
    return Path(chosen) if chosen else user_cache_path("geounet")


def cached(name: str, write: Callable[[Path], None]) -> Path:
    """The file ``name`` of the cache, written by ``write`` if it is not there; whole or not at all.

    Raises:
        ModelError: the cache cannot be written to.
    """
    path = cache_folder() / name
    if path.exists():
        return path
    temporary = path.with_name(f".{secrets.token_hex(4)}.{name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write(temporary)
            with temporary.open("rb") as stream:
                os.fsync(stream.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise ModelError(
            f"{path}: cannot be written ({error.strerror}); set GEOUNET_CACHE to a folder of yours"
        ) from error
    return path


def onnx_file(bundle: ModelBundle) -> Path:
    """The model as ONNX, from normalised patches of any number and size to probabilities.

    Raises:
        ModelError: the network cannot be expressed, or the cache cannot be written to.
    """
    return cached(f"{bundle.digest[:32]}.{FORMAT}.onnx", lambda path: _write_onnx(bundle, path))


def loaded_network(bundle: ModelBundle) -> "torch.nn.Module":
    """The network with its weights, traced if that is possible, in evaluation mode.

    Raises:
        ModelError: the network cannot be built.
    """
    import torch

    name = f"{bundle.digest[:32]}.{FORMAT}.torch{torch.__version__.partition('+')[0]}.pt"
    try:
        path = cached(name, lambda path: _write_script(bundle, path))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # TorchScript is announced to be replaced one day
            network: torch.nn.Module = torch.jit.load(path, map_location="cpu")
    except (ModelError, RuntimeError):
        return built_network(bundle)  # slower to start, the same otherwise
    return network


def built_network(bundle: ModelBundle) -> "torch.nn.Module":
    """The network with its weights, in evaluation mode, by the library it comes from."""
    from geounet.model.networks import build_network

    network = build_network(bundle.spec)
    network.load_state_dict(bundle.tensors())
    return network.eval()


def _write_script(bundle: ModelBundle, path: Path) -> None:
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(_traced(bundle, built_network(bundle)), path)


def _write_onnx(bundle: ModelBundle, path: Path) -> None:
    import torch

    network = torch.nn.Sequential(built_network(bundle), torch.nn.Softmax(dim=1)).eval()
    _traced(bundle, network)  # the exporter traces alike, and says nothing about other sizes
    small, _ = _examples(bundle)
    axes = {0: "n", 2: "height", 3: "width"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            torch.onnx.export(
                network,
                (small,),
                path,
                input_names=["patches"],
                output_names=["probabilities"],
                dynamic_axes={"patches": axes, "probabilities": axes},
                opset_version=17,
                dynamo=False,
            )
        except (RuntimeError, TypeError, ValueError) as error:
            raise _not_expressible(bundle, error) from error


def _traced(bundle: ModelBundle, network: "torch.nn.Module") -> Any:
    """``network`` as TorchScript, compared with itself at a size that tracing has not seen."""
    import torch

    small, other = _examples(bundle)
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        try:
            traced = torch.jit.trace(network, small, check_trace=False)
            expected, found = network(other).numpy(), traced(other).numpy()
        except (RuntimeError, TypeError, ValueError) as error:
            raise _not_expressible(bundle, error) from error
    scale = max(1.0, float(np.abs(expected).max()))
    if expected.shape != found.shape or np.abs(expected - found).max() > _TOLERANCE * scale:
        raise _not_expressible(bundle, ValueError("other values at another patch size"))
    return traced


def _examples(bundle: ModelBundle) -> "tuple[torch.Tensor, torch.Tensor]":
    """A small input to trace with and a larger one of another shape, to check with."""
    import torch

    spec = bundle.spec
    least = -(-(2 * spec.shrink + 1) // spec.stride) * spec.stride + 2 * spec.stride
    generator = torch.Generator().manual_seed(0)
    shapes = ((1, least, least), (2, least + spec.stride, least + 2 * spec.stride))
    small, other = (
        torch.randn(count, len(spec.bands), height, width, generator=generator)
        for count, height, width in shapes
    )
    return small, other


def _not_expressible(bundle: ModelBundle, error: Exception) -> ModelError:
    reason = " ".join(str(error).split())[:200]
    return ModelError(
        f"model {bundle.spec.name!r}: {bundle.spec.arch} cannot be converted ({reason});"
        " use --runtime torch"
    )
