"""What zoo split says it saw: on stderr, as JSON, and as values."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.pipeline.test_split_data import write_classes
from tests.workspaces import make, run
from zoo_cli import config
from zoo_cli.images import decoding
from zoo_cli.pipeline.split import split
from zoo_cli.pipeline.split_findings import Examples

NONE = {"count": 0, "first": []}


def write_odd_data(root: Path) -> None:
    """Class folders with one of each kind that is reported."""
    write_classes(root, "d/a", "d/b", count=60)
    (root / "d/empty").mkdir()
    for name in ("a/notes.txt", "a/more.TXT", "b/photo.heic", "b/scan"):
        (root / "d" / name).write_bytes(b"no image")
    (root / "d/a/0.png").rename(root / "d/a/0.jfif")
    (root / "d/b/broken.png").write_bytes(b"")
    Image.new("RGB", (8, 8), (1, 2, 3)).save(root / "d/a/flat.png")
    Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8)).save(root / "d/a/deep.png")
    drawing = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    drawing.paste((0, 0, 0, 255), (2, 2, 5, 5))
    drawing.save(root / "d/b/drawing.png")
    (root / "d/a/copy.png").write_bytes((root / "d/a/1.png").read_bytes())
    (root / "d/b/conflict.png").write_bytes((root / "d/a/2.png").read_bytes())


def test_every_kind_is_counted_with_an_example(tmp_path: Path) -> None:
    write_odd_data(tmp_path)
    result = run("split", "--train", f"folder:{tmp_path}/d", "--json", workspace=tmp_path)
    assert result.code == 0, result.err
    assert result.data["findings"] == {
        "passed_over": [
            {"ending": ".txt", "count": 2, "example": "a/more.TXT"},
            {"ending": "", "count": 1, "example": "b/scan"},
            {"ending": ".heic", "count": 1, "example": "b/photo.heic"},
        ],
        "failed": 1,
        "empty_classes": ["empty"],
        "label_gaps": [],
        "one_colour": {"count": 1, "first": ["train/a/flat.png"]},
        "few_levels": {"count": 1, "first": ["train/a/deep.png"]},
        "lost_transparency": {"count": 1, "first": ["train/b/drawing.png"]},
        "copies": {"count": 2, "first": ["train/a/1.png", "train/a/copy.png"]},
        "label_conflicts": {"count": 1, "first": ["train/a/2.png", "train/b/conflict.png"]},
    }
    assert result.data["labelled"] + result.data["test"] == 125
    seen = [line.removeprefix("saw: ") for line in result.err.splitlines() if line.startswith("saw: ")]
    assert seen == [
        '4 files are not images and were passed over: .txt (2), no ending (1), .heic (1), e.g. "a/more.TXT"',
        "1 image failed",
        '1 class has no training image: "empty"',
        '1 image is of one colour, e.g. "train/a/flat.png"',
        "1 image of 16 bits uses few of its levels; without a value from 4096 on it is read as 12 bits, "
        'from 256 on as 8 bits, e.g. "train/a/deep.png"',
        '1 image is of one colour once transparency is dropped, e.g. "train/b/drawing.png"',
        '2 images occur under more than one id, e.g. "train/a/1.png" and "train/a/copy.png"',
        '1 image occurs under more than one label, e.g. "train/a/2.png" and "train/b/conflict.png"',
    ]


def test_ordinary_images_say_nothing(tmp_path: Path) -> None:
    result = run("split", "--json", workspace=make(tmp_path / "task"))
    assert "saw:" not in result.err
    findings = result.data["findings"]
    assert findings["failed"] == 0
    assert findings["passed_over"] == findings["empty_classes"] == findings["label_gaps"] == []
    assert all(findings[key] == NONE for key in ("one_colour", "few_levels", "copies", "label_conflicts"))


def test_findings_are_null_where_nothing_was_read(tmp_path: Path) -> None:
    place = make(tmp_path / "task", upto="split")
    result = run("split", "--json", workspace=place)
    assert (result.code, result.data["findings"], result.data["classes"]) == (0, None, 3)
    assert run("split", workspace=place).out == ""


def test_gaps_in_label_numbers_are_listed(tmp_path: Path) -> None:
    write_classes(tmp_path, "x", count=6)
    rows = "".join(f"x/{number}.png,{label}\n" for number, label in enumerate([1, 1, 4, 4, 4, 1]))
    (tmp_path / "t.csv").write_text(f"path,label\n{rows}")
    result = run("split", "--train", f"csv:{tmp_path}/t.csv", "--test", "0%", "--json", workspace=tmp_path)
    assert result.data["findings"]["label_gaps"] == [0, 2, 3]
    assert result.data["findings"]["empty_classes"] == []
    assert "saw: 3 label numbers have no training image: 0, 2, 3" in result.err


def test_findings_are_values_of_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_odd_data(tmp_path)
    (tmp_path / "zoo.toml").write_text('[task]\ntrain = "folder:d"\n')
    decode = decoding._decoded
    decoded: list[object] = []

    def counted(*arguments: Any) -> object:
        decoded.append(arguments)
        return decode(*arguments)

    monkeypatch.setattr(decoding, "_decoded", counted)
    summary = split(config.load(tmp_path))
    assert summary is not None
    assert summary.findings is not None
    assert summary.findings.one_colour == Examples(1, ("train/a/flat.png",))
    assert len(decoded) == 126  # each image once


def test_other_parts_do_not_fill_a_class(tmp_path: Path) -> None:
    write_classes(tmp_path, "train/a", "train/b", "test/a", "test/c")
    (tmp_path / "train/c").mkdir()
    specs = ("--train", f"folder:{tmp_path}/train", "--test", f"folder:{tmp_path}/test")
    result = run("split", *specs, "--json", workspace=tmp_path)
    assert result.data["findings"]["empty_classes"] == ["c"]
