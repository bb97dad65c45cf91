import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from geounet.errors import ConfigError
from geounet.train.__main__ import main
from geounet.train.config import TrainConfig, load_config
from geounet.train.load import find_images, load_scenes
from geounet.train.pixels import HeldPixels
from geounet.train.settings import build

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "configs").glob("*.toml"))
GOOD = """
data = "data"
[network]
name = "n"
arch = "smp:Unet"
bands = ["red"]
resolution = 1
mean = [0.5]
std = [0.5]
[[legend]]
id = 0
name = "land"
color = [1, 2, 3]
[[source]]
name = "s"
images = ["*.tif"]
share = 1
[source.labels]
0 = ["land"]
[fit]
steps = 10
"""


def load(text: str, folder: Path) -> TrainConfig:
    path = folder / "run.toml"
    path.write_text(text, encoding="utf-8")
    return load_config(path)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_training_configuration_loads(path: Path) -> None:
    if "[network]" not in path.read_text(encoding="utf-8"):
        pytest.skip("not a training run")
    config = load_config(path)
    assert not Path(config.data).is_absolute()
    # A checkpoint keeps the configuration as JSON.
    assert build(TrainConfig, json.loads(json.dumps(asdict(config))), "") == config


def test_a_small_configuration(tmp_path: Path) -> None:
    config = load(GOOD, tmp_path)
    assert config.source[0].labels == {"0": ("land",)}
    assert config.source[0].images == ("*.tif",)
    assert config.legend[0].color == (1, 2, 3)
    assert config.fit.batch == 8


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("steps = 10", "steps = 10\nstep = 1", r"unknown key fit\.step; known: steps"),
        ("steps = 10", "", r"key fit\.steps is missing"),
        ("steps = 10", 'steps = "ten"', r"fit\.steps: 'ten' must be of type int"),
        ("steps = 10", "steps = true", r"fit\.steps: True must be of type int"),
        ("steps = 10", "steps = 0", r"fit\.steps 0 must be at least 1"),
        ("steps = 10", "steps = 10\nseed = -1", r"fit\.seed -1 must be 0 \.\. 4\.29497e\+09"),
        ("steps = 10", "steps = 10\nrate = inf", r"fit\.rate inf must be positive"),
        ("steps = 10", "steps = 10\nminutes = -1", r"fit\.minutes -1 must be at least 0"),
        ("steps = 10", "steps = 10\n[augment]\nelastic = 1e6", r"augment\.elastic .* 0 \.\. 200"),
        ("steps = 10", "steps = 10\n[augment]\nblur = 2", r"augment\.blur 2 must be 0 \.\. 1"),
        ("share = 1", "share = inf", "share inf must be >= 0"),
        ("steps = 10", "steps = 10\nema = 1.0", r"fit\.ema 1\.0"),
        ("steps = 10", "steps = 10\nrate = 0", r"fit\.rate 0 must be positive"),
        ('0 = ["land"]', '0 = ["lake"]', "unknown class 'lake'"),
        ('0 = ["land"]', '300 = ["land"]', "label '300' must be 0 .. 255"),
        ("share = 1", "share = -1", "share -1 must be >= 0"),
        ("share = 1", "share = 0", "share above 0"),
        ("share = 1", "share = 1\ngsd = [2.0, 1.0]", r"gsd \(2\.0, 1\.0\)"),
        ("share = 1", "share = 1\nhold = { land = 1.2 }", r"hold \{'land': 1\.2\} needs shares"),
        ("share = 1", "share = 1\nhold = { land = 0.0 }", "needs shares above 0"),
        ("share = 1", "share = 1\nhold = { lake = 0.2 }", "unknown class 'lake'"),
        ('data = "data"', "", "key data is missing"),
        ('data = "data"', "data = ", "not valid TOML"),
        ("id = 0", 'id = 0\noutline = "wavy"', r"legend\.outline: 'wavy'"),
        ('images = ["*.tif"]', 'images = "*.tif"', r"source\.images: '\*\.tif'"),
        ('images = ["*.tif"]', "images = []", "needs images and labels"),
    ],
)
def test_errors_name_key_and_value(old: str, new: str, message: str, tmp_path: Path) -> None:
    assert old in GOOD
    with pytest.raises(ConfigError, match=message):
        load(GOOD.replace(old, new), tmp_path)


def test_names_are_given_once(tmp_path: Path) -> None:
    start, end = GOOD.index("[[source]]"), GOOD.index("[fit]")
    source = GOOD[start:end]
    with pytest.raises(ConfigError, match=r"two \[\[source\]\] have the name 's'; rename one"):
        load(GOOD.replace(source, source * 2), tmp_path)
    check = source.replace("[source", "[check")
    with pytest.raises(ConfigError, match=r"two \[\[check\]\] have the name 's'"):
        load(GOOD.replace(source, source + check * 2), tmp_path)
    assert load(GOOD.replace(source, source + check), tmp_path).check[0].name == "s"


def test_too_many_classes(tmp_path: Path) -> None:
    rows = [f'[[legend]]\nid = {n}\nname = "c{n}"\ncolor = [0, 0, 0]\n' for n in range(1, 9)]
    with pytest.raises(ConfigError, match="9 classes"):
        load(GOOD.replace("[[source]]", "".join(rows) + "[[source]]"), tmp_path)


def test_the_entry_point_reports_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    absent = tmp_path / "absent.toml"
    monkeypatch.setattr("sys.argv", ["train", str(absent), "--out", str(tmp_path / "run")])
    assert main() == 1
    assert (
        capsys.readouterr().err == f"error: {absent}: cannot be read: No such file or directory\n"
    )


@pytest.mark.real
def test_the_four_band_run_reads_infrared_where_it_lies() -> None:
    config = load_config(ROOT / "configs" / "vegetation-rgbn.toml")
    data = ROOT / config.data
    if not data.is_dir():
        pytest.skip("the data sets do not lie beside the repository")
    checks = tuple(replace(item, images=item.images[:1]) for item in config.check)
    groups = load_scenes(replace(config, data=str(data)), checks)
    for (scene, *_), check in zip(groups, checks, strict=True):
        assert scene.pixels.complete, check.name  # no pixel counts as transparent
        assert isinstance(scene.pixels, HeldPixels)
        assert len(scene.pixels.levels[0]) == 4


@pytest.mark.real
@pytest.mark.parametrize("name", ["landcover-rgb", "landcover-gpu"])
def test_the_large_runs_keep_checks_apart(name: str) -> None:
    config = load_config(ROOT / "configs" / f"{name}.toml")
    data = ROOT / config.data
    if not data.is_dir():
        pytest.skip("the data sets do not lie beside the repository")
    trained = {path for item in config.source for path in find_images(item, data)}
    checked = {path for item in config.check for path in find_images(item, data)}
    assert len(trained) > 180
    assert "t6.tif" in {path.name for path in checked}
    assert not trained & checked
