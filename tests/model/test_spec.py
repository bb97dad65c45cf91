import json
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geounet.errors import ConfigError
from geounet.legend import LandClass, Legend
from geounet.model.spec import FORMAT, ModelSpec

LEGEND = Legend(
    (
        LandClass(0, "land", (200, 180, 140), min_area=12.5),
        LandClass(2, "building", (200, 40, 40), outline="square"),
    )
)
GOOD: dict[str, Any] = {
    "name": "test",
    "arch": "smp:Unet",
    "bands": ("red", "near_infrared"),
    "legend": LEGEND,
    "mean": (0.4, 0.3),
    "std": (0.2, 0.1),
    "resolution": 0.5,
    "stride": 32,
    "radius": 303,
    "margin": 64,
}


@given(
    st.integers(1, 4),
    st.integers(1, 64),
    st.integers(0, 20),
    st.lists(st.tuples(st.integers(0, 2000), st.floats(0, 1)), max_size=4),
    st.dictionaries(st.text(), st.integers() | st.text() | st.lists(st.booleans()), max_size=3),
    st.none() | st.text(),
)
def test_json_round_trip(
    bands: int,
    stride: int,
    cells: int,
    curve: list[tuple[int, float]],
    card: dict[str, Any],
    encoder: str | None,
) -> None:
    spec = ModelSpec(
        **{
            **GOOD,
            "bands": tuple(f"band_{i}" for i in range(bands)),
            "mean": (0.1,) * bands,
            "std": (1 / 3,) * bands,
            "stride": stride,
            "margin": cells * stride,
            "margin_curve": tuple(curve),
            "encoder": encoder,
            "card": card,
            "options": {"decoder_channels": [64, 32]},
            "thresholds": {"building": 0.25},
        }
    )
    text = spec.to_json()
    assert ModelSpec.from_json(text) == spec
    assert "\n" not in text
    assert pickle.loads(pickle.dumps(spec)) == spec


def facts(**changes: Any) -> str:
    """The good spec's JSON with fields changed; a field set to ``...`` is left out."""
    content = {**json.loads(ModelSpec(**GOOD).to_json()), **changes}
    return json.dumps({key: value for key, value in content.items() if value is not ...})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read"),
        ("[]", "cannot be read"),
        ("3", "cannot be read"),
        ('{"format": 1', "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        (facts(format=...), "format"),
        (facts(format=FORMAT + 1), f"format {FORMAT + 1} is newer .* upgrade"),
        (facts(format="1"), "cannot be read"),
        (facts(stride=...), "stride"),
        (facts(surprise=1), "surprise"),
        (facts(legend=None), "cannot be read"),
        (facts(legend=[3]), "cannot be read"),
        (facts(legend=[]), "at least one class"),
        (facts(margin_curve=[[64]]), "cannot be read"),
        (facts(margin_curve=[[float("inf"), 0.1]]), "cannot be read"),
        (facts(bands=None), "cannot be read"),
        (facts(mean=[0.1]), r"2 bands need as many means \(1\)"),
        (facts(mean=["a", "b"]), "cannot be read"),
        (facts(mean=[float("nan"), 0]), "mean"),
        (facts(std=[0.1, 0]), "must be positive"),
        (facts(std=[0.1, float("inf")]), "must be positive"),
        (facts(margin=65), "margin 65 must be a multiple of the stride 32"),
        (facts(stride=0), "stride"),
        (facts(resolution=-1), "resolution -1"),
        (facts(resolution=float("nan")), "resolution nan"),
        (facts(value_range=[255, 0]), "value_range"),
        (facts(value_range=[0]), "value_range"),
        (facts(value_range=[]), "value_range"),
        (facts(options=7), "options"),
        (facts(thresholds=7), "thresholds 7 must be a table"),
        (facts(thresholds={"building": 1.5}), "threshold 1.5 of class 'building'"),
        (facts(thresholds={"building": "high"}), "cannot be read"),
        (facts(thresholds={"road": 0.5}), "unknown class 'road'"),
    ],
)
def test_facts_that_cannot_be_used(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        ModelSpec.from_json(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_facts_of_before_there_were_thresholds_can_be_read() -> None:
    assert ModelSpec.from_json(facts(thresholds=...)).thresholds == {}
