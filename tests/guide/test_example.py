"""The README's example of the Python API runs as it stands, but for fewer steps."""

import shutil
import subprocess
import sys
from pathlib import Path

from tests.guide.readme_blocks import read_blocks
from tests.workspaces import edit, make


def test_example_runs_and_prints_only_its_own_lines(tmp_path: Path) -> None:
    (block,) = (block for block in read_blocks("python") if block.section == "From Python")
    edit(make(tmp_path / "pets"), 'name = "alpha"', 'name = "resnet50.IMAGENET1K_V2"')
    shutil.copytree(tmp_path / "pets/images/blue", tmp_path / "pets/new")
    assert block.text.count("steps=1000") == 1
    code = block.text.replace("steps=1000", "steps=2, batch_size=8, device='cpu'")
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    ranking, estimate, flips, score = result.stdout.splitlines()
    assert ranking.endswith("}")
    assert estimate.startswith("PoolEstimate(accuracy=")
    assert "test images gained" in flips
    value, low, high = map(float, score.split())
    assert low < value < high
