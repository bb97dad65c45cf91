from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
import torch
from rasterio.enums import ColorInterp
from rasterio.transform import Affine

from geounet.bands import normalise
from geounet.errors import ConfigError, LabelError, SceneError
from geounet.jobs.plan import SegmentOptions, make_plan
from geounet.labels.areas import Areas
from geounet.legend import LandClass
from geounet.raster.scene import describe, open_scene, read_patch
from geounet.tiles import Window
from geounet.train import samples
from geounet.train.check import SampledScene, load_checks
from geounet.train.config import TrainConfig
from geounet.train.load import find_images, load_pools, load_scenes
from geounet.train.pixels import HeldPixels
from geounet.train.pool import Pool
from geounet.train.samples import Sampler, standardise
from geounet.train.scenes import LabelledScene, View
from geounet.train.sources import PolygonsConfig, SourceConfig, TownConfig
from geounet.train.town import CLASSES, make_town
from geounet.train.weightmap import boundary_weights
from tests.helpers import NORTH_UP, noise, spec_for, write_scene
from tests.train.tiny import LABELS, blocks, config_for, scene_of, write_pair

IGNORED: dict[str, tuple[str, ...]] = {"vegetation": (), "road": ()}
"""Classes of towns that the tests' legend lacks."""


def load(folder: Path, name: str, labels: Mapping[str, tuple[str, ...]]) -> LabelledScene:
    """A scene of a folder, with its labels."""
    source = SourceConfig("s", (name,), labels, share=1.0)
    ((scene,),) = load_scenes(replace(config_for(folder), source=(source,)), (source,))
    return scene


def held(scene: LabelledScene) -> HeldPixels:
    """The pixels of a scene that is in memory."""
    assert isinstance(scene.pixels, HeldPixels)
    return scene.pixels


def test_labels_are_full_partial_or_ignored(tmp_path: Path) -> None:
    image, mask = blocks(40, 56)
    mask[0, :5] = 255
    write_pair(tmp_path, "a", image, mask)
    scene = load(tmp_path, "a.tif", {"0": ("land",), "1": ("building", "water"), "2": ()})
    assert scene.gsd == pytest.approx(0.5, rel=0.01)
    pixels = held(scene)
    assert np.array_equal(pixels.levels[0], image)
    assert set(np.unique(pixels.sets[mask == 0])) == {0b001}
    assert set(np.unique(pixels.sets[mask == 1])) == {0b110}
    assert set(np.unique(pixels.sets[(mask == 2) | (mask == 255)])) == {0}
    assert scene.counts == {0b001: (mask == 0).sum(), 0b110: (mask == 1).sum()}
    for value, spots in scene.spots.items():
        assert (pixels.sets.ravel()[spots] == value).all()


def test_masks_of_another_grid_fit_by_their_place(tmp_path: Path) -> None:
    image, mask = blocks(40, 56)
    write_scene(tmp_path / "a.tif", image)
    # Pixels of half the size, and three more rows above the scene.
    fine = np.kron(np.pad(mask, ((3, 0), (0, 0))), np.ones((2, 2), np.uint8))
    place = NORTH_UP @ Affine.translation(0, -3) @ Affine.scale(0.5)
    write_scene(tmp_path / "a_mask.tif", fine[None], transform=place)
    assert np.array_equal(held(load(tmp_path, "a.tif", LABELS)).sets, 1 << mask)


