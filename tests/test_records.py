"""Dataclasses built from JSON, and JSON that no file of ours holds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from zoo_cli.errors import ContractError
from zoo_cli.store.json_text import parse_json
from zoo_cli.store.records import build_record, check_value


@dataclass(frozen=True)
class Layer:
    name: str
    side: Literal["input", "output"]


@dataclass(frozen=True)
class Record:
    width: int
    share: float
    mean: tuple[float, ...]
    pairs: Sequence[tuple[str, float]]
    layer: Layer
    flag: bool = False
    depth: int | None = None
    layers: tuple[Layer, ...] = ()
    shares: Mapping[str, float] = field(default_factory=dict)
    other: Any = None


VALUES: dict[str, Any] = {
    "width": 3,
    "share": 1,
    "mean": [0.5, 1],
    "pairs": [["a", 2]],
    "layer": {"name": "fc", "side": "input"},
}


def test_record_has_the_types_of_its_annotations() -> None:
    record = build_record(
        Record, {**VALUES, "layers": [VALUES["layer"]], "shares": {"a": 1}, "other": [None]}, "a.json"
    )
    assert record == Record(
        3,
        1.0,
        (0.5, 1.0),
        [("a", 2.0)],
        Layer("fc", "input"),
        layers=(Layer("fc", "input"),),
        shares={"a": 1.0},
        other=[None],
    )
    assert type(record.share) is float
    assert type(record.mean) is tuple


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"width": True}, 'a.json: "width" is true, expected an integer; make it again'),
        ({"width": 1.5}, 'a.json: "width" is 1.5, expected an integer; make it again'),
        ({"share": "1"}, 'a.json: "share" is "1", expected a number; make it again'),
        ({"mean": [1, None]}, 'a.json: "mean[1]" is null, expected a number; make it again'),
        ({"mean": {}}, 'a.json: "mean" is an object, expected a list of numbers; make it again'),
        ({"pairs": [["a"]]}, 'a.json: "pairs[0]" is a list, expected a list of 2 values; make it again'),
        ({"flag": 1}, 'a.json: "flag" is 1, expected true or false; make it again'),
        ({"depth": "x"}, 'a.json: "depth" is "x", expected an integer or null; make it again'),
        ({"shares": {"a": []}}, 'a.json: "shares.a" is a list, expected a number; make it again'),
        (
            {"layer": {"name": "fc", "side": "left"}},
            'a.json: "layer.side" is "left", expected "input" or "output"; make it again',
        ),
        ({"layer": {"name": "fc"}}, 'a.json lacks the key "layer.side"; make it again'),
        ({"layers": ["fc"]}, 'a.json: "layers[0]" is "fc", expected an object; make it again'),
        ({"new": 1}, 'a.json has an unknown key "new"; make it again'),
    ],
)
def test_wrong_type_names_file_key_and_type(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ContractError) as error:
        build_record(Record, {**VALUES, **changed}, "a.json", "make it again")
    assert str(error.value) == message


def test_extra_keys_are_ignored_at_the_top_alone() -> None:
    assert build_record(Record, {**VALUES, "new": 1}, "a.json", extra_keys=True).width == 3
    with pytest.raises(ContractError, match=r'unknown key "layer\.new"'):
        build_record(Record, {**VALUES, "layer": {**VALUES["layer"], "new": 1}}, "a.json", extra_keys=True)


@pytest.mark.parametrize("value", [None, [], "x", 1])
def test_record_of_another_kind_is_refused(value: object) -> None:
    with pytest.raises(ContractError, match=r"a\.json holds .*, expected an object"):
        build_record(Record, value, "a.json", extra_keys=True)


def test_value_is_checked_against_an_annotation() -> None:
    check_value(Mapping[str, float] | None, {"a": 1}, "a.json")
    with pytest.raises(ContractError, match='"a" is null, expected a number'):
        check_value(Mapping[str, float], {"a": None}, "a.json")


@pytest.mark.parametrize(
    "text",
    [
        "NaN",
        "[-Infinity]",
        "1e999",
        "9" * 5000,
        str(2**63),
        '"\\ud800"',
        '{"\\udfff": 1}',
        "[" * 100_000,
        "",
        "{'a': 1}",
    ],
    ids=lambda text: text[:12],
)
def test_json_beyond_our_files_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_json(text.encode())


def test_json_of_our_files_is_read() -> None:
    assert parse_json(b'\xef\xbb\xbf{"a": [1, -2.5, "\\u00e9 \\ud83d\\ude00"]}') == {"a": [1, -2.5, "é 😀"]}
