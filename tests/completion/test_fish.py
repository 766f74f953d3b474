"""Completion in fish, with the script sourced at its start."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from zoo_cli import registry

from .cases import COMMON
from .conftest import needs
from .terminal import Terminal

pytestmark = needs("fish")

START = r"""
function fish_prompt
    echo '$ '
end
function fish_greeting
end
function show
    printf %s (commandline -b) >$SHOWN.part; and mv $SHOWN.part $SHOWN
end
bind \cxd show
bind \cu backward-kill-line
bind \ce end-of-line
set -g fish_autosuggestion_enabled 0
source $SCRIPT
"""
# If no word fits, fish searches the descriptions for the letters.
LOOSE = {"zoo rank --source sma"}
CASES = {
    **{typed: line for typed, line in COMMON.items() if typed not in LOOSE},
    "zoo rank --metr": "zoo rank --metric ",
    "zoo --ver": "zoo --version ",
    "zoo evaluate --h": "zoo evaluate --help ",
}
OFFERED = {
    "zoo rank --metric ": " ".join(registry.METRICS),
    "zoo rank --weighting=p=": " ".join(f"--weighting=p={p}" for p in (1, 2, 3, 6, 9, 12, 15, "inf")),
    "zoo extract -C else --source ": "far torchvision: timm: transformers: clip: python: file: onnx: features:",
    "zoo evaluate ": "accuracy flips ranking transfer",
}


@pytest.fixture(scope="module")
def settings(workspace: Path, environment: dict[str, str], scripts: dict[str, Path]) -> dict[str, str]:
    folder = workspace.parent / "fish-settings"
    (folder / "fish").mkdir(parents=True)
    (folder / "fish" / "config.fish").write_text(START)
    places = {"XDG_CONFIG_HOME": str(folder), "XDG_DATA_HOME": str(folder), "SCRIPT": str(scripts["fish"])}
    return {**environment, **places}


@pytest.fixture(scope="module")
def fish(workspace: Path, settings: dict[str, str]) -> Iterator[Terminal]:
    with Terminal(["fish", "-i"], workspace, settings) as terminal:
        yield terminal


@pytest.mark.parametrize("typed", CASES)
def test_a_tab_completes(typed: str, fish: Terminal) -> None:
    assert fish.line(typed + "\t") == CASES[typed]


@pytest.mark.parametrize("typed", OFFERED)
def test_all_matches_are_offered_in_order(typed: str, workspace: Path, settings: dict[str, str]) -> None:
    call = ["fish", "-c", f"complete -C '{typed}'"]
    result = subprocess.run(
        call, cwd=workspace, env={**settings, "SHOWN": "x"}, capture_output=True, text=True, timeout=60
    )
    assert [line.partition("\t")[0] for line in result.stdout.splitlines()] == OFFERED[typed].split()


def test_list_describes_each_word(workspace: Path, settings: dict[str, str]) -> None:
    call = ["fish", "-c", "complete -C 'zoo rank --metric par'"]
    result = subprocess.run(
        call, cwd=workspace, env={**settings, "SHOWN": "x"}, capture_output=True, text=True, timeout=60
    )
    assert "parc\trank correlation of feature distances" in result.stdout
