"""Help is quick: the program's first screen imports nothing heavy."""

import subprocess
import sys

import pytest

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


def test_a_heavy_import_would_be_seen() -> None:
    result = subprocess.run(
        [sys.executable, "-c", "import numpy\n" + PROBE, "--help"], capture_output=True, text=True, timeout=60
    )
    assert "numpy" in result.stdout.rpartition("LOADED")[2].split()
