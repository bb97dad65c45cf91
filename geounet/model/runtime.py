"""Run a network: normalised patches in, class probabilities out."""

import threading
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

import numpy as np
import torch

from geounet.errors import ConfigError, GeounetError
from geounet.model.bundle import ModelBundle
from geounet.model.networks import build_network

Precision = Literal["auto", "float32", "bfloat16", "float16", "float64"]
"""Arithmetic of the forward pass; ``auto`` takes the fastest the device computes natively."""


class Runtime(Protocol):
    """What the tiling engine needs of an inference runtime."""

    def predict(self, patches: np.ndarray) -> np.ndarray:
        """Class probabilities of normalised patches.

        Args:
            patches: float32 ``(n, bands, height, width)``, sides multiples of the network's stride.

        Returns:
            float32 ``(n, classes, height, width)``, less ``shrink`` of the model's facts on every
            side; sums to 1 over the classes.
        """
        ...


@dataclass(frozen=True)
class Hardware:
    """Where and how a network runs."""

    device: str
    """``cpu``, ``cuda``, ``cuda:N`` or ``mps``."""
    precision: str
    """A resolved :data:`Precision`, never ``auto``."""


def resolve_hardware(device: str = "auto", precision: str = "auto") -> Hardware:
    """Turn ``auto`` into what this machine has.

    bfloat16 on the CPU is taken only where the processor has instructions for it (AMX or AVX-512
    BF16); elsewhere it is emulated and slower than float32.

    Raises:
        ConfigError: unknown names, or a device that this machine does not have.
    """
    if precision not in get_args(Precision):
        raise ConfigError(f"precision {precision!r} is none of {', '.join(get_args(Precision))}")
    if device == "auto":
        device = "cpu"
        if torch.cuda.is_available():
            device = "cuda"
        elif torch.backends.mps.is_available():
            device = "mps"
    kind, _, number = device.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (
        number and not (kind == "cuda" and number.isdecimal())
    ):
        raise ConfigError(f"device {device!r} is none of auto, cpu, cuda, cuda:N, mps")
    if kind == "cuda" and (
        not torch.cuda.is_available() or int(number or 0) >= torch.cuda.device_count()
    ):
        raise ConfigError(f"device {device!r} is not on this machine; use --device cpu")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("device 'mps' is not on this machine; use --device cpu")
    if precision == "auto":
        precision = _native_precision(kind)
    return Hardware(device, precision)


def _native_precision(kind: str) -> str:
    if kind == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float16"
    if kind == "cpu" and torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return "bfloat16"
    return "float32"


class TorchRuntime:
    """PyTorch on one device.

    One forward runs at a time and uses all of the device; other threads read and write meanwhile.
    Results then depend neither on the number of worker threads nor on their timing.
    """

    def __init__(self, network: torch.nn.Module, hardware: Hardware) -> None:
        self._hardware = hardware
        self._lock = threading.Lock()
        self._dtype = torch.float64 if hardware.precision == "float64" else torch.float32
        self._network = (
            network.eval().to(hardware.device, self._dtype).to(memory_format=torch.channels_last)
        )
        self._largest: int | None = None

    def predict(self, patches: np.ndarray) -> np.ndarray:
        """See :meth:`Runtime.predict`. Halves the batch and goes on where the memory runs out.

        Raises:
            GeounetError: even a single patch does not fit into the device's memory.
        """
        with self._lock:
            done: list[np.ndarray] = []
            position = 0
            while position < len(patches):
                count = min(self._largest or len(patches), len(patches) - position)
                try:
                    done.append(self._forward(patches[position : position + count]))
                    position += count
                except (torch.OutOfMemoryError, RuntimeError) as error:
                    if not _is_out_of_memory(error):
                        raise
                    self._shrink(count, patches.shape)
        return done[0] if len(done) == 1 else np.concatenate(done)

    def _shrink(self, count: int, shape: tuple[int, ...]) -> None:
        if count == 1:
            raise GeounetError(
                f"one patch of {shape[2]} x {shape[3]} pixels does not fit into the memory of"
                f" {self._hardware.device}; use a smaller --tile-size or --memory"
            )
        self._largest = count // 2
        if self._hardware.device.startswith("cuda"):
            torch.cuda.empty_cache()

    def _forward(self, patches: np.ndarray) -> np.ndarray:
        device = torch.device(self._hardware.device)
        batch = torch.from_numpy(patches).to(device, self._dtype)
        batch = batch.contiguous(memory_format=torch.channels_last)
        low = self._hardware.precision in ("bfloat16", "float16")
        with (
            torch.inference_mode(),
            torch.autocast(
                device.type,
                dtype=getattr(torch, self._hardware.precision) if low else None,
                enabled=low,
            ),
        ):
            logits = self._network(batch)
            probabilities = torch.softmax(logits.to(self._dtype), dim=1)
        return probabilities.float().cpu().numpy()


def _is_out_of_memory(error: Exception) -> bool:
    # torch has a class of its own for accelerators; the CPU allocator raises a plain RuntimeError.
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


_runtimes: dict[tuple[str, Hardware], TorchRuntime] = {}
_runtimes_lock = threading.Lock()


def runtime_for(bundle: ModelBundle, hardware: Hardware) -> TorchRuntime:
    """The process's runtime for a model; built once, shared by all threads."""
    key = (bundle.digest, hardware)
    with _runtimes_lock:
        if key not in _runtimes:
            network = build_network(bundle.spec)
            network.load_state_dict(bundle.tensors())
            _runtimes.clear()  # one model at a time: a second one would only hold memory
            _runtimes[key] = TorchRuntime(network, hardware)
        return _runtimes[key]
