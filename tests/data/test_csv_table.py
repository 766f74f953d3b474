"""CSV tables of image paths: cells are read as written, and paths stay inside the table's folder."""

import csv
import io
import unicodedata
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


def test_spaces_after_commas_are_understood(tmp_path: Path) -> None:
    data = open_data(write_table(tmp_path, "path, label, id\na.png, cat, x\nb.png, dog, y\n"), tmp_path)
    assert (data.classes, data.notes) == (("cat", "dog"), ())
    assert [(s.id, s.path) for s in data.samples()] == [("x", "t/a.png"), ("y", "t/b.png")]


def test_spaces_and_backslashes_of_paths_are_understood(tmp_path: Path) -> None:
    spec = write_table(tmp_path, "path\n images/a.png \nimages\\a.png\nodd\\name.png\n")
    (tmp_path / "t/odd\\name.png").touch()
    assert [s.path for s in open_data(spec, tmp_path).samples()] == [
        "t/images/a.png",
        "t/images/a.png",
        "t/odd\\name.png",
    ]
    for path, hint in (("..\\x.png", "without .."), ("C:\\data\\x.png", "a drive of Windows")):
        with pytest.raises(ContractError, match=hint):
            list(open_data(write_table(tmp_path, f"path\n{path}\n"), tmp_path).samples())


