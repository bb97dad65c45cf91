import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geounet.errors import ConfigError
from geounet.legend import LandClass, Legend

NAMES = ("land", "building", "water", "vegetation", "road")


def town() -> Legend:
    """The five classes of the shipped model, with a minimal area that grows with the id."""
    return Legend(
        tuple(LandClass(i, name, (i, 10, 20), min_area=float(i)) for i, name in enumerate(NAMES))
    )


@st.composite
def legends(draw: st.DrawFn) -> Legend:
    ids = sorted(draw(st.sets(st.integers(0, 254), min_size=1, max_size=9)))
    color = st.tuples(*[st.integers(0, 255)] * 3)
    outline = st.sampled_from(["plain", "square", "smooth"])
    area = st.floats(0, 1e9)
    return Legend(
        tuple(LandClass(i, f"class_{i}", draw(color), draw(area), draw(outline)) for i in ids)
    )


@given(legends())
def test_json_round_trip(legend: Legend) -> None:
    assert Legend.from_dict(json.loads(json.dumps(legend.to_dict()))) == legend


@given(st.lists(st.sampled_from(["a", "b", "-"]), min_size=5, max_size=5))
def test_grouping_keeps_every_class_in_one_place(choice: list[str]) -> None:
    legend = town()
    groups: dict[str, list[str]] = {}
    for name, group in zip(NAMES, choice, strict=True):
        if group != "-":
            groups.setdefault(group, []).append(name)
    result, ids = legend.grouped(groups)
    assert sorted(ids) == [0, 1, 2, 3, 4]
    assert {item.id for item in result} == set(ids.values())
    for old in legend:
        group = choice[old.id]
        new = next(item for item in result if item.id == ids[old.id])
        if group == "-":
            assert new == old
            continue
        members = [legend[name] for name in groups[group]]
        assert new.name == group
        assert new.id == min(item.id for item in members)
        assert new.color == members[0].color
        assert new.min_area == max(item.min_area for item in members)


def test_terrain_of_the_readme() -> None:
    result, ids = town().grouped({"terrain": ["road", "land", "vegetation"]})
    assert result.names == ("terrain", "building", "water")
    assert ids == {0: 0, 1: 1, 2: 2, 3: 0, 4: 0}
    assert result["terrain"].color == (4, 10, 20), "of the first class named"
    # A group may take the name of a class that it holds.
    assert town().grouped({"land": ["land", "road"]})[0].names == NAMES[:4]
    assert town().grouped({}) == (town(), {i: i for i in range(5)})


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"terrain": []}, "'terrain' names no class"),
        ({"terrain": ["grass"]}, "unknown class 'grass'; the classes are land, building"),
        ({"a": ["land"], "b": ["land"]}, "'land' stands in two groups"),
        ({"water": ["land", "road"]}, "unique"),
        ({"Terrain 1": ["land", "road"]}, "'Terrain 1' must be lower-case"),
    ],
)
def test_groups_that_cannot_be(groups: dict[str, list[str]], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        town().grouped(groups)


@pytest.mark.parametrize("name", ["a", "b2", "low_rise", "class"])
def test_good_names(name: str) -> None:
    assert LandClass(0, name, (0, 0, 0)).name == name


@pytest.mark.parametrize("name", ["", "_a", "2b", "A", "low rise", "a-b", "straße", "a\n", "a."])
def test_names_that_no_layer_could_bear(name: str) -> None:
    with pytest.raises(ConfigError, match="must be lower-case"):
        LandClass(0, name, (0, 0, 0))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"id": 255}, "id 255"),
        ({"id": -1}, "id -1"),
        ({"color": (0, 0, 256)}, "256"),
        ({"color": (0, 0)}, "three of"),
        ({"min_area": -1.0}, "min_area -1.0"),
        ({"min_area": float("nan")}, "min_area nan"),
        ({"outline": "round"}, "'round' must be one of"),
    ],
)
def test_class_errors_carry_the_value(fields: dict[str, Any], message: str) -> None:
    good = {"id": 1, "name": "water", "color": (0, 0, 255)}
    with pytest.raises(ConfigError, match=message):
        LandClass(**{**good, **fields})


def test_legend_errors() -> None:
    land, road = LandClass(0, "land", (0, 0, 0)), LandClass(4, "road", (0, 0, 0))
    with pytest.raises(ConfigError, match="at least one class"):
        Legend(())
    with pytest.raises(ConfigError, match=r"\[4, 0\] must be unique and ascending"):
        Legend((road, land))
    with pytest.raises(ConfigError, match="names"):
        Legend((land, LandClass(1, "land", (0, 0, 0))))
