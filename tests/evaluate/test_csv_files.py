"""CSV files of any tool, read as columns of text."""

from pathlib import Path

import pytest

from zoo_cli.errors import ContractError, UsageError
from zoo_cli.store.csv_files import read_csv


@pytest.mark.parametrize(
    ("content", "columns"),
    [
        (b"a,b\n1,2\n", [["a", "1"], ["b", "2"]]),
        (b"\xef\xbb\xbfa,b\r\n1,\r\n", [["a", "1"], ["b", None]]),
        (b'a,b\n"x, ""y""\nz",2', [["a", 'x, "y"\nz'], ["b", "2"]]),
        (b'a,b\n\n , 1 \n\n"",NA\n', [["a", None, None], ["b", "1", "NA"]]),
        (b"1,2\n007,1e3\n", [["1", "007"], ["2", "1e3"]]),
        (b"a,a,\n1,2,3\n", [["a", "1"], ["a", "2"], [None, "3"]]),
        ("é,ß\n".encode(), [["é"], ["ß"]]),
        (b"\xef\xbb\xbf\n", []),
        (b"", []),
    ],
    ids=["plain", "mark", "quotes", "blank", "text", "names", "accents", "mark only", "empty"],
)
def test_cells_are_stripped_text(tmp_path: Path, content: bytes, columns: list[list[str | None]]) -> None:
    (tmp_path / "table.csv").write_bytes(content)
    assert read_csv(tmp_path / "table.csv") == columns


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a,b\n\n1,2\n3\n", "1 cells where the header has 2 ({path}, line 4); quote a cell that holds a comma"),
        (b'a,b\n"x\ny",2\n1,2,3\n', "3 cells where the header has 2 ({path}, line 4)"),
        (b'a,b\n1,"x\n2,3\n', "{path} is not a CSV file in UTF-8: a quote is not closed"),
        (b'"a,b\n', "{path} is not a CSV file in UTF-8: a quote is not closed"),
        (b"a\xff,b\n1,2,3\n", "{path} is not a CSV file in UTF-8: 'utf-8' codec"),
    ],
    ids=["short", "long", "quote", "quoted header", "bytes"],
)
def test_broken_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    with pytest.raises(ContractError) as caught:
        read_csv(path)
    assert message.format(path=path) in str(caught.value)


def test_large_files_are_read_in_one_piece(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("name,text\n" + "".join(f"{row},{'x' * 1000}\n" for row in range(3000)) + "last,a,b\n")
    with pytest.raises(ContractError, match=r"line 3002\)"):
        read_csv(path)


def test_missing_files_are_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no file"):
        read_csv(tmp_path / "nothing.csv")
    with pytest.raises(UsageError, match="cannot read"):
        read_csv(tmp_path)
