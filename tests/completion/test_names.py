"""Names of files, runs and sources that a shell would act on: nothing is run, and the completed word is the name."""

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import needs
from .terminal import Terminal
from .test_bash import START

NAMES = {
    "a": "a$(touch ran)",
    "b": "b`touch ran`",
    "m": 'm"d',
    "e": "e'f",
    "g": "g  h",
    "i": "i!touch!!",
    "j": "j\nk",
    "k": 'k"',
    "l": "l'",
    "n": "n&touch ran;",
    "u": "u*?[x]{1,2}",
    "x": "x~$HOME",
    "q": "q$'\\t'",
    "r": "r(touch ran)<x>|y#z",
}
RUN = """
zoo() { printf '%s\\0' "$@" >"$RAN.part" && mv "$RAN.part" "$RAN"; }
HISTFILE=
set -H
history -s touch ran
"""
QUOTES = {"bare": "", "double": '"', "single": "'"}
PLACES = {
    "source": ("rank", "--source ", ""),
    "source=": ("rank", "--source=", "--source="),
    "declared": ("rank", "-C declared --source ", ""),
    "run": ("evaluate accuracy", "runs/", "runs/"),
    "file": ("show", "files/", "files/"),
    "out=": ("rank", "--out=files/", "--out=files/"),
}
SLOW = ("source=", "declared", "out=")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("names") / "workspace"
    declared = []
    for letter, name in NAMES.items():
        (folder / "files").mkdir(parents=True, exist_ok=True)
        (folder / "files" / name).touch()
        (folder / "runs" / name).mkdir(parents=True)
        if "\\" not in name:
            (folder / "features" / f"source={name}").mkdir(parents=True)
        if not {"\n", "\\"} & set(name):
            text = name.replace('"', '\\"')
            quote = "'" if letter in "ag" else '"'
            declared.append(f"[[source]]\nname = {quote}{text}{quote} # about it\n")
    (folder / "declared").mkdir()
    (folder / "declared" / "zoo.toml").write_text("".join(declared))
    return folder


@pytest.fixture(scope="module")
def bash(place: Path, scripts: dict[str, Path]) -> Iterator[Terminal]:
    file = place.parent / "start"
    file.write_text(START + RUN)
    variables = {
        "PATH": os.environ["PATH"],
        "HOME": str(place),
        "TERM": "xterm",
        "LC_ALL": "C.UTF-8",
        "SCRIPT": str(scripts["bash"]),
        "RAN": str(place.parent / "arguments"),
    }
    with Terminal(["bash", "--noprofile", "--rcfile", str(file), "-i"], place, variables) as terminal:
        yield terminal


def enter(bash: Terminal, place: Path, keys: str) -> tuple[str, list[str]]:
    """The line after these keys, and the arguments that zoo gets when it is entered."""
    arguments = place.parent / "arguments"
    arguments.unlink(missing_ok=True)
    line = bash.line(keys)
    os.write(bash.handle, b"\x05\r")
    end = time.monotonic() + 5
    while not arguments.exists() and time.monotonic() < end:
        bash._appears(0.02, again=True)
    if not arguments.exists():
        os.write(bash.handle, b"\x03")
        return line, []
    return line, arguments.read_text().split("\0")[:-1]


@needs("bash")
@pytest.mark.parametrize("quote", QUOTES)
@pytest.mark.parametrize(
    "where",
    [
        pytest.param(where, marks=[pytest.mark.slow] if where in ("source=", "declared", "out=") else [])
        for where in PLACES
    ],
)
def test_a_completed_word_is_the_name(where: str, quote: str, bash: Terminal, place: Path) -> None:
    command, typed, before = PLACES[where]
    (place / "ran").unlink(missing_ok=True)
    for letter, name in NAMES.items():
        if ("source" in where and "\\" in name) or (where == "declared" and {"\n", "\\"} & set(name)):
            continue
        mark = QUOTES[quote]
        head = re.sub(r"((?:^| |=)(?=[^ =]*$))", rf"\1{mark}", typed, count=1)
        line, arguments = enter(bash, place, f"zoo {command} {head}{letter}\t")
        assert arguments[len(command.split()) :][-1:] == [before + name], (line, arguments)
        assert not list(place.rglob("ran")), line


@needs("bash")
@pytest.mark.parametrize("quote", QUOTES)
def test_what_names_have_in_common_can_be_completed_further(quote: str, bash: Terminal, place: Path) -> None:
    mark = QUOTES[quote]
    for name in ("s$(touch ran) 1", "s$(touch ran) 2"):
        (place / "features" / f"source={name}").mkdir(exist_ok=True)
    line, arguments = enter(bash, place, f"zoo rank --source {mark}s\t2\t")
    assert arguments[-1:] == ["s$(touch ran) 2"], line
    assert not (place / "ran").exists()
