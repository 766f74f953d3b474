"""Tables of text: as wide as the terminal allows, as Markdown, CSV and TSV."""

import csv
import io
import shutil
from collections.abc import Mapping, Sequence

LEAST_TEXT = 8
"""Characters of free text that a narrow table keeps, beside its whole title."""
PIPE = 1000
"""The width of a table that no terminal shows."""
EMPTY = ("", "-")
"""Cells without text."""


def render_table(
    titles: Sequence[str],
    rows: Sequence[Sequence[str]],
    numbers: Sequence[bool],
    free: Sequence[bool],
    keys: int,
    terminal: bool,
) -> str:
    """Rows of cells below their titles, columns of `numbers` at the right.

    Numbers and names are never cut. On a terminal, columns of `free` text without any text are left out, the others are
    cut where there is no room, and columns that still do not fit stand in further tables below, each behind the first
    `keys` columns.
    """
    # Not rich's own width, which takes COLUMNS=0 for a terminal that shows nothing.
    width = shutil.get_terminal_size().columns if terminal else PIPE
    shown = [
        position
        for position in range(len(titles))
        if not (terminal and free[position] and rows and all(row[position] in EMPTY for row in rows))
    ]
    widest = dict(zip(shown, _widest([[line[column] for column in shown] for line in (titles, *rows)]), strict=True))
    least = {column: max(LEAST_TEXT, len(titles[column])) for column in shown if free[column]}
    widths = _shrink(widest, least, width)
    tables = []
    for block in _split_columns(shown, keys, widths, width):
        # Free text that stands with fewer columns has more room.
        sizes = list(_shrink({column: widest[column] for column in block}, least, width).values())
        parts = [[line[column] for column in block] for line in (titles, *rows)]
        tables.append(_render(parts, [numbers[column] for column in block], sizes, terminal, width))
    return "\n\n".join(tables)


def _split_columns(shown: Sequence[int], keys: int, widths: Mapping[int, int], width: int) -> list[list[int]]:
    """The columns of each table: as many as fit, behind the first `keys` ones."""
    first, rest = list(shown[:keys]), shown[keys:]
    blocks: list[list[int]] = [[]]
    for position in rest:
        if blocks[-1] and _line_length([widths[column] for column in (*first, *blocks[-1], position)]) > width:
            blocks.append([])
        blocks[-1].append(position)
    return [first + block for block in blocks]


def _shrink(widths: Mapping[int, int], least: Mapping[int, int], width: int) -> dict[int, int]:
    """The widths after the widest texts are cut until the columns fit, each down to `least`; others stay whole."""
    sizes = dict(widths)
    while _line_length(list(sizes.values())) > width:
        free = [column for column in sizes if sizes[column] > least.get(column, sizes[column])]
        if not free:
            break
        sizes[max(free, key=lambda column: sizes[column])] -= 1
    return sizes


def _render(
    lines: Sequence[Sequence[str]], numbers: Sequence[bool], sizes: Sequence[int], terminal: bool, width: int
) -> str:
    from rich.console import Console as RichConsole
    from rich.table import Table

    table = Table(box=None, pad_edge=False, collapse_padding=terminal, header_style="bold")
    for title, number, size in zip(lines[0], numbers, sizes, strict=True):
        table.add_column(title, justify="right" if number else "left", no_wrap=True, width=size)
    for row in lines[1:]:
        table.add_row(*row)
    console = RichConsole(
        file=None,
        force_terminal=terminal,
        width=max(width, _line_length(sizes)),
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=not terminal,
    )
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


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


def _widest(lines: Sequence[Sequence[str]]) -> list[int]:
    """The width of the widest cell of each column."""
    return [max(map(len, column)) for column in zip(*lines, strict=True)]


def _line_length(widths: Sequence[int]) -> int:
    """The length of a line of columns with a blank between them."""
    return sum(widths) + len(widths) - 1
