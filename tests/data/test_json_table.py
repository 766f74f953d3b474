"""Tables of one JSON object a line: the columns and rules of CSV tables."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zoo_cli import spec_paths
from zoo_cli.data.samples import open_data
from zoo_cli.errors import ContractError, UsageError, ZooError


def write_lines(root: Path, *rows: object) -> str:
    """Write t/x.jsonl; its data spec."""
    (root / "t").mkdir(exist_ok=True)
    (root / "t/x.jsonl").write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return "jsonl:t/x.jsonl"


def test_lines_are_samples(tmp_path: Path) -> None:
    rows = [{"file_name": "a.png", "label": "eel", "group": 7}, "", {"label": None, "file_name": "b.png"}]
    data = open_data(write_lines(tmp_path, *rows, {"file_name": "c.png", "label": "cat"}), tmp_path)
    assert data.classes == ("cat", "eel")
    assert [(s.id, s.path, s.label, s.group) for s in data.samples()] == [
        ("a.png", "t/a.png", 1, "7"),
        ("b.png", "t/b.png", None, None),
        ("c.png", "t/c.png", 0, None),
    ]


def test_columns_and_root_can_be_chosen(tmp_path: Path) -> None:
    spec = write_lines(tmp_path, {"image": "a.png", "class": 1, "id": "x"}, {"image": "b.png", "class": 0, "id": "y"})
    (tmp_path / "images").mkdir()
    data = open_data(f"{spec}?path=image&label=class&root=images", tmp_path)
    assert (data.classes, data.own_ids) == (("0", "1"), True)
    assert [(s.id, s.path, s.label) for s in data.samples()] == [("x", "images/a.png", 1), ("y", "images/b.png", 0)]
    with pytest.raises(ContractError, match=r"no key path or file_name in .*jsonl:t/x.jsonl\?path=image"):
        open_data(spec, tmp_path)
    with pytest.raises(UsageError, match="did you mean image"):
        open_data(f"{spec}?path=imag", tmp_path)
    with pytest.raises(UsageError, match="did you mean class"):
        open_data(f"{spec}?path=image&label=clas", tmp_path)


def test_a_spec_moves_with_its_root(tmp_path: Path) -> None:
    spec = write_lines(tmp_path, {"path": "a.png"})
    moved = spec_paths.rebase_spec(f"{spec}?root=images&path=path", tmp_path / "w", tmp_path)
    assert moved == "jsonl:../t/x.jsonl?root=../images&path=path"


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([], "no rows"),
        ([{"path": "a.png"}, '{"path": "b.png"'], "not valid JSON lines.*line 2"),
        ([{"path": "a.png"}, [1]], "not an object .*line 2"),
        ([{"path": "a.png"}, {"label": "cat"}], "no path .*line 2"),
        ([{"path": "a.png", "file_name": "b.png"}], r"which one names the images.*\?path=path"),
        (['{"path": "\\ud800.png"}'], "not valid JSON lines in UTF-8"),
        ([{"path": "../a.png"}], "leaves the folder"),
        ([{"path": "/a.png"}], r"jsonl:TABLE\?root=FOLDER"),
        ([{"path": "a.png", "label": ["a", "b"]}, {"path": "b.png", "label": "a|b"}], "several labels"),
    ],
)
def test_malformed_tables_are_contract_errors(tmp_path: Path, rows: list[object], reason: str) -> None:
    with pytest.raises(ContractError, match=reason) as caught:
        list(open_data(write_lines(tmp_path, *rows), tmp_path).samples())
    assert str(caught.value).isprintable()


def test_a_table_given_to_another_provider_is_named(tmp_path: Path) -> None:
    write_lines(tmp_path, {"path": "a.png"})
    with pytest.raises(UsageError, match="no table"):
        open_data("jsonl:gone.jsonl", tmp_path)
    with pytest.raises(UsageError, match=r"write jsonl:t/x\.jsonl"):
        open_data("folder:t/x.jsonl", tmp_path)
    with pytest.raises(UsageError, match=r"jsonl:t/x\.jsonl"):
        open_data("t/x.jsonl", tmp_path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(st.binary(max_size=80) | st.builds(lambda text: json.dumps({"path": text}).encode(), st.text()))
def test_any_bytes_are_a_table_or_an_error_of_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.jsonl").write_bytes(content)
    reason = ""
    try:
        list(open_data("jsonl:x.jsonl", tmp_path).samples())
    except ZooError as error:
        reason = str(error)
    assert "\n" not in reason
