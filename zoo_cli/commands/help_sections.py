"""Help in titled sections, without rich: commands by `command_table.SECTIONS`, options by their `rich_help_panel`."""

from collections.abc import Mapping, Sequence
from typing import Any

from typer.core import TyperCommand, TyperGroup

from zoo_cli.command_table import COMMANDS, SECTIONS

OPTION_TITLES = ("What to learn from", "Student", "Training", "Files", "Output")
"""The titles of options in the order of the help; any others come before them."""
LONG = 20
"""Commands with more options than this list them under titles."""
WIDEST = 30
"""Characters of the first column; longer names get a line of their own."""

Row = tuple[str, str]


class SectionedGroup(TyperGroup):
    """A group of commands; at the top level they are listed under the titles of `command_table.SECTIONS`."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the commands with their summaries."""
        commands = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        width = formatter.width - 6 - max(map(len, commands))
        titles = list_sections() if ctx.parent is None else {"Commands": list(commands)}
        sections = {
            title: [(name, command.get_short_help_str(width)) for name in names if (command := commands[name])]
            for title, names in titles.items()
        }
        _write_sections(formatter, sections)


class SectionedCommand(TyperCommand):
    """A command; more than a few options are listed under the titles of their `rich_help_panel`."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments and the options."""
        _write_sections(formatter, {"Arguments": argument_rows(self, ctx)})
        _write_sections(formatter, option_sections(self, ctx))


def argument_rows(command: Any, ctx: Any) -> list[Row]:
    """The arguments of a command, each with its meaning."""
    records = [(each, each.get_help_record(ctx)) for each in command.get_params(ctx)]
    return [
        (parameter.metavar or record[0], record[1])
        for parameter, record in records
        if record is not None and parameter.param_type_name == "argument"
    ]


def option_sections(command: Any, ctx: Any) -> dict[str, list[Row]]:
    """The options of a command by title, each with its meaning."""
    records = [(each, each.get_help_record(ctx)) for each in command.get_params(ctx)]
    return _group_options(
        [
            (getattr(parameter, "rich_help_panel", None) or "Options", record)
            for parameter, record in records
            if record is not None and parameter.param_type_name != "argument"
        ]
    )


def list_sections() -> dict[str, list[str]]:
    """The titles of `zoo --help`, each with its commands; a group is one of them."""
    starts = {first: title for title, first in SECTIONS.items()}
    sections: dict[str, list[str]] = {}
    title = ""
    for word in dict.fromkeys(name.partition(" ")[0] for name in COMMANDS):
        title = starts.get(word, title)
        sections.setdefault(title, []).append(word)
    return sections


def _group_options(options: Sequence[tuple[str, Row]]) -> dict[str, list[Row]]:
    """The rows of the options by title: all under "Options" if they are few. The last one is --help."""
    if len(options) <= LONG:
        return {"Options": [row for _, row in options]}
    sections: dict[str, list[Row]] = {title: [] for title, _ in options if title not in OPTION_TITLES}
    sections |= {title: [] for title in OPTION_TITLES}
    *own, (_, help_row) = options
    for title, row in own:
        sections[title].append(row)
    sections[OPTION_TITLES[-1]].append(help_row)
    return sections


def _write_sections(formatter: Any, sections: Mapping[str, Sequence[Row]]) -> None:
    """Write the sections that have rows, their second columns aligned."""
    width = min(max((len(name) for rows in sections.values() for name, _ in rows), default=0), WIDEST)
    for title, rows in sections.items():
        if rows:
            with formatter.section(title):
                formatter.write_dl([(f"{name:{width}}", text) for name, text in rows])
