"""A checkpoint to a model file and a STAC item."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from geounet_cli.app import app
from typer.testing import CliRunner

from geounet.errors import ConfigError, SceneError
from geounet.jobs.package import PackageOptions, package
from geounet.model import bundle
from geounet.model.bundle import DEFAULT_MODEL, load_bundle
from geounet.model.networks import build_network
from geounet.model.stac import stac_item
from geounet.train.fit import CHECKPOINT, fit
from geounet.train.network import read_checkpoint
from tests.helpers import brightness_model, noise, write_scene
from tests.train.tiny import config_for

WEIGHTS = Path(bundle.__file__).parent / "weights"

pytestmark = pytest.mark.usefixtures("tiny_architecture")


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
    out.unlink()  # the item alone, which could be anybody's
    again = CliRunner().invoke(app, command)
    assert "tiny.json: exists; replace it with --overwrite" in str(again.exception)
    with pytest.raises(ConfigError, match=r"NAME\.safetensors"):
        package(checkpoint, tmp_path / "tiny.pt", PackageOptions("a test"))


@pytest.mark.parametrize(
    ("arch", "options", "window", "encoder"),
    [
        ("unet-paper", {"width": 1}, 224, None),
        ("fcn-8s", {"width": 1 / 64, "head": 4}, 64, None),
        ("smp:Unet", {"decoder_channels": [16, 8, 8, 8, 8]}, 64, "mobilenet_v2"),
    ],
)
def test_every_kind_of_network_is_packaged_alike(
    tmp_path: Path, arch: str, options: dict[str, Any], window: int, encoder: str | None
) -> None:
    plain = config_for(tmp_path, steps=1, window=window)
    network = replace(
        plain.network, name="whole", arch=arch, options=options, encoder=encoder, stride=32
    )
    fit(replace(plain, network=network), tmp_path / "run")
    out = tmp_path / "model.safetensors"
    done = CliRunner().invoke(
        app, ["package", str(tmp_path / "run" / CHECKPOINT), "-o", str(out), "--machine", "a test"]
    )
    assert done.exit_code == 0, done.output
    bundle = load_bundle(out)
    spec = bundle.spec
    assert (spec.arch, spec.encoder, spec.card["machine"]) == (arch, encoder, "a test")
    assert spec.exact
    assert spec.reach > 0
    assert spec.margin % spec.stride == 0
    assert set(spec.card["accuracy_iou"]) == {"held back"}
    # The file holds all that the network needs: no other file, no download.
    loaded = build_network(spec)
    loaded.load_state_dict(bundle.tensors())
    averaged = read_checkpoint(tmp_path / "run" / CHECKPOINT)["average"]
    for key, value in loaded.state_dict().items():
        torch.testing.assert_close(value, averaged[key], rtol=1e-3, atol=1e-6)
    properties = json.loads((tmp_path / "model.json").read_text())["properties"]
    assert properties["mlm:architecture"].split() == [arch, *([encoder] if encoder else [])]
    assert properties["mlm:total_parameters"] == sum(p.numel() for p in loaded.parameters())


def test_a_curve_that_cannot_be_measured_leaves_no_file(tmp_path: Path) -> None:
    fit(config_for(tmp_path, steps=1), tmp_path / "run")
    out = tmp_path / "tiny.safetensors"
    checkpoint, nowhere = tmp_path / "run" / CHECKPOINT, str(tmp_path / "absent.tif")
    with pytest.raises(SceneError, match=r"absent\.tif"):
        package(checkpoint, out, PackageOptions("a test", scene=nowhere))
    assert not list(tmp_path.glob("tiny*"))


def valid_classes(content: dict[str, Any]) -> list[str]:
    """The classes of a STAC item that its schemas accept."""
    pystac = pytest.importorskip("pystac")
    pytest.importorskip("jsonschema")
    schema = pytest.importorskip("stac_model.schema")
    properties = schema.MLModelProperties(**content["properties"])
    # Without extensions, whose schemas lie in the network, against STAC's own schema.
    core = pystac.Item.from_dict({**content, "stac_extensions": []}, preserve_dict=True)
    core.validate()
    return [item.name for item in properties.output[0].classes]


def test_the_item_of_the_shipped_model_is_valid_and_of_its_file() -> None:
    content = json.loads((WEIGHTS / f"{DEFAULT_MODEL}.json").read_text())
    bundle = load_bundle(DEFAULT_MODEL)
    assert valid_classes(content) == list(bundle.spec.legend.names)
    asset = content["assets"]["model"]
    weights = (WEIGHTS / asset["href"]).read_bytes()
    assert asset["file:size"] == len(weights)
    assert asset["file:checksum"] == "1220" + hashlib.sha256(weights).hexdigest()
    # What would be written of the file today, but for when and with what it was trained.
    again = stac_item(bundle, asset["href"])
    for changing in ("datetime", "mlm:framework_version"):
        content["properties"].pop(changing)
        again["properties"].pop(changing)
    assert json.loads(json.dumps(again)) == content


def test_the_item_is_valid(tmp_path: Path) -> None:
    schema = pytest.importorskip("stac_model.schema")
    bundle = load_bundle(brightness_model(tmp_path / "m.safetensors"))
    content = stac_item(bundle, "./m.safetensors")
    assert valid_classes(content) == ["land", "building", "water"]
    with pytest.raises(ValueError, match="tasks"):
        schema.MLModelProperties(**{**content["properties"], "mlm:tasks": ["guessing"]})


def test_the_mean_with_the_model_that_a_run_started_from(tmp_path: Path) -> None:
    options = PackageOptions("a test")
    fit(config_for(tmp_path, steps=1), tmp_path / "one")
    start, _ = package(tmp_path / "one" / CHECKPOINT, tmp_path / "one.safetensors", options)
    config = config_for(tmp_path, steps=3)
    network = replace(config.network, pretrained=str(tmp_path / "one.safetensors"))
    fit(replace(config, network=network), tmp_path / "two")
    checkpoint, out = tmp_path / "two" / CHECKPOINT, tmp_path / "mean.safetensors"
    options = replace(options, average=str(tmp_path / "one.safetensors"))
    mean, _ = package(checkpoint, out, options)
    trained = read_checkpoint(checkpoint)["average"]
    for key, value in mean.tensors().items():
        if value.is_floating_point():
            expected = (trained[key] + start.tensors()[key]) / 2
            torch.testing.assert_close(value, expected, rtol=1e-3, atol=1e-4)
    assert mean.spec.card["averaged_with"].endswith(start.digest[:16])
    assert [stage["steps"] for stage in mean.spec.card["stages"]] == [1, 3]
    with pytest.raises(ConfigError, match="average with the model"):
        package(checkpoint, tmp_path / "x.safetensors", replace(options, average="landcover-rgb"))
