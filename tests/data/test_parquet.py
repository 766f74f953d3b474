"""Parquet in the Hugging Face layout: names, numbers and ids are read as stored, and damage is reported."""

import json
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.data.encoded_images import encode, make_image
from zoo_cli.data.samples import Data, open_data
from zoo_cli.errors import ContractError, UsageError

PNG = encode(make_image())
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
NAMES = {b"class_names": b'["cat", "dog", "eel"]'}


def write_file(file: Path, columns: dict[str, Any], metadata: dict[bytes, bytes] | None = None, **options: Any) -> Path:
    """Write a file with these columns and, unless they include one, an image column."""
    file.parent.mkdir(parents=True, exist_ok=True)
    rows = len(next(iter(columns.values())))
    arrays = {"image": pa.array([{"bytes": PNG, "path": None}] * rows, IMAGE)} if "image" not in columns else {}
    arrays |= {name: value if isinstance(value, pa.Array) else pa.array(value) for name, value in columns.items()}
    pq.write_table(pa.table(arrays).replace_schema_metadata(metadata), file, **options)
    return file


def labels(data: Data) -> list[int | None]:
    return [sample.label for sample in data.samples()]


def test_default_ids_are_stem_and_row_in_file_order(tmp_path: Path) -> None:
    write_file(tmp_path / "d/b.parquet", {"label": [2]}, NAMES)
    write_file(tmp_path / "d/a.parquet", {"label": [0, 1]}, NAMES, row_group_size=1)
    data = open_data("parquet:d/*.parquet", tmp_path)
    assert data.classes == ("cat", "dog", "eel")
    assert [(s.id, s.label, s.image == PNG, s.path, s.group) for s in data.samples()] == [
        ("a/0", 0, True, None, None),
        ("a/1", 1, True, None, None),
        ("b/0", 2, True, None, None),
    ]
    assert not data.own_ids
    assert list(data.samples()) == list(data.samples())


def test_equal_file_names_get_ids_with_their_folder(tmp_path: Path) -> None:
    for part in ("x", "y"):
        write_file(tmp_path / part / "train.parquet", {"label": [0]}, NAMES)
    assert [s.id for s in open_data("parquet:**/train.parquet", tmp_path).samples()] == ["x/train/0", "y/train/0"]


def test_own_ids_and_groups_become_text(tmp_path: Path) -> None:
    write_file(tmp_path / "a.parquet", {"id": [7, 8], "group": ["p1", None], "label": [0, 1]}, NAMES)
    data = open_data("parquet:a.parquet", tmp_path)
    assert data.own_ids
    assert [(s.id, s.group) for s in data.samples()] == [("7", "p1"), ("8", None)]


@pytest.mark.parametrize("names", [["cat", "dog"], {"0": "cat", "1": "dog"}])
def test_hugging_face_class_names_and_unknown_label(tmp_path: Path, names: Any) -> None:
    features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
    metadata = {b"huggingface": json.dumps({"info": {"features": features}}).encode(), **NAMES}
    write_file(tmp_path / "a.parquet", {"label": pa.array([1, -1, None, 0], pa.int64())}, metadata)
    data = open_data("parquet:a.parquet", tmp_path)
    assert data.classes == ("cat", "dog")
    assert labels(data) == [1, None, None, 0]


def test_hugging_face_columns_of_any_name_are_found(tmp_path: Path) -> None:
    features = {"img": {"_type": "Image"}, "kind": {"names": ["a", "b"], "_type": "ClassLabel"}}
    metadata = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    image = pa.array([{"bytes": PNG, "path": "x.png"}], IMAGE)
    write_file(tmp_path / "a.parquet", {"image": image, "label": [1]}, metadata)
    table = pq.read_table(tmp_path / "a.parquet").rename_columns(["img", "kind"]).replace_schema_metadata(metadata)
    pq.write_table(table, tmp_path / "b.parquet")
    (sample,) = open_data("parquet:b.parquet", tmp_path).samples()
    assert (sample.image, sample.label) == (PNG, 1)


