"""Progress on a terminal and in a batch log."""

import io
import re
import sys
import threading
import warnings
from collections.abc import Iterator

import pytest

from zoo_cli import console, progress
from zoo_cli.progress import Progress
from zoo_cli.quantities import duration

CLEAR_LINE = "\x1b[2K"


class Terminal(io.StringIO):
    """A stream that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


class Clock:
    """A clock that a test moves."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress.time, "monotonic", clock)
    return clock


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    with console.use(console.Console(io.StringIO(), stream)):
        yield stream


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    stream = Terminal()
    with console.use(console.Console(stream, stream)):
        yield stream


def screen(text: str) -> tuple[list[str], list[str]]:
    """The lines that stay on a terminal, and every state of a line before it was cleared."""
    lines: list[str] = [""]
    cleared: list[str] = []
    row = 0
    for piece in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", text):
        if piece == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif piece.endswith("A") and piece.startswith("\x1b"):
            row -= int(re.sub(r"\D", "", piece) or 1)
        elif piece == CLEAR_LINE:
            cleared.append(lines[row])
            lines[row] = ""
        elif not piece.startswith(("\x1b", "\r")):
            lines[row] += piece
    return [line for line in lines if line.strip()], [line for line in cleared if line.strip()]


def test_unknown_total_is_a_count(log: io.StringIO, clock: Clock) -> None:
    with Progress("split", None, "images") as progress:
        for _ in range(31):
            clock.now += 1
            progress.advance(10)
    assert log.getvalue() == "split 300 images, 10/s\n"


def test_known_total_has_a_share_and_a_rest(log: io.StringIO, clock: Clock) -> None:
    with Progress("extract", 310, "images") as progress:
        for _ in range(31):
            clock.now += 1
            progress.advance(10)
        progress.say_end()
    assert log.getvalue().splitlines() == [
        "extract 300/310 96.8 % 10 images/s eta 1 s",
        "extract 310/310 100.0 % 10 images/s eta 0 s",
    ]


def test_long_work_has_an_early_line(log: io.StringIO, clock: Clock) -> None:
    with Progress("score", 100, "scores") as progress:
        for _ in range(4):
            clock.now += 2
            progress.advance(1)
    assert log.getvalue() == "score 3/100 3.0 % 0.5 scores/s eta 3 min 14 s\n"


def test_more_than_expected_is_a_count(log: io.StringIO, clock: Clock) -> None:
    with Progress("extract", 10, "images") as progress:
        clock.now += 2
        progress.advance(30)
        progress.say_end()
    assert log.getvalue() == "extract 30 images, 15/s\n"
    assert duration(-30) == "0 s"


@pytest.mark.parametrize("total", [0, None])
def test_nothing_to_do_shows_nothing(log: io.StringIO, clock: Clock, total: int | None) -> None:
    with Progress("extract", total, "images") as progress:
        clock.now += 60
        progress.advance(0)
        progress.say_end()
    assert log.getvalue() == ""


def test_finished_work_shows_no_bar(terminal: Terminal) -> None:
    with Progress("train", 100, "steps") as progress:
        progress.skip(100)
        progress.say_end()
    assert terminal.getvalue() == ""


def test_bar_leaves_nothing_behind(terminal: Terminal, clock: Clock) -> None:
    with Progress("extract", 4, "images") as progress:
        for _ in range(4):
            clock.now += 1
            progress.advance(1)
    kept, shown = screen(terminal.getvalue())
    assert kept == []
    assert "4/4 100.0 % 1 images/s eta 0 s" in shown[-1]
    assert terminal.getvalue().endswith(CLEAR_LINE)


def test_bar_of_unknown_total_is_a_count(terminal: Terminal, clock: Clock) -> None:
    with Progress("split", None, "images") as progress:
        for _ in range(190):
            clock.now += 1
            progress.advance(1)
    _, shown = screen(terminal.getvalue())
    assert shown[-1].split() == ["split", "190", "images,", "1/s"]
    assert "%" not in terminal.getvalue()
    assert "eta" not in terminal.getvalue()


def test_message_has_a_line_of_its_own(terminal: Terminal, clock: Clock) -> None:
    with Progress("extract [1]", 9, "images") as progress:
        for number in range(9):
            clock.now += 1
            progress.advance(1)
            console.say(f"message {number}")
            console.warn("careful")
            console.current().answer("an answer")
    kept, shown = screen(terminal.getvalue())
    assert kept == [line for number in range(9) for line in (f"message {number}", "zoo: warning: careful", "an answer")]
    assert all("extract [1]" in line and "message" not in line for line in shown)


def test_warning_of_a_library_has_a_line_of_its_own(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", terminal)
    with warnings.catch_warnings(), Progress("extract", 2, "images") as progress:
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, *_: sys.stderr.write(f"{message}\n")  # type: ignore[assignment, misc]
        progress.advance(1)
        warnings.warn("of a library", stacklevel=1)
        progress.advance(1)
    kept, _ = screen(terminal.getvalue())
    assert kept == ["of a library"]


def test_inner_bar_takes_the_place_of_the_outer(terminal: Terminal, clock: Clock) -> None:
    with Progress("train", 2, "steps") as outer:
        outer.advance(1)
        with Progress("decode", 2, "images") as inner:
            for _ in range(2):
                clock.now += 1
                inner.advance(1)
        clock.now += 1
        outer.advance(1)
    kept, shown = screen(terminal.getvalue())
    assert kept == []
    titles = [line.split()[0] for line in shown]
    assert set(titles) == {"train", "decode"}
    first, last = titles.index("decode"), len(titles) - titles[::-1].index("decode")
    assert set(titles[first:last]) == {"decode"}
    assert titles[-1] == "train"


def test_quiet_shows_no_bar(terminal: Terminal) -> None:
    console.current().verbosity = -1
    with Progress("extract", 2, "images") as progress:
        progress.advance(2)
        progress.say_end()
    assert terminal.getvalue() == ""


def test_threads_share_a_bar(terminal: Terminal) -> None:
    with Progress("score", 800, "scores") as progress:

        def work() -> None:
            for _ in range(200):
                progress.advance(1)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        console.say("a message")
        for thread in threads:
            thread.join()
        assert progress.done == 800
    kept, _ = screen(terminal.getvalue())
    assert kept == ["a message"]
