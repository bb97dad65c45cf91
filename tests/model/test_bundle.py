import json
import os
import pickle
import stat
from importlib import resources
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geounet.errors import GeounetError, ModelError
from geounet.legend import LandClass, Legend
from geounet.model.bundle import load_bundle, save_bundle, shipped_models
from geounet.model.spec import ModelSpec

SPEC = ModelSpec(
    name="tiny",
    arch="plain",
    bands=("grey",),
    legend=Legend((LandClass(0, "land", (0, 0, 0)), LandClass(1, "water", (0, 0, 255)))),
    mean=(0.5,),
    std=(0.25,),
    resolution=0.5,
    stride=1,
    radius=1,
    margin=1,
    card={"licence": "CC BY 4.0"},
)


def tensors() -> dict[str, torch.Tensor]:
    """A small state dict with what real ones hold: weights, statistics and a counter."""
    generator = torch.Generator().manual_seed(0)
    return {
        "conv.weight": torch.randn(2, 1, 3, 3, generator=generator),
        "norm.running_var": torch.tensor([1e6, 1e-9]),
        "norm.num_batches_tracked": torch.tensor(12_345),
    }


def header_and_rest(data: bytes) -> tuple[dict[str, object], bytes]:
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def with_header(header: object, rest: bytes) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + rest


@pytest.mark.parametrize("half", [False, True])
def test_round_trip(tmp_path: Path, half: bool) -> None:
    path = tmp_path / "new" / "tiny.safetensors"
    saved = save_bundle(path, SPEC, tensors(), half=half)
    loaded = load_bundle(path)
    assert loaded == saved
    assert loaded.spec == SPEC
    assert pickle.loads(pickle.dumps(loaded)) == loaded
    result = loaded.tensors()
    assert result.keys() == tensors().keys()
    for key, value in tensors().items():
        assert result[key].dtype == value.dtype
        torch.testing.assert_close(
            result[key], value, rtol=1e-3 if half and value.ndim > 1 else 0, atol=0
        )


def test_half_is_half_the_size_and_keeps_what_it_cannot_hold(tmp_path: Path) -> None:
    weights = {"wide": torch.ones(64, 64), "huge": torch.full((2, 2), 1e5)}
    full = save_bundle(tmp_path / "full", SPEC, weights)
    half = save_bundle(tmp_path / "half", SPEC, weights, half=True)
    assert len(full.weights) - len(half.weights) > 64 * 64 * 2 - 100
    assert half.tensors()["huge"].max() == 1e5


def test_digest_tells_models_apart(tmp_path: Path) -> None:
    first = save_bundle(tmp_path / "a", SPEC, tensors())
    again = save_bundle(tmp_path / "b", SPEC, tensors())
    other = save_bundle(tmp_path / "c", SPEC, {**tensors(), "conv.weight": torch.zeros(2, 1, 3, 3)})
    assert first.digest == again.digest != other.digest
    assert len(first.digest) == 64


def test_views_and_gradients_are_stored(tmp_path: Path) -> None:
    weight = torch.arange(6.0).reshape(2, 3).requires_grad_()
    saved = save_bundle(tmp_path / "m", SPEC, {"turned": weight.T})
    assert saved.tensors()["turned"].tolist() == [[0, 3], [1, 4], [2, 5]]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    return save_bundle(path, SPEC, tensors()).weights


def refuse(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    with pytest.raises(ModelError) as caught:
        load_bundle(path).tensors()
    message = str(caught.value)
    assert "\n" not in message
    return message


@given(share=st.floats(0, 1, exclude_max=True))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_truncated_file_is_refused(tmp_path: Path, whole: bytes, share: float) -> None:
    path = tmp_path / "cut.safetensors"
    message = refuse(path, whole[: int(share * len(whole))])
    assert message.startswith(str(path))
    assert "give a .safetensors file" in message


@given(data=st.binary(max_size=200))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_other_file_is_refused(tmp_path: Path, data: bytes) -> None:
    refuse(tmp_path / "other.safetensors", data)


@given(place=st.integers(0), value=st.integers(0, 255))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
def test_a_damaged_header_is_refused_or_harmless(
    tmp_path: Path, whole: bytes, place: int, value: int
) -> None:
    length = int.from_bytes(whole[:8], "little")
    data = bytearray(whole)
    data[place % (8 + length)] = value
    path = tmp_path / "damaged.safetensors"
    path.write_bytes(data)
    try:
        load_bundle(path).tensors()
    except GeounetError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    "header",
    [
        [],
        "text",
        {},
        {"__metadata__": None},
        {"__metadata__": {"format": "pt"}},
        {"__metadata__": {"geounet": 3}},
        {"__metadata__": {"geounet": "{}"}},
        {"__metadata__": {"geounet": SPEC.to_json()}, "a": 1},
        {"__metadata__": {"geounet": SPEC.to_json()}, "a": {"data_offsets": [0]}},
        {"__metadata__": {"geounet": SPEC.to_json()}, "a": {"data_offsets": ["0", "4"]}},
    ],
)
def test_headers_that_are_none_of_ours(tmp_path: Path, header: object) -> None:
    refuse(tmp_path / "m.safetensors", with_header(header, b""))


def test_weights_that_do_not_fit_their_header(tmp_path: Path, whole: bytes) -> None:
    header, rest = header_and_rest(whole)
    header["conv.weight"]["shape"] = [9, 9]  # type: ignore[index]
    assert "'tiny': the weights are damaged" in refuse(tmp_path / "m", with_header(header, rest))
    assert "bytes expected" in refuse(tmp_path / "m", whole + b"more")


def test_no_such_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such file, and no shipped model of that name"):
        load_bundle(tmp_path / "none.safetensors")
    with pytest.raises(ModelError, match="cannot be read"):
        load_bundle(tmp_path)
    with pytest.raises(ModelError, match="cannot be read"):
        load_bundle("x" * 5000)


def test_a_failed_save_leaves_the_old_model_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.safetensors"
    old = save_bundle(path, SPEC, tensors())

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ModelError, match="No space left on device"):
        save_bundle(path, SPEC, {"other": torch.zeros(3)})
    assert load_bundle(path) == old
    assert list(tmp_path.iterdir()) == [path]


def test_a_save_that_cannot_start_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ModelError, match="cannot be written"):
        save_bundle(tmp_path / "file" / "m.safetensors", SPEC, tensors())
    with pytest.raises(ModelError, match="cannot be written"):
        save_bundle(tmp_path, SPEC, tensors())
    assert [item.name for item in tmp_path.iterdir()] == ["file"]


def test_others_may_read_a_saved_model(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    plain = tmp_path / "plain"
    plain.touch()
    save_bundle(path, SPEC, tensors())
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


def test_shipped_models_load_and_are_found_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = shipped_models()
    folder = Path(str(resources.files("geounet.model"))) / "weights"
    assert names == sorted(path.stem for path in folder.glob("*.safetensors"))
    monkeypatch.chdir(tmp_path)
    for name in names:
        (tmp_path / name).mkdir()  # a folder of that name does not hide it
        assert load_bundle(name).spec.name == name
        assert len(load_bundle(name).weights) <= 25_000_000
