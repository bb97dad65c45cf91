"""A checkpoint to a model file and a STAC item."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from geounet_cli.app import app
from typer.testing import CliRunner

from geounet.errors import ConfigError
from geounet.jobs.package import PackageOptions, package
from geounet.model import networks
from geounet.model.architectures import Architecture
from geounet.model.bundle import load_bundle
from geounet.model.stac import stac_item
from geounet.train.fit import CHECKPOINT, fit
from tests.helpers import brightness_model, noise, write_scene
from tests.train.tiny import build_tiny, config_for


@pytest.fixture(autouse=True)
def tiny_architecture(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(networks.ARCHITECTURES, "tiny", Architecture(build_tiny, 2))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_everything_measured_lands_in_the_file_and_the_item(tmp_path: Path) -> None:
    fit(config_for(tmp_path, steps=2), tmp_path / "run")
    checkpoint, out = tmp_path / "run" / CHECKPOINT, tmp_path / "tiny.safetensors"
    scene = write_scene(tmp_path / "scene.tif", noise(600, 540))
    command = ["package", str(checkpoint), "-o", str(out), "--scene", str(scene), "--device", "cpu"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    spec = load_bundle(out).spec
    assert spec.radius == 4
    assert spec.margin_curve
    assert spec.bytes_per_pixel > 0
    item = json.loads((tmp_path / "tiny.json").read_text())
    asset = item["assets"]["model"]
    assert asset["href"] == "./tiny.safetensors"
    assert asset["file:checksum"] == "1220" + hashlib.sha256(out.read_bytes()).hexdigest()
    assert item["properties"]["mlm:hyperparameters"]["margin"] == spec.margin
    again = CliRunner().invoke(app, command)
    assert "exists; replace it with --overwrite" in str(again.exception)
    with pytest.raises(ConfigError, match=r"NAME\.safetensors"):
        package(checkpoint, tmp_path / "tiny.pt", PackageOptions("a test"))


def test_the_item_is_valid(tmp_path: Path) -> None:
    pystac = pytest.importorskip("pystac")
    pytest.importorskip("jsonschema")
    schema = pytest.importorskip("stac_model.schema")
    bundle = load_bundle(brightness_model(tmp_path / "m.safetensors"))
    content = stac_item(bundle, "./m.safetensors")
    properties = schema.MLModelProperties(**content["properties"])
    assert [item.name for item in properties.output[0].classes] == ["land", "building", "water"]
    # Without extensions, whose schemas lie in the network, against STAC's own schema.
    core = pystac.Item.from_dict({**content, "stac_extensions": []}, preserve_dict=True)
    core.validate()
    with pytest.raises(ValueError, match="tasks"):
        schema.MLModelProperties(**{**content["properties"], "mlm:tasks": ["guessing"]})
