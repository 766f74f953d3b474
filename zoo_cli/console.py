"""Output: answers go to stdout, messages and progress to stderr. The only module that prints."""

import contextlib
import math
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self, TextIO

from zoo_cli.errors import UsageError, ZooError
from zoo_cli.json_layout import to_indented_json
from zoo_cli.text_escapes import markdown, printable, spreadsheet_text
from zoo_cli.text_table import render_delimited, render_markdown, render_table

FORMATS = ("table", "json", "csv", "tsv", "md")
LINE_EVERY, EARLY = 30.0, 5.0
"""Seconds between the progress lines of a batch log, and before the first one of work that takes longer than that."""
RED, YELLOW, RESET = "\x1b[1;31m", "\x1b[1;33m", "\x1b[0m"
DRAW_EVERY = 0.1  # seconds between two states of a bar


class ClosedPipe(Exception):
    """The reader of stdout has gone, as in `zoo rank | head -1`. Not an error."""


@dataclass
class Console:
    """The output streams, which a test can replace, and the verbosity: -1 quiet, 0 normal, 1 verbose."""

    # A stream that the shell has closed (`>&-`) is None; what is written to it is dropped.
    out: TextIO = field(default_factory=lambda: sys.stdout or open(os.devnull, "w"))  # noqa: SIM115
    err: TextIO = field(default_factory=lambda: sys.stderr or open(os.devnull, "w"))  # noqa: SIM115
    verbosity: int = 0
    csv_safe: bool = False  # no cell of CSV and TSV is a formula of a spreadsheet
    bars: list[Any] = field(default_factory=list)  # on the terminal, where only the innermost is shown
    lock: threading.RLock = field(default_factory=threading.RLock)

    @contextmanager
    def without_bar(self) -> Iterator[None]:
        """Take the bar off the terminal while something else is printed."""
        with self.lock:
            for bar in self.bars[-1:]:
                bar.stop()
            try:
                yield
            finally:
                self.show_bar()

    def show_bar(self) -> None:
        """Show the innermost bar again, if there is one."""
        for bar in self.bars[-1:]:
            bar.start()

    def say(self, text: str) -> None:
        """Print a message, unless --quiet."""
        if self.verbosity >= 0:
            self._print(printable(text) + "\n")

    def detail(self, text: str) -> None:
        """Print a message with --verbose."""
        if self.verbosity > 0:
            self.say(text)

    def warn(self, text: str) -> None:
        """Print a warning, even with --quiet."""
        self._print(f"zoo: {self._colour('warning', YELLOW)}: {printable(text)}\n")

    def fail(self, text: str) -> None:
        """Print the one line of an error."""
        self._print(f"zoo: {self._colour('error', RED)}: {printable(text)}\n")

    def trace(self, error: BaseException) -> None:
        """Print the traceback of an exception."""
        lines = "".join(traceback.format_exception(error)).splitlines()
        self._print("".join(printable(line.expandtabs(4)) + "\n" for line in lines))

    def _colour(self, word: str, code: str) -> str:
        """A word in colour on a terminal, unless NO_COLOR asks for none (no-color.org)."""
        return f"{code}{word}{RESET}" if _is_terminal(self.err) and not os.environ.get("NO_COLOR") else word

    def _print(self, text: str) -> None:
        # A stderr that is closed, by the shell or by a user's code, must not abort the run.
        with self.without_bar(), contextlib.suppress(OSError, ValueError):
            _put(self.err, text)

    def answer(self, text: str) -> None:
        """Print to stdout. Raises ClosedPipe if its reader has gone, ZooError if it cannot be written."""
        try:
            with self.without_bar():
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
class Grid:
    """One of several tables of an answer. `keys`: the first columns, repeated where a narrow terminal splits it."""

    title: str
    rows: Sequence[Mapping[str, Any]]
    fields: "Sequence[Field]"
    keys: int = 1


@dataclass(frozen=True)
class Field:
    """A column of an answer: its key in the rows, and its title and format in a table.

    `free`: text that says something, and not a number or a name: a narrow terminal cuts it.
    """

    key: str
    title: str = ""
    style: str = ""  # "", "percent", "score" or a format such as ".2f"
    free: bool = False


