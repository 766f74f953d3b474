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
        is_row = len(cells) == 3 and not set(cells[0]) <= set("-: ") and cells[2] != "test"
        if line.startswith("|") and is_row and not cells[0].isdigit():
            table.append((cells[0], cells[1], re.findall(r"`([^`]+)`", cells[2])))
    return table


def numbered() -> list[tuple[int, str]]:
    """The rows of the list by number: the number, and the tests or the reason."""
    text = (HERE / "README.md").read_text(encoding="utf-8")
    return [
        (int(number), test) for number, test in re.findall(r"^\| (\d+) \| [^|]+ \| ([^|]+) \|$", text, re.MULTILINE)
    ]


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


def test_every_number_has_its_tests_or_a_reason() -> None:
    assert [number for number, _ in numbered()] == list(range(1, 43))
    tests = {
        name
        for path in HERE.parent.rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    for number, text in numbered():
        names = re.findall(r"`(test_\w+)`", text)
        assert names or "not kept" in text, number
        assert not [name for name in names if name not in tests], number
        assert "not kept" not in text or "because" in text or "pending" in text, number
