"""Names that bash would act on, completed inside quotes and bare (the whole of it: tests/completion/test_names.py)."""

import shutil
import subprocess
from pathlib import Path

import pytest

from zoo_cli.commands import command_line

NAMES = ("a$(touch ran)", "b`touch ran`", 'c"d', "e'f", "g  h", "n&touch ran;", "$(touch ran)")
ASK = r"""
source ./script
compopt() { :; }
COMP_WORDS=(zoo rank --source "$1$2") COMP_CWORD=3
COMP_LINE="zoo rank --source $1$2" COMP_POINT=${#COMP_LINE}
_zoo zoo "$2" --source
printf '%s\n' "${COMPREPLY[@]}"
eval "words=($1${COMPREPLY[0]}$1)"
printf '%s' "${words[@]}"
"""


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
@pytest.mark.parametrize("quote", ["", '"', "'"])
def test_completed_names_run_nothing(tmp_path: Path, quote: str) -> None:
    (tmp_path / "script").write_text(command_line.completion_script("bash"), encoding="utf-8")
    for name in NAMES:
        (tmp_path / "features" / f"source={name}").mkdir(parents=True)
    for name in NAMES[:-1]:
        call = ["bash", "--norc", "-c", ASK, "bash", quote, name[0]]
        result = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True, check=True)
        assert result.stdout.splitlines()[-1] == name, result.stdout
    assert not (tmp_path / "ran").exists()
