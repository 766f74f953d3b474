"""Commands import only what they need: help loads nothing heavy, sources and show load no torch."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.faults.processes import ROOT
from tests.workspaces import make
from zoo_cli.__main__ import COMMANDS

HEAVY = {"numpy", "pyarrow", "torch", "torchvision", "scipy", "rich", "timm", "PIL", "sklearn", "pandas", "matplotlib"}
PROBE = """
import json, sys
from zoo_cli.__main__ import main
for words in json.loads(sys.argv[1]):
    code = main(words)
    print("\\nLOADED", code, *sorted({name.partition(".")[0] for name in sys.modules}))
"""


def loaded_after(*commands: Sequence[str], first: str = "") -> list[set[str]]:
    """The libraries that a process has loaded after each of several commands, which must not fail.

    What none has loaded after the last one, none needs. `first`: python that runs before them.
    """
    result = subprocess.run(
        [sys.executable, "-c", first + PROBE, json.dumps(commands)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    lines = [line.split()[1:] for line in result.stdout.splitlines() if line.startswith("LOADED ")]
    assert [code for code, *_ in lines] == ["0"] * len(commands), result.stderr
    return [set(names) for _, *names in lines]


def test_help_imports_nothing_heavy() -> None:
    commands = [["--help"], ["--version"], *([*name.split(), "--help"] for name in COMMANDS)]
    for command, names in zip(commands, loaded_after(*commands), strict=True):
        assert not names & HEAVY, command


def test_heavy_import_is_detected() -> None:
    assert "numpy" in loaded_after(["--help"], first="import numpy")[0]


def test_sources_and_show_import_no_torch(tmp_path: Path) -> None:
    place = ("-C", str(make(tmp_path / "task", upto="split")))
    commands = [["sources", *place], ["show", "manifest.parquet", *place], ["verify", *place]]
    for command, names in zip(commands, loaded_after(*commands), strict=True):
        assert "pyarrow" in names, command
        assert not names & {"torch", "torchvision"}, command
