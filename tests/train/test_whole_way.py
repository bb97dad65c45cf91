"""From annotated scenes to a mask: trained, exported to a file, segmented with it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import rasterio
from geounet_cli.app import app
from typer.testing import CliRunner

from geounet.model.bundle import load_bundle
from geounet.train.config import NetworkConfig
from geounet.train.export import export
from geounet.train.fit import CHECKPOINT, fit
from tests.helpers import noise, write_scene
from tests.train.tiny import config_for


@pytest.mark.parametrize(
    ("arch", "options", "window", "exact"),
    [
        ("unet-paper", {"width": 1}, 224, True),
        ("unet-light", {"width": 1 / 64}, 64, True),
        ("unet-residual", {"width": 1 / 64}, 64, True),
        ("fcn-32s", {"width": 1 / 64, "head": 4}, 64, True),
        ("fcn-16s", {"width": 1 / 64, "head": 4}, 64, True),
        ("smp:DeepLabV3Plus", {"decoder_channels": 16}, 64, False),
    ],
)
def test_every_kind_of_network_goes_the_whole_way(
    tmp_path: Path, arch: str, options: dict[str, Any], window: int, exact: bool
) -> None:
    plain = config_for(tmp_path, steps=2, window=window)
    network = NetworkConfig(
        name="whole", arch=arch, bands=plain.network.bands, resolution=0.0, options=options,
        mean=plain.network.mean, std=plain.network.std,
        encoder="mobilenet_v2" if arch.startswith("smp:") else None,
    )  # fmt: skip
    fit(replace(plain, network=network), tmp_path / "run")
    model = tmp_path / "model.safetensors"
    export(tmp_path / "run" / CHECKPOINT, model, "a test")
    spec = load_bundle(model).spec
    assert spec.exact is exact
    scene = write_scene(tmp_path / "scene.tif", noise(90, 130))
    done = CliRunner().invoke(
        app,
        ["segment", str(scene), "-m", str(model), "-o", str(tmp_path / "out"), "--device", "cpu"],
    )
    assert done.exit_code == 0, done.output
    (mask,) = (tmp_path / "out").glob("*mask.tif")
    with rasterio.open(mask) as written:
        assert written.shape == (90, 130)
        assert (written.read(1) < 3).all()
