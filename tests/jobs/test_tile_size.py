"""With the exact margin, no tile size shows: networks of the sizes that people use, in float32."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from rasterio.windows import Window

from geounet.decision import decision_for
from geounet.jobs.merge import RowAssembler
from geounet.jobs.plan import SegmentOptions, make_plan
from geounet.jobs.predict import Layers, Work, segment_tiles
from geounet.model.bundle import DEFAULT_MODEL, ModelBundle, load_bundle, save_bundle
from geounet.model.networks import build_network
from geounet.model.runtime import runtime_for
from geounet.raster.scene import describe
from geounet.train.town import make_town
from tests.helpers import spec_for, write_scene

REAL = Path(__file__).parents[3] / "shared" / "data" / "dubai" / "t6.tif"
HEIGHT, WIDTH = 150, 1490
ROUNDING = 1e-6
"""Share of pixels that rounding may change."""


class Recorded(Work):
    """Remembers the probabilities that classes were chosen from."""

    def finish(self, probabilities: np.ndarray, known: np.ndarray) -> Layers:
        fields.append(probabilities.copy())
        return super().finish(probabilities, known)


fields: list[np.ndarray] = []


def paper_unet(path: Path) -> ModelBundle:
    """The U-Net paper's network, 8 channels instead of 64."""
    spec = spec_for(16, 94, 96, arch="unet-paper", options={"width": 8}, shrink=96)
    torch.manual_seed(0)
    save_bundle(path, spec, build_network(spec).state_dict())
    return load_bundle(str(path))


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A strip, as the exact margins of deep networks are several hundred pixels."""
    if REAL.exists():
        with rasterio.open(REAL) as source:
            data = source.read(window=Window(0, 200, WIDTH, HEIGHT))
    else:
        data, _ = make_town(0, HEIGHT, WIDTH)
    return write_scene(tmp_path_factory.mktemp("strip") / "s.tif", data[:3, :, :WIDTH])


@pytest.mark.parametrize(
    ("model", "sizes"), [("shipped", (1280, 1408)), ("unet-paper", (304, 512, 1024))]
)
def test_tile_size_does_not_show(
    tmp_path: Path, scene: Path, model: str, sizes: tuple[int, ...]
) -> None:
    bundle = (
        load_bundle(DEFAULT_MODEL) if model == "shipped" else paper_unet(tmp_path / "m.safetensors")
    )
    masks, tiles = [], []
    for size in (4096, *sizes):
        plan = make_plan(
            describe(scene), bundle.spec,
            SegmentOptions(
                tile_size=size, margin="exact", resolution="scene", device="cpu",
                precision="float32", runtime="torch",
            ),
        )  # fmt: skip
        assert plan.promise == "identical to whole-scene inference"
        fields.clear()
        work = Recorded(plan, bundle, decision_for(bundle.spec.legend), confident=False)
        assembler = RowAssembler(plan.grid.shape[1])
        runtime = runtime_for(bundle, plan.hardware)
        rows = [
            layers.mask
            for batch in plan.batches()
            for piece in segment_tiles(work, batch, runtime)
            for layers in assembler.add(piece)
        ]
        masks.append(np.concatenate(rows))
        tiles.append(len(plan.grid))
        if len(masks) == 1:
            (field,) = fields
            second, first = np.sort(np.log(field), axis=0)[-2:]  # logits but for a constant
    assert tiles[0] == 1
    assert min(tiles[1:]) > 1
    assert len(np.unique(masks[0])) > 1
    for mask in masks[1:]:
        other = mask != masks[0]
        assert other.sum() <= np.ceil(ROUNDING * mask.size)
        assert not other.any() or (first - second)[other].max() < 1e-4