@pytest.mark.parametrize("masks", ["labels/{stem}.tif", "{stem}_truth.tiff"])
def test_masks_lie_where_a_source_says(tmp_path: Path, masks: str) -> None:
    config = config_for(tmp_path)
    sampler = Sampler(config, load_pools(config))
    (tmp_path / "labels").mkdir()
    for path in tmp_path.glob("*_mask.tif"):
        stem = path.stem.removesuffix("_mask")
        path.rename(tmp_path / masks.replace("{stem}", stem))
    with pytest.raises(SceneError, match=r"train_0_mask\.tif: no such file"):
        load_pools(config)
    source = replace(config.source[0], masks=masks, images=("train_*.tif*",))
    check = replace(config.check[0], masks=masks)
    moved = replace(config, source=(source,), check=(check,))
    assert [path.name for path in find_images(source, tmp_path)] == ["train_0.tif", "train_1.tif"]
    fewer = replace(source, exclude=("train_1.tif",))
    assert [path.name for path in find_images(fewer, tmp_path)] == ["train_0.tif"]
    again = Sampler(moved, load_pools(moved))
    for one, other in zip(sampler.batch(0)[:2], again.batch(0)[:2], strict=True):
        assert one.equal(other)
    assert load_checks(moved)[0].scenes[0].counts


def test_masks_that_cannot_be_meant_are_refused() -> None:
    source = SourceConfig("s", ("*.tif",), LABELS)
    with pytest.raises(ConfigError, match=r"masks 'a\.shp' is no GeoTIFF; name one, or"):
        replace(source, masks="a.shp")
    with pytest.raises(ConfigError, match=r"masks 'a\.tif' and polygons 'a\.shp' are both"):
        replace(source, masks="a.tif", polygons=PolygonsConfig("a.shp"))


def test_pixels_without_data_are_ignored_and_shown_as_the_mean(tmp_path: Path) -> None:
    image, mask = blocks(40, 56)
    image[:, :7] = 0
    config = config_for(tmp_path)
    write_scene(tmp_path / "a.tif", image, nodata=0)
    write_scene(tmp_path / "a_mask.tif", mask[None])
    scene = load(tmp_path, "a.tif", LABELS)
    assert (held(scene).sets[:7] == 0).all()
    assert (held(scene).sets[7:] != 0).all()
    batch = Sampler(config, [Pool((scene,), 1.0, (0, 0))]).batch(0)
    # What prediction shows the network there: 0 after normalising, whatever the colours were.
    void = (batch.labels == 0)[:, None].expand_as(batch.images)
    assert void.any()
    assert (batch.images[void] == 0).all()
    assert (batch.images[~void] != 0).float().mean() > 0.99


@pytest.mark.parametrize("dtype", ["uint16", "int16", "float32"])
def test_scenes_of_any_type_look_as_in_prediction(tmp_path: Path, dtype: str) -> None:
    image = (noise(90, 70).astype(float) * 13 - 900).astype(dtype)
    image[:, :9] = np.nan if dtype == "float32" else 0
    none = {} if dtype == "float32" else {"nodata": 0}
    write_scene(tmp_path / "deep.tif", image, **none)
    write_scene(tmp_path / "deep_mask.tif", noise(90, 70, 1) % 3)
    scene = load(tmp_path, "deep.tif", LABELS)
    network = config_for(tmp_path).network
    spec = spec_for(mean=network.mean, std=network.std)
    plan = make_plan(describe(tmp_path / "deep.tif"), spec, SegmentOptions(device="cpu"))
    with open_scene(plan.scene) as dataset:
        data, valid = read_patch(dataset, Window(-5, -5, 64, 64), (1, 2, 3))
    expected = normalise(data, valid, plan.stretch, network.mean, network.std)
    y, x = np.mgrid[-5:59, -5:59].astype(np.float32)
    view = scene.window(x, y, 1.0)
    shown = standardise(view.image, network.mean, network.std, view.valid)
    # Half a step of 1/255, in standard deviations.
    assert np.abs(shown.numpy() - expected).max() <= 0.5 / 255 / min(network.std) + 1e-5
    assert (shown.numpy()[:, ~valid] == 0).all()


