"""The table of faults names existing tests, and every test of a fault is in it."""

import ast
import re
from pathlib import Path

HERE = Path(__file__).parent


def rows() -> list[tuple[str, str, list[str]]]:
    """Fault, what is expected, and the names of its tests."""
    table = []
    for line in (HERE / "README.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip())[1:-1]]
        if line.startswith("|") and len(cells) == 3 and not set(cells[0]) <= set("-: ") and cells[2] != "test":
            table.append((cells[0], cells[1], re.findall(r"`([^`]+)`", cells[2])))
    return table


def written() -> dict[str, str]:
    """The tests of this folder, each with its file."""
    return {
        node.name: path.name
        for path in sorted(HERE.glob("test_*.py"))
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def test_every_row_names_existing_tests() -> None:
    assert len(rows()) > 40
    tests = written()
    for fault, expected, names in rows():
        assert expected, fault
        assert names, fault
        missing = [name for name in names if name not in tests]
        assert not missing, f"{fault}: {missing}"


def test_every_test_is_in_the_table() -> None:
    named = {name for _, _, names in rows() for name in names}
    own = {name for name, file in written().items() if file == Path(__file__).name}
    assert set(written()) - named - own == set()
