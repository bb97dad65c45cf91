"""Which runtime computes a network, and where: chosen without importing any of them."""

import importlib.util
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, get_args

import numpy as np

from geounet.errors import ConfigError, ModelError
from geounet.model.bundle import ModelBundle

Precision = Literal["auto", "float32", "bfloat16", "float16", "float64"]
"""Arithmetic of the forward pass; ``auto`` takes the fastest the device computes natively."""
Engine = Literal["auto", "torch", "torch-compile", "onnx", "openvino"]
"""Library that computes the network; ``auto`` takes the fastest installed for the device.
``torch-compile`` is torch after a minute or more of ``torch.compile`` for each size of patches."""
_PACKAGES = {
    "torch": "torch", "torch-compile": "torch", "onnx": "onnxruntime", "openvino": "openvino",
}  # fmt: skip
_PRECISIONS = {
    "torch": get_args(Precision)[1:],
    "torch-compile": get_args(Precision)[1:],
    "onnx": ("float32",),
    "openvino": ("float32", "bfloat16"),
}
_DRIVERS = ("/proc/driver/nvidia", "/dev/nvidiactl", "/dev/kfd", "/dev/dxg", "/dev/nvmap")
# What a Linux kernel shows where it drives a GPU that torch could use (NVIDIA, AMD, WSL, Tegra).


class Runtime(Protocol):
    """What the tiling engine needs of an inference runtime."""

    def predict(self, patches: np.ndarray) -> np.ndarray:
        """Class probabilities of normalised patches.

        Args:
            patches: float32 ``(n, bands, height, width)``, sides multiples of the network's stride.

        Returns:
            float32 ``(n, classes, height, width)``, less ``shrink`` of the model's facts on every
            side; sums to 1 over the classes, to the precision of the arithmetic.
        """
        ...


@dataclass(frozen=True)
class Hardware:
    """Where and how a network runs."""

    device: str
    """``cpu``, ``cuda``, ``cuda:N`` or ``mps``."""
    precision: str
    """A resolved :data:`Precision`, never ``auto``."""
    engine: str = "torch"
    """A resolved :data:`Engine`, never ``auto``."""
    fallback: bool = False
    """Whether torch takes over a network that ``engine`` cannot express."""


def resolve_hardware(
    device: str = "auto", precision: str = "auto", engine: str = "auto"
) -> Hardware:
    """Turn ``auto`` into what this machine has.

    bfloat16 on the CPU is taken only where the processor has instructions for it (AMX or AVX-512
    BF16); elsewhere it is emulated and slower than float32.

    Raises:
        ConfigError: unknown names, a device that this machine does not have, a runtime that is not
            installed, or a precision that it does not compute.
    """
    for name, value, known in (
        ("precision", precision, get_args(Precision)),
        ("runtime", engine, get_args(Engine)),
    ):
        if value not in known:
            raise ConfigError(f"{name} {value!r} is none of {', '.join(known)}")
    device = _resolve_device(device)
    chosen = engine if engine != "auto" else _fastest(device, precision)
    if not _installed(chosen):
        raise ConfigError(
            f"runtime {chosen!r} is not installed; pip install 'geounet[{chosen}]', or --runtime"
            " auto"
        )
    if chosen in ("onnx", "openvino") and device != "cpu":
        raise ConfigError(
            f"runtime {chosen!r} runs on the CPU alone; use --device cpu or --runtime torch"
        )
    if precision == "auto":
        precision = _native_precision(device, chosen)
    if precision not in _PRECISIONS[chosen]:
        raise ConfigError(
            f"runtime {chosen!r} computes in {' or '.join(_PRECISIONS[chosen])}, not in"
            f" {precision}; use --runtime torch"
        )
    return Hardware(device, precision, chosen, engine == "auto" and chosen != "torch")


def _resolve_device(device: str) -> str:
    kind, _, number = device.partition(":")
    if kind not in ("auto", "cpu", "cuda", "mps") or (
        number and not (kind == "cuda" and number.isdecimal())
    ):
        raise ConfigError(f"device {device!r} is none of auto, cpu, cuda, cuda:N, mps")
    if device == "cpu" or (device == "auto" and surely_no_gpu()):
        return "cpu"
    import torch

    if device == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    there = (
        torch.cuda.is_available() and int(number or 0) < torch.cuda.device_count()
        if kind == "cuda"
        else torch.backends.mps.is_available()
    )
    if not there:
        raise ConfigError(f"device {device!r} is not on this machine; use --device cpu")
    return device


def surely_no_gpu() -> bool:
    """True where it takes no torch, whose import takes a second or two, to know that."""
    return sys.platform == "linux" and not any(Path(path).exists() for path in _DRIVERS)


def _installed(engine: str) -> bool:
    return importlib.util.find_spec(_PACKAGES[engine]) is not None


def _fastest(device: str, precision: str) -> str:
    """OpenVINO where it can; ONNX Runtime is slower than torch on CPUs with bfloat16."""
    can = device == "cpu" and precision in ("auto", *_PRECISIONS["openvino"])
    return "openvino" if can and _installed("openvino") else "torch"


def _native_precision(device: str, engine: str) -> str:
    if engine == "onnx":
        return "float32"
    if engine == "openvino":
        from geounet.model.graph_runtime import openvino_core

        native = "BF16" in openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        return "bfloat16" if native else "float32"
    if device.startswith("cuda"):
        # As fast as bfloat16 and eight times as fine.
        return "float16"
    return "bfloat16" if device == "cpu" and has_bfloat16(device) else "float32"


def has_bfloat16(kind: str) -> bool:
    """Whether torch's device of this kind, ``cpu`` or ``cuda``, has instructions for bfloat16:
    elsewhere it is emulated, several times slower than float32.
    """
    import torch

    if kind == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


_runtimes: dict[tuple[str, Hardware], Runtime] = {}
_runtimes_lock = threading.Lock()


def runtime_for(bundle: ModelBundle, hardware: Hardware) -> Runtime:
    """The process's runtime for a model; built once, shared by all threads.

    Raises:
        ModelError: the network cannot be built, or the runtime cannot express it.
    """
    key = (bundle.digest, hardware)
    with _runtimes_lock:
        if key not in _runtimes:
            _runtimes.clear()  # one model at a time: a second one would only hold memory
            _runtimes[key] = _build(bundle, hardware)
        return _runtimes[key]


def _build(bundle: ModelBundle, hardware: Hardware) -> Runtime:
    if hardware.engine in ("onnx", "openvino"):
        from geounet.model.graph_runtime import OnnxRuntime, OpenvinoRuntime

        try:
            if hardware.engine == "onnx":
                return OnnxRuntime(bundle)
            return OpenvinoRuntime(bundle, hardware.precision)
        except ModelError:
            if not hardware.fallback:
                raise
    from geounet.model.convert import built_network, loaded_network
    from geounet.model.torch_runtime import TorchRuntime

    if hardware.engine == "torch-compile":  # which does not take a traced network
        return TorchRuntime(built_network(bundle), hardware)
    return TorchRuntime(loaded_network(bundle), hardware)