def test_bands_are_found_by_colour_or_number(tmp_path: Path) -> None:
    image, mask = blocks(40, 56)
    path = write_scene(tmp_path / "a.tif", image[::-1], photometric="RGB")
    write_scene(tmp_path / "a_mask.tif", mask[None])
    assert np.array_equal(held(load(tmp_path, "a.tif", LABELS)).levels[0], image[::-1])
    with rasterio.open(path, "r+") as dataset:
        dataset.colorinterp = [ColorInterp.blue, ColorInterp.green, ColorInterp.red]
    assert np.array_equal(held(load(tmp_path, "a.tif", LABELS)).levels[0], image)
    config = config_for(tmp_path)
    source = SourceConfig("s", ("a.tif",), LABELS, share=1.0, bidx=(2, 2, 1))
    ((scene,),) = load_scenes(replace(config, source=(source,)), (source,))
    assert np.array_equal(held(scene).levels[0], image[::-1][[1, 1, 0]])
    for bidx, message in (
        ((1, 2), "names 2 bands but the model needs 3"),
        ((1, 2, 9), "no band 9"),
    ):
        with pytest.raises(SceneError, match=message):
            load_scenes(config, (replace(source, bidx=bidx),))


def test_a_band_tagged_as_transparency_is_named_in_training_as_in_prediction(
    tmp_path: Path,
) -> None:
    image, mask = blocks(40, 56)
    infrared = np.where(mask == 2, 0, 90).astype(np.uint8)  # water: no data, if it were alpha
    path = write_scene(tmp_path / "a.tif", np.concatenate([image, infrared[None]]))
    with rasterio.open(path, "r+") as dataset:
        dataset.colorinterp = [*dataset.colorinterp[:3], ColorInterp.alpha]
    write_scene(tmp_path / "a_mask.tif", mask[None])
    four = {"bands": ("red", "green", "blue", "nir"), "mean": (0.5,) * 4, "std": (0.25,) * 4}
    plain = config_for(tmp_path)
    config = replace(plain, network=replace(plain.network, **four))
    source = SourceConfig("s", ("a.tif",), LABELS, share=1.0)
    message = r"has 3 image bands but the model needs 4 .*\(in a training run bidx\)"
    for refused in (
        lambda: load_scenes(config, (source,)),
        lambda: make_plan(describe(path), spec_for(**four), SegmentOptions(device="cpu")),
    ):
        with pytest.raises(SceneError, match=message):
            refused()
    named = replace(source, bidx=(1, 2, 3, 4))
    ((scene,),) = load_scenes(config, (named,))
    assert np.array_equal(held(scene).levels[0][3], infrared)
    assert (held(scene).sets == 1 << mask).all()
    options = SegmentOptions(device="cpu", bidx=(1, 2, 3, 4))
    assert make_plan(describe(path), spec_for(**four), options).bands == (1, 2, 3, 4)


def test_scenes_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    image, mask = blocks(40, 56)
    write_scene(tmp_path / "b.tif", image, crs=None)
    with pytest.raises(SceneError, match=r"b_mask\.tif: no such file"):
        load(tmp_path, "b.tif", LABELS)
    write_scene(tmp_path / "b_mask.tif", mask[None, :, 1:])
    with pytest.raises(LabelError, match="40 x 55 pixels do not fit the 40 x 56"):
        load(tmp_path, "b.tif", LABELS)
    write_scene(tmp_path / "b_mask.tif", mask[None])
    with pytest.raises(LabelError, match=r"b_mask\.tif: '2' is no class; known: 0, 1;"):
        load(tmp_path, "b.tif", {"0": ("land",), "1": ("building",)})
    write_scene(tmp_path / "a.tif", image)
    far = NORTH_UP @ Affine.translation(5000, 0)
    write_scene(tmp_path / "a_mask.tif", mask[None], transform=far)
    with pytest.raises(LabelError, match="its labels lie outside the scene"):
        load(tmp_path, "a.tif", LABELS)
    config = config_for(tmp_path)
    four = replace(config.network, bands=("red", "green", "blue", "nir"))
    with pytest.raises(SceneError, match="4 bands needed, 3 found"):
        load_pools(replace(config, network=four))