def answer(
    schema: str,
    rows: Any,
    fields: Sequence[Field],
    *,
    form: str | None,
    meta: Mapping[str, Any] | None = None,
    notes: Sequence[str] = (),
    table: Sequence[Mapping[str, Any]] | None = None,
    grids: Sequence[Grid] = (),
) -> None:
    """Print the answer of a command as table, json, csv, tsv or md; by default a table on a terminal, TSV in a pipe.

    `rows`: the whole answer, as JSON shows it. `table`: the rows of the other forms, if they differ. `grids`: tables
    that a terminal and Markdown show in place of these rows. `notes` stand below a table and go to stderr in every
    other form. Raises UsageError for an unknown form.
    """
    console = _console
    form = form or ("table" if _is_terminal(console.out) else "tsv")
    check_format(form)
    if form == "json":
        console.answer(to_indented_json({"schema": schema, "data": plain(rows), "meta": plain(dict(meta or {}))}))
        for note in notes:
            console.detail(note)
        return
    lines = rows if table is None else table
    if grids and form in ("table", "md"):
        console.answer("\n\n".join(_grid(grid, form, _is_terminal(console.out)) for grid in grids))
        for note in notes:
            console.answer(printable(note)) if form == "table" else console.say(note)
        return
    if form == "table":
        console.answer(_table(lines, fields, _is_terminal(console.out)))
        for note in notes:
            console.answer(printable(note))
        return
    console.answer(_delimited(lines, fields, form))
    for note in notes:
        console.say(note)


def check_format(form: str | None) -> None:
    """Raise UsageError for an unknown form of answers, before any work."""
    if form is not None and form not in FORMATS:
        raise UsageError(f'no format "{form}"', f"one of: {', '.join(FORMATS)}")


def check_csv_safe(form: str | None, out: object = None) -> None:
    """Raise UsageError if --csv-safe has no csv or tsv to act on, neither the answer nor the file `out`."""
    form = form or ("table" if _is_terminal(_console.out) else "tsv")
    if form not in ("csv", "tsv") and not str(out).endswith((".csv", ".tsv")):
        raise UsageError(f"--csv-safe is for csv and tsv, not {form}", "add --format csv")


def plain(value: Any) -> Any:
    """A value as JSON holds it: undefined is null, arrays are lists."""
    if type(value) is float:  # most values of a large answer
        return value if math.isfinite(value) else None
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
    """The progress of a stage: a bar on a terminal, a line every 30 s in a batch log, nothing before work is done.

    `total` units of work, None where that is not known beforehand; `unit`: their plural, as in "images".
    """

    def __init__(self, title: str, total: int | None, unit: str):
        self.title, self.total, self.unit = printable(title), total, unit
        self.done = self.skipped = 0
        self.start = self.last = time.monotonic()
        self.bar: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        if self.bar is not None:
            _console.bars.remove(self.bar)
            self.bar.stop()
            self.bar = None
            _console.show_bar()

    def skip(self, count: int) -> None:
        """Count work that an earlier run has done, which is not part of the rate."""
        self.skipped += count

    def advance(self, count: int) -> None:
        """Count work that is done, and show it."""
        for watcher in watchers:
            watcher()
        with _console.lock:
            self.done += count
            if not self.done:
                return
            waited = (now := time.monotonic()) - self.last
            if _console.verbosity >= 0 and _is_terminal(_console.err):
                if self.bar is None:
                    self._show_bar()
                if waited >= DRAW_EVERY:
                    self.last = now
                    fields = {"description": self.title, "counts": self.counts}
                    self.bar.update(self.task, completed=self.done + self.skipped, refresh=True, **fields)
            elif waited >= (EARLY if self.last == self.start and self.seconds_left >= LINE_EVERY else LINE_EVERY):
                self.last = now
                say(self.line)

    def say_end(self) -> None:
        """Print the last line of a stage that had something to do."""
        if self.done:
            say(self.line)

    @property
    def rate(self) -> float:
        """Units per second since the start."""
        return self.done / max(time.monotonic() - self.start, 1e-9)

    @property
    def seconds_left(self) -> float:
        """How long the rest takes; 0 if its size is not known."""
        return (self.total - self.done - self.skipped) / self.rate if self.total and self.done else 0.0

    @property
    def line(self) -> str:
        """One line of a batch log."""
        return f"{self.title} {self.counts}"

    @property
    def counts(self) -> str:
        """What is done and, where the total is known, how long the rest takes: `30/120 25.0 % 10 images/s eta 9 s`."""
        count, rate = self.done + self.skipped, f"{self.rate:,.0f}" if self.rate >= 10 else f"{self.rate:.2g}"
        if not self.total or count > self.total:
            return f"{count:,} {self.unit}, {rate}/s"
        share, left = 100 * count / self.total, duration(self.seconds_left)
        return f"{count:,}/{self.total:,} {share:.1f} % {rate} {self.unit}/s eta {left}"

    def _show_bar(self) -> None:
        from rich.console import Console as RichConsole
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as RichProgress

        title, counts = (TextColumn(f"{{task.{name}}}", markup=False) for name in ("description", "fields[counts]"))
        columns = (title, BarColumn(), counts) if self.total else (title, counts)
        self.bar = RichProgress(*columns, console=RichConsole(file=_console.err), auto_refresh=False, transient=True)
        self.task = self.bar.add_task(self.title, total=self.total, counts=self.counts)
        for outer in _console.bars[-1:]:
            outer.stop()
        _console.bars.append(self.bar)
        self.bar.start()


