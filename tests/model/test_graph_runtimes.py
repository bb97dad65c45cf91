"""ONNX Runtime, OpenVINO and traced torch against the network itself, and the cache between."""

import hashlib
import importlib.util
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch

from geounet.errors import ConfigError, ModelError
from geounet.model import runtime as runtimes
from geounet.model.bundle import DEFAULT_MODEL, ModelBundle, load_bundle
from geounet.model.convert import built_network, cached, loaded_network, onnx_file
from geounet.model.runtime import Hardware, Runtime, resolve_hardware, runtime_for
from tests.helpers import brightness_model

SCENE = Path(__file__).parents[3] / "shared" / "data" / "dubai" / "t6.tif"
PACKAGES = {"onnx": "onnxruntime", "openvino": "openvino"}
needs = {
    engine: pytest.mark.skipif(
        importlib.util.find_spec(package) is None or importlib.util.find_spec("onnx") is None,
        reason=f"geounet[{engine}] is not installed",
    )
    for engine, package in PACKAGES.items()
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GEOUNET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(runtimes, "_runtimes", {})
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def shipped() -> ModelBundle:
    return load_bundle(DEFAULT_MODEL)


@pytest.fixture(scope="module")
def scene(shipped: ModelBundle) -> np.ndarray:
    """A patch of a real scene, as the network sees it."""
    if not SCENE.exists():
        pytest.skip("no real scenes beside the repository")
    with rasterio.open(SCENE) as dataset:
        data = dataset.read([1, 2, 3], window=((800, 1312), (600, 1176)))
    column = (slice(None), None, None)
    value = (data / 255 - np.array(shipped.spec.mean)[column]) / np.array(shipped.spec.std)[column]
    return value[None].astype(np.float32)


@pytest.fixture(scope="module")
def truth(shipped: ModelBundle, scene: np.ndarray) -> np.ndarray:
    """torch, float32, by the library that the network comes from."""
    with torch.inference_mode():
        return torch.softmax(built_network(shipped)(torch.from_numpy(scene)), 1).numpy()


@pytest.mark.parametrize(
    ("engine", "precision", "agreement"),
    [
        ("torch", "float32", 0.99999),
        ("torch", "bfloat16", 0.999),
        pytest.param("onnx", "float32", 0.99999, marks=needs["onnx"]),
        pytest.param("openvino", "float32", 0.99999, marks=needs["openvino"]),
        pytest.param("openvino", "bfloat16", 0.999, marks=needs["openvino"]),
    ],
)
def test_agrees_with_torch_on_a_real_scene(
    shipped: ModelBundle,
    scene: np.ndarray,
    truth: np.ndarray,
    engine: str,
    precision: str,
    agreement: float,
) -> None:
    runtime = runtime_for(shipped, Hardware("cpu", precision, engine))
    found = runtime.predict(scene)
    assert found.shape == truth.shape
    assert found.dtype == np.float32
    assert (found.argmax(1) == truth.argmax(1)).mean() >= agreement
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5 if precision == "float32" else 0.02)
    # Any other size, several at once, and the same bits every time.
    other = np.ascontiguousarray(np.concatenate([scene, scene[..., ::-1]])[..., 64:224, 32:320])
    several = runtime.predict(other)
    np.testing.assert_array_equal(several, runtime.predict(other))
    single = runtime.predict(other[1:])
    assert several.shape == (2, len(shipped.spec.legend), 160, 288)
    assert (several[1].argmax(0) == single[0].argmax(0)).mean() >= agreement


@pytest.mark.parametrize(
    "engine",
    [pytest.param("onnx", marks=needs["onnx"]), pytest.param("openvino", marks=needs["openvino"])],
)
def test_export_gives_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    bundle = load_bundle(brightness_model(tmp_path / "m.safetensors"))
    digests = []
    for name in ("one", "two"):
        monkeypatch.setenv("GEOUNET_CACHE", str(tmp_path / name))
        digests.append(hashlib.sha256(onnx_file(bundle).read_bytes()).hexdigest())
        runtime_for(bundle, Hardware("cpu", "float32", engine))
    assert digests[0] == digests[1]


