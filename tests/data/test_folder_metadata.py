"""Folders with a metadata file: Hugging Face's imagefolder."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.data.test_folder import write_images
from zoo_cli.data.samples import open_data
from zoo_cli.errors import ContractError, UsageError

ROWS = [
    {"file_name": "images/2.png", "label": "dog", "size": 3},
    {"file_name": "images/1.png", "label": "cat", "size": 4},
    {"file_name": "3.png", "label": None, "size": 5},
]


def write_metadata(folder: Path, ending: str, rows: list[dict[str, object]]) -> None:
    folder.mkdir(exist_ok=True)
    if ending == "csv":
        lines = [",".join(rows[0]), *(",".join("" if v is None else str(v) for v in row.values()) for row in rows)]
        (folder / "metadata.csv").write_text("\n".join(lines) + "\n")
    elif ending == "jsonl":
        (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), folder / "metadata.parquet")


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_metadata_lists_the_images(tmp_path: Path, ending: str) -> None:
    write_images(tmp_path, "d/images/1.png", "d/images/2.png", "d/3.png", "d/images/unlisted.png")
    write_metadata(tmp_path / "d", ending, ROWS)
    data = open_data("folder:d", tmp_path)
    assert data.classes == ("cat", "dog")
    assert [(s.id, s.path, s.label) for s in data.samples()] == [
        ("images/2.png", "d/images/2.png", 1),
        ("images/1.png", "d/images/1.png", 0),
        ("3.png", "d/3.png", None),
    ]
    assert list(data.passed_over()) == ["images/unlisted.png"]
    assert open_data("folder:d?label=size", tmp_path).classes == tuple(map(str, range(6)))


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_class_folders_hold_where_metadata_has_no_label(tmp_path: Path, ending: str) -> None:
    write_images(tmp_path, "d/cat/1.png", "d/dog/1.png")
    write_metadata(tmp_path / "d", ending, [{"file_name": "cat/1.png", "mood": "calm"}])
    data = open_data("folder:d", tmp_path)
    assert data.classes == ("cat", "dog")
    assert len(list(data.samples())) == 2
    assert "has no column label, so classes are the folders; or folder:d?label=mood" in data.notes[0]
    assert not list(data.passed_over())


def test_a_flat_folder_lists_its_label_columns(tmp_path: Path) -> None:
    write_images(tmp_path, "d/1.png")
    write_metadata(tmp_path / "d", "csv", [{"file_name": "1.png", "fine": "a", "coarse": "b"}])
    data = open_data("folder:d", tmp_path)
    assert data.classes is None
    assert 'choose one of "fine", "coarse": folder:d?label=fine' in data.label_hint()


def test_several_labels_in_metadata_are_refused(tmp_path: Path) -> None:
    write_metadata(tmp_path / "d", "jsonl", [{"file_name": "1.png", "label": ["a", "b"]}])
    with pytest.raises(ContractError, match="multi-label"):
        open_data("folder:d", tmp_path)


def test_other_metadata_is_passed_over(tmp_path: Path) -> None:
    write_images(tmp_path, "d/cat/1.png", "d/dog/1.png")
    (tmp_path / "d/metadata.csv").write_text("image_path;kind\n")
    data = open_data("folder:d", tmp_path)
    assert data.classes == ("cat", "dog")
    assert list(data.passed_over()) == ["metadata.csv"]


@pytest.mark.parametrize("text", ["{", "[1]", '{"file_name": "../x.png"}', '{"file_name": "/x.png"}', "\x00"])
def test_broken_metadata_is_a_contract_error(tmp_path: Path, text: str) -> None:
    write_images(tmp_path, "d/1.png")
    (tmp_path / "d/metadata.jsonl").write_text(text)
    with pytest.raises(ContractError):
        list(open_data("folder:d", tmp_path).samples())


def test_two_metadata_files_are_refused(tmp_path: Path) -> None:
    for ending in ("csv", "jsonl"):
        write_metadata(tmp_path / "d", ending, ROWS)
    with pytest.raises(UsageError, match=r"metadata\.csv and metadata\.jsonl"):
        open_data("folder:d", tmp_path)
