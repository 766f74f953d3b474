"""Output: answers go to stdout, messages and progress to stderr. The only module that prints."""

import contextlib
import csv
import io
import json
import math
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self, TextIO

from zoo_cli.errors import UsageError, ZooError

LEAST_TEXT = 8
"""Characters of a text that a narrow table keeps."""
FORMATS = ("table", "json", "csv", "tsv", "md")
LINE_EVERY = 30.0
"""Seconds between the progress lines of a batch log."""


class ClosedPipe(Exception):
    """The reader of stdout has gone, as in `zoo rank | head -1`. Not an error."""


@dataclass
class Console:
    """The output streams, which a test can replace, and the verbosity: -1 quiet, 0 normal, 1 verbose."""

    # A stream that the shell has closed (`>&-`) is None; what is written to it is dropped.
    out: TextIO = field(default_factory=lambda: sys.stdout or open(os.devnull, "w"))  # noqa: SIM115
    err: TextIO = field(default_factory=lambda: sys.stderr or open(os.devnull, "w"))  # noqa: SIM115
    verbosity: int = 0

    def say(self, text: str) -> None:
        """Print a message, unless --quiet."""
        if self.verbosity >= 0:
            _write(self.err, _printable(text) + "\n")

    def detail(self, text: str) -> None:
        """Print a message with --verbose."""
        if self.verbosity > 0:
            self.say(text)

    def warn(self, text: str) -> None:
        """Print a warning, even with --quiet."""
        _write(self.err, f"zoo: warning: {_printable(text)}\n")

    def fail(self, text: str) -> None:
        """Print the one line of an error."""
        _write(self.err, f"zoo: error: {_printable(text)}\n")

    def answer(self, text: str) -> None:
        """Print to stdout. Raises ClosedPipe if its reader has gone, ZooError if it cannot be written."""
        try:
            _put(self.out, text if text.endswith("\n") or not text else text + "\n")
        except BrokenPipeError:
            _silence(self.out)
            raise ClosedPipe from None
        except OSError as error:
            _silence(self.out)
            raise ZooError(f"cannot write to stdout: {error.strerror}", "files written so far are kept") from None


_console = Console()


def current() -> Console:
    """The console in use."""
    return _console


@contextmanager
def use(console: Console) -> Iterator[Console]:
    """Use another console, for a test or a stage that runs other stages."""
    global _console
    previous, _console = _console, console
    try:
        yield console
    finally:
        _console = previous


def say(text: str) -> None:
    """Print a message to stderr, unless --quiet."""
    _console.say(text)


def detail(text: str) -> None:
    """Print a message to stderr with --verbose."""
    _console.detail(text)


def warn(text: str) -> None:
    """Print a warning to stderr."""
    _console.warn(text)


@dataclass(frozen=True)
class Field:
    """A column of an answer: its key in the rows, and its title and format in a table."""

    key: str
    title: str = ""
    style: str = ""  # "", "percent", "score" or a format such as ".2f"


def answer(
    schema: str,
    rows: Any,
    fields: Sequence[Field],
    *,
    form: str | None,
    meta: Mapping[str, Any] | None = None,
    notes: Sequence[str] = (),
    table: Sequence[Mapping[str, Any]] | None = None,
) -> None:
    """Print the answer of a command as table, json, csv, tsv or md; by default a table on a terminal, TSV in a pipe.

    `rows`: the whole answer, as JSON shows it. `table`: the rows of the other forms, if they differ. `notes` stand
    below a table and go to stderr in every other form. Raises UsageError for an unknown form.
    """
    console = _console
    form = form or ("table" if _is_terminal(console.out) else "tsv")
    check_format(form)
    if form == "json":
        console.answer(json.dumps({"schema": schema, "data": plain(rows), "meta": plain(dict(meta or {}))}, indent=1))
        for note in notes:
            console.detail(note)
        return
    lines = rows if table is None else table
    if form == "table":
        console.answer(_table(lines, fields, _is_terminal(console.out)))
        for note in notes:
            console.answer(_printable(note))
        return
    console.answer(_delimited(lines, fields, form))
    for note in notes:
        console.say(note)


def check_format(form: str | None) -> None:
    """Raise UsageError for an unknown form of answers, before any work."""
    if form is not None and form not in FORMATS:
        raise UsageError(f'no format "{form}"', f"one of: {', '.join(FORMATS)}")


