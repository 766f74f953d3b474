"""Tables of text: as wide as the terminal allows, as Markdown, CSV and TSV."""

import csv
import io
import shutil
from collections.abc import Sequence

LEAST_TEXT = 8
"""Characters of a text that a narrow table keeps."""


def render_table(
    titles: Sequence[str],
    rows: Sequence[Sequence[str]],
    numbers: Sequence[bool],
    terminal: bool,
    *,
    whole: bool = False,
) -> str:
    """Rows of cells below their titles. Columns of `numbers` stand at the right and are never cut; `whole`: no column
    is, so that long lines go on in the next line of the terminal.
    """
    from rich.console import Console as RichConsole
    from rich.table import Table

    # Not rich's own, which takes COLUMNS=0 for a terminal that shows nothing.
    width = shutil.get_terminal_size().columns if terminal else 1000
    if whole:
        width = max(width, _line_length(_widest([titles, *rows])))
    table = Table(box=None, pad_edge=False, collapse_padding=terminal, header_style="bold")
    for title, number, size in zip(titles, numbers, _column_widths([titles, *rows], numbers, width), strict=True):
        table.add_column(title, justify="right" if number else "left", no_wrap=True, width=size)
    for row in rows:
        table.add_row(*row)
    console = RichConsole(
        file=None,
        force_terminal=terminal,
        width=width,
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=not terminal,
    )
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def render_blocks(
    titles: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[bool], keys: int, terminal: bool
) -> str:
    """A table that is never cut: columns that do not fit stand in further tables below, each behind the key columns."""
    width = shutil.get_terminal_size().columns if terminal else 1000
    widths = _widest([titles, *rows])
    blocks: list[list[int]] = [[]]
    for position in range(keys, len(titles)):
        block = [*range(keys), *blocks[-1], position]
        if blocks[-1] and _line_length([widths[column] for column in block]) > width:
            blocks.append([])
        blocks[-1].append(position)
    tables = []
    for block in blocks:
        shown = [*range(keys), *block]
        parts = [[line[column] for column in shown] for line in [titles, *rows]]
        tables.append(render_table(parts[0], parts[1:], [numbers[column] for column in shown], terminal, whole=True))
    return "\n\n".join(tables)


def render_markdown(titles: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[bool]) -> str:
    """Rows of cells below their titles, as Markdown."""
    rules = ["---:" if number else "---" for number in numbers]
    return "\n".join("| " + " | ".join(line) + " |" for line in (titles, rules, *rows))


def render_delimited(lines: Sequence[Sequence[str]], form: str) -> str:
    """Lines of cells as "csv" or "tsv"; those of TSV hold neither tabs nor line ends."""
    if form == "tsv":
        return "\n".join("\t".join(line) for line in lines)
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(lines)
    return buffer.getvalue()


def _column_widths(lines: Sequence[Sequence[str]], numbers: Sequence[bool], width: int) -> list[int]:
    """The widths of columns with a blank between them. Where there is no room, the widest texts are cut, no number."""
    widths = _widest(lines)
    texts = [position for position, number in enumerate(numbers) if not number]
    while texts and _line_length(widths) > width:
        widest = max(texts, key=lambda position: widths[position])
        if widths[widest] <= LEAST_TEXT:
            break
        widths[widest] -= 1
    return widths


def _widest(lines: Sequence[Sequence[str]]) -> list[int]:
    """The width of the widest cell of each column."""
    return [max(map(len, column)) for column in zip(*lines, strict=True)]


def _line_length(widths: Sequence[int]) -> int:
    """The length of a line of columns with a blank between them."""
    return sum(widths) + len(widths) - 1
