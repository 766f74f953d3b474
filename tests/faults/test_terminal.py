"""The output on a screen: answers that programs can read, and no control characters from names."""

import contextlib
import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.processes import zoo
from tests.faults.tables import IDS, LABELS, SAMPLES, VALUES, table
from tests.marks import slow
from tests.workspaces import Result, make, run
from zoo_cli import __main__, console
from zoo_cli.answer_tables import FORMATS

Make = Callable[..., Path]
ANSWERS = [
    ("sources",),
    ("extract",),
    ("score", "--metric", "parc"),
    ("rank",),
    ("pseudo-label",),
    ("show", "manifest.parquet"),
    ("show", "features/source=alpha/_source.json"),
    ("evaluate", "accuracy"),
    ("distill", "--steps", "1", "--batch-size", "8", "--augment", "none", "--name", "mine"),
]
NAMED = {"ids": " ".join}


class Terminal(io.StringIO):
    """A stream that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


def on_terminal(*arguments: str, workspace: Path) -> Result:
    out, err = Terminal(), Terminal()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), console.use(console.Console(out, err)):
        code = __main__.main([*arguments, "-C", str(workspace)])
    return Result(code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = make(tmp_path_factory.mktemp("trained") / "task", upto="pseudo-label")
    result = run(*ANSWERS[-1], workspace=place)
    assert result.code == 0, result.err
    return place


@pytest.fixture
def finished(trained: Path, tmp_path: Path) -> Path:
    """The workspace after each command of ANSWERS."""
    return Path(shutil.copytree(trained, tmp_path / "task"))


def strict(text: str) -> None:
    raise AssertionError(f"{text} is not valid JSON")


def test_every_answer_in_json_parses_and_is_strict(finished: Path) -> None:
    for arguments in ANSWERS:
        result = run(*arguments, "--json", workspace=finished)
        assert result.code == 0, result.err
        answer = json.loads(result.out, parse_constant=strict)
        assert set(answer) == {"schema", "data", "meta"}
        words = arguments[: 2 if arguments[0] == "evaluate" else 1]
        assert answer["schema"] == f"zoo.{'-'.join(words)}/1"


def test_undefined_is_null_in_json_and_empty_in_tables(tmp_path: Path) -> None:
    path = table(tmp_path / "flat.parquet", embedding=VALUES * 0)
    command = ("rank", "--features", str(path))
    (row,) = json.loads(run(*command, "--json").out, parse_constant=strict)["data"]
    assert row["value"] is None
    header, line = (text.split("\t") for text in run(*command, "--format", "tsv").out.splitlines())
    assert dict(zip(header, line, strict=True))["value"] == ""
    assert "| - |" in run(*command, "--format", "md").out
    score = json.loads(run("score", "--features", str(path), "--metric", "parc", "--json").out)["data"][0]
    assert (score["value"], score["reason"]) == (None, "collapsed")


def test_a_metric_without_a_value_is_null_in_evaluate(tmp_path: Path) -> None:
    right = table(tmp_path / "right.parquet", logits=VALUES * 0 + (LABELS[:, None] == range(3)))
    result = run("evaluate", "flips", str(right), str(right), "--teacher", str(right), "--json")
    assert result.code == 0, result.err
    assert json.loads(result.out, parse_constant=strict)["data"]["transfer_rate"] is None


@pytest.mark.parametrize("form", FORMATS)
def test_no_control_sequence_in_a_pipe(finished: Path, form: str) -> None:
    for arguments in ANSWERS:
        result = run(*arguments, "--format", form, workspace=finished)
        assert result.code == 0, result.err
        assert "\x1b" not in result.out + result.err
        assert "\r" not in result.out + result.err


def test_a_terminal_gets_a_table_and_a_pipe_gets_tabs(finished: Path) -> None:
    piped = run("rank", workspace=finished)
    assert piped.out.splitlines()[0].split("\t")[:3] == ["rank", "source", "value"]
    shown = on_terminal("rank", workspace=finished)
    assert "\t" not in shown.out
    assert "\x1b[" in shown.out


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=str)
def test_a_terminal_without_colours_gets_none(
    finished: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    for arguments in (("rank",), ("sources",), ("extract", "--overwrite")):
        result = on_terminal(*arguments, workspace=finished)
        assert result.code == 0, result.err
        # NO_COLOR forbids colours, not bold and the like. A dumb terminal understands no sequence at all.
        colour = r"\x1b" if "TERM" in environment else r"\x1b\[[0-9;]*(3[0-8]|4[0-8]|9[0-7])[0-9;]*m"
        assert not re.search(colour, result.out + result.err)


@pytest.mark.parametrize("columns", ["1", *slow("20", "0")])
def test_narrow_terminal_crops_and_never_fails(finished: Path, monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    for arguments in (("rank",), ("sources",), ("show", "manifest.parquet"), ("extract", "--overwrite")):
        result = on_terminal(*arguments, workspace=finished)
        assert result.code == 0, result.err
        assert result.out
    piped = run("rank", workspace=finished)
    assert "alpha" in piped.out


@pytest.mark.parametrize(
    "environment", [{"PYTHONIOENCODING": "ascii"}, *slow({"LC_ALL": "C"}, {"PYTHONUTF8": "0"})], ids=str
)
def test_unencodable_names_are_escaped(workspace: Make, environment: dict[str, str]) -> None:
    place = workspace()
    (place / "images" / "red" / "00.png").unlink()
    (place / "images" / "red" / "größe….png").write_bytes(b"")
    result = zoo("split", "-C", str(place), environment=environment)
    assert result.code == 4
    assert "Traceback" not in result.err
    assert re.search(r"gr(ö|\\xf6)(ß|\\xdf)e(…|\\u2026)\.png", result.err)
    with (place / "zoo.toml").open("a", encoding="utf-8") as stream:
        stream.write('\n[[source]]\nname = "größe…"\nmodel = "torchvision:resnet18"\n')
    answer = zoo("sources", "-C", str(place), environment=environment)
    assert answer.code == 0, answer.err
    assert len(answer.out.splitlines()) == 6
    data = zoo("sources", "-C", str(place), "--json", environment=environment).data
    assert data[3]["source"] == "größe…"


HOSTILE = "a\x1b]0;owned\x07\x1b[31m\nb\u202e.png"


def printable(text: str) -> bool:
    return all(line.isprintable() for line in text.replace("\t", " ").splitlines())


def test_control_characters_of_file_names_are_escaped(workspace: Make) -> None:
    place = workspace()
    (place / "images" / "red" / HOSTILE).write_bytes(b"")
    result = run("split", workspace=place)
    assert result.code == 4
    assert printable(result.err)
    assert r"a\x1b]0;owned\x07\x1b[31m\nb\u202e.png: the file is empty" in result.err
    assert run("extract", workspace=place).code == 0


def test_control_characters_of_ids_and_sources_are_escaped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    bad = VALUES.copy()
    bad[0, 0] = float("nan")
    theirs = table(tmp_path / f"{HOSTILE[:-4]}.parquet", id=[HOSTILE, *IDS[1:]], embedding=VALUES)
    for arguments in (("score", "--metric", "parc"), ("rank",)):
        for form in ("tsv", "table", "md", "csv"):
            result = run(*arguments, "--features", str(theirs), "--format", form)
            assert result.code == 0, result.err
            assert "\x1b" not in result.out + result.err
    table(theirs, id=[HOSTILE, *IDS[1:]], embedding=bad)
    result = run("score", "--features", str(theirs), "--metric", "parc")
    assert result.code == 3
    assert printable(result.err)
    assert len(result.err.splitlines()) == 1


def test_help_and_version_need_no_workspace() -> None:
    for arguments in (("--help",), ("--version",), ("rank", "--help"), ("evaluate", "flips", "-h")):
        result = run(*arguments)
        assert result.code == 0
        assert result.out
        assert "\x1b" not in result.out


def test_quiet_prints_only_warnings_and_errors(workspace: Make) -> None:
    place = workspace()
    (place / "images" / "red" / "00.png").write_bytes(b"")
    result = run("split", "-q", "--max-errors", "1", workspace=place)
    assert result.code == 0
    assert [line.split(":")[1] for line in result.err.splitlines()] == [" warning"]
    assert run("extract", "-q", workspace=place).err == ""


def test_counts_are_equal_in_csv_and_tsv(tmp_path: Path) -> None:
    path = table(tmp_path / "theirs.parquet", logits=VALUES)
    for form in ("csv", "tsv"):
        lines = run("evaluate", "accuracy", str(path), "--format", form).out.splitlines()
        mark = "," if form == "csv" else "\t"
        row = dict(zip(lines[0].split(mark), lines[1].split(mark), strict=True))
        assert row["n"] == str(SAMPLES)