def test_a_conversion_that_fails_leaves_nothing(own_cache: Path) -> None:
    def half(path: Path) -> None:
        path.write_bytes(b"half")
        raise ModelError("cannot go on")

    with pytest.raises(ModelError, match="cannot go on"):
        cached("a.onnx", half)
    assert list(own_cache.iterdir()) == []
    path = cached("a.onnx", lambda path: path.write_bytes(b"whole") and None)
    assert path.read_bytes() == b"whole"
    assert cached("a.onnx", half) == path  # there: not written again
    assert [item.name for item in own_cache.iterdir()] == ["a.onnx"]


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("GEOUNET_CACHE", str(tmp_path / "file"))
    with pytest.raises(ModelError, match="GEOUNET_CACHE"):
        cached("a.onnx", lambda path: path.touch())
    bundle = load_bundle(brightness_model(tmp_path / "m.safetensors"))
    patches = np.zeros((1, 3, 4, 4), np.float32)
    runtime = runtime_for(bundle, Hardware("cpu", "float32"))  # torch needs no cache
    assert runtime.predict(patches).shape == (1, 3, 4, 4)


def test_a_damaged_cache_does_not_stop_torch(own_cache: Path, tmp_path: Path) -> None:
    bundle = load_bundle(brightness_model(tmp_path / "m.safetensors"))
    loaded_network(bundle)
    (kept,) = own_cache.iterdir()
    kept.write_bytes(b"not a network")
    image = torch.zeros(1, 3, 5, 7)
    with torch.inference_mode():
        assert torch.equal(loaded_network(bundle)(image), built_network(bundle)(image))


class SizeBound(torch.nn.Module):
    """Takes its first input's height for a constant when traced."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image * float(image.shape[2])


def test_a_network_bound_to_one_size_stays_with_torch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = load_bundle(brightness_model(tmp_path / "m.safetensors"))
    monkeypatch.setattr("geounet.model.convert.built_network", lambda bundle: SizeBound())
    with pytest.raises(ModelError, match=r"another patch size.*--runtime torch"):
        onnx_file(bundle)
    assert isinstance(loaded_network(bundle), SizeBound)


SIGNALLED = """
import gc, os, signal, sys, threading
from pathlib import Path
from geounet.model.bundle import load_bundle
from geounet.model.graph_runtime import OpenvinoRuntime

runtimes = [OpenvinoRuntime(load_bundle(sys.argv[1]), "float32")]
thread = threading.Thread(target=lambda: (runtimes.clear(), gc.collect()))
thread.start()
thread.join()
received = []
signal.signal(signal.SIGUSR1, lambda *_: received.append(True))
os.kill(os.getpid(), signal.SIGUSR1)
print(received)
"""


@needs["openvino"]
@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="needs signals of Unix")
def test_a_signal_after_a_runtime_was_dropped_by_another_thread(tmp_path: Path) -> None:
    model = brightness_model(tmp_path / "m.safetensors")
    found = subprocess.run([sys.executable, "-c", SIGNALLED, model], capture_output=True, text=True)
    assert (found.returncode, found.stdout.strip()) == (0, "[True]"), found.stderr


def test_choice_of_the_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"torch", "openvino", "onnx"}
    monkeypatch.setattr(runtimes, "_installed", lambda engine: engine in there)
    assert resolve_hardware("cpu", "float32").engine == "openvino"
    assert resolve_hardware("cpu", "float64").engine == "torch"
    assert resolve_hardware("cpu", "float32", "onnx") == Hardware("cpu", "float32", "onnx")
    with pytest.raises(ConfigError, match="computes in float32"):
        resolve_hardware("cpu", "bfloat16", "onnx")
    with pytest.raises(ConfigError, match="is none of"):
        resolve_hardware("cpu", "auto", "tensorrt")
    there.clear()
    there.add("torch")
    assert resolve_hardware("cpu", "float32").engine == "torch"
    with pytest.raises(ConfigError, match=r"geounet\[openvino\]"):
        resolve_hardware("cpu", "float32", "openvino")


def test_torch_takes_over_what_the_fastest_cannot_express(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = load_bundle(brightness_model(tmp_path / "m.safetensors"))

    def refuse(bundle: ModelBundle, precision: str) -> Runtime:
        raise ModelError("cannot be converted")

    monkeypatch.setattr("geounet.model.graph_runtime.OpenvinoRuntime", refuse)
    runtime_for(bundle, Hardware("cpu", "float32", "openvino", fallback=True))
    with pytest.raises(ModelError, match="cannot be converted"):
        runtime_for(bundle, Hardware("cpu", "float32", "openvino"))
