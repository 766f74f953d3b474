"""CSV tables of image paths: cells are read as written, and paths stay inside the table's folder."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zoo_cli.data.samples import open_data
from zoo_cli.errors import ContractError, UsageError, ZooError


def write_table(root: Path, text: str | bytes) -> str:
    """Write t/x.csv; its data spec."""
    (root / "t").mkdir(exist_ok=True)
    (root / "t/x.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    return "csv:t/x.csv"


def test_classes_are_sorted_and_paths_relative_to_the_table(tmp_path: Path) -> None:
    data = open_data(
        write_table(tmp_path, "path,label,group\nim/1.png,eel,p1\n\n./im/2.png, cat ,\nim/3.png,,p1\n"), tmp_path
    )
    assert data.classes == ("cat", "eel")
    assert not data.own_ids
    assert [(s.id, s.path, s.label, s.group) for s in data.samples()] == [
        ("im/1.png", "t/im/1.png", 1, "p1"),
        ("im/2.png", "t/im/2.png", 0, None),
        ("im/3.png", "t/im/3.png", None, "p1"),
    ]
    assert list(data.samples()) == list(data.samples())


def test_only_plain_numbers_are_class_numbers(tmp_path: Path) -> None:
    assert open_data(write_table(tmp_path, "label,path\n10,a\n0,b\n"), tmp_path).classes == tuple(map(str, range(11)))
    assert open_data(write_table(tmp_path, "label,path\n10,a\n02,b\n"), tmp_path).classes == ("02", "10")
    assert open_data(write_table(tmp_path, "label,path\n1,a\ncat,b\n"), tmp_path).classes == ("1", "cat")
    assert open_data(write_table(tmp_path, "label,path\n1.0,a\n"), tmp_path).classes == ("1.0",)


@pytest.mark.parametrize("label", ["-1", "1000000", "9" * 4000])
def test_impossible_class_numbers_are_refused(tmp_path: Path, label: str) -> None:
    with pytest.raises(ContractError, match=r"negative|too large for a class number"):
        open_data(write_table(tmp_path, f"path,label\na.png,{label}\n"), tmp_path)


def test_own_ids_are_kept_and_may_not_be_empty(tmp_path: Path) -> None:
    data = open_data(write_table(tmp_path, "\ufeffid,file_name\nx,a.png\n"), tmp_path)
    assert data.own_ids
    assert data.classes is None
    assert [(s.id, s.path) for s in data.samples()] == [("x", "t/a.png")]
    with pytest.raises(ContractError, match=r"an empty id .*line 2"):
        list(open_data(write_table(tmp_path, "id,path\n,a.png\n"), tmp_path).samples())


@pytest.mark.parametrize("path", ["/etc/passwd", "../x.png", "a/../../x.png", "a/..", "", "nul\0.png", "out/x.png"])
def test_a_path_that_leaves_the_folder_is_refused(tmp_path: Path, path: str) -> None:
    spec = write_table(tmp_path, f"path,label\nfine.png,a\n{path},b\n")
    (tmp_path / "t/out").symlink_to(tmp_path)
    with pytest.raises(ContractError, match=r"leaves the folder.*line 3") as caught:
        list(open_data(spec, tmp_path).samples())
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "not a header"),
        (b"file,label\na,b\n", "not a header"),
        (b"path,path\na,b\n", "not a header"),
        (b"path,label\na.png\n", "1 cells where the header has 2 .*line 2"),
        (b'path\n"a\n', "not valid CSV"),
        (b"path\n\xff\n", "not valid CSV in UTF-8"),
        (b"PAR1\x00\x01\xfe\xff", "not valid CSV in UTF-8"),
        (b"path\n" + b"x" * 200_000, "not valid CSV"),
    ],
)
def test_malformed_tables_are_contract_errors(tmp_path: Path, text: bytes, reason: str) -> None:
    with pytest.raises(ContractError, match=reason):
        list(open_data(write_table(tmp_path, text), tmp_path).samples())


def test_a_missing_table_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no table"):
        open_data("csv:gone.csv", tmp_path)


def assert_one_line(error: ZooError) -> None:
    assert "\n" not in str(error)


cells = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(st.sets(st.sampled_from(["path", "label", "id", "group"])), st.data())
def test_any_valid_table_round_trips_or_is_refused(tmp_path: Path, columns: set[str], data: st.DataObject) -> None:
    header = sorted(columns | {"path"})
    rows = data.draw(st.lists(st.tuples(*[cells] * len(header)), max_size=6))
    text = io.StringIO()
    csv.writer(text).writerows([header, *rows])
    try:
        data_set = open_data(write_table(tmp_path, text.getvalue()), tmp_path)
        samples = list(data_set.samples())
    except ZooError as error:
        assert_one_line(error)
        return
    written = [dict(zip(header, row, strict=True)) for row in rows]
    assert len(samples) == len(written)
    for sample, row in zip(samples, written, strict=True):
        assert (tmp_path / str(sample.path)).is_relative_to(tmp_path / "t")
        assert (sample.group or "") == row.get("group", "")
        label = row.get("label", "").strip()
        assert (sample.label is None) == (label == "")
        assert sample.label is None or (data_set.classes is not None and data_set.classes[sample.label] == label)
        if "id" in row:
            assert sample.id == row["id"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_table_or_a_zoo_error(tmp_path: Path, data: bytes) -> None:
    try:
        list(open_data(write_table(tmp_path, data), tmp_path).samples())
    except ZooError as error:
        assert_one_line(error)