def two_labels(tmp_path: Path) -> None:
    features = {
        "image": {"_type": "Image"},
        "fine": {"names": ["a", "b", "c"], "_type": "ClassLabel"},
        "coarse": {"names": ["x", "y"], "_type": "ClassLabel"},
        "several": [{"names": ["x", "y"], "_type": "ClassLabel"}],
    }
    metadata = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    write_file(tmp_path / "a.parquet", {"fine": [2, 0], "coarse": [1, 0], "size": [24, 30]}, metadata)


def test_one_of_several_label_columns_is_chosen(tmp_path: Path) -> None:
    two_labels(tmp_path)
    data = open_data("parquet:a.parquet", tmp_path)
    assert data.classes is None
    assert 'choose one of "fine", "coarse": parquet:a.parquet?label=fine' in data.label_hint()
    chosen = open_data("parquet:*.parquet?label=coarse", tmp_path)
    assert (chosen.classes, labels(chosen)) == (("x", "y"), [1, 0])
    assert open_data("parquet:a.parquet?label=size", tmp_path).classes == tuple(map(str, range(31)))
    with pytest.raises(UsageError, match="did you mean coarse"):
        open_data("parquet:a.parquet?label=course", tmp_path)


def test_several_labels_in_a_parquet_are_refused(tmp_path: Path) -> None:
    write_file(tmp_path / "a.parquet", {"label": pa.array([[0, 1], [1]])})
    with pytest.raises(ContractError, match="multi-label"):
        open_data("parquet:a.parquet", tmp_path)
    write_file(tmp_path / "b.parquet", {"label": ["a|b", "a"]})
    with pytest.raises(ContractError, match=r"holds several labels.*multi-label"):
        open_data("parquet:b.parquet", tmp_path)
    write_file(tmp_path / "c.parquet", {"labels": pa.array([[0, 1], [1]])})
    assert "multi-label" in open_data("parquet:c.parquet", tmp_path).label_hint()
    write_file(tmp_path / "d.parquet", {"cat": [0, 1], "dog": [True, True], "width": [20, 24]})
    assert 'one-hot columns ("cat", "dog")' in open_data("parquet:d.parquet", tmp_path).label_hint()


def test_class_names_of_a_parquet_are_tidy(tmp_path: Path) -> None:
    write_file(tmp_path / "a.parquet", {"label": [0, 1]}, {b"class_names": b'["zebra ", "ant"]'})
    data = open_data("parquet:a.parquet", tmp_path)
    assert (data.classes, labels(data)) == (("zebra", "ant"), [0, 1])
    write_file(tmp_path / "b.parquet", {"label": [" cat", "cat", "ant"]})
    data = open_data("parquet:b.parquet", tmp_path)
    assert (data.classes, labels(data)) == (("ant", "cat"), [1, 1, 0])
    assert "equal names are one class" in data.notes[0]


def test_what_zoo_writes_is_not_data(tmp_path: Path) -> None:
    write_file(tmp_path / "a.parquet", {"label": [0, 1]}, NAMES)
    pq.write_table(pa.table({"id": ["x"]}), tmp_path / "manifest.parquet")
    assert len(list(open_data("parquet:*.parquet", tmp_path).samples())) == 2


def test_numbers_without_class_names_are_their_own_names(tmp_path: Path) -> None:
    write_file(tmp_path / "a1.parquet", {"label": pa.array([3, None], pa.int16())})
    write_file(tmp_path / "a2.parquet", {"label": pa.array([0, 5], pa.int16())})
    data = open_data("parquet:a*.parquet", tmp_path)
    assert data.classes == ("0", "1", "2", "3", "4", "5")
    assert labels(data) == [3, None, 0, 5]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())])
