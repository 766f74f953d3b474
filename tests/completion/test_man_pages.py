"""The man pages: up to date, valid, installed, and whole."""

import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from zoo_cli.command_table import COMMANDS, GROUPS
from zoo_cli.commands import command_line, man_pages

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "completions" / "man1"


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return man_pages.render_pages()


def test_committed_pages_are_up_to_date(pages: dict[str, str]) -> None:
    committed = {path.name: path.read_text() for path in FOLDER.iterdir()}
    assert committed == pages, "python -m zoo_cli.commands.man_pages completions/man1"


def test_every_command_has_a_page_with_every_flag(pages: dict[str, str]) -> None:
    assert set(pages) == {"zoo.1", *(f"zoo-{name.replace(' ', '-')}.1" for name in (*COMMANDS, *GROUPS))}
    for command in command_line.describe_program().commands:
        page = pages[f"zoo-{command.name.replace(' ', '-')}.1"]
        missing = [name for flag in command.flags for name in flag.names if man_pages.escape(name) not in page]
        assert missing == [], command.name
    assert ".EX\nzoo distill" in pages["zoo-distill.1"]
    assert all(f"zoo\\-{name}" in pages["zoo.1"] for name in ("init", "evaluate", "verify"))


def test_pages_are_installed() -> None:
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["shared-data"]["completions/man1"] == "share/man/man1"


@pytest.mark.parametrize(
    ("line", "page"),
    [
        (".Dd is no macro", "\\&.Dd is no macro"),
        ("'quoted'", "\\&'quoted'"),
        ("C:\\x --flag", "C:\\ex \\-\\-flag"),
        ("`code`", "code"),
    ],
)
def test_text_cannot_become_a_macro(line: str, page: str) -> None:
    assert man_pages.escape(line) == page


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
def test_groff_has_no_complaint(pages: dict[str, str]) -> None:
    text = "".join(pages.values())
    result = subprocess.run(
        ["groff", "-man", "-ww", "-Tutf8", "-z", "-K", "utf8"], input=text, capture_output=True, text=True
    )
    assert (result.returncode, result.stderr) == (0, "")
