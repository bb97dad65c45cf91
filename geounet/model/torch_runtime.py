"""PyTorch as a runtime: any device, any network, any precision."""

import os
import threading
from collections.abc import Callable
from dataclasses import replace

# Large buffers on huge pages: the kernel would otherwise hand out activations in pages of 4 KiB,
# which costs up to a third of a forward pass. torch reads the variable at its first allocation.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

import numpy as np
import torch

from geounet.errors import GeounetError
from geounet.memory import keep_freed
from geounet.model.runtime import Hardware


class TorchRuntime:
    """PyTorch on one device.

    One forward runs at a time and uses all of the device; other threads read and write meanwhile.
    Results then depend neither on the number of worker threads nor on their timing.
    """

    def __init__(self, network: torch.nn.Module, hardware: Hardware) -> None:
        keep_freed()
        self._hardware = hardware
        self._lock = threading.Lock()
        self._dtype = torch.float64 if hardware.precision == "float64" else torch.float32
        self._network: Callable[[torch.Tensor], torch.Tensor] = (
            network.eval().to(hardware.device, self._dtype).to(memory_format=torch.channels_last)
        )
        if hardware.engine == "torch-compile":
            # Sizes are few, and code for any size takes longer to make and to run.
            self._network = torch.compile(self._network, dynamic=False)
        self._largest: int | None = None

    def predict(self, patches: np.ndarray) -> np.ndarray:
        """See :meth:`Runtime.predict`. Halves the batch and goes on where the memory runs out.

        Raises:
            GeounetError: even a single patch does not fit into the device's memory, or
                ``torch.compile`` failed.
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
                    if is_out_of_memory(error):
                        self._shrink(count, patches.shape)
                    elif self._hardware.engine == "torch-compile":
                        reason = str(error).strip().partition("\n")[0]
                        raise GeounetError(
                            f"torch.compile failed ({reason}); use --runtime torch"
                        ) from error
                    else:
                        raise
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
        batch = torch.from_numpy(patches)
        if device.type == "cuda":
            batch = batch.pin_memory()  # copies that run beside the kernels
        batch = batch.to(device, self._dtype, non_blocking=True)
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
        if self._hardware.precision == "float16" and not bool(probabilities.isfinite().all()):
            # Activations beyond 65504: float32 has no such bound, and stays from here on.
            self._hardware = replace(self._hardware, precision="float32")
            return self._forward(patches)
        return _to_memory(probabilities.float())


def _to_memory(values: torch.Tensor) -> np.ndarray:
    """A tensor as an array; from a GPU by way of pinned memory, which takes a fifth of the time."""
    if not values.is_cuda:
        return values.cpu().numpy()
    pinned = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
    pinned.copy_(values, non_blocking=True)
    torch.cuda.current_stream(values.device).synchronize()
    return pinned.numpy()


def is_out_of_memory(error: Exception) -> bool:
    """Whether torch has found no room, on whatever device."""
    # torch has a class of its own for accelerators; the CPU allocator raises a plain RuntimeError.
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