def test_text_labels_are_sorted_classes(tmp_path: Path, kind: pa.DataType) -> None:
    write_file(tmp_path / "a.parquet", {"label": pa.array(["eel", None, "cat"], pa.string()).cast(kind)})
    data = open_data("parquet:a.parquet", tmp_path)
    assert data.classes == ("cat", "eel")
    assert labels(data) == [1, None, 0]


def test_text_labels_follow_a_class_list(tmp_path: Path) -> None:
    write_file(tmp_path / "a.parquet", {"label": ["eel", "cat"]}, NAMES)
    assert labels(open_data("parquet:a.parquet", tmp_path)) == [2, 0]
    write_file(tmp_path / "b.parquet", {"label": ["owl"]}, NAMES)
    with pytest.raises(ContractError, match="'owl' is outside the 3 classes"):
        labels(open_data("parquet:b.parquet", tmp_path))


def test_no_labels_mean_no_classes(tmp_path: Path) -> None:
    write_file(tmp_path / "a.parquet", {"id": ["x"]})
    write_file(tmp_path / "b.parquet", {"label": pa.array([None], pa.int32())})
    for name in ("a", "b"):
        data = open_data(f"parquet:{name}.parquet", tmp_path)
        assert data.classes is None
        assert labels(data) == [None]


@pytest.mark.parametrize("value", [3, -1, 10**12])
def test_a_label_outside_the_list_names_file_and_row(tmp_path: Path, value: int) -> None:
    write_file(tmp_path / "a.parquet", {"label": pa.array([0, value], pa.int64())}, NAMES)
    with pytest.raises(ContractError, match=r"outside the 3 classes.*a\.parquet, row 1"):
        labels(open_data("parquet:a.parquet", tmp_path))


def test_impossible_class_numbers_are_refused(tmp_path: Path) -> None:
    write_file(tmp_path / "a.parquet", {"label": [-2, 0]})
    with pytest.raises(ContractError, match="negative"):
        open_data("parquet:a.parquet", tmp_path)
    write_file(tmp_path / "b.parquet", {"label": [0, 10**12]})
    with pytest.raises(ContractError, match="too large for a class number"):
        open_data("parquet:b.parquet", tmp_path)
    write_file(tmp_path / "c.parquet", {"label": [0.5]})
    with pytest.raises(ContractError, match="is double"):
        open_data("parquet:c.parquet", tmp_path)


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
def test_plain_binary_images_are_read(tmp_path: Path, kind: pa.DataType) -> None:
    write_file(tmp_path / "a.parquet", {"image": pa.array([PNG, None], kind)})
    assert [s.image for s in open_data("parquet:a.parquet", tmp_path).samples()] == [PNG, b""]


def test_an_image_without_bytes_is_the_file_it_names(tmp_path: Path) -> None:
    cells = [{"bytes": None, "path": "x/1.png"}, {"bytes": None, "path": None}]
    write_file(tmp_path / "w/a.parquet", {"image": pa.array(cells, IMAGE)})
    with_path, without = open_data("parquet:w/a.parquet", tmp_path).samples()
    assert (with_path.path, with_path.image) == ("w/x/1.png", None)
    assert (without.path, without.image) == (None, b"")
    for path in ("/etc/passwd", "../../x.png"):
        write_file(tmp_path / "w/b.parquet", {"image": pa.array([{"bytes": None, "path": path}], IMAGE)})
        with pytest.raises(ContractError, match="leaves the folder"):
            list(open_data("parquet:w/b.parquet", tmp_path).samples())