def test_a_root_allows_absolute_paths_inside_it(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    spec = write_table(work, f"path,label\n{tmp_path}/images/a.png,x\nb.png,y\n")
    with pytest.raises(ContractError, match=r"leaves the folder.*csv:TABLE\?root=FOLDER"):
        list(open_data(spec, work).samples())
    (tmp_path / "images").mkdir()
    for root in (tmp_path / "images", "../images"):
        samples = list(open_data(f"{spec}?root={root}", work).samples())
        assert [s.id for s in samples] == ["a.png", "b.png"]
        assert [s.path for s in samples] == [f"{tmp_path}/images/a.png", f"{tmp_path}/images/b.png"]
    with pytest.raises(ContractError, match="leaves the folder"):
        list(open_data(f"{spec}?root={work}", work).samples())
    with pytest.raises(UsageError, match="no folder"):
        open_data(f"{spec}?root=gone", work)


def test_links_that_leave_the_root_need_follow_links(tmp_path: Path) -> None:
    spec = write_table(tmp_path, "path,label\na.png,x\n")
    (tmp_path / "a.png").touch()
    (tmp_path / "t/a.png").symlink_to("../a.png")
    with pytest.raises(ContractError, match=r"link that leaves the folder.*--follow-links"):
        list(open_data(spec, tmp_path).samples())
    assert [s.path for s in open_data(spec, tmp_path, follow_links=True).samples()] == ["t/a.png"]


def test_the_label_column_can_be_chosen(tmp_path: Path) -> None:
    spec = write_table(tmp_path, "path,fine,coarse\na.png,cat,pet\nb.png,cow,farm\n")
    data = open_data(spec, tmp_path)
    assert data.classes is None
    assert data.label_hint() == f'{spec} has no column label; choose one of "fine", "coarse": {spec}?label=fine'
    assert open_data(f"{spec}?label=coarse", tmp_path).classes == ("farm", "pet")
    with pytest.raises(UsageError, match="did you mean coarse"):
        open_data(f"{spec}?label=course", tmp_path)
    with pytest.raises(UsageError, match="did you mean label"):
        open_data(f"{spec}?labels=fine", tmp_path)


@pytest.mark.parametrize("sign", [",", ";", "\t", "|"])
@pytest.mark.parametrize("quoted", ["", '"'])
def test_the_header_tells_the_delimiter(tmp_path: Path, sign: str, quoted: str) -> None:
    rows = [["path", "label"], ["a.png", "tench, Tinca" if sign != "," else "eel"], ["b.png", "cat"]]
    text = "".join(sign.join(f"{quoted}{cell}{quoted}" for cell in row) + "\n" for row in rows)
    for option in ("", f"?delimiter={sign}"):
        data = open_data(write_table(tmp_path, text) + option, tmp_path)
        assert data.classes == ("cat", rows[1][1])
        assert [sample.id for sample in data.samples()] == ["a.png", "b.png"]


def test_an_option_names_the_delimiter(tmp_path: Path) -> None:
    spec = write_table(tmp_path, "path;label\ta\nx.png;cat\t1\ny.png;dog\t2\n")
    assert open_data(f"{spec}?label=label\ta", tmp_path).classes == ("cat\t1", "dog\t2")
    assert open_data(f"{spec}?delimiter=tab&path=path;label&label=a", tmp_path).classes == ("0", "1", "2")
    with pytest.raises(UsageError, match="did you mean semicolon"):
        open_data(f"{spec}?delimiter=semicolons", tmp_path)


def test_the_path_column_can_be_chosen(tmp_path: Path) -> None:
    spec = write_table(tmp_path, "image;path;class\nim/a.png;old/1.png;cat\nim/b.png;old/2.png;dog\n")
    data = open_data(f"{spec}?path=image&label=class", tmp_path)
    assert data.classes == ("cat", "dog")
    assert [(s.id, s.path) for s in data.samples()] == [("im/a.png", "t/im/a.png"), ("im/b.png", "t/im/b.png")]
    with pytest.raises(UsageError, match="did you mean image"):
        open_data(f"{spec}?path=images", tmp_path)
    with pytest.raises(UsageError, match="names the images"):
        open_data(f"{spec}?path=image&label=image", tmp_path)


@pytest.mark.parametrize(
    ("header", "hint"),
    [
        ("photo,class", r"csv:t/x.csv\?path=photo"),
        ("photo,mask", r'choose one of "photo", "mask": csv:t/x.csv\?path=photo'),
        ("path,file_name", r'"path" and "file_name": which one .*csv:t/x.csv\?path=path'),
    ],
)
def test_candidates_for_the_path_column_are_offered(tmp_path: Path, header: str, hint: str) -> None:
    spec = write_table(tmp_path, f"{header}\na.png,{'b.png' if 'class' not in header else 'cat'}\n")
    with pytest.raises(ContractError, match=hint):
        open_data(spec, tmp_path)
    column = header.partition(",")[2]
    assert next(open_data(f"{spec}?path={column}", tmp_path).samples()).id in ("b.png", "cat")


@pytest.mark.parametrize(
    "labels",
    [
        ["a|b", "c"],
        ["a;b", "a", "b"],
        ['"a, b"', "a", "b"],
        ["a;b", "b;c", "c;a"],
        ['"[a, b]"', "c"],
        ["\"['a']|b\"", "c"],
    ],
)
def test_a_cell_of_several_labels_is_refused(tmp_path: Path, labels: list[str]) -> None:
    rows = "".join(f"{number}.png,{label}\n" for number, label in enumerate(labels))
    with pytest.raises(ContractError, match=r"holds several labels .*multi-label.* not supported yet"):
        open_data(write_table(tmp_path, f"path,label\n{rows}"), tmp_path)


def test_a_comma_may_belong_to_a_class_name(tmp_path: Path) -> None:
    text = 'path,label\na.png,"maillot, tank suit"\nb.png,maillot\nc.png,"tench, Tinca tinca"\nd.png,and/or\n'
    data = open_data(write_table(tmp_path, text), tmp_path)
    assert data.classes == ("and/or", "maillot", "maillot, tank suit", "tench, Tinca tinca")


def test_one_hot_columns_are_refused_by_name(tmp_path: Path) -> None:
    data = open_data(write_table(tmp_path, "path,cat,dog,width\na.png,1,0,24\nb.png,1,1,30\n"), tmp_path)
    assert data.classes is None
    assert 'one-hot columns ("cat", "dog"): images with several labels (multi-label)' in data.label_hint()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "not a header"),
        (b"path;label\na.png;x;y\n", "3 cells where the header has 2 .*line 2.*quote a cell that holds a semicolon"),
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
        label = unicodedata.normalize("NFC", row.get("label", "").strip())
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
