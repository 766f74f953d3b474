"""The man pages, zoo.1 and one of each command, from what `--help` says.

python -m zoo_cli.commands.man_pages completions/man1
"""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import typer

from zoo_cli import __main__, __version__
from zoo_cli.command_table import COMMANDS, GROUPS
from zoo_cli.commands import readme
from zoo_cli.commands.help_sections import Row, argument_rows, list_sections, option_sections
from zoo_cli.store import files

EXAMPLE = "\b\n"
"""What a paragraph of examples begins with in the text of a command."""
FILES = (
    ("zoo.toml", "the task, the student and the sources of a workspace"),
    ("manifest.parquet", "the images of a workspace, and which are labelled, unlabelled and test images"),
    ("features/, scores/, pseudo/, runs/", "what extract, score, pseudo-label and the trainings write"),
)
ENVIRONMENT = (
    ("ZOO_WORKSPACE", "folder of zoo.toml, instead of -C"),
    ("ZOO_DEVICE, ZOO_PRECISION, ZOO_WORKERS", "defaults of --device, --precision and --workers"),
    ("NO_COLOR", "print no colours"),
)


def render_pages() -> dict[str, str]:
    """The text of every page by the name of its file."""
    program: Any = typer.main.get_command(__main__.app())
    pages = {"zoo.1": _render_program(program)}
    for name in (*COMMANDS, *GROUPS):
        command, context = _find(program, name)
        pages[f"{_page(name)}.1"] = _render_command(name, command, context)
    return pages


def write_pages(folder: Path) -> None:
    """Write every page into a folder, and remove those of commands that are gone."""
    pages = render_pages()
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("*.1"):
        if path.name not in pages:
            path.unlink()
    for name, text in pages.items():
        files.write_text(folder / name, text)


def _find(program: Any, name: str) -> tuple[Any, Any]:
    """A command or group by its words, and the context in which its help is written."""
    command, context = program, program.context_class(program, info_name="zoo")
    for word in name.split():
        command = command.commands[word]
        context = command.context_class(command, info_name=word, parent=context)
    return command, context


def _page(name: str) -> str:
    return "-".join(["zoo", *name.split()])


def _render_program(program: Any) -> str:
    context = program.context_class(program, info_name="zoo")
    about, *rest = _paragraphs(program.help)
    parts = [_title("zoo", about), _section("SYNOPSIS", _synopsis("zoo", program, context))]
    parts.append(_section("DESCRIPTION", _flow([about, *(text for text in rest if not text.startswith("Exit codes"))])))
    for title, names in list_sections().items():
        rows = [(_page(name) + "(1)", _summary(program.commands[name])) for name in names]
        parts.append(_section(title.upper(), _definitions(rows)))
    parts.append(_section("OPTIONS", _options(program, context)))
    parts.append(_section("EXIT STATUS", _definitions(readme.exit_rows())))
    parts += [_section("FILES", _definitions(FILES)), _section("ENVIRONMENT", _definitions(ENVIRONMENT))]
    return "".join(parts)


def _render_command(name: str, command: Any, context: Any) -> str:
    about, *rest = _paragraphs(command.help)
    parts = [_title(_page(name), about), _section("SYNOPSIS", _synopsis(f"zoo {name}", command, context))]
    parts.append(_section("DESCRIPTION", _flow([about, *(text for text in rest if not text.startswith(EXAMPLE))])))
    if name in GROUPS:
        rows = [(_page(f"{name} {word}") + "(1)", _summary(each)) for word, each in command.commands.items()]
        parts.append(_section("COMMANDS", _definitions(rows)))
    else:
        parts.append(_section("ARGUMENTS", _definitions(argument_rows(command, context))))
    parts.append(_section("OPTIONS", _options(command, context)))
    examples = [text.removeprefix(EXAMPLE) for text in rest if text.startswith(EXAMPLE)]
    parts.append(_section("EXAMPLES", "".join(f".EX\n{_escape_lines(text)}\n.EE\n" for text in examples)))
    parts.append(_section("SEE ALSO", ", ".join(f".BR {page} (1)" for page in ["zoo"]) + "\n"))
    return "".join(parts)


def _options(command: Any, context: Any) -> str:
    """The options, under titles where the help has several."""
    sections = {title: _definitions(rows) for title, rows in option_sections(command, context).items() if rows}
    if len(sections) == 1:
        return "".join(sections.values())
    return "".join(f".SS {escape(title)}\n{rows}" for title, rows in sections.items())


def _title(page: str, about: str) -> str:
    heading = f'.TH "{escape(page.upper())}" 1 "" "zoo {__version__}" "zoo"\n'
    return heading + ".SH NAME\n" + f"{escape(page)} \\- {escape(about.rstrip('.'))}\n"


def _section(title: str, body: str) -> str:
    return f".SH {escape(title)}\n{body}" if body else ""


def _synopsis(words: str, command: Any, context: Any) -> str:
    return f".B {escape(words)}\n{escape(' '.join(command.collect_usage_pieces(context)))}\n"


def _summary(command: Any) -> str:
    return _paragraphs(command.help)[0]


def _paragraphs(text: str) -> list[str]:
    return [paragraph for paragraph in text.split("\n\n") if paragraph.strip()]


def _flow(paragraphs: Sequence[str]) -> str:
    """Paragraphs of running text."""
    return ".PP\n".join(f"{_escape_lines(paragraph)}\n" for paragraph in paragraphs)


def _definitions(rows: Iterable[Row]) -> str:
    """A term and what it means, each."""
    return "".join(f".TP\n.B {escape(term)}\n{escape(meaning)}\n" for term, meaning in rows)


def _escape_lines(text: str) -> str:
    return "\n".join(escape(line) for line in text.splitlines())


def escape(line: str) -> str:
    """A line as roff prints it: no macro at its start, no escape in it, hyphens that can be copied."""
    text = line.replace("`", "").replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{text}" if text.startswith((".", "'")) else text


if __name__ == "__main__":
    write_pages(Path(sys.argv[1]))
