"""The progress of a stage: a bar on a terminal, lines in a batch log."""

import time
from collections.abc import Callable
from typing import Any, Self

from zoo_cli import console
from zoo_cli.quantities import duration
from zoo_cli.text_escapes import printable

LINE_EVERY, EARLY = 30.0, 5.0
"""Seconds between the progress lines of a batch log, and before the first one of work that takes longer than that."""
DRAW_EVERY = 0.1  # seconds between two states of a bar

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
            console.current().bars.remove(self.bar)
            self.bar.stop()
            self.bar = None
            console.current().show_bar()

    def skip(self, count: int) -> None:
        """Count work that an earlier run has done, which is not part of the rate."""
        self.skipped += count

    def advance(self, count: int) -> None:
        """Count work that is done, and show it."""
        for watcher in watchers:
            watcher()
        with console.current().lock:
            self.done += count
            if not self.done:
                return
            waited = (now := time.monotonic()) - self.last
            if console.current().verbosity >= 0 and console.is_terminal(console.current().err):
                if self.bar is None:
                    self._show_bar()
                if waited >= DRAW_EVERY:
                    self.last = now
                    fields = {"description": self.title, "counts": self.counts}
                    self.bar.update(self.task, completed=self.done + self.skipped, refresh=True, **fields)
            elif waited >= (EARLY if self.last == self.start and self.seconds_left >= LINE_EVERY else LINE_EVERY):
                self.last = now
                console.say(self.line)

    def say_end(self) -> None:
        """Print the last line of a stage that had something to do."""
        if self.done:
            console.say(self.line)

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
        self.bar = RichProgress(
            *columns, console=RichConsole(file=console.current().err), auto_refresh=False, transient=True
        )
        self.task = self.bar.add_task(self.title, total=self.total, counts=self.counts)
        for outer in console.current().bars[-1:]:
            outer.stop()
        console.current().bars.append(self.bar)
        self.bar.start()
