"""Names are text: no markup, no emoji code, no control character, no formula of theirs has an effect anywhere."""

import csv
import io
import itertools
import json
import re
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from tests.faults.test_terminal import on_terminal, printable
from tests.workspaces import Result, edit, run
from zoo_cli import text_escapes
from zoo_cli.answer_tables import Field, show_answer
from zoo_cli.console import Console, use
from zoo_cli.progress import Progress

Make = Callable[..., Path]

CLASSES = {
    "blue": "[bold red]:smile:[/] [link=file:///x]y[/link] [/]",
    "green": "=1+1\x1b]0;owned\x07\u202e|`x`<script>alert(1)</script>",
    "red": "@sum\n\\[b\\] _a_ **b** &lt; \u2066",
}
SOURCE = "-[bold]:smile:"
COMMANDS = (
    ("split", "--overwrite"),
    ("sources",),
    ("extract",),
    ("score", "--metric", "parc"),
    ("rank",),
    ("rank", "--explain", SOURCE),
    ("pseudo-label",),
    ("pseudo-label", "--head", "ridge"),
    ("distill", "--steps", "1", "--batch-size", "8", "--weighting", "equal", "--name", "[i]x"),
    ("finetune", "student", "--steps", "1", "--batch-size", "8", "--name", "=y"),
    ("evaluate", "accuracy"),
    ("evaluate", "flips", "[i]x", "=y"),
    ("evaluate", "transfer", "=y", "[i]x"),
    ("predict", "[i]x", "--data", "folder:images"),
    ("show", "manifest.parquet"),
    ("show", "classes.json"),
    ("show", "runs/[i]x"),
    ("show", "runs/[i]x/predictions.parquet"),
    ("show", f"features/source={SOURCE}/_source.json"),
    ("extract", "--source", "[bold]\x1b[31m"),
    ("split", "--train", "folder:[bold]\x1b[31m"),
)
COLOURED = re.compile(r"\x1b\[([013]|3|22|23)m")
"""What a table on a terminal is written with: bold titles."""


