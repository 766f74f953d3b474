"""Commands import only what they need: help loads nothing heavy, sources and show load no torch."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.workspaces import make
from zoo_cli.__main__ import COMMANDS

HEAVY = {"numpy", "pyarrow", "torch", "torchvision", "scipy", "rich", "timm", "PIL", "sklearn", "pandas", "matplotlib"}
PROBE = """
import sys
from zoo_cli.__main__ import main
code = main(sys.argv[1:])
print("LOADED", *sorted({name.partition(".")[0] for name in sys.modules}))
sys.exit(code)
"""


def loaded(*arguments: str) -> set[str]:
    result = subprocess.run([sys.executable, "-c", PROBE, *arguments], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    return set(result.stdout.rpartition("LOADED")[2].split())


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), *((*name.split(), "--help") for name in COMMANDS)])
def test_help_imports_nothing_heavy(arguments: tuple[str, ...]) -> None:
    assert not loaded(*arguments) & HEAVY


def test_heavy_import_is_detected() -> None:
    result = subprocess.run(
        [sys.executable, "-c", "import numpy\n" + PROBE, "--help"], capture_output=True, text=True, timeout=60
    )
    assert "numpy" in result.stdout.rpartition("LOADED")[2].split()


@pytest.mark.parametrize("arguments", [("sources",), ("show", "manifest.parquet"), ("verify",)])
def test_sources_and_show_import_no_torch(arguments: tuple[str, ...], tmp_path: Path) -> None:
    workspace = make(tmp_path / "task", upto="split")
    assert not loaded(*arguments, "-C", str(workspace)) & {"torch", "torchvision"}
