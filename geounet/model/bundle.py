"""A model as one file: safetensors weights with the facts in the header. No pickle anywhere."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from geounet.errors import ConfigError, ModelError, OutputError
from geounet.files import write_whole
from geounet.model.spec import ModelSpec

if TYPE_CHECKING:
    import torch

DEFAULT_MODEL = "landcover-rgb"
"""Name of the model that is used without ``-m``."""
_SUFFIX = ".safetensors"
_KEY = "geounet"
_HEADER_LIMIT = 100_000_000  # bytes; the limit of the safetensors format itself


@dataclass(frozen=True)
class ModelBundle:
    """A model's facts and weights; picklable, so that a worker can build the network itself."""

    spec: ModelSpec
    """The facts."""
    weights: bytes
    """The whole safetensors file."""
    digest: str
    """SHA-256 of ``weights``, hexadecimal: the identity under which networks are cached."""

    def tensors(self) -> "dict[str, torch.Tensor]":
        """The weights as float32 (integer buffers as they are) CPU tensors."""
        import torch

        return {
            key: value.to(torch.float32) if value.is_floating_point() else value
            for key, value in self.stored_tensors().items()
        }

    def stored_tensors(self) -> "dict[str, torch.Tensor]":
        """The weights with the dtypes of the file.

        Raises:
            ModelError: the weights are damaged.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load

        try:
            return load(self.weights)
        except (SafetensorError, ValueError) as error:
            raise ModelError(
                f"model {self.spec.name!r}: the weights are damaged ({error}); get the file again"
            ) from error


def shipped_models() -> list[str]:
    """Names of the models inside the package."""
    folder = resources.files("geounet.model") / "weights"
    if not folder.is_dir():
        return []
    return sorted(
        item.name.removesuffix(".safetensors")
        for item in folder.iterdir()
        if item.name.endswith(".safetensors")
    )


def load_bundle(model: str | Path) -> ModelBundle:
    """Read a model by the name of a shipped one or by its file's path.

    Raises:
        ModelError: no such model, or the file is damaged or not a geounet model.
    """
    path = Path(model)
    try:
        # A folder that happens to bear a shipped model's name does not hide the model.
        if not path.is_file() and str(model) in shipped_models():
            path = Path(str(resources.files("geounet.model") / "weights" / f"{model}.safetensors"))
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise ModelError(
            f"{model}: no such file, and no shipped model of that name;"
            f" shipped: {', '.join(shipped_models()) or 'none'}"
        ) from error
    except OSError as error:
        raise ModelError(
            f"{path}: cannot be read: {error.strerror}; give a .safetensors file"
        ) from error
    try:
        spec = ModelSpec.from_json(_metadata(data)[_KEY])
    except (LookupError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise ModelError(
            f"{path}: not a geounet model or damaged ({error});"
            " give a .safetensors file made by geounet"
        ) from error
    except ConfigError as error:
        raise ModelError(f"{path}: {error}") from error
    return ModelBundle(spec, data, hashlib.sha256(data).hexdigest())


def check_file_name(path: Path) -> None:
    """Refuse a name that no model file has, before anything is computed.

    Raises:
        ConfigError: its suffix is another one.
    """
    if path.suffix != _SUFFIX:
        raise ConfigError(f"{path}: a model file is called NAME{_SUFFIX}")


def save_bundle(
    path: Path, spec: ModelSpec, tensors: "Mapping[str, torch.Tensor]", half: bool = False
) -> ModelBundle:
    """Write a model file, whole or not at all.

    Args:
        path: the ``.safetensors`` file; replaced if it exists.
        spec: the facts.
        tensors: the network's state dict.
        half: store floating-point tensors as float16 (half the size; loaded as float32 again).
            Tensors of one dimension (biases, the statistics of normalisation layers) are small in
            size and wide in range and stay float32, as does whatever float16 cannot hold.
    """
    from safetensors.torch import save

    stored = {
        key: (halved(value) if half else value).detach().cpu().contiguous()
        for key, value in tensors.items()
    }
    data = save(stored, metadata={_KEY: spec.to_json()})
    try:
        write_whole(path, data)
    except OutputError as error:
        raise ModelError(str(error)) from error
    return ModelBundle(spec, data, hashlib.sha256(data).hexdigest())


def halved(value: "torch.Tensor") -> "torch.Tensor":
    """``value`` as float16 where that costs little precision and overflows nowhere."""
    import torch

    if value.ndim < 2 or not value.is_floating_point():
        return value
    half = value.to(torch.float16)
    return half if bool(torch.isfinite(half).all()) else value


def _metadata(data: bytes) -> Mapping[str, str]:
    """The string map in a safetensors header, read without torch; checks the length of the file."""
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8:
        raise ValueError("the file is too short")
    if length > _HEADER_LIMIT or 8 + length > len(data):
        raise ValueError("the header is longer than the file")
    header = json.loads(data[8 : 8 + length])
    metadata: Mapping[str, str] = header.pop("__metadata__", {})
    if _KEY not in metadata:
        raise ValueError("it holds no facts of a model")
    end = max((item["data_offsets"][1] for item in header.values()), default=0)
    if 8 + length + end != len(data):
        raise ValueError(f"{8 + length + end} bytes expected, {len(data)} found")
    return metadata