@pytest.mark.parametrize(("resolution", "gsd"), [(0.5, 0.5), (0.0, 1.0)])
def test_a_scene_without_a_crs_is_seen_as_in_prediction(
    tmp_path: Path, resolution: float, gsd: float
) -> None:
    image, mask = blocks(40, 56)
    path = write_scene(tmp_path / "a.tif", image, crs=None)
    write_scene(tmp_path / "a_mask.tif", mask[None], crs=None)
    config = config_for(tmp_path)
    check = replace(config.check[0], images=("a.tif",))
    network = replace(config.network, resolution=resolution)
    (loaded,) = load_checks(replace(config, network=network, check=(check,)))
    spec = spec_for(resolution=resolution)
    grid = make_plan(describe(path), spec, SegmentOptions(device="cpu")).grid
    assert [scene.shape for scene in loaded.sampled()] == [(grid.height, grid.width)] == [(40, 56)]
    assert loaded.scenes[0].gsd == gsd


def test_a_source_without_a_label_is_refused(tmp_path: Path) -> None:
    image, mask = blocks(40, 56)
    write_pair(tmp_path, "empty", image, np.full_like(mask, 255))
    config = config_for(tmp_path)
    source = replace(config.source[0], images=("empty.tif",))
    with pytest.raises(ConfigError, match="'blocks': no pixel of its 1 scenes has both"):
        load_pools(replace(config, source=(source,)))


def test_shares_of_scenes_that_are_excluded_are_missed(tmp_path: Path) -> None:
    config = config_for(tmp_path)
    lost = replace(config.source[0], exclude=("train_*.tif",))
    rest = replace(config.source[0], name="rest", share=0.0)
    run = replace(config, source=(lost, rest))
    with pytest.raises(ConfigError, match=r"source 'blocks': exclude leaves no scene, .* share"):
        load_pools(run)
    town = TownConfig(0.1, (0.5, 1.0), scenes=1, size=64, labels=IGNORED)
    assert [pool.share for pool in load_pools(replace(run, town=town))] == [0.0, 0.1]


def test_patterns_and_exclusions(tmp_path: Path) -> None:
    for name in ("t1", "t2", "t6"):
        write_pair(tmp_path, name, *blocks(32, 32))
    source = SourceConfig("s", ("t*.tif",), {"0": ("land",)}, exclude=("t6.tif",))
    assert [path.name for path in find_images(source, tmp_path)] == ["t1.tif", "t2.tif"]
    with pytest.raises(ConfigError, match=r"no image 'u\*\.tif'"):
        find_images(replace(source, images=("u*.tif",)), tmp_path)
    for pattern in ("/t*.tif", "**t.tif", "", "."):
        for facts in ({"images": (pattern,)}, {"exclude": (pattern,)}):
            with pytest.raises(ConfigError, match="is no path or pattern below"):
                find_images(replace(source, **facts), tmp_path)


def test_a_checked_scene_is_never_trained_on(tmp_path: Path) -> None:
    config = config_for(tmp_path)
    with pytest.raises(ConfigError, match="both trained on and checked"):
        load_pools(replace(config, check=config.source))


def test_a_batch_is_a_function_of_seed_and_step(tmp_path: Path) -> None:
    config = config_for(tmp_path)
    pools = load_pools(config)
    first, again = Sampler(config, pools), Sampler(config, pools)
    first.batch(0)
    for one, other in zip(first.batch(3)[:2], again.batch(3)[:2], strict=True):
        assert one.equal(other)
    assert not first.batch(4)[0].equal(first.batch(3)[0])


def test_shares_hold_in_every_batch(tmp_path: Path) -> None:
    config = config_for(tmp_path)
    config = replace(config, fit=replace(config.fit, batch=10, window=32))
    image = np.zeros((3, 32, 32), dtype=np.uint8)
    pools = [
        Pool((scene_of(str(v), image, np.full((32, 32), v, dtype=np.uint8), 1.0),), share, (0, 0))
        for v, share in ((1, 3.0), (2, 1.0), (4, 1.0))
    ]
    for step in range(5):
        labels = Sampler(config, pools).batch(step)[1].amax((1, 2))
        assert [int((labels == value).sum()) for value in (1, 2, 4)] == [6, 2, 2]


