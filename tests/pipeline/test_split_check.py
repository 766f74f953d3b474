"""`zoo split --check header`: images that are known to be sound are hashed, not decoded."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.pipeline.test_split_data import write_classes
from tests.workspaces import Result, make, run
from zoo_cli import config
from zoo_cli.images import decoding
from zoo_cli.pipeline.split import read_check

IMAGE = "images/blue/03.png"


def succeed(*arguments: str, workspace: Path) -> Result:
    result = run(*arguments, workspace=workspace)
    assert result.code == 0, result.err
    return result


def cut_image(workspace: Path) -> None:
    """Leave the header of an image and half of its pixels."""
    path = workspace / IMAGE
    path.write_bytes(path.read_bytes()[:-200])


def refuse(*_: object, **__: object) -> None:
    raise AssertionError("an image is decoded")


def test_a_header_check_gives_the_same_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = make(tmp_path / "whole", upto="split")
    place = make(tmp_path / "task")
    monkeypatch.setattr(decoding, "_decoded", refuse)
    result = succeed("split", "--check", "header", "--json", workspace=place)
    tables = [pq.read_table(folder / "manifest.parquet") for folder in (whole, place)]
    assert tables[0].equals(tables[1])
    inputs = [json.loads(table.schema.metadata[b"zoo"])["inputs"] for table in tables]
    assert {**inputs[0], "check": "header"} == inputs[1]
    findings = result.data["findings"]
    assert [findings[key] for key in ("one_colour", "few_levels", "lost_transparency")] == [None, None, None]
    assert findings["copies"] == {"count": 0, "first": []}
    assert "saw: only headers: damaged pixels, images of one colour and 16 bits were not looked for" in result.err


def test_a_header_check_stays_until_decoding_is_requested(tmp_path: Path) -> None:
    place = make(tmp_path / "task")
    succeed("split", "--check", "header", workspace=place)
    for command in (("split",), ("split", "--check", "header"), ("split", "--labels", "few", "--labelled", "25%")):
        succeed(*command, workspace=place)
    result = run("split", "--check", "decode", workspace=place)
    assert result.code == 2
    assert "other inputs: check; zoo split --overwrite" in result.error
    assert read_check(config.load(place)) == "header"
    succeed("split", "--check", "decode", "--overwrite", workspace=place)
    assert read_check(config.load(place)) == "decode"
    assert "up to date" in succeed("split", "--check", "header", workspace=place).err


def test_remaking_a_manifest_keeps_its_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = make(tmp_path / "task")
    succeed("split", "--check", "header", workspace=place)
    write_classes(tmp_path, "more/blue", "more/green", "more/red")
    text = (place / "zoo.toml").read_text().replace('"folder:images"', f'"folder:{tmp_path}/more"')
    (place / "zoo.toml").write_text(text)
    monkeypatch.setattr(decoding, "image_info", refuse)
    result = succeed("extract", "--refresh", "--source", "beta", workspace=place)
    assert "makes it again" in result.err
    assert read_check(config.load(place)) == "header"


def test_damage_behind_a_header_is_reported_by_later_steps(tmp_path: Path) -> None:
    place = make(tmp_path / "task")
    cut_image(place)
    failed = json.loads(succeed("split", "--max-errors", "1", "--json", workspace=place).out)["data"]["findings"]
    assert failed["failed"] == 1
    succeed("split", "--check", "header", "--overwrite", workspace=place)
    tune = run("finetune", "alpha", "--steps", "1", "--batch-size", "4", workspace=place)
    assert tune.code == 3
    assert "train/blue/03.png" in tune.error
    assert "zoo split --overwrite leaves it out" in tune.error
    result = run("extract", "--source", "beta", workspace=place)
    assert result.code == 4
    assert "1 of 36" in result.err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--check", "headr"), 'no check "headr"; did you mean header? one of: decode, header'),
        (("--check", "header", "--labels", "few", "--labelled", "5%"), "--check and --labels cannot be combined"),
    ],
)
def test_check_names_are_checked(flags: tuple[str, ...], message: str, tmp_path: Path) -> None:
    result = run("split", *flags, workspace=make(tmp_path / "task"))
    assert result.code == 2
    assert message in result.error
