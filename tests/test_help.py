"""Help: commands and options under titles, short summaries, and metavars that name a value and not its type."""

import inspect
import re

import pytest
import typer
from typer.testing import CliRunner

from zoo_cli.__main__ import app
from zoo_cli.command_table import COMMANDS, GROUPS, SECTIONS, summary
from zoo_cli.commands.help_sections import LONG, OPTION_TITLES, SectionedCommand, list_sections

LONGEST = 45
"""Characters of a summary that fit on a line of `zoo --help` at 80 columns."""
TYPES = re.compile(r"<[^>]*>|\b(TEXT|INTEGER|FLOAT|PATH|BOOLEAN|DIRECTORY|RANGE)\b")


def help_text(name: str, command: typer.Typer | None = None) -> str:
    result = CliRunner().invoke(command or app(), [*name.split(), "--help"], env={"COLUMNS": "80"})
    assert result.exit_code == 0, result.output
    return result.output


def sections(text: str) -> dict[str, list[str]]:
    """The titles of a help with the first words of the lines below them, in order."""
    parts = re.split(r"^(\S[^:\n]*):\n", text, flags=re.MULTILINE)
    return {
        title: re.findall(r"^  (\S+)", body, flags=re.MULTILINE)
        for title, body in zip(parts[1::2], parts[2::2], strict=True)
    }


def test_every_command_has_one_section() -> None:
    words = [word for names in list_sections().values() for word in names]
    assert words == list(dict.fromkeys(name.partition(" ")[0] for name in COMMANDS))
    assert list(list_sections()) == list(SECTIONS)


def test_commands_are_listed_under_titles() -> None:
    shown = sections(help_text(""))
    assert list(shown) == ["Options", *SECTIONS]
    assert {title: shown[title] for title in SECTIONS} == list_sections()
    assert shown["Train"] == ["distill", "finetune", "expert", "tune"]


def test_group_commands_follow_the_registry() -> None:
    for group in GROUPS:
        names = [name.removeprefix(f"{group} ") for name in COMMANDS if name.startswith(f"{group} ")]
        assert sections(help_text(group))["Commands"] == names


@pytest.mark.parametrize("name", COMMANDS)
def test_summaries_fit_on_a_line(name: str) -> None:
    assert len(summary(name)) <= LONGEST
    group, _, command = name.rpartition(" ")
    line = rf"^  {command} +{re.escape(summary(name))}$"
    assert re.search(line, help_text(group), flags=re.MULTILINE)


@pytest.mark.parametrize("group", GROUPS)
def test_summaries_of_groups_fit_on_a_line(group: str) -> None:
    assert len(GROUPS[group]) <= LONGEST
    assert GROUPS[group] in help_text("")


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_metavars_are_not_types(name: str) -> None:
    columns = re.findall(r"^  (\S.*?)(?:  |$)", help_text(name), flags=re.MULTILINE)
    assert not [column for column in columns if TYPES.search(column) and not column.startswith("zoo ")]


def build(titles: list[str | None]) -> typer.Typer:
    """A command with an option under each title."""

    def command(**_values: str) -> None:
        """Do nothing."""

    options = {f"value{number}": typer.Option("", rich_help_panel=title) for number, title in enumerate(titles)}
    command.__annotations__ = dict.fromkeys(options, str)
    command.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=option, annotation=str)
            for name, option in options.items()
        ]
    )
    top = typer.Typer(add_completion=False, rich_markup_mode=None)
    top.command(cls=SectionedCommand)(command)
    return top


def test_many_options_are_listed_under_titles() -> None:
    shown = sections(help_text("", build(["Output", "Student", None, *["Training"] * LONG])))
    assert list(shown) == ["Options", "Student", "Training", "Output"]
    assert shown["Options"] == ["--value2"]
    assert shown["Student"] == ["--value1"]
    assert shown["Output"] == ["--value0", "--help"]
    assert len(shown["Training"]) == LONG


def test_few_options_are_listed_under_one_title() -> None:
    shown = sections(help_text("", build(["Output", "Student", None])))
    assert shown == {"Options": ["--value0", "--value1", "--value2", "--help"]}


@pytest.mark.parametrize("name", ["distill", "finetune"])
def test_training_options_are_listed_under_titles(name: str) -> None:
    titles = list(sections(help_text(name)))
    assert set(titles) - {"Arguments", "Options"} >= set(OPTION_TITLES) - {"What to learn from", "Student"}
    assert [title for title in titles if title in OPTION_TITLES] == [t for t in OPTION_TITLES if t in titles]