@pytest.mark.parametrize(("batch", "share"), [(1, 0.3), (8, 0.05)])
def test_a_source_that_some_batches_lack_shows_its_classes_as_often(
    tmp_path: Path, batch: int, share: float
) -> None:
    config = config_for(tmp_path)
    config = replace(config, fit=replace(config.fit, batch=batch, window=8))
    halves = np.repeat(np.array([1, 2], np.uint8), 100)[None].repeat(200, axis=0)
    image = np.zeros((3, 200, 200), np.uint8)
    first, other = scene_of("a", image, halves, 1.0), scene_of("b", image, halves * 4, 1.0)
    pools = [Pool((first,), share, (0, 0)), Pool((other,), 1 - share, (0, 0))]
    drawn: list[int] = []
    sampler = Sampler(config, pools)
    for step in range(160):
        labels = sampler.batch(step, range(1)).labels[0]
        drawn += [int((labels == 1).sum() > (labels == 2).sum())] * bool((labels < 4).all())
    assert len(drawn) / 160 == pytest.approx(min(1.0, share * batch), abs=0.1)
    assert np.mean(drawn) == pytest.approx(0.5, abs=0.15)


def test_rare_classes_are_drawn_as_often(tmp_path: Path) -> None:
    labels = np.full((64, 64), 1, dtype=np.uint8)
    labels[5, 5:9] = 2
    scene = scene_of("rare", np.zeros((3, 64, 64), dtype=np.uint8), labels, 1.0)
    pool = Pool((scene,), 1.0, (0, 0))
    rng = np.random.default_rng(0)
    hits = [labels[int(row), int(col)] for _, col, row in (pool.draw(rng) for _ in range(300))]
    assert np.mean(np.array(hits) == 2) == pytest.approx(0.5, abs=0.1)


def shown(config: TrainConfig, pool: Pool, batches: int) -> np.ndarray:
    """Which of 10 windows a batch hold each label set: bool ``(windows, 8)`` by bit."""
    config = replace(config, fit=replace(config.fit, batch=10, window=32))
    sampler = Sampler(config, [pool])
    labels = torch.cat([sampler.batch(step)[1] for step in range(batches)]).numpy()
    return np.stack([(labels == 1 << bit).any(axis=(1, 2)) for bit in range(8)], axis=1)


def test_as_many_windows_hold_a_class_as_are_asked_for(tmp_path: Path) -> None:
    labels = np.zeros((200, 200), dtype=np.uint8)
    for value, (row, col) in {1: (40, 40), 2: (40, 160), 4: (160, 100)}.items():
        labels[row : row + 5, col : col + 5] = value  # never two of them in one window
    scene = scene_of("apart", np.zeros((3, 200, 200), dtype=np.uint8), labels, 1.0)
    config = config_for(tmp_path)
    free = shown(config, Pool((scene,), 1.0, (0, 0)), 40).mean(axis=0)
    assert free[:3] == pytest.approx(1 / 3, abs=0.07)
    pool = Pool((scene,), 1.0, (0, 0), {4: 0.6, 2: 0.1})
    shares = shown(config, pool, 40).mean(axis=0)
    # The rest of the windows, 0.3, is drawn as without.
    assert shares[:3] == pytest.approx([0.1, 0.2, 0.7], abs=0.07)


def test_a_window_that_must_hold_a_class_is_drawn_until_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = np.ones((120, 120), dtype=np.uint8)
    labels[60:63, 60:63] = 2
    scene = scene_of("small", np.zeros((3, 120, 120), dtype=np.uint8), labels, 1.0)
    config = config_for(tmp_path)
    wild = replace(config, augment=replace(config.augment, elastic=8.0, stretch=0.8))
    pool = Pool((scene,), 1.0, (2.0, 3.0), {2: 1.0})
    assert shown(wild, pool, 10)[:, 1].all()
    monkeypatch.setattr(samples, "_TRIES", 1)
    assert not shown(wild, pool, 10)[:, 1].all()


