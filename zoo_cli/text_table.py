"""Tables of text: as wide as the terminal allows, as Markdown, CSV and TSV."""

import csv
import io
import shutil
from collections.abc import Sequence

LEAST_TEXT = 8
"""Characters of a text that a narrow table keeps."""


def render_table(titles: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[bool], terminal: bool) -> str:
    """Rows of cells below their titles. Columns of `numbers` stand at the right and are never cut."""
    from rich.console import Console as RichConsole
    from rich.table import Table

    # Not rich's own, which takes COLUMNS=0 for a terminal that shows nothing.
    width = shutil.get_terminal_size().columns if terminal else 1000
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
    widths = [max(len(line[position]) for line in [titles, *rows]) for position in range(len(titles))]
    blocks: list[list[int]] = [[]]
    for position in range(keys, len(titles)):
        block = [*range(keys), *blocks[-1], position]
        if blocks[-1] and sum(widths[column] for column in block) + len(block) - 1 > width:
            blocks.append([])
        blocks[-1].append(position)
    tables = []
    for block in blocks:
        shown = [*range(keys), *block]
        parts = [[line[column] for column in shown] for line in [titles, *rows]]
        tables.append(render_table(parts[0], parts[1:], [numbers[column] for column in shown], terminal))
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
    widths = [max(len(line[position]) for line in lines) for position in range(len(numbers))]
    texts = [position for position, number in enumerate(numbers) if not number]
    while texts and sum(widths) + len(widths) - 1 > width:
        widest = max(texts, key=lambda position: widths[position])
        if widths[widest] <= LEAST_TEXT:
            break
        widths[widest] -= 1
    return widths
