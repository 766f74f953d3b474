"""Completion in zsh, with the script in a folder of fpath."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from zoo_cli import registry

from .cases import COMMON
from .conftest import needs
from .terminal import Terminal

pytestmark = needs("zsh")

START = r"""
PS1='$ '
fpath=(${SCRIPT:h} $fpath)
autoload -Uz compinit && compinit -u -D
unsetopt beep list_beep
LISTMAX=10000
show() { print -rn -- $BUFFER >$SHOWN.part && mv $SHOWN.part $SHOWN }
zle -N show
bindkey '^Xd' show
bindkey '^U' backward-kill-line
zle -C all-matches complete-word _generic
bindkey '^Xa' all-matches
zstyle ':completion:all-matches:*' completer _all_matches _complete
zstyle ':completion:all-matches:*' insert yes
"""
ALL = "\x18a"
CASES = {
    **COMMON,
    "zoo rank --metr": "zoo rank --metric=",
    "zoo --ver": "zoo --version ",
    "zoo evaluate --h": "zoo evaluate --help ",
    "zoo rank -- --metr": "zoo rank -- --metr",
    "zoo show runs/cr": "zoo show runs/cross-task-parc-p2-s0 ",
}
OFFERED = {
    "zoo rank --metric ": " ".join(registry.METRICS),
    "zoo rank --weighting p=": "p=1 p=2 p=3 p=6 p=9 p=12 p=15 p=inf",
    "zoo extract -C else --source ": "far torchvision: timm: transformers: clip: python: file: onnx: features:",
    "zoo evaluate ": "accuracy flips transfer ranking overlap cost",
}


@pytest.fixture(scope="module")
def zsh(workspace: Path, environment: dict[str, str], scripts: dict[str, Path]) -> Iterator[Terminal]:
    settings = workspace.parent / "zsh-settings"
    settings.mkdir()
    (settings / ".zshrc").write_text(START)
    extra = {"ZDOTDIR": str(settings), "SCRIPT": str(scripts["zsh"])}
    with Terminal(["zsh", "-i"], workspace, {**environment, **extra}) as terminal:
        yield terminal


@pytest.mark.parametrize("typed", CASES)
def test_a_tab_completes(typed: str, zsh: Terminal) -> None:
    assert zsh.line(typed + "\t") == CASES[typed]


@pytest.mark.parametrize("typed", OFFERED)
def test_all_matches_are_offered(typed: str, zsh: Terminal) -> None:
    prefix = typed.rpartition(" ")[0] + " "
    assert zsh.line(typed + ALL).removeprefix(prefix).split() == OFFERED[typed].split()


def test_list_describes_each_word(zsh: Terminal) -> None:
    seen = len(zsh.screen)
    zsh.line("zoo rank --metric \t")
    assert b"rank correlation of feature distances" in zsh.screen[seen:]