def plain(value: Any) -> Any:
    """A value as JSON holds it: undefined is null, arrays are lists."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


watchers: list[Callable[[], None]] = []
"""Called whenever progress is counted: signs of life that a working command gives."""


class Progress:
    """The progress of a stage: a bar on a terminal, a line every 30 s in a batch log."""

    def __init__(self, title: str, total: int, unit: str):
        self.title, self.total, self.unit = title, total, unit
        self.done = self.skipped = 0
        self.start = self.last = time.monotonic()
        self.bar: Any = None

    def __enter__(self) -> Self:
        if _console.verbosity >= 0 and _is_terminal(_console.err):
            from rich.console import Console as RichConsole
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as RichProgress

            columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self.bar = RichProgress(
                *columns, TextColumn("{task.fields[rate]}"), console=RichConsole(file=_console.err), transient=True
            )
            self.bar.start()
            self.task = self.bar.add_task(self.title, total=self.total or None, rate="")
        return self

    def __exit__(self, *_exception: object) -> None:
        if self.bar is not None:
            self.bar.stop()

    def skip(self, count: int) -> None:
        """Count work that an earlier run has done, which is not part of the rate."""
        self.skipped += count
        self.advance(0)

    def advance(self, count: int) -> None:
        """Count work that is done, and show it."""
        self.done += count
        for watcher in watchers:
            watcher()
        now = time.monotonic()
        if self.bar is not None:
            self.bar.update(self.task, completed=self.done + self.skipped, rate=f"{self.rate:,.0f} {self.unit}/s")
        elif now - self.last >= LINE_EVERY:
            self.last = now
            say(self.line)

    @property
    def rate(self) -> float:
        """Units per second since the start."""
        return self.done / max(time.monotonic() - self.start, 1e-9)

    @property
    def line(self) -> str:
        """One line of a batch log."""
        count = self.done + self.skipped
        if not self.total:  # not known beforehand
            return f"{self.title} {count:,} {self.rate:,.0f} {self.unit}/s"
        left = (self.total - count) / self.rate if self.done else math.inf
        share = 100 * count / max(self.total, 1)
        return (
            f"{self.title} {count:,}/{self.total:,} {share:.1f} % {self.rate:,.0f} {self.unit}/s eta {duration(left)}"
        )


def duration(seconds: float) -> str:
    """`3 h 12 min`, `4 min 10 s`, `8 s`; `?` where unknown."""
    if not math.isfinite(seconds):
        return "?"
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 60} min {whole % 60} s" if whole >= 60 else f"{whole} s"


def percent(fraction: float | None, digits: int = 1) -> str:
    """A fraction as a terminal shows it."""
    return "-" if fraction is None or not math.isfinite(fraction) else f"{100 * fraction:.{digits}f} %"


def _cell(value: Any, style: str) -> str:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "-"
    if style == "percent":
        return percent(value)
    if style == "score":
        return f"{value:.4f}"
    return format(value, style) if style else _printable(str(value))


def _table(rows: Sequence[Mapping[str, Any]], fields: Sequence[Field], terminal: bool) -> str:
    from rich.console import Console as RichConsole
    from rich.table import Table

    # Not rich's own, which takes COLUMNS=0 for a terminal that shows nothing.
    width = shutil.get_terminal_size().columns if terminal else 1000
    titles = [column.title or column.key for column in fields]
    cells = [[_cell(row.get(column.key), column.style) for column in fields] for row in rows]
    table = Table(box=None, pad_edge=False, collapse_padding=terminal, header_style="bold")
    for title, column, size in zip(titles, fields, _column_widths([titles, *cells], fields, width), strict=True):
        table.add_column(title, justify="right" if column.style else "left", no_wrap=True, width=size)
    for line in cells:
        table.add_row(*(cell.replace("[", r"\[") for cell in line))
    console = RichConsole(file=None, force_terminal=terminal, width=width, highlight=False, soft_wrap=not terminal)
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def _column_widths(lines: Sequence[Sequence[str]], fields: Sequence[Field], width: int) -> list[int]:
    """The widths of columns with a blank between them. Where there is no room, the widest texts are cut, no number."""
    widths = [max(len(line[position]) for line in lines) for position in range(len(fields))]
    texts = [position for position, column in enumerate(fields) if not column.style]
    while texts and sum(widths) + len(widths) - 1 > width:
        widest = max(texts, key=lambda position: widths[position])
        if widths[widest] <= LEAST_TEXT:
            break
        widths[widest] -= 1
    return widths


def _delimited(rows: Sequence[Mapping[str, Any]], fields: Sequence[Field], form: str) -> str:
    def text(value: Any) -> str:
        value = plain(value)
        if value is None:
            return ""
        return str(value).lower() if isinstance(value, bool) else _printable(str(value))

    if form == "md":
        # People read Markdown: values as in a table.
        titles = [column.title or column.key for column in fields]
        lines = [titles, ["---:" if column.style else "---" for column in fields]]
        lines += [[_cell(row.get(column.key), column.style).replace("|", r"\|") for column in fields] for row in rows]
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)
    titles = [column.key for column in fields]
    cells = [[text(row.get(column.key)) for column in fields] for row in rows]
    if form == "tsv":
        return "\n".join("\t".join(line) for line in [titles, *cells])
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows([titles, *cells])
    return buffer.getvalue()


def _is_terminal(stream: TextIO) -> bool:
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def _printable(text: str) -> str:
    """Escape control characters, which must not reach a terminal from a file name."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _write(stream: TextIO, text: str) -> None:
    # A closed stderr must not abort the run.
    with contextlib.suppress(OSError):
        _put(stream, text)


def _put(stream: TextIO, text: str) -> None:
    try:
        stream.write(text)
    except UnicodeEncodeError:  # a character that the stream's encoding lacks
        stream.write(text.encode("ascii", "backslashreplace").decode())
    stream.flush()


def _silence(stream: TextIO) -> None:
    """Redirect a closed stream to nowhere: the flush of Python at its exit would fail a second time."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