def test_without_shares_no_number_is_drawn_for_them() -> None:
    rng, same = np.random.default_rng(0), np.random.default_rng(0)
    assert Pool((), 1.0, (0, 0)).due(rng) is None
    assert rng.random() == same.random()


def test_a_class_that_no_pixel_has_cannot_be_asked_for(tmp_path: Path) -> None:
    config = config_for(tmp_path)
    source = replace(config.source[0], hold={"building": 0.5})
    assert load_pools(replace(config, source=(source,)))[0].hold == {2: 0.5}
    partial = replace(source, labels={"0": ("land",), "1": ("building", "water"), "2": ()})
    with pytest.raises(ConfigError, match=r"'blocks': hold\.building: no pixel .* building alone"):
        load_pools(replace(config, source=(partial,)))


def test_towns_have_the_classes_of_the_legend(tmp_path: Path) -> None:
    town = TownConfig(0.1, (0.5, 1.0), scenes=1, size=128, hold={"building": 0.4}, labels=IGNORED)
    config = replace(config_for(tmp_path), town=town)
    water, land, pond = (LandClass(i, n, (0, 0, i)) for i, n in enumerate(("water", "land", "x")))
    _, truth = make_town(1000, 128, 128, 0.5)
    pool = load_pools(config)[-1]
    assert pool.hold == {2: 0.4}
    # Vegetation and roads are no classes of this legend.
    assert pool.scenes[0].counts == {1 << value: (truth == value).sum() for value in range(3)}
    source = replace(config.source[0], labels={"0": ("land",), "1": (), "2": ("water",)})
    bare = replace(town, hold={}, labels={**IGNORED, "building": ()})
    other = replace(config, legend=(water, land, pond), source=(source,), check=(), town=bare)
    counts = load_pools(other)[-1].scenes[0].counts
    assert counts == {1: (truth == 2).sum(), 2: (truth == 0).sum()}
    with pytest.raises(ConfigError, match=r"'synthetic towns': hold\.x: no pixel"):
        load_pools(replace(other, town=replace(bare, hold={"x": 0.5})))
    grey = replace(config.network, bands=("red",), mean=(0.5,), std=(0.5,))
    with pytest.raises(ConfigError, match=r"\[town\] is drawn in red, green, blue"):
        replace(config, network=grey)
    for facts, message in (
        ({"share": -1.0}, "share -1"),
        ({"hold": {"water": 2.0}}, "hold"),
        ({"scenes": 0}, r"town\.scenes 0"),
    ):
        with pytest.raises(ConfigError, match=message):
            replace(town, **facts)


def test_classes_of_towns_that_the_legend_lacks_must_be_explained(tmp_path: Path) -> None:
    names = ("other", "building")
    legend = tuple(LandClass(i, name, (0, 0, i)) for i, name in enumerate(names))
    plain = config_for(tmp_path)
    source = replace(plain.source[0], labels={"0": ("other",), "1": ("building",), "2": ("other",)})
    town = TownConfig(0.1, (0.5, 1.0), scenes=1, size=128)
    config = replace(plain, legend=legend, source=(source,), check=(), town=town)
    message = r"\[town\] shows land, water, vegetation, road, which the legend lacks; say in town\."
    with pytest.raises(ConfigError, match=message):
        load_pools(config)
    rest = dict.fromkeys(("land", "water", "road"), ("other",))
    labels = {**rest, "vegetation": names}
    _, truth = make_town(1000, 128, 128, 0.5)
    counts = load_pools(replace(config, town=replace(town, labels=labels)))[-1].scenes[0].counts
    tree, house = ((truth == CLASSES.index(name)).sum() for name in ("vegetation", "building"))
    assert counts == {1: truth.size - tree - house, 2: house, 3: tree}
    for wrong, message in (
        ({"lake": ("other",)}, r"town\.labels\.lake is unknown; known: land, building,"),
        ({**labels, "road": ("street",)}, "'street'"),
    ):
        with pytest.raises(ConfigError, match=message):
            load_pools(replace(config, town=replace(town, labels=wrong)))


