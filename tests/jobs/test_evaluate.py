"""A mask against labels: what is measured, and that strips, sizes and grids do not show."""

import json
import tracemalloc
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from geounet_cli.app import app
from PIL import Image
from rasterio.transform import Affine
from rasterio.windows import Window
from shapely.geometry import box, mapping
from typer.testing import CliRunner

from geounet.errors import ConfigError, OutputError, SceneError
from geounet.jobs.evaluate import EvaluateOptions, evaluate_mask, write_report
from geounet.jobs.truth import Truth
from geounet.labels.source import LabelFiles
from geounet.metrics import Confusion
from geounet.raster import classes
from geounet.raster.mask import MaskWriter
from geounet.raster.scene import describe
from tests.helpers import LEGEND, NORTH_UP, brightness_model, noise, painted, write_scene
from tests.server import served
from tests.train.tiny import blocks

HEIGHT, WIDTH = 97, 131


def write_mask(folder: Path, mask: np.ndarray) -> Path:
    """A mask as geounet writes it."""
    scene = describe(write_scene(folder / "like.tif", noise(*mask.shape)))
    with MaskWriter(folder / "m_mask.tif", scene, LEGEND, {}) as writer:
        writer.write_rows(mask)
        writer.finish()
        writer.publish()
    return folder / "m_mask.tif"


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path, np.ndarray, np.ndarray]:
    truth, found = blocks(HEIGHT, WIDTH, 3)[1], blocks(HEIGHT, WIDTH, 3)[1]
    found = np.roll(found, (1, 2), (0, 1))
    truth[:9], found[:, :5] = 255, 255
    labels = write_scene(tmp_path / "truth.tif", truth[None])
    return write_mask(tmp_path, found), labels, truth, found


