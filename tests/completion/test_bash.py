"""Completion in bash, where `=` and `:` split words; half of the completions contain one."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from zoo_cli import registry

from .cases import COMMON
from .conftest import needs
from .terminal import Terminal

pytestmark = needs("bash")

START = r"""
PS1='$ '
bind 'set bell-style none'
bind 'set enable-bracketed-paste off'
bind 'set completion-query-items 0'
bind 'set page-completions off'
bind '"\C-xa": insert-completions'
bind '"\C-u": unix-line-discard'
show() { printf %s "$READLINE_LINE" >"$SHOWN.part" && mv "$SHOWN.part" "$SHOWN"; }
bind -x '"\C-xd": show'
source "$SCRIPT"
"""
ALL = "\x18a"
CASES = {
    **COMMON,
    "zoo rank --metr": "zoo rank --metric ",
    "zoo --ver": "zoo --version ",
    "zoo evaluate --h": "zoo evaluate --help ",
    "zoo rank -- --metr": "zoo rank -- --metr",
    "echo; ./zoo ra": "echo; ./zoo rank ",
    "zoo show runs/cr": "zoo show runs/cross-task-parc-p2-s0 ",
    "zoo show features/source=cars/": r"zoo show features/source=cars/data\=train/",
    'zoo rank --out="my': 'zoo rank --out="my data"/',
    'zoo show "my data"/': r"zoo show my\ data/a\ b.parquet ",
    "zoo rank -C else/where -q --source torch": "zoo rank -C else/where -q --source torchvision:",
}
OFFERED = {
    "zoo rank --metric ": " ".join(registry.METRICS),
    "zoo rank --weighting p=": "1 2 3 6 9 12 15 inf",
    "zoo rank --weighting=p=": "1 2 3 6 9 12 15 inf",
    "zoo extract --source ": (
        "birds cars birds-resnet50 plants torchvision: timm: transformers: clip: python: file: onnx: features:"
    ),
    "zoo extract --device=cuda:": "0 1 2 3 4 5 6 7",
    "zoo distill --student torchvision:resnet1": "resnet101 resnet152 resnet18",
    "zoo evaluate ": "accuracy flips transfer ranking overlap cost",
    "zoo evaluate flips runs/": "runs/cross-task-parc-p2-s0 runs/labels-only-s0",
}


def start(folder: Path, setting: str = "") -> list[str]:
    file = folder / f"start{len(setting)}"
    file.write_text(START + setting)
    return ["bash", "--noprofile", "--rcfile", str(file), "-i"]


@pytest.fixture(scope="module")
def bash(workspace: Path, environment: dict[str, str], scripts: dict[str, Path]) -> Iterator[Terminal]:
    with Terminal(start(workspace.parent), workspace, {**environment, "SCRIPT": str(scripts["bash"])}) as terminal:
        yield terminal


@pytest.mark.parametrize("typed", CASES)
def test_a_tab_completes(typed: str, bash: Terminal) -> None:
    assert bash.line(typed + "\t") == CASES[typed]


@pytest.mark.parametrize("typed", OFFERED)
def test_all_matches_are_offered(typed: str, bash: Terminal) -> None:
    prefix = re.sub(r"[^ =:]*$", "", typed)
    assert bash.line(typed + ALL).removeprefix(prefix).split() == OFFERED[typed].split()


def test_every_flag_is_offered(bash: Terminal) -> None:
    offered = bash.line("zoo rank -" + ALL).split()
    assert {"--metric", "--weighting", "--on", "-C", "-q", "--json", "--help"} <= set(offered)


@pytest.mark.parametrize(
    "setting", ["set -uf; shopt -s failglob dotglob extglob\n", "COMP_WORDBREAKS=${COMP_WORDBREAKS//[=:]/}\n"]
)
def test_shell_settings_are_kept_and_harmless(
    setting: str, workspace: Path, environment: dict[str, str], scripts: dict[str, Path]
) -> None:
    show_options = '; show() { printf \'%s\' "$- $BASHOPTS" >"$SHOWN.part"; mv "$SHOWN.part" "$SHOWN"; }\n'
    extra = {**environment, "SCRIPT": str(scripts["bash"])}
    with Terminal(start(workspace.parent, setting), workspace, extra) as bash:
        for typed in ("zoo rank --weighting=p=i", "zoo rank --source=pl", "zoo show my", "zoo rank --source zz"):
            assert bash.line(typed + "\t") == COMMON.get(typed, typed)
    with Terminal(start(workspace.parent, setting + show_options.lstrip("; ")), workspace, extra) as bash:
        before = bash.line("")
        assert bash.line("zoo show nothing-of-this-name\t") == before
