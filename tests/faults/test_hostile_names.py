"""Names of classes, sources and files that mean something to the place that shows them: they are shown as they are."""

import csv
import io
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.test_terminal import on_terminal
from tests.workspaces import edit, run
from zoo_cli import text_escapes

Make = Callable[..., Path]
CLASSES = {"blue": "[bold]=1+1", "green": ":smile: <b>|x", "red": "@cmd `$(id)` \u202eder"}
SOURCE = "a[red]:smile:"
COMMANDS = [
    ("sources",),
    ("score", "--metric", "parc"),
    ("rank",),
    ("evaluate", "flips", "one", "two"),
    ("evaluate", "accuracy"),
    ("show", "classes.json"),
    ("show", "manifest.parquet"),
]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.workspaces import make

    place = make(tmp_path_factory.mktemp("hostile") / "task")
    for name, other in CLASSES.items():
        (place / "images" / name).rename(place / "images" / other)
    edit(place, 'name = "alpha"', f'name = "{SOURCE}"')
    training = ("--steps", "1", "--batch-size", "8", "--augment", "none")
    for name, flags in (("one", ("--weighting", "equal")), ("two", ("--lam", "1"))):
        result = run("distill", *flags, "--name", name, *training, workspace=place)
        assert result.code == 0, result.err
    return place


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("form", ["table", "md", "csv", "tsv"])
def test_hostile_names_are_text_in_every_answer(
    hostile: Path, form: str, arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    result = on_terminal(*arguments, "--format", form, workspace=hostile)
    assert result.code == 0, result.err
    assert "\U0001f604" not in result.out + result.err, "an emoji of :smile:"
    assert "\u202e" not in result.out + result.err, "letters in another order"
    if arguments[0] in ("sources", "score", "rank"):
        assert (text_escapes.markdown(SOURCE) if form == "md" else SOURCE) in result.out
    if arguments[1:2] == ("flips",):
        shown = text_escapes.markdown(CLASSES["blue"]) if form == "md" else CLASSES["blue"]
        assert shown in result.out


def test_csv_safe_disarms_texts_and_leaves_numbers(hostile: Path) -> None:
    answer = ("evaluate", "flips", "one", "two", "--format", "csv")
    plain, safe = (
        [*csv.reader(io.StringIO(run(*answer, *flags, workspace=hostile).out))] for flags in ((), ("--csv-safe",))
    )
    for row, safe_row in zip(plain, safe, strict=True):
        for cell, safe_cell in zip(row, safe_row, strict=True):
            is_number = cell.removeprefix("-").replace(".", "").replace("e-", "").isdigit()
            dangerous = cell.startswith(text_escapes.FORMULAS) and not is_number
            assert safe_cell == (f"'{cell}" if dangerous else cell)
    assert any(cell.startswith("'@cmd") for row in safe for cell in row)


@pytest.mark.parametrize("flags", [("--json",), ("--format", "md"), ("--format", "table")])
def test_csv_safe_is_refused_where_it_does_nothing(hostile: Path, flags: tuple[str, ...]) -> None:
    result = run("rank", "--csv-safe", *flags, workspace=hostile)
    assert result.code == 2
    assert "--csv-safe is for csv and tsv" in result.error


def test_model_card_shows_names_as_text(hostile: Path) -> None:
    card = (hostile / "runs" / "one" / "README.md").read_text(encoding="utf-8")
    assert r"\[bold]=1+1" in card
    assert r":smile: &lt;b>\|x" in card
    assert r"\\u202eder" in card
    assert text_escapes.markdown(SOURCE) in card


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a_b", "a_b"), ("_a_", r"\_a\_"), ("a|b", r"a\|b"), ("<i>", "&lt;i>"), ("*x*", r"\*x\*"), ("a\nb", r"a\\nb")],
)
def test_markdown_escapes_what_begins_something(text: str, expected: str) -> None:
    assert text_escapes.markdown(text) == expected


def test_code_holds_backticks() -> None:
    assert text_escapes.code_span("a") == "`a`"
    assert text_escapes.code_span("a`b") == "`` a`b ``"