def duration(seconds: float) -> str:
    """`3 h 12 min`, `4 min 10 s`, `8 s`; `?` where unknown."""
    if not math.isfinite(seconds):
        return "?"
    whole = max(0, round(seconds))
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
    return format(value, style) if style else printable(str(value))


def _table(rows: Sequence[Mapping[str, Any]], fields: Sequence[Field], terminal: bool) -> str:
    names = next((position for position, column in enumerate(fields) if not column.style), 0)
    return _render(rows, fields, names + 1, terminal)


def _render(rows: Sequence[Mapping[str, Any]], fields: Sequence[Field], keys: int, terminal: bool) -> str:
    cells = [[_cell(row.get(column.key), column.style) for column in fields] for row in rows]
    numbers, free = [bool(column.style) for column in fields], [column.free for column in fields]
    return render_table(_titles(fields), cells, numbers, free, keys, terminal)


def _titles(fields: Sequence[Field]) -> list[str]:
    return [printable(column.title or column.key) for column in fields]


def _grid(grid: Grid, form: str, terminal: bool) -> str:
    title = printable(grid.title)
    if form == "md":
        return f"{title}\n\n{_delimited(grid.rows, grid.fields, form)}"
    return f"{title}\n{_render(grid.rows, grid.fields, grid.keys, terminal)}"


def _delimited(rows: Sequence[Mapping[str, Any]], fields: Sequence[Field], form: str) -> str:
    if form == "md":
        # People read Markdown: values as in a table.
        cells = [[_markdown_cell(row.get(column.key), column.style) for column in fields] for row in rows]
        return render_markdown(list(map(markdown, _titles(fields))), cells, [bool(column.style) for column in fields])
    titles = [_raw_cell(column.key) for column in fields]
    return render_delimited([titles, *([_raw_cell(row.get(column.key)) for column in fields] for row in rows)], form)


def _markdown_cell(value: Any, style: str) -> str:
    return markdown(_cell(value, style)) if isinstance(value, str) else _cell(value, style).replace("|", r"\|")


def _raw_cell(value: Any) -> str:
    """A value of CSV and TSV: numbers in full, nothing for an undefined one."""
    value = plain(value)
    if value is None:
        return ""
    if isinstance(value, str):
        return spreadsheet_text(printable(value)) if _console.csv_safe else printable(value)
    return str(value).lower() if isinstance(value, bool) else printable(str(value))


def _is_terminal(stream: TextIO) -> bool:
    return stream.isatty() and os.environ.get("TERM") != "dumb"


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