def call(place: Path, arguments: Iterable[str], run: Callable[..., Result] = run) -> Result:
    """Run a command on the workspace, whose images `folder:images` names."""
    return run(*(word.replace("folder:images", f"folder:{place}/images") for word in arguments), workspace=place)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace whose classes, images, sources and runs have hostile names, and everything made from them."""
    from tests import workspaces

    place = workspaces.make(tmp_path_factory.mktemp("hostile") / "task")
    for name, other in CLASSES.items():
        (place / "images" / name).rename(place / "images" / other.replace("/", "\u2215"))
    for image in list((place / "images").glob("=*/*.png"))[:2]:
        image.rename(image.with_name("=cmd [bold]:smile:\x1b[31m.png" if "00" in image.name else "+1.png"))
    edit(place, 'name = "alpha"', f'name = "{SOURCE}"')
    edit(place, 'name = "patterns"', 'name = "=[bold]task\\u001b\\u202e"')
    for arguments in COMMANDS[:-2]:
        result = call(place, arguments)
        assert result.code == 0, (arguments, result.err)
    return place


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda words: ascii(" ".join(words[:2])))
def test_every_command_shows_hostile_names_as_text(hostile: Path, arguments: tuple[str, ...]) -> None:
    results = [
        call(
            hostile,
            (
                *arguments,
                "-v",
            ),
        )
    ]
    if arguments[0] != "split":
        results += [
            call(
                hostile,
                (
                    *arguments,
                    "--format",
                    form,
                ),
            )
            for form in ("csv", "md")
        ]
    for result in results:
        assert "Traceback" not in result.err
        assert printable(result.out)
        assert printable(result.err)
    shown = call(hostile, arguments, on_terminal)
    assert "\x1b]8" not in shown.out  # a link
    assert printable(COLOURED.sub("", shown.out) + re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", shown.err))


def test_markup_and_emoji_codes_of_names_stay(hostile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "1000")
    for arguments in (("predict", "[i]x", "--data", "folder:images"), ("rank",)):
        for result in (call(hostile, arguments, on_terminal), call(hostile, (*arguments,))):
            assert result.code == 0, result.err
            expected = (
                SOURCE if arguments[0] == "rank" else "[bold red]:smile:[\u2215] [link=file:\u2215\u2215\u2215x]y"
            )
            assert expected in result.out


@pytest.mark.parametrize("arguments", [("{}",), ("rank", "--{}"), ("rank", "{}"), ("split", "--workers", "{}")])
def test_usage_errors_show_hostile_flags_as_text(arguments: tuple[str, ...]) -> None:
    result = run(*(word.format("\x1b[31m\u202e[bold]") for word in arguments))
    assert result.code == 2
    assert printable(result.err)
    assert "rror: " in result.err


def test_titles_and_bars_are_text() -> None:
    out, err = io.StringIO(), io.StringIO()
    with use(Console(out, err)):
        show_answer("zoo.x/1", [{"a": "[b]"}], [Field("a", "[red]:smile:\x1b")], form="table")
        progress = Progress("[red]\x1b[31m", 1, "images")
        progress.done = 1
        progress.say_end()
    assert out.getvalue().splitlines() == [r"[red]:smile:\x1b", "[b]"]
    assert err.getvalue().startswith(r"[red]\x1b[31m 1/1")


def test_model_card_shows_hostile_names_as_text(hostile: Path) -> None:
    card = (hostile / "runs" / "[i]x" / "README.md").read_text(encoding="utf-8")
    assert printable(card)
    assert "<script>" not in card
    assert r"# \[i\]x" in card
    assert r"\[bold red\]:smile:" in card
    assert r"\*\*b\*\*" in card


def test_zoo_toml_that_init_writes_holds_hostile_names(tmp_path: Path) -> None:
    name = '[x] "\x7f\u202e\n\\'
    assert run("init", "--train", f"folder:{name}", "--name", name, workspace=tmp_path).code in (0, 2)
    for text in (name, "\x00\x1b", "plain", "größe"):
        line = f"x = {text_escapes.toml_string(text)}"
        assert tomllib.loads(line)["x"] == text
        assert line.isprintable()


@pytest.mark.parametrize("form", ["csv", "tsv"])
def test_csv_safe_leaves_no_formula_and_keeps_numbers(hostile: Path, form: str) -> None:
    for arguments in COMMANDS[1:-2] if form == "csv" else [("rank",), ("predict", "[i]x", "--data", "folder:images")]:
        plain, safe = (
            call(
                hostile,
                (
                    *arguments,
                    "--format",
                    form,
                    *flags,
                ),
            ).out
            for flags in ((), ("--csv-safe",))
        )
        delimiter = "," if form == "csv" else "\t"
        before, after = (list(csv.reader(io.StringIO(text), delimiter=delimiter)) for text in (plain, safe))
        for old, new in zip(itertools.chain(*before), itertools.chain(*after), strict=True):
            assert new in (old, f"'{old}")
            assert (new != old) == (old.startswith(text_escapes.FORMULAS) and not is_number(old))


def is_number(text: str) -> bool:
    return re.fullmatch(r"[-+]?[0-9.]+(e[-+]?[0-9]+)?", text) is not None


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_csv_safe_file_of_predictions_has_no_formula(hostile: Path, tmp_path: Path, suffix: str) -> None:
    images = sorted((hostile / "images").glob("*/*.png"))[:2]
    lines = (f'"{image.relative_to(hostile)}",{name}' for image, name in zip(images, ("=1+1", "-2"), strict=True))
    (tmp_path / "new.csv").write_text("path,id\n" + "\n".join(lines) + "\n", encoding="utf-8")
    texts = []
    for flags in ((), ("--csv-safe",)):
        out = tmp_path / f"{len(texts)}{suffix}"
        data = f"csv:{tmp_path / 'new.csv'}?root={hostile}"
        result = call(hostile, ("predict", "[i]x", "--data", data, "--out", str(out), *flags))
        assert result.code == 0, result.err
        with out.open(encoding="utf-8", newline="") as stream:
            texts.append(list(csv.reader(stream, delimiter="," if suffix == ".csv" else "\t")))
    plain, safe = texts
    assert {row[0] for row in plain[1:]} == {"=1+1", "-2"}
    assert {row[0] for row in safe[1:]} == {"'=1+1", "-2"}
    assert not [cell for row in safe for cell in row if cell.startswith(text_escapes.FORMULAS) and not is_number(cell)]
    assert [row[3:] for row in plain[1:]] == [row[3:] for row in safe[1:]]


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=1", "'=1"), ("+a", "'+a"), ("-a", "'-a"), ("@a", "'@a"), ("\ta", "'\ta"), ("\r", "'\r"),
        ("\uff1d1", "'\uff1d1"),
        ("-1.5", "-1.5"), ("+2e3", "+2e3"), ("a=1", "a=1"), ("", ""), ("-", "'-"),
    ],
)  # fmt: skip
def test_texts_that_spreadsheets_calculate_are_quoted(text: str, cell: str) -> None:
    assert text_escapes.spreadsheet_text(text) == cell


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("my_run_s0", "my_run_s0"), ("p=2, equal", "p=2, equal"), ("R&D", "R&D"), ("größe", "größe"),
        ("a|b", r"a\|b"), ("<b>", "&lt;b>"), ("&lt;", "&amp;lt;"), ("_a_", r"\_a\_"), ("[x](y)", r"\[x\](y)"),
        ("`a`", r"\`a\`"), ("~~a~~", r"\~\~a\~\~"), ("a\nb", r"a\\nb"),
    ],
)  # fmt: skip
def test_markdown_shows_a_name_as_it_is(text: str, shown: str) -> None:
    assert text_escapes.markdown(text) == shown


def test_code_in_markdown_holds_backquotes() -> None:
    assert text_escapes.code_span("python:m.py:f") == "`python:m.py:f`"
    assert text_escapes.code_span("a`b``c") == "``` a`b``c ```"


def test_json_of_hostile_names_is_one_object_of_the_names(hostile: Path) -> None:
    names = json.loads(
        call(
            hostile,
            (
                "show",
                "classes.json",
                "--json",
            ),
        ).out
    )["data"]["names"]
    assert sorted(names) == sorted(name.replace("/", "\u2215") for name in CLASSES.values())


@pytest.mark.parametrize("flags", [("--json",), ("--format", "md"), ("--format", "table")])
def test_csv_safe_is_refused_where_it_does_nothing(hostile: Path, flags: tuple[str, ...]) -> None:
    result = run("rank", "--csv-safe", *flags, workspace=hostile)
    assert result.code == 2
    assert "--csv-safe is for csv and tsv" in result.error