def test_figures_equal_the_whole_arrays(
    pair: tuple[Path, Path, np.ndarray, np.ndarray],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mask, labels, truth, found = pair
    picture = tmp_path / "errors.png"
    result = evaluate_mask(mask, Truth(LabelFiles(labels)), EvaluateOptions(), picture)
    whole = Confusion.of(truth, found, 3)
    np.testing.assert_array_equal(result.confusion.counts, whole.counts)
    np.testing.assert_array_equal(result.confusion.iou, whole.iou)
    assert result.confusion.unpredicted == whole.unpredicted
    assert result.confusion.unlabelled == (truth == 255).sum()
    assert result.legend.names == LEGEND.names
    for rows in (1, 23):
        monkeypatch.setattr(classes, "STRIP", rows)
        other = evaluate_mask(mask, Truth(LabelFiles(labels)), EvaluateOptions())
        assert other.to_dict() == result.to_dict()
    assert result.objects["building"].true > 2
    write_report(tmp_path / "r.json", result)
    stored = json.loads((tmp_path / "r.json").read_text())
    assert stored["classes"]["building"]["iou"] == pytest.approx(whole.iou[1], abs=1e-6)
    with Image.open(picture) as image:
        pixels = np.asarray(image.convert("RGB"))
    wrong = (pixels == (215, 25, 28)).all(axis=2).sum()
    judged = (truth != 255) & (found != 255)
    assert wrong >= (judged & (truth != found)).sum() > 0  # and a swatch of the key


def test_a_perfect_mask_has_perfect_scores(tmp_path: Path) -> None:
    truth = blocks(HEIGHT, WIDTH, 1)[1]
    labels = write_scene(tmp_path / "truth.tif", truth[None])
    result = evaluate_mask(
        write_mask(tmp_path, truth), Truth(LabelFiles(labels)), EvaluateOptions()
    )
    assert result.confusion.mean_iou == (1.0, 3)
    assert (result.boundary.f1 == 1).all()
    assert result.objects["building"].f1 == 1


def sparse(path: Path, height: int, value: int) -> Path:
    """A mask of 512 columns that takes no room on the disk: class 0 but for one block."""
    profile = {
        "driver": "GTiff", "count": 1, "height": height, "width": 512, "dtype": "uint8",
        "tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate",
        "sparse_ok": True, "crs": "EPSG:32633", "transform": NORTH_UP,
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as dataset:
        place = Window(200, height // 2, 40, 30)
        dataset.write(np.full((1, 30, 40), value, np.uint8), window=place)
    return path


@pytest.mark.parametrize("values", [[0, 255], [-1, 0, 1], [1, 2, 255], [0, 300, 1000]])
def test_foreign_values_mean_in_labels_what_they_mean_in_the_mask(
    tmp_path: Path, values: list[int]
) -> None:
    """Classes whose values cannot be ids of a mask of ours are numbered otherwise inside."""
    rng = np.random.default_rng(0)
    mask = rng.choice(values, (40, 50)).astype(np.int16)
    truth = np.where(rng.random(mask.shape) < 0.2, values[0], mask).astype(np.int16)
    paths = [
        write_scene(tmp_path / name, data[None])
        for name, data in (("mask.tif", mask), ("truth.tif", truth))
    ]
    result = evaluate_mask(paths[0], Truth(LabelFiles(paths[1])), EvaluateOptions())
    assert result.confusion.pixels == mask.size
    assert result.confusion.accuracy == pytest.approx((mask == truth).mean())


def test_memory_does_not_follow_the_mask(tmp_path: Path) -> None:
    for height in (1000, 64_000):  # the first compiles what follows outlines
        mask = sparse(tmp_path / "m.tif", height, 1)
        truth = Truth(LabelFiles(sparse(tmp_path / "t.tif", height, 1)))
        tracemalloc.start()
        try:
            result = evaluate_mask(
                mask, truth, EvaluateOptions(), tmp_path / "e.png", dict(enumerate(LEGEND.names))
            )
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert result.confusion.pixels == 512 * height
        assert result.objects["building"].matched == 1
    # It has 33 MB of pixels, and its labels as many; a strip of both is held.
    assert peak < 20e6, peak


def test_partial_labels_judge_one_class_alone(tmp_path: Path) -> None:
    truth = (blocks(HEIGHT, WIDTH, 1)[1] == 1).astype(np.uint8)
    found = blocks(HEIGHT, WIDTH, 1)[1]
    labels = write_scene(tmp_path / "truth.tif", truth[None])
    table = {"0": ("land", "water"), "1": ("building",)}
    result = evaluate_mask(
        write_mask(tmp_path, found), Truth(LabelFiles(labels), table), EvaluateOptions()
    )
    np.testing.assert_array_equal(result.confusion.iou, [np.nan, 1, np.nan])
    assert result.confusion.accuracy == 1
    found[truth == 0] = 1
    worse = evaluate_mask(
        write_mask(tmp_path, found), Truth(LabelFiles(labels), table), EvaluateOptions()
    )
    assert worse.confusion.iou[1] == pytest.approx(truth.mean())


def test_labels_of_half_the_resolution(tmp_path: Path) -> None:
    truth = blocks(50, 60, 1)[1]
    grid = NORTH_UP @ Affine.scale(2)
    labels = write_scene(tmp_path / "truth.tif", truth[None], transform=grid)
    fine = truth.repeat(2, 0).repeat(2, 1)
    result = evaluate_mask(write_mask(tmp_path, fine), Truth(LabelFiles(labels)), EvaluateOptions())
    assert result.confusion.accuracy == 1
    assert result.confusion.pixels == fine.size


def write_boxes(
    path: Path, boxes: Sequence[tuple[float, float, float, float]], kinds: Sequence[str] = ()
) -> Path:
    """Polygons from left, top, right and bottom in pixels, with a column ``kind``."""
    x, y = NORTH_UP.c, NORTH_UP.f
    features = [
        {
            "type": "Feature",
            "properties": {"kind": kind},
            "geometry": mapping(box(x + a / 2, y - d / 2, x + c / 2, y - b / 2)),
        }
        for (a, b, c, d), kind in zip(boxes, kinds or ["house"] * len(boxes), strict=True)
    ]
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32633"}}
    path.write_text(json.dumps({"type": "FeatureCollection", "crs": crs, "features": features}))
    return path


def test_houses_wall_to_wall_stay_apart_where_labels_are_polygons(tmp_path: Path) -> None:
    mask = np.zeros((40, 60), np.uint8)
    mask[10:20, 10:19], mask[10:20, 21:30] = 1, 1
    path = write_mask(tmp_path, mask)
    labels = write_boxes(tmp_path / "houses.geojson", [(10, 10, 20, 20), (20, 10, 30, 20)])
    truth = Truth(LabelFiles(labels), {"*": ("building",)}, ("land", "water"))
    score = evaluate_mask(path, truth, EvaluateOptions()).objects["building"]
    assert (score.true, score.found, score.matched, score.iou) == (2, 2, 2, pytest.approx(0.9))


def test_polygons_of_an_ignored_value_are_no_objects(tmp_path: Path) -> None:
    mask = np.zeros((40, 60), np.uint8)
    mask[10:20, 10:20], mask[10:20, 30:40] = 1, 1
    path = write_mask(tmp_path, mask)
    boxes = [(10, 10, 20, 20), (30, 10, 40, 20)]
    labels = write_boxes(tmp_path / "houses.geojson", boxes, ["house", "ruin"])
    table = {"house": ("building",), "ruin": ()}
    truth = Truth(LabelFiles(labels, "kind"), table, ("land", "water"))
    score = evaluate_mask(path, truth, EvaluateOptions()).objects["building"]
    assert (score.true, score.found, score.matched) == (1, 1, 1)


def test_polygons_are_cut_at_the_edge_as_the_mask_is(tmp_path: Path) -> None:
    mask = np.zeros((40, 60), np.uint8)
    mask[10:20, :4], mask[25:40, 30:40] = 1, 1
    path = write_mask(tmp_path, mask)
    # One less than half inside, one more than half, one that ends before any pixel's centre, one
    # that touches the edge from outside.
    boxes = [(-16, 10, 4, 20), (30, 25, 40, 45), (59.7, 5, 70, 15), (60, 30, 70, 36)]
    labels = write_boxes(tmp_path / "houses.geojson", boxes)
    truth = Truth(LabelFiles(labels), {"*": ("building",)}, ("land", "water"))
    score = evaluate_mask(path, truth, EvaluateOptions()).objects["building"]
    assert (score.true, score.found, score.matched, score.iou) == (2, 2, 2, pytest.approx(1.0))


def test_what_does_not_fit_is_named(
    pair: tuple[Path, Path, np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    mask, labels, _, _ = pair
    truth = Truth(LabelFiles(labels))
    picture = write_scene(tmp_path / "picture.tif", noise(HEIGHT, WIDTH))
    with pytest.raises(SceneError, match="is this a picture"):
        evaluate_mask(picture, truth, EvaluateOptions())
    with pytest.raises(ConfigError, match="unknown class 'hut'"):
        evaluate_mask(mask, truth, EvaluateOptions(objects=("hut",)))
    with pytest.raises(ConfigError, match="nothing lies outside"):
        evaluate_mask(mask, replace(truth, outside=("land",)), EvaluateOptions())
    empty = write_scene(tmp_path / "empty.tif", np.full((1, HEIGHT, WIDTH), 255, np.uint8))
    with pytest.raises(SceneError, match="no pixel has both"):
        evaluate_mask(mask, Truth(LabelFiles(empty)), EvaluateOptions())


def test_the_command_measures_a_model(tmp_path: Path) -> None:
    truth = blocks(HEIGHT, WIDTH, 2)[1]
    scene = write_scene(tmp_path / "s.tif", painted(truth))
    labels = write_scene(tmp_path / "truth.tif", truth[None])
    model = brightness_model(tmp_path / "m.safetensors")
    report = tmp_path / "r.json"
    done = CliRunner().invoke(
        app,
        [
            "evaluate", str(scene), str(labels), "-m", str(model), "-o", str(report),
            "--device", "cpu", "--tolerance", "1m", "--labels", "0=land,1=building,2=water",
        ],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "mean IoU 1.000 of 3 classes" in done.output
    stored = json.loads(report.read_text())
    assert stored["mean_iou"] == 1
    assert stored["boundary_tolerance_px"] == pytest.approx(2, rel=0.01)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "m.safetensors", "r.json", "s.tif", "truth.tif",
    ]  # fmt: skip
    assert "_mask.tif" not in done.output, "files that are thrown away are no news"
    none = str(tmp_path / "none.tif")
    failed = CliRunner().invoke(app, ["evaluate", none, str(labels), "-m", str(model)])
    assert isinstance(failed.exception, SceneError)
    assert "none.tif" not in failed.output, "the error is told once, by raising it"
    wrong = CliRunner().invoke(app, ["evaluate", str(scene), str(labels), "--tolerance", "3 feet"])
    assert wrong.exit_code == 2


def test_the_command_runs_the_model_as_segment_does(tmp_path: Path) -> None:
    """Bands in another order, small tiles and averaged symmetries reach the model."""
    truth = blocks(HEIGHT, WIDTH, 2)[1]
    scene = write_scene(tmp_path / "s.tif", painted(truth)[::-1])
    labels = write_scene(tmp_path / "truth.tif", truth[None])
    model = brightness_model(tmp_path / "m.safetensors")
    command = [
        "evaluate", str(scene), str(labels), "-m", str(model), "--device", "cpu", "--tile-size",
        "64", "--tta", "flips", "--runtime", "torch", "--labels", "0=land,1=building,2=water",
    ]  # fmt: skip
    assert "mean IoU 1.000" not in CliRunner().invoke(app, command).output
    assert "mean IoU 1.000" in CliRunner().invoke(app, [*command, "-b", "3,2,1"]).output


@pytest.mark.parametrize(
    ("words", "option", "why"),
    [
        (["--threshold", "building=0.6"], "--threshold", "is for a model"),
        (["--tta", "d4"], "--tta", "is for a model"),
        (["-b", "1,2,3"], "--bidx", "is for a model"),
        (["--resolution", "1"], "--resolution", "is for a model"),
        (["-m", "m.safetensors", "--name", "1=roof"], "--name", "is for a mask"),
        (["-m", "m", "--workers", "2", "--dask", "tcp://h:1"], "--workers", "counts threads"),
        (["-m", "m.safetensors", "--overwrite"], "--overwrite", "replaces a model file"),
    ],
)
def test_options_that_nothing_heeds_are_refused(words: list[str], option: str, why: str) -> None:
    done = CliRunner().invoke(app, ["evaluate", "mask.tif", "labels.tif", *words])
    assert done.exit_code == 2
    told = " ".join(done.output.replace("│", " ").split())
    assert f"Invalid value for {option}: {why}" in told


@pytest.mark.parametrize("option", ["-o", "--map"])
def test_a_result_that_cannot_be_written_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("the work was begun")

    monkeypatch.setattr("geounet.jobs.evaluate.evaluate_mask", never)
    (tmp_path / "file").write_text("")
    for name, told in (("", "is a folder"), ("file/x", "cannot be written to")):
        done = CliRunner().invoke(app, ["evaluate", "m.tif", "l.tif", option, f"{tmp_path}/{name}"])
        assert isinstance(done.exception, OutputError)
        assert told in str(done.exception)


def test_a_model_is_measured_on_a_scene_of_a_server(tmp_path: Path) -> None:
    truth = blocks(HEIGHT, WIDTH, 2)[1]
    write_scene(tmp_path / "s.tif", painted(truth))
    labels = write_scene(tmp_path / "truth.tif", truth[None])
    model = brightness_model(tmp_path / "m.safetensors")
    with served(tmp_path) as server:
        command = [
            "evaluate", f"{server.address}/s.tif", str(labels), "-m", str(model), "--device", "cpu",
            "--runtime", "torch", "--labels", "0=land,1=building,2=water",
        ]  # fmt: skip
        done = CliRunner().invoke(app, command)
    assert "mean IoU 1.000" in done.output


@pytest.mark.real
def test_drone_scene_polygons_equal_the_mask_made_of_them() -> None:
    data = Path(__file__).parents[3] / "shared" / "data" / "oam"
    if not data.is_dir():
        pytest.skip("no real scenes beside the repository")
    table = {"*": ("building",)}
    truth = Truth(LabelFiles(data / "nairobi_labels.geojson"), table, ("land",))
    names = {0: "land", 1: "building"}
    result = evaluate_mask(
        data / "nairobi_1_mask.tif", truth, EvaluateOptions(objects=()), names=names
    )
    assert result.confusion.iou[1] == 1
    with rasterio.open(data / "nairobi_1_mask.tif") as dataset:
        assert result.confusion.true[1] == (dataset.read(1) == 1).sum()
