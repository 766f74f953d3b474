"""Every command on a terminal of 80 and of 120 columns: no number and no name is cut; its errors and colours."""

import json
import os
import re
import struct
import subprocess
import sys
import termios
from fcntl import ioctl
from pathlib import Path

import pytest

from tests.marks import slow
from tests.terminal_commands import END
from tests.workspaces import edit, make, run
from zoo_cli import console
from zoo_cli.command_table import COMMANDS

ROOT = Path(__file__).parents[1]
LONG = "efficientnet-b0-of-the-whole-imagenet"
SHORT = ("--steps", "1", "--batch-size", "8", "--augment", "none", "--workers", "0")
SPOKEN = [
    ("split",),
    ("extract",),
    ("score", "--metric", "parc", "--metric", "leep", "--metric", "lfc"),
    ("rank",),
    ("pseudo-label",),
    ("pseudo-label", "--head", "ridge"),
    ("distill", "--name", "a-run-with-quite-a-long-name-too", *SHORT),
    ("finetune", "alpha", "--name", "another-run-with-quite-a-long-name", *SHORT),
    ("evaluate", "accuracy"),
    ("evaluate", "accuracy", "--by", "method"),
    ("evaluate", "flips", "a-run-with-quite-a-long-name-too", "another-run-with-quite-a-long-name"),
    ("evaluate", "flips", "--all"),
    ("evaluate", "overlap", "a-run-with-quite-a-long-name-too"),
    ("evaluate", "cost"),
    ("predict", "a-run-with-quite-a-long-name-too", "--data", "folder:images"),
    ("plan", "--stage", "extract"),
    ("status",),
    ("sources",),
    ("sources", "--check"),
    ("verify",),
    ("show", "ranking.parquet"),
    ("show", "manifest.parquet"),
    ("show", "runs/a-run-with-quite-a-long-name-too"),
]
SILENT = {"init", "expert", "tune", "demo", "completion", "doctor", "export", "report"} | {
    *("evaluate transfer", "evaluate ranking"),
}
"""Commands that print no table of their own, take minutes, or whose tables are those of commands that are here."""
NAMES = (LONG, "alpha", "beta", "a-run-with-quite-a-long-name-too", "another-run-with-quite-a-long-name", "features")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which the commands have run: what they print on a terminal is their answer."""
    workspace = make(tmp_path_factory.mktemp("terminal") / "task")
    edit(workspace, '"gamma"', f'"{LONG}"')
    for words in SPOKEN[:8]:
        result = run(*words, workspace=workspace)
        assert result.code == 0, result.err
    return workspace


def show(workspace: Path, columns: int, commands: list[tuple[str, ...]], **environment: str) -> list[tuple[int, str]]:
    """The exit code of each command, and what it shows on a terminal of so many columns."""
    outside, inside = os.openpty()
    ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    variables = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "NO_COLOR")}
    program = [sys.executable, "-m", "tests.terminal_commands", json.dumps(commands)]
    child = subprocess.Popen(
        program,
        cwd=workspace,
        env={**variables, "PYTHONPATH": str(ROOT), "TERM": "xterm", **environment},
        stdin=inside,
        stdout=inside,
        stderr=inside,
        start_new_session=True,
    )
    os.close(inside)
    text = b""
    while True:
        try:
            piece = os.read(outside, 65536)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        text += piece
    os.close(outside)
    assert child.wait() == 0, text.decode()
    parts = re.split(f"{END}(\\d+){END}\r\n", text.decode())
    return [(int(code), shown) for shown, code in zip(parts[::2], parts[1::2], strict=False)]


def test_the_commands_here_are_all_that_print_tables() -> None:
    spoken = {" ".join(words[: 2 if words[0] == "evaluate" else 1]) for words in SPOKEN}
    assert spoken | SILENT >= set(COMMANDS)


@pytest.mark.parametrize("columns", [80, *slow(120)])
def test_numbers_and_names_are_never_cut(finished: Path, columns: int) -> None:
    for words, (code, shown) in zip(SPOKEN, show(finished, columns, SPOKEN), strict=True):
        assert code == 0, (words, shown)
        text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
        for word in re.findall(r"\S*…", text):
            start = word[:-1]
            if words[0] != "show":  # its values are texts, lists of numbers among them
                assert not re.fullmatch(r"-?[\d.,]+(e-?\d*)?%?", start), (words, word, text)
            assert not any(start and name.startswith(start) for name in NAMES), (words, word, text)


def test_scores_stand_in_a_table_of_each_metric_best_first(finished: Path) -> None:
    ((_, shown),) = show(finished, 80, [SPOKEN[2]])
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    for metric in ("parc on features", "leep on probs", "lfc on features"):
        lines = text.partition(f"{metric}\r\n")[2].partition("\r\n\r\n")[0].splitlines()[1:]
        values = [float(re.search(r"-?\d+\.\d{4}", line)[0]) for line in lines]  # type: ignore[index]
        assert values == sorted(values, reverse=True)
        marked = [line for line in lines if line.startswith("*")]
        sources = [line for line in lines if "@student" not in line]
        assert marked == sources[:1]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("rank", "--metri", "x"), "no such option: --metri; did you mean --metric, --strict"),
        (("scor",), "no such command 'scor'; did you mean 'score'"),
        (("show",), "missing argument 'FILE'; see zoo show --help"),
        (("split", "extra"), "got unexpected extra argument"),
        (("help", "nothing"), "no such command 'nothing'; see zoo --help"),
    ],
)
def test_wrong_flags_and_wrong_values_look_alike(words: tuple[str, ...], line: str) -> None:
    result = run(*words)
    assert (result.code, result.out) == (2, "")
    assert result.error.startswith(line)


def test_help_and_version_have_their_short_forms() -> None:
    assert run("help", "evaluate", "flips").out == run("evaluate", "flips", "--help").out
    assert run("help").out == run("--help").out
    assert run("-V").out == run("--version").out != ""


def test_errors_are_red_and_warnings_yellow_on_a_terminal(tmp_path: Path) -> None:
    ((code, shown),) = show(tmp_path, 80, [("rank",)])
    assert code == 2
    assert shown.startswith(f"zoo: {console.RED}error{console.RESET}: ")
    ((_, plain),) = show(tmp_path, 80, [("rank",)], NO_COLOR="1")
    assert plain.startswith("zoo: error: ")
