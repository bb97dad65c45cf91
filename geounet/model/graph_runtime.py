"""ONNX Runtime and OpenVINO: the converted model on the CPU, without torch in the process."""

import threading
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from geounet.errors import ModelError
from geounet.memory import keep_freed
from geounet.model.bundle import ModelBundle
from geounet.model.convert import onnx_file

if TYPE_CHECKING:
    import openvino


class OnnxRuntime:
    """ONNX Runtime, float32; one forward at a time uses all cores, as in ``TorchRuntime``."""

    def __init__(self, bundle: ModelBundle) -> None:
        """Convert the model, or take it from the cache.

        Raises:
            ModelError: the network cannot be expressed as ONNX.
        """
        import onnxruntime

        keep_freed()
        self._lock = threading.Lock()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.enable_mem_pattern = False  # patterns are kept per size, and sizes vary
        path = onnx_file(bundle)
        try:
            self._session = onnxruntime.InferenceSession(
                path, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its errors share no public base
            raise _unusable(bundle, error) from error

    def predict(self, patches: np.ndarray) -> np.ndarray:
        """See :meth:`geounet.model.runtime.Runtime.predict`."""
        with self._lock:
            result: np.ndarray = self._session.run(None, {"patches": patches})[0]
        return result


class OpenvinoRuntime:
    """OpenVINO on the CPU; one forward at a time uses all cores, as in ``TorchRuntime``."""

    def __init__(self, bundle: ModelBundle, precision: str) -> None:
        """Convert the model, or take it from the cache.

        Args:
            bundle: the model.
            precision: ``float32`` or ``bfloat16``.

        Raises:
            ModelError: the network cannot be expressed as ONNX.
        """
        keep_freed()
        hint = {"float32": "f32", "bfloat16": "bf16"}[precision]
        self._lock = threading.Lock()
        path = onnx_file(bundle)
        try:
            core = openvino_core()
            compiled = core.compile_model(
                core.read_model(path), "CPU", {"INFERENCE_PRECISION_HINT": hint}
            )
        except RuntimeError as error:
            raise _unusable(bundle, error) from error
        self._request = compiled.create_infer_request()
        self._classes, self._lost = len(bundle.spec.legend), 2 * bundle.spec.shrink

    def predict(self, patches: np.ndarray) -> np.ndarray:
        """See :meth:`geounet.model.runtime.Runtime.predict`."""
        from openvino import Tensor

        height, width = (size - self._lost for size in patches.shape[2:])
        result = np.empty((len(patches), self._classes, height, width), np.float32)
        with self._lock:
            # One patch at a time: activations of several fit less well into the processor's cache.
            # Both arrays are used where they lie; by default OpenVINO copies them.
            for number in range(len(patches)):
                part = slice(number, number + 1)
                self._request.set_input_tensor(Tensor(patches[part], shared_memory=True))
                self._request.set_output_tensor(Tensor(result[part], shared_memory=True))
                self._request.infer()
        return result


@cache
def _core() -> "openvino.Core":
    import openvino

    return openvino.Core()


_making_core = threading.Lock()


def openvino_core() -> "openvino.Core":
    """The process's one OpenVINO, which lives as long as the process.

    On processors with matrix tiles (AMX) OpenVINO gives the thread that makes it a stack for
    signals, and frees that stack in whichever thread it ends: the next signal to the first thread,
    Ctrl-C or the end of a child, would then end the process.
    """
    with _making_core:
        return _core()


def _unusable(bundle: ModelBundle, error: Exception) -> ModelError:
    reason = " ".join(str(error).split())[:200]
    return ModelError(
        f"model {bundle.spec.name!r}: the converted network cannot be used ({reason});"
        " use --runtime torch"
    )
