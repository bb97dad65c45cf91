import json
from pathlib import Path

import numpy as np
import pytest
from geounet_cli.app import app
from matplotlib.image import imread
from typer.testing import CliRunner

from geounet.errors import ConfigError
from geounet.train.config import TrainConfig
from tests.train.test_ranks import CONFIG
from tests.train.tiny import blocks, write_pair

RUN = CliRunner()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    for seed, name in enumerate(("train_0", "train_1", "held")):
        write_pair(tmp_path, name, *blocks(64, 72, seed))
    text = CONFIG.format(folder=json.dumps(str(tmp_path)))
    text = text.replace("unet-paper", "unet-light").replace(", dropout = 0.0", "")
    text = text.replace("width = 2", "width = 0.02").replace("window = 224", "window = 32")
    path = tmp_path / "config.toml"
    path.write_text(text)
    return path


def test_trains_and_goes_on(config: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = RUN.invoke(app, ["train", str(config), "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "last.pt: 10 steps" in done.output
    assert (out / "curves.png").exists()
    config.write_text(config.read_text().replace("steps = 10", "steps = 12"))
    with pytest.raises(ConfigError, match="add --resume"):
        RUN.invoke(app, ["train", str(config), "-o", str(out)], catch_exceptions=False)
    done = RUN.invoke(app, ["train", str(config), "-o", str(out), "--resume"])
    assert "12 steps" in done.output


def test_an_interrupted_run_says_how_to_go_on(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(_: TrainConfig, out: Path, again: bool) -> None:
        assert not again
        out.mkdir()
        (out / "last.pt").touch()
        raise KeyboardInterrupt

    monkeypatch.setattr("geounet.train.fit.fit", stop)
    done = RUN.invoke(app, ["train", str(config), "--out", str(tmp_path / "run")])
    assert done.exit_code == 130
    assert "last.pt is at most 3 minutes old, go on from it with --resume" in done.output


def test_preview_shows_windows_labels_and_weights(config: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "new" / "sheet.png"
    done = RUN.invoke(app, ["train", str(config), "--preview", str(sheet)])
    assert done.exit_code == 0, done.output
    assert "24 windows" in done.output
    picture = np.rint(imread(sheet)[..., :3] * 255).astype(np.uint8)
    assert picture.shape == (4 * (3 * 32 + 2 * 2 + 8), 6 * 36 - 4, 3)
    labels = {tuple(colour) for colour in picture[34:66, :32].reshape(-1, 3).tolist()}
    # Building, water, and half the mean of land and water where either may be.
    assert labels <= {(200, 40, 40), (40, 80, 200), (60, 65, 85)}
    assert len(list(sheet.parent.iterdir())) == 1


def test_wrong_usage(config: Path) -> None:
    for arguments in (["train", str(config)], ["train", str(config), "--preview", "x", "--resume"]):
        assert RUN.invoke(app, arguments).exit_code == 2
