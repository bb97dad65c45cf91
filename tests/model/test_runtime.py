"""Running networks: precision, device names, and what happens when the memory runs out."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from geounet.errors import ConfigError, GeounetError
from geounet.model.runtime import Hardware, resolve_hardware
from geounet.model.torch_runtime import TorchRuntime
from tests.helpers import Plain


class Hungry(torch.nn.Module):
    """Fits at most ``limit`` patches at once."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.network = Plain()
        self.limit = limit
        self.tried: list[int] = []

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        self.tried.append(len(image))
        if len(image) > self.limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        result: torch.Tensor = self.network(image)
        return result


def patches(count: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((count, 3, 16, 16)).astype(np.float32)


def test_out_of_memory_halves_the_batch_and_goes_on() -> None:
    hungry = Hungry(limit=2)
    runtime = TorchRuntime(hungry, Hardware("cpu", "float32"))
    expected = TorchRuntime(Plain(), Hardware("cpu", "float32")).predict(patches(9))
    np.testing.assert_allclose(runtime.predict(patches(9)), expected, atol=1e-6)
    assert hungry.tried[:3] == [9, 4, 2]
    assert max(hungry.tried[3:]) == 2  # remembered for the rest
    hungry.tried.clear()
    runtime.predict(patches(4))
    assert hungry.tried == [2, 2]


def test_a_single_patch_that_does_not_fit_is_named() -> None:
    runtime = TorchRuntime(Hungry(limit=0), Hardware("cpu", "float32"))
    with pytest.raises(GeounetError, match=r"16 x 16 pixels does not fit .* --tile-size"):
        runtime.predict(patches(3))


def test_what_float16_cannot_hold_is_computed_in_float32() -> None:
    class Loud(torch.nn.Module):
        """Its activations go beyond 65504 and come back."""

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            wide = torch.is_autocast_enabled("cpu")
            loud = image * 1e5
            return (loud.half().float() if wide else loud) / 1e5

    runtime = TorchRuntime(Loud(), Hardware("cpu", "float16"))
    expected = TorchRuntime(Loud(), Hardware("cpu", "float32")).predict(patches(2))
    np.testing.assert_allclose(runtime.predict(patches(2)), expected, atol=1e-6)


def test_other_errors_are_not_taken_for_memory() -> None:
    class Broken(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        TorchRuntime(Broken(), Hardware("cpu", "float32")).predict(patches(2))


def test_probabilities_sum_to_one_in_every_precision() -> None:
    for precision in ("float32", "bfloat16", "float64"):
        result = TorchRuntime(Plain(), Hardware("cpu", precision)).predict(patches(2))
        assert result.shape == (2, 3, 16, 16)
        assert result.dtype == np.float32
        np.testing.assert_allclose(result.sum(axis=1), 1, atol=1e-5)


def test_compiled_by_torch_it_is_the_same_network() -> None:
    if shutil.which("g++") is None:
        pytest.skip("torch.compile needs a C++ compiler")
    compiled = TorchRuntime(Plain(), Hardware("cpu", "float32", "torch-compile"))
    assert isinstance(compiled._network, torch._dynamo.OptimizedModule)
    plain = TorchRuntime(Plain(), Hardware("cpu", "float32"))
    np.testing.assert_allclose(compiled.predict(patches(2)), plain.predict(patches(2)), atol=1e-5)


def test_torch_cannot_compile_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PATH", "CXX"):
        monkeypatch.setenv(name, "/nowhere")
    code = """
import torch
from geounet.errors import GeounetError
from geounet.model.runtime import Hardware
from geounet.model.torch_runtime import TorchRuntime
from tests.helpers import Plain
from tests.model.test_runtime import patches
try:
    TorchRuntime(Plain(), Hardware("cpu", "float32", "torch-compile")).predict(patches(1))
except GeounetError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2]
    )
    assert "C++ compiler" in done.stdout, done.stderr
    assert done.stdout.strip().endswith("use --runtime torch")


def test_hardware_names() -> None:
    assert resolve_hardware("cpu", "float32", "torch") == Hardware("cpu", "float32", "torch")
    assert resolve_hardware("cpu", "auto").precision in ("float32", "bfloat16")
    for device in ("gpu", "cuda:x", "cpu:1", "mps:0"):
        with pytest.raises(ConfigError, match="is none of"):
            resolve_hardware(device)