def test_oblong_pixels_are_shown_as_in_prediction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of 1 m and columns of 0.5 m: a square on the ground is one in checks and windows."""
    image, mask = np.full((3, 60, 120), 50, np.uint8), np.zeros((60, 120), np.uint8)
    image[:, 20:40, 40:80], mask[20:40, 40:80] = 200, 1
    place = Affine(0.5, 0, 500_000, 0, -1.0, 5_400_000)
    write_scene(tmp_path / "a.tif", image, transform=place)
    write_scene(tmp_path / "a_mask.tif", mask[None], transform=place)
    scene = load(tmp_path, "a.tif", LABELS)
    sampled = SampledScene(scene, 1.0 / scene.gsd)
    assert sampled.shape == (60, 60)
    labels = sampled.patch(Window(0, 0, 60, 60)).labels.numpy()
    assert (labels[20:40, 20:40] == 2).all()
    assert (labels == 2).sum() == 400
    config = config_for(tmp_path)
    calm = replace(config.augment, rotate=False, stretch=0.0, elastic=0.0)
    seen = []
    window = LabelledScene.window

    def watched(self: LabelledScene, x: np.ndarray, y: np.ndarray, scale: float) -> View:
        seen.append((np.ptp(x), np.ptp(y)))
        return window(self, x, y, scale)

    monkeypatch.setattr(LabelledScene, "window", watched)
    Sampler(replace(config, augment=calm), [Pool((scene,), 1.0, (1.0, 1.0))]).batch(0)
    assert seen == [pytest.approx((62.0, 31.0), rel=1e-4)] * 2  # 32 pixels of 1 m a side


def test_a_building_that_the_window_cuts_in_two_is_one() -> None:
    mask = np.ones((90, 120), dtype=np.uint8)
    mask[20:40, 30:34], mask[20:40, 36:40] = 2, 2  # the wings of a building
    y, x = np.mgrid[20:36, 24:48].astype(np.float32)
    for joined, count in ((False, 2), (True, 1)):
        mask[40:44, 30:40] = 2 if joined else 1  # its middle, below the window
        scene = scene_of("s", np.zeros((3, 90, 120), np.uint8), mask, 1.0)
        found = scene.objects(x, y, scene.window(x, y, 1.0).labels.numpy(), 0b10)
        assert len(np.unique(found[found > 0])) == count
        assert ((found > 0) == (mask[20:36, 24:48] == 2)).all()
        assert (boundary_weights(found).max() > 1) != joined


def test_objects_are_the_polygons_or_connected_regions() -> None:
    mask = np.ones((20, 30), dtype=np.uint8)
    mask[5:15, 5:25] = 2  # two buildings that touch: one region
    scene = scene_of("s", np.zeros((3, 20, 30), np.uint8), mask, 1.0)
    y, x = np.mgrid[2:18, -3:27].astype(np.float32)
    labels = scene.window(x, y, 1.0).labels.numpy()
    assert len(np.unique(scene.objects(x, y, labels, 0b10))) == 2
    shapes = shapely.box([5, 15, 0], [5, 5, 0], [15, 25, 1], [15, 15, 1])
    areas = Areas(shapes, np.array([0, 0, 1], np.uint8), shapely.STRtree(shapes))
    apart = replace(scene, areas=areas).objects(x, y, labels, 0b10)
    assert set(np.unique(apart)) == {0, 1, 2}
    assert ((apart > 0) == (labels == 2)).all()
    assert (apart[3:13, 8:18] == 1).all()
