"""A STAC item that describes a model file, so that catalogs of models can find it.

STAC 1.0 with the Machine Learning Model extension 1.4 (https://github.com/stac-extensions/mlm) and
the file extension 2.1. A model belongs to no place: the item has no geometry.
"""

from datetime import UTC, datetime
from typing import Any

from geounet.model.bundle import ModelBundle
from geounet.model.networks import build_network

MLM = "https://stac-extensions.github.io/mlm/v1.4.0/schema.json"
_FILE = "https://stac-extensions.github.io/file/v2.1.0/schema.json"
_TASK = "semantic-segmentation"


def stac_item(bundle: ModelBundle, href: str, made: datetime | None = None) -> dict[str, Any]:
    """The item of a model.

    Args:
        bundle: the model.
        href: where its file lies, relative to the item.
        made: when; None: now.
    """
    import torch

    spec = bundle.spec
    parameters = sum(item.numel() for item in build_network(spec).parameters())
    properties = {
        "datetime": (made or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "description": f"Land cover in {', '.join(spec.bands)} at {spec.resolution:g} m:"
        f" {', '.join(spec.legend.names)}. Made by geounet.",
        "mlm:name": spec.name,
        "mlm:architecture": " ".join(filter(None, (spec.arch, spec.encoder))),
        "mlm:tasks": [_TASK],
        "mlm:framework": "PyTorch",
        "mlm:framework_version": torch.__version__,
        "mlm:memory_size": 4 * parameters,
        "mlm:total_parameters": parameters,
        "mlm:pretrained": True,
        "mlm:pretrained_source": "; ".join(spec.card.get("attribution", ())) or "not stated",
        "mlm:accelerator_constrained": False,
        "mlm:input": [_input(bundle)],
        "mlm:output": [_output(bundle)],
        "mlm:hyperparameters": {
            "resolution_m": spec.resolution, "stride": spec.stride, "margin": spec.margin,
            "radius": spec.radius, "bytes_per_pixel": spec.bytes_per_pixel,
        },
    }  # fmt: skip
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [MLM, _FILE],
        "id": spec.name,
        "geometry": None,
        "properties": properties,
        "links": [],
        "assets": {
            "model": {
                "href": href,
                "type": "application/octet-stream; application=safetensors",
                "title": f"{spec.name}: weights and facts",
                "roles": ["mlm:model", "mlm:weights", "data"],
                "mlm:artifact_type": "safetensors.torch.save_file",
                "file:size": len(bundle.weights),
                # A multihash: 12 is SHA-256, 20 its 32 bytes.
                "file:checksum": f"1220{bundle.digest}",
            }
        },
    }


def _input(bundle: ModelBundle) -> dict[str, Any]:
    """Values of the scene go in by z-score: the stretch to 0..1 and the standardisation in one."""
    spec = bundle.spec
    low, high = spec.value_range
    return {
        "name": "patches",
        "bands": list(spec.bands),
        "input": {
            "shape": [-1, len(spec.bands), -1, -1],
            "dim_order": ["batch", "bands", "height", "width"],
            "data_type": "float32",
        },
        "value_scaling": [
            {
                "type": "z-score",
                "mean": low + mean * (high - low),
                "stddev": std * (high - low),
            }
            for mean, std in zip(spec.mean, spec.std, strict=True)
        ],
        "resize_type": None,
        "pre_processing_function": None,
    }


def _output(bundle: ModelBundle) -> dict[str, Any]:
    return {
        "name": "logits",
        "tasks": [_TASK],
        "result": {
            "shape": [-1, len(bundle.spec.legend), -1, -1],
            "dim_order": ["batch", "class", "height", "width"],
            "data_type": "float32",
        },
        "classification:classes": [
            {
                "value": item.id,
                "name": item.name,
                "description": item.name,
                "color_hint": "".join(f"{value:02X}" for value in item.color),
            }
            for item in bundle.spec.legend
        ],
        "post_processing_function": None,
    }
