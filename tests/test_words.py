"""Words that the project does not use: in names, tests included, and in text, help and the README."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

import zoo_cli
from zoo_cli.__main__ import app
from zoo_cli.command_table import COMMANDS

PACKAGE = Path(zoo_cli.__file__).parent
ROOT = PACKAGE.parent
IDENTIFIERS = {"said", "told", "found"}
TEXTS = {
    # "there is no manifest" and "is no longer" are fine; "is no TOML" is not.
    "is no": re.compile(r"(?<![Tt]here )\bis no (?!longer\b|more\b|less\b)"),
    "mend": re.compile(r"\b[Mm]end(s|ed|ing)?\b"),
    "how-manieth": re.compile(r"how-manieth"),
}
FILES = [path.relative_to(ROOT).as_posix() for path in sorted(PACKAGE.rglob("*.py"))]
TESTS = [path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "tests").rglob("*.py"))]


def identifiers(text: str) -> Iterator[str]:
    """Every name of a module: variables, parameters, keywords, attributes, functions, classes and imports."""
    for node in ast.walk(ast.parse(text)):
        for attribute in ("id", "arg", "attr", "name", "asname", "rest"):
            value = getattr(node, attribute, None)
            if isinstance(value, str):
                yield value


def phrases(text: str) -> list[str]:
    """The forbidden texts of a file, also those split by a line break or a comment sign."""
    joined = re.sub(r"\s+(#\s)?", " ", text)
    return [
        joined[max(0, match.start() - 30) : match.end() + 20] for p in TEXTS.values() for match in p.finditer(joined)
    ]


@pytest.mark.parametrize("name", [*FILES, *TESTS])
def test_names_are_specific(name: str) -> None:
    assert not IDENTIFIERS & set(identifiers((ROOT / name).read_text(encoding="utf-8")))


@pytest.mark.parametrize("name", FILES)
def test_texts_are_plain_english(name: str) -> None:
    assert not phrases((ROOT / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_is_plain_english(name: str) -> None:
    result = CliRunner().invoke(app(), [*name.split(), "--help"])
    assert result.exit_code == 0
    assert not phrases(result.output)


def test_readme_is_plain_english() -> None:
    assert not phrases((ROOT / "README.md").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "text",
    [
        "found = 1",
        "def said(): ...",
        "def f(told): ...",
        "f(found=1)",
        "x.found",
        "import a as said",
        "class told: ...",
        "try: ...\nexcept E as found: ...",
        "match x:\n    case {**said}: ...",
    ],
)
def test_forbidden_name_is_detected(text: str) -> None:
    assert IDENTIFIERS & set(identifiers(text))


@pytest.mark.parametrize(
    "text",
    ["the file is no TOML", "# which is\n# no table", "This is no such thing", "mend it", "Mended", "how-manieth"],
)
def test_forbidden_text_is_detected(text: str) -> None:
    assert phrases(text)


@pytest.mark.parametrize("text", ["there is no manifest", "There is no\nmanifest", "is no longer there", "recommended"])
def test_allowed_text_passes(text: str) -> None:
    assert not phrases(text)
