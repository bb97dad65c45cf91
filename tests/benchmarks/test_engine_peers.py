"""A scene of 4096 x 4096 px by geounet, nnU-Net's predictor and GeoDeep: whole processes, one run.

``GEOUNET_BENCH_SCENES`` names a folder with the scenes ``S1.tif`` (4096 px) and ``C1.tif``
(2048 px) and the weights ``M1t.pt`` of smp.Unet on ResNet-18 with four classes, made by
``mkdata.py`` and ``mkmodels.py`` of ``../shared/bench/inference``. ``GEOUNET_BENCH_PEERS`` is the
interpreter of an environment with torch, segmentation-models-pytorch, ``nnunetv2`` and ``geodeep``.
The peers compute in float32, geounet in what it takes by itself; pixels are compared with one
forward pass of torch in float32 over the smaller scene.
"""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch

from geounet.legend import LandClass, Legend
from geounet.model.bundle import save_bundle
from geounet.model.networks import build_network
from geounet.model.runtime import resolve_hardware
from tests.benchmarks.table import record
from tests.benchmarks.test_polygon_peers import measured
from tests.helpers import spec_for

SCENES = Path(os.environ.get("GEOUNET_BENCH_SCENES", "missing"))
PEERS = os.environ.get("GEOUNET_BENCH_PEERS")
FOUR = Legend(tuple(LandClass(i, name, (i, i, i)) for i, name in enumerate("abcd")))
SPEC = spec_for(
    32, 311, 128, arch="smp:Unet", encoder="resnet18", legend=FOUR, mean=(0.0,) * 3,
    std=(1.0,) * 3, margin_curve=((32, 2.0e-3), (64, 5.5e-4), (96, 1.4e-4), (128, 1.7e-5)),
)  # fmt: skip
"""Facts of the weights, as ``geounet calibrate`` measures them."""
BY_NNUNET = """
import sys, types, numpy, rasterio, torch, segmentation_models_pytorch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
scene, weights, out = sys.argv[1:]
network = segmentation_models_pytorch.Unet("resnet18", encoder_weights=None, classes=4).eval()
network.load_state_dict(torch.load(weights, map_location="cpu"))
network.requires_grad_(False)
predictor = nnUNetPredictor(
    tile_step_size=0.875, use_gaussian=True, use_mirroring=False,
    perform_everything_on_device=False, device=torch.device("cpu"), allow_tqdm=False)
predictor.network = network
predictor.configuration_manager = types.SimpleNamespace(patch_size=(512, 512))
predictor.label_manager = types.SimpleNamespace(num_segmentation_heads=4)
predictor.allowed_mirroring_axes = None
with rasterio.open(scene) as source:
    image, profile = source.read(), source.profile
logits = predictor.predict_sliding_window_return_logits(
    torch.from_numpy(image)[:, None].float().div_(255))
mask = logits[:, 0].argmax(0).to(torch.uint8).numpy()
form = dict(count=1, tiled=True, blockxsize=512, blockysize=512, compress="DEFLATE")
with rasterio.open(out, "w", **(profile | form)) as target:
    target.write(mask, 1)
"""
BY_GEODEEP = """
import sys
from geodeep import run
from geodeep.segmentation import save_mask_to_raster
scene, model, out = sys.argv[1:]
save_mask_to_raster(scene, run(scene, model, output_type="raw"), out)
"""
ROUNDS = 2
LIMITS = {
    "bfloat16": {"nnU-Net": 3.0, "GeoDeep": 1.7},
    "float32": {"nnU-Net": 1.5, "GeoDeep": 0.8},
}
"""How many times faster geounet must be, by what it computes in by itself on this processor."""


def geodeep_model(path: Path, network: torch.nn.Module) -> Path:
    """ONNX with the facts that GeoDeep reads: tiles of 512 px that overlap by an eighth."""
    import onnx

    whole = torch.nn.Sequential(network, torch.nn.Softmax(dim=1)).eval()
    torch.onnx.export(whole, (torch.zeros(1, 3, 512, 512),), path, dynamo=False, opset_version=17)
    model = onnx.load(path)
    facts = {
        "model_type": "Segmentor", "resolution": 10, "tiles_overlap": 12.5, "seg_thresh": 0,
        "seg_small_segment": 0, "class_names": {str(i): f"c{i}" for i in range(4)},
    }  # fmt: skip
    for key, value in facts.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, json.dumps(value)
    onnx.save(model, path)
    return path


def share_changed(mask: Path, reference: np.ndarray) -> float:
    with rasterio.open(mask) as dataset:
        return float((dataset.read(1) != reference).mean())


@pytest.mark.timeout(3600)
@pytest.mark.skipif(not SCENES.is_dir() or PEERS is None, reason="see the module's docstring")
def test_faster_and_truer_than_the_peers(tmp_path: Path) -> None:
    weights = SCENES / "M1t.pt"
    network = build_network(SPEC)
    network.load_state_dict(torch.load(weights, map_location="cpu"))
    save_bundle(tmp_path / "m.safetensors", SPEC, network.state_dict())
    graph = geodeep_model(tmp_path / "m.onnx", network.eval())
    own = (
        sys.executable, "-m", "geounet_cli.app", "segment", "{scene}", "-m",
        str(tmp_path / "m.safetensors"), "-o", str(tmp_path), "--no-polygons", "--overwrite", "-q",
        "--resolution", "scene",
    )  # fmt: skip
    out = tmp_path / "peer.tif"
    commands = {
        "geounet": own,
        "nnU-Net": (str(PEERS), "-c", BY_NNUNET, "{scene}", str(weights), str(out)),
        "GeoDeep": (str(PEERS), "-c", BY_GEODEEP, "{scene}", str(graph), str(out)),
    }
    with rasterio.open(SCENES / "C1.tif") as dataset, torch.inference_mode():
        image = torch.from_numpy(dataset.read()[None]).float() / 255
        reference = network(image)[0].argmax(0).numpy()
    changed, seconds = {}, {}
    for name, command in commands.items():
        small, large = (
            [part.replace("{scene}", str(SCENES / f"{stem}.tif")) for part in command]
            for stem in ("C1", "S1")
        )
        measured(*small)  # conversions and files are then in memory
        result = tmp_path / "C1_mask.tif" if name == "geounet" else out
        changed[name] = share_changed(result, reference)
        seconds[name], megabytes = min(measured(*large) for _ in range(ROUNDS))
        print(f"\n{name}: {seconds[name]:.1f} s, {megabytes} MB, {changed[name]:.4%} changed")
    exact = [part.replace("{scene}", str(SCENES / "C1.tif")) for part in own]
    measured(*exact, "--precision", "float32")
    precise = share_changed(tmp_path / "C1_mask.tif", reference)
    print(f"\ngeounet in float32: {precise:.4%} changed")
    precision = resolve_hardware("cpu").precision
    for name, least in LIMITS[precision].items():
        ratio = seconds["geounet"] / seconds[name]
        record(
            "Beside other programs",
            f"geounet in {precision} beside {name}, U-Net ResNet-18, 4096 x 4096 px: whole process"
            f" over whole process (geounet {seconds['geounet']:.1f} s, {name}"
            f" {seconds[name]:.1f} s; pixels unlike whole-scene inference: geounet"
            f" {changed['geounet']:.4%}, in float32 {precise:.4%}, {name} {changed[name]:.4%})",
            ratio, round(1 / least, 2),
        )  # fmt: skip
        assert ratio <= 1 / least
        assert precise <= changed["geounet"] < changed[name]
