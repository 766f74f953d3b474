"""Paths and JSON or TOML come in by one door each: whatever is wrong with them is one line, and never a bug."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

import zoo_cli
from tests.workspaces import edit, run
from zoo_cli import system_errors
from zoo_cli.errors import UsageError
from zoo_cli.store import files

Make = Callable[..., Path]
LONG = "n" * 300
WORDS: dict[str, tuple[str, ...]] = {
    "workspace": ("sources", "-C", "@"),
    "folder of images": ("split", "--train", "folder:@", "--overwrite"),
    "table of images": ("split", "--train", "csv:@", "--overwrite"),
    "parquet of images": ("split", "--train", "parquet:@", "--overwrite"),
    "model": ("extract", "--source", "file:@"),
    "code": ("extract", "--source", "python:@:net"),
    "stored outputs": ("score", "--features", "@"),
    "manifest": ("score", "--features", "features/source=alpha", "--manifest", "@"),
    "weights": ("rank", "--weighting", "file:@"),
    "ranking": ("rank", "--out", "@"),
    "run": ("predict", "@", "--data", "folder:images/red"),
    "student": ("distill", "--student", "@", "--steps", "1", "--weighting", "equal"),
    "out": ("distill", "--out", "@", "--steps", "1", "--batch-size", "8", "--weighting", "equal"),
    "predictions": ("evaluate", "accuracy", "@"),
    "artifact": ("show", "@"),
}
"""A command for each kind of path, which stands for @."""
WRITTEN = ("workspace", "ranking", "out")
"""The kinds of paths that are written."""
PATHS = ("long", "deep", "loop", "below a loop", "pipe", "device", "below a file", "/proc/none", "home", "bytes")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace up to its scores, and paths that cannot be used."""
    from tests import workspaces

    folder = tmp_path_factory.mktemp("doors")
    workspaces.make(folder / "task", upto="rank")
    (folder / "loop").symlink_to(folder / "loop")
    os.mkfifo(folder / "pipe")
    (folder / "file").write_text("text")
    return folder


@pytest.mark.parametrize("kind", PATHS)
@pytest.mark.parametrize("door", WORDS)
def test_a_path_that_cannot_be_used_is_one_line(
    door: str, kind: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = {
        "long": LONG,
        "deep": "/".join([LONG[:200]] * 30),
        "loop": f"{place}/loop",
        "below a loop": f"{place}/loop/x",
        "pipe": f"{place}/pipe",
        "device": os.devnull,
        "below a file": f"{place}/file/x",
        "/proc/none": "/proc/none",
        "home": "~nobody-of-this-name/x",
        "bytes": "a\udcffb",
    }[kind]
    if kind == "device" and door in WRITTEN:
        pytest.skip("root can replace a device: a fault here would harm the machine; pipes follow the same rule")
    monkeypatch.chdir(place / "task")
    result = run(*(word.replace("@", path) for word in WORDS[door]))
    if result.code == 0:  # a name that is odd and no more, as `~nobody-of-this-name` of a run
        return
    assert result.code in (1, 2, 3), result.err
    assert result.error


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed", "9" * 5000),
        ("seed", "10000000000000000000000"),
        ("probe", "10000000000000000000000"),
        ("name", '"a\\u0000b"'),
        ("train", '"folder:a\\u0000b"'),
        ("train", f'"folder:{LONG}"'),
        ("train", "[[1]]"),
        ("seed", "1979-05-27"),
        ("labelled", "{}"),
    ],
)
def test_a_wrong_value_of_zoo_toml_is_one_line(key: str, value: str, workspace: Make) -> None:
    place = workspace()
    text = (place / "zoo.toml").read_text()
    lines = [line for line in text.splitlines() if not line.startswith(f"{key} = ")]
    (place / "zoo.toml").write_text("\n".join(["[task]", f"{key} = {value}", *lines[1:]]))
    result = run("split", workspace=place)
    assert (result.code, len(result.error) < 400) == (2, True)


@pytest.mark.parametrize("value", ["1979-05-27", "{ b = [1979-05-27] }", "10000000000000000000000", '"\\u0000"'])
def test_a_wrong_argument_of_a_factory_is_one_line(value: str, workspace: Make) -> None:
    place = workspace()
    edit(place, "{ width = 8, classes = 4 }", f"{{ width = 8, classes = 4, a = {value} }}")
    result = run("extract", workspace=place)
    assert result.code == 2
    assert "args in [[source]] 1" in result.error


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[" * 5000,
        "9" * 5000,
        "10000000000000000000000",
        "1e999",
        "NaN",
        "\xff",
        '{"a": [10000000000000000000000]}',
    ],
)
def test_json_that_cannot_be_held_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(zoo_cli.ZooError, match=r"x\.json is not valid JSON"):
        files.read_json(path)


def test_large_integers_of_flags_are_refused(workspace: Make) -> None:
    result = run("split", "--seed", "1" + "0" * 22, workspace=workspace())
    assert (result.code, result.error) == (2, "--seed has 23 digits; use fewer")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OSError(36, "File name too long", LONG), 2),
        (PermissionError(13, "Permission denied", "x"), 2),
        (OSError(30, "Read-only file system", "x"), 2),
        (OSError(28, "No space left on device", "x"), 1),
        (OSError(5, "Input/output error"), 1),
        (ValueError("embedded null byte"), 2),
        (MemoryError(), 1),
    ],
)
def test_errors_of_the_system_have_one_rule(error: Exception, code: int) -> None:
    failure = system_errors.translate(error)
    assert failure is not None
    assert failure.code == code
    assert len(str(failure)) < 400


def test_other_errors_stay_bugs() -> None:
    for error in (ValueError("x"), RuntimeError("x"), KeyError("x"), OSError("without a number")):
        assert system_errors.translate(error) is None


def test_writing_replaces_no_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="is a pipe"):
        files.write_text(tmp_path / "pipe", "text")
    assert (tmp_path / "pipe").is_fifo()
    assert len(list(tmp_path.iterdir())) == 1


def test_reading_refuses_what_never_ends(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, name in ((tmp_path / "pipe", "a pipe"), (Path(os.devnull), "a device")):
        with pytest.raises(UsageError, match=name):
            files.read_text(path)
