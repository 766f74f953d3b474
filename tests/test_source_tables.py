"""Sources that workspaces share by `include`, and the values that `card` reads from a model's own file."""

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from tests import shared_material
from tests.workspaces import make
from zoo_cli import config
from zoo_cli.errors import UsageError

BIRDS = '[[source]]\nname = "birds"\nmodel = "file:birds"\n'
CARD = {
    "input_size": 32,
    "input_channels": 3,
    "mean": [0.4, 0.5, 0.6],
    "std": [0.2, 0.2, 0.3],
    "class_names": ["a", "b"],
}
TIMM = {
    "architecture": "resnet18",
    "num_classes": 3,
    "pretrained_cfg": {"input_size": [3, 64, 64], "mean": [0.5] * 3, "std": [0.25] * 3, "crop_pct": 0.8},
    "label_names": ["a", "b", "c"],
}
RUN = {
    "zoo": {
        "schema": "zoo.student/1",
        "classes": ["x", "y"],
        "preprocessing": {"input_size": 12, "mean": [0.5], "std": [0.25], "resize": None, "channels": 1},
    }
}


def write(folder: Path, **texts: str) -> Path:
    """Files NAME.toml in a folder, `zoo` the workspace's own."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / f"{name}.toml").write_text(text, encoding="utf-8")
    return folder


def load_card(folder: Path, card: Any, further: str = "") -> config.Source:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "x.json").write_text(card if isinstance(card, str) else json.dumps(card), encoding="utf-8")
    write(folder, zoo=f'[[source]]\nname = "a"\nmodel = "file:a"\ncard = "x.json"\n{further}')
    return config.load(folder).sources[0]


def test_included_paths_are_relative_to_their_file(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    text = (
        '[[source]]\nmodel = "python:nets/m.py:build"\nweights = "w/birds.pt"\nclasses = "names.txt"\n'
        'args = { card = "x.json", depth = 3, kind = "deep" }\ntrained_images = "birds.sha256"\n'
        '[[source]]\nmodel = "torchvision:resnet18"\nweights = "DEFAULT"\n[[source]]\nmodel = "features:/abs/o.parquet"'
    )
    write(shared, sources=text)
    (shared / "names.txt").write_text("a\nb\n")
    (shared / "x.json").write_text("{}")
    settings = config.load(write(tmp_path / "work", zoo='include = "../shared/sources.toml"\n[task]\nname = "t"'))
    net, named, outputs = settings.sources
    assert (net.model, net.weights) == ("python:../shared/nets/m.py:build", "../shared/w/birds.pt")
    assert (net.classes, net.trained_images) == (("../shared/names.txt",), "../shared/birds.sha256")
    assert net.args == {"card": "../shared/x.json", "depth": 3, "kind": "deep"}
    assert (named.model, named.weights) == ("torchvision:resnet18", "DEFAULT")
    assert outputs.model == "features:/abs/o.parquet"


def test_a_table_of_zoo_toml_replaces_an_included_one(tmp_path: Path) -> None:
    write(tmp_path, more='[[source]]\nname = "cars"\nmodel = "file:cars"', sources=f'include = "more.toml"\n{BIRDS}')
    write(tmp_path, zoo='include = "sources.toml"\n[[source]]\nname = "cars"\nmodel = "file:other"\ndepth = 4')
    cars, birds = config.load(tmp_path).sources
    assert (cars.name, cars.model, cars.depth) == ("cars", "file:other", 4)
    assert birds.name == "birds"


def test_equal_tables_of_two_files_are_one_source(tmp_path: Path) -> None:
    write(tmp_path, more=BIRDS, sources=f'include = "more.toml"\n{BIRDS}', zoo='include = "sources.toml"')
    assert [source.name for source in config.load(tmp_path).sources] == ["birds"]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({"zoo": 'include = "none.toml"'}, r"no file .*none\.toml, which .*zoo\.toml includes"),
        ({"zoo": 'include = "."'}, r"which .*zoo\.toml includes, is a folder"),
        ({"zoo": "include = 3"}, r"include = 3 in .*zoo\.toml; expected the path of a file"),
        ({"zoo": 'include = "zoo.toml"'}, r"zoo\.toml includes itself: .*zoo\.toml -> .*zoo\.toml; drop one include"),
        (
            {"zoo": 'include = "a.toml"', "a": 'include = "b.toml"', "b": 'include = "a.toml"'},
            r"a\.toml includes itself: .*zoo\.toml -> .*a\.toml -> .*b\.toml -> .*a\.toml",
        ),
        ({"zoo": 'include = "a.toml"', "a": "[task]\nseed = 1"}, r'unknown key "task" in .*a\.toml, which .*zoo\.toml'),
        ({"zoo": 'include = "a.toml"', "a": "[[source"}, r"a\.toml is not valid TOML"),
        (
            {"zoo": 'include = "a.toml"', "a": BIRDS + "size = 3"},
            r'unknown key "size" in \[\[source\]\] 1 of .*a\.toml',
        ),
        ({"zoo": 'include = "a.toml"', "a": BIRDS + BIRDS}, r'two sources of .*a\.toml are named "birds"'),
        (
            {"zoo": 'include = "a.toml"', "a": f'include = "b.toml"\n{BIRDS}depth = 3', "b": BIRDS},
            r'"birds" is not the same in \[\[source\]\] 1 of .*b\.toml and \[\[source\]\] 1 of .*a\.toml',
        ),
    ],
    ids=["missing", "folder", "number", "itself", "circle", "task", "toml", "key", "twice", "differing"],
)
def test_a_bad_include_is_one_line(tmp_path: Path, texts: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message) as raised:
        config.load(write(tmp_path, **texts))
    assert "\n" not in str(raised.value)


VALUES = st.sampled_from(
    [
        "",
        "a.json",
        ".",
        "x" * 5000,
        "a/" * 3000,
        "~",
        "file:.",
        "python::",
        "csv:a?root=b",
        0,
        -1,
        2**70,
        True,
        1.5,
        [],
        {},
    ]
) | st.text(max_size=8)


@examples(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from([key.name for key in config.describe_keys(config.Source)]), VALUES, max_size=4))
def test_any_included_table_loads_or_is_a_usage_error(
    tmp_path_factory: pytest.TempPathFactory, table: dict[str, Any]
) -> None:
    folder = tmp_path_factory.mktemp("any")
    shared = write(folder / "shared", sources="")
    (shared / "a.json").write_text(json.dumps(CARD))
    values = {"model": "file:birds", **table}
    lines = [f"{key} = {json.dumps(value) if value != {} else '{}'}" for key, value in values.items()]
    write(shared, sources="\n".join(["[[source]]", *lines]))
    write(folder / "work", zoo='include = "../shared/sources.toml"')
    with contextlib.suppress(UsageError):
        (source,) = config.load(folder / "work").sources
        assert source.card in ("", "../shared/a.json")


def test_an_included_source_is_extracted_as_a_plain_one(tmp_path: Path) -> None:
    plain, including = make(tmp_path / "plain"), make(tmp_path / "including")
    tables = (including / "zoo.toml").read_text(encoding="utf-8")
    task, sign, sources = tables.partition("[[source]]")
    write(including, zoo=f'include = "sources.toml"\n{task}', sources=sign + sources)
    assert config.load(including).sources == config.load(plain).sources


@pytest.mark.parametrize(
    ("card", "expected"),
    [
        (
            CARD,
            {"input_size": 32, "channels": 3, "mean": (0.4, 0.5, 0.6), "std": (0.2, 0.2, 0.3), "classes": ("a", "b")},
        ),
        (TIMM, {"input_size": 64, "resize": 80, "mean": (0.5,) * 3, "std": (0.25,) * 3, "classes": ("a", "b", "c")}),
        (RUN, {"input_size": 12, "resize": None, "mean": (0.5,), "std": (0.25,), "classes": ("x", "y"), "channels": 1}),
        (
            {"input_size": [3, 8, 8], "num_classes": 7, "class_names": None},
            {"input_size": 8, "classes": 7, "mean": None},
        ),
    ],
    ids=["plain", "timm", "run", "number"],
)
def test_a_card_gives_what_the_table_leaves_out(tmp_path: Path, card: Any, expected: dict[str, Any]) -> None:
    source = load_card(tmp_path, card)
    assert {key: getattr(source, key) for key in expected} == expected


def test_keys_beside_a_card_win(tmp_path: Path) -> None:
    source = load_card(tmp_path, TIMM, "input_size = 32\nclasses = 0\nmean = [0, 0, 0]")
    assert (source.input_size, source.classes, source.mean) == (32, 0, (0.0, 0.0, 0.0))
    assert source.resize == 40  # the share that is cropped away stays
    assert load_card(tmp_path, CARD, "head = false").classes is None


def test_a_card_declares_what_its_values_would(tmp_path: Path) -> None:
    carded, plain = load_card(tmp_path / "a", CARD), load_card(tmp_path / "b", {"mean": CARD["mean"]})
    settings = config.load(tmp_path / "a")
    assert "card" not in settings.declared(carded)
    assert settings.declared(carded) != settings.declared(plain)


@pytest.mark.parametrize(
    ("card", "message"),
    [
        ("{", r"x\.json, the card of \[\[source\]\] 1 of .*zoo\.toml, is not valid JSON"),
        ('{"mean": [NaN]}', "is not valid JSON: NaN"),
        ("[" * 100_000, "is not valid JSON"),
        ("[1]", "is not a JSON object"),
        ({"licence": "MIT"}, "has no input_size, mean, std or classes"),
        ({"mean": "grey"}, r"mean = 'grey' in .*x\.json; expected a list of numbers"),
        ({"mean": [123.7], "std": [58]}, r"x\.json: mean = \[123.7\].*divided by 255"),
        ({"input_size": [3, 32, 64]}, r"input_size = \[3, 32, 64\] in .*x\.json; expected an integer"),
        ({"input_size": 0}, r"input_size = 0 in .*x\.json; expected a positive number"),
        ({"classes": [1, 2]}, r"classes = \[1, 2\] in .*x\.json"),
        ({"zoo": 3}, "is not what a run of zoo records"),
        ({"pretrained_cfg": 3}, "pretrained_cfg in .* is not an object"),
    ],
)
def test_a_bad_card_is_one_line(tmp_path: Path, card: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message) as raised:
        load_card(tmp_path, card)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(("name", "message"), [("none.json", "no file .*none.json, the card of"), (".", "is a folder")])
def test_a_card_that_cannot_be_read_is_one_line(tmp_path: Path, name: str, message: str) -> None:
    write(tmp_path, zoo=f'[[source]]\nmodel = "file:a"\ncard = "{name}"')
    with pytest.raises(UsageError, match=message):
        config.load(tmp_path)


@pytest.mark.skipif(shared_material.SHARED is None, reason="needs the development material")
def test_shared_cards_are_read(tmp_path: Path) -> None:
    assert shared_material.SHARED is not None
    cards = sorted((shared_material.SHARED / "weights").glob("*.json"))
    assert cards
    for card in cards:
        content = json.loads(card.read_text(encoding="utf-8"))
        source = load_card(tmp_path, content)
        assert source.input_size == content["input_size"], card.name
        assert source.classes == (content["class_names"] and tuple(content["class_names"])), card.name