def test_files_that_disagree_are_refused(tmp_path: Path) -> None:
    write_file(tmp_path / "a1.parquet", {"label": [0]}, NAMES)
    write_file(tmp_path / "a2.parquet", {"label": [0]}, {b"class_names": b'["cat", "eel", "dog"]'})
    with pytest.raises(ContractError, match="different class names"):
        open_data("parquet:a*.parquet", tmp_path)
    write_file(tmp_path / "a2.parquet", {"label": [0], "id": ["x"]}, NAMES)
    with pytest.raises(ContractError, match="different id columns"):
        open_data("parquet:a*.parquet", tmp_path)


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        (b"no json", "is not valid JSON"),
        (b"[" * 100_000, "is not valid JSON"),
        (b'"cat"', "not a list of strings"),
        (b"[1, 2]", "not a list of strings"),
        (b"[]", "not a list of strings"),
        (b'["cat", "cat"]', "is repeated"),
    ],
)
def test_invalid_class_lists_are_refused(tmp_path: Path, metadata: bytes, reason: str) -> None:
    write_file(tmp_path / "a.parquet", {"label": [0]}, {b"class_names": metadata})
    with pytest.raises(ContractError, match=reason):
        open_data("parquet:a.parquet", tmp_path)


def test_a_file_without_images_names_its_columns(tmp_path: Path) -> None:
    pq.write_table(pa.table({"picture": [b"x"], "label": [0]}), tmp_path / "a.parquet")
    with pytest.raises(ContractError, match=r'no column image.*"picture", "label"'):
        open_data("parquet:a.parquet", tmp_path)
    pq.write_table(pa.table({"image": ["x.png"]}), tmp_path / "a.parquet")
    with pytest.raises(ContractError, match="no column image with encoded images"):
        open_data("parquet:a.parquet", tmp_path)


def test_an_empty_id_is_refused(tmp_path: Path) -> None:
    write_file(tmp_path / "a.parquet", {"id": ["x", None]})
    with pytest.raises(ContractError, match=r"an empty id .*row 1"):
        list(open_data("parquet:a.parquet", tmp_path).samples())


def test_no_match_suggests_a_pattern(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    with pytest.raises(UsageError, match="no file matches"):
        open_data("parquet:gone-*.parquet", tmp_path)
    with pytest.raises(UsageError, match=r"write parquet:d/\*\.parquet"):
        open_data("parquet:d", tmp_path)


def test_an_existing_name_with_brackets_is_not_a_pattern(tmp_path: Path) -> None:
    write_file(tmp_path / "a[1].parquet", {"id": ["x"]})
    assert [s.id for s in open_data("parquet:a[1].parquet", tmp_path).samples()] == ["x"]


def test_damaged_files_are_named(tmp_path: Path) -> None:
    content = write_file(tmp_path / "a.parquet", {"label": [0, 1, 2]}, NAMES, write_page_checksum=True).read_bytes()
    draw = random.Random(1)
    broken = [b"", b"text", b"PAR1" * 3, *(content[: draw.randrange(len(content))] for _ in range(20))]
    for data in broken:
        (tmp_path / "b.parquet").write_bytes(data)
        with pytest.raises(ContractError, match=r"b\.parquet"):
            open_data("parquet:b.parquet", tmp_path)


def test_a_flipped_bit_is_detected_while_reading(tmp_path: Path) -> None:
    content = write_file(
        tmp_path / "a.parquet",
        {"id": ["x", "y"]},
        write_page_checksum=True,
        write_statistics=False,  # they would contain the image once more
        compression="none",
        use_dictionary=False,
    ).read_bytes()
    offset = content.index(PNG) + 40
    (tmp_path / "a.parquet").write_bytes(content[:offset] + bytes([content[offset] ^ 1]) + content[offset + 1 :])
    data = open_data("parquet:a.parquet", tmp_path)
    with pytest.raises(ContractError, match=r"a\.parquet"):
        list(data.samples())


def test_images_are_read_only_with_the_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_file(tmp_path / "a.parquet", {"label": [0]})
    columns_read: list[list[str]] = []
    read = pq.ParquetFile.read
    monkeypatch.setattr(
        pq.ParquetFile, "read", lambda self, columns: columns_read.append(columns) or read(self, columns=columns)
    )
    monkeypatch.setattr(pq.ParquetFile, "iter_batches", lambda *_, **__: pytest.fail("the rows were read"))
    assert open_data("parquet:a.parquet", tmp_path).classes == ("0",)
    assert columns_read == [["label"]]
