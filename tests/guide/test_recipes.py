"""The README's recipes, followed to the letter in a copy of the package: a metric, a weighting, a model provider."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import zoo_cli
from tests.guide.readme_blocks import ROOT, read_blocks
from tests.workspaces import make

PACKAGE = Path(zoo_cli.__file__).parent
RECIPES = {
    "Adding a metric": ("metrics", "METRICS"),
    "Adding a weighting": ("weighting", "WEIGHTINGS"),
    "Adding a model provider": ("models", "MODELS"),
}
"""By heading: the folder of the package where its file goes, and the table of `registry.py` where its entry goes."""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a copy of the package in which every recipe has been followed."""
    root = tmp_path_factory.mktemp("recipes")
    shutil.copytree(PACKAGE, root / "zoo_cli", ignore=shutil.ignore_patterns("__pycache__"))
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for heading, (folder, table) in RECIPES.items():
        module, entry = (block.text for block in read_blocks("python") if block.section == heading)
        section = text.partition(f"## {heading}\n")[2].partition("\n## ")[0]
        assert f"`zoo_cli/{folder}/mine.py`:" in section
        assert f"`{table}` of `zoo_cli/registry.py`" in section
        (root / "zoo_cli" / folder / "mine.py").write_text(module, encoding="utf-8")
        registry = root / "zoo_cli" / "registry.py"
        code, count = re.subn(
            rf"^{table}: .*\{{\n", lambda match, entry=entry: match[0] + entry, registry.read_text(), flags=re.MULTILINE
        )
        assert count == 1
        registry.write_text(code)
    return root


def zoo(copy: Path, *arguments: str, workspace: Path) -> Any:
    """The answer of a command of the copied package."""
    result = subprocess.run(
        [sys.executable, "-m", "zoo_cli", *arguments, "--json", "-C", str(workspace)],
        capture_output=True,
        text=True,
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy)},
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)["data"]


def test_recipe_of_a_metric_runs(copy: Path, tmp_path: Path) -> None:
    workspace = make(tmp_path / "task", upto="extract")
    rows = zoo(copy, "score", "--metric", "mine", workspace=workspace)
    assert {row["status"] for row in rows} == {"ok"}
    assert all(row["chance"] < row["value"] <= row["ceiling"] for row in rows if row["source"] != "@student")
    assert all(row["low"] < row["value"] < row["high"] for row in rows)
    fewer = zoo(copy, "score", "--metric", "mine:k=3", workspace=workspace)
    assert {row["params"] for row in fewer} == {"k=3"}
    assert [row["value"] for row in fewer] != [row["value"] for row in rows]
    assert zoo(copy, "rank", "--metric", "mine", workspace=workspace)[0]["rank"] == 1


def test_recipe_of_a_weighting_runs(copy: Path, tmp_path: Path) -> None:
    workspace = make(tmp_path / "task", upto="score")
    rows = zoo(copy, "rank", "--weighting", "mine", workspace=workspace)
    assert [row["weight"] for row in rows] == pytest.approx([6 / 11, 3 / 11, 2 / 11])
    squared = zoo(copy, "rank", "--weighting", "mine:power=2", workspace=workspace)
    assert [row["weight"] for row in squared] == pytest.approx([36 / 49, 9 / 49, 4 / 49])


def test_recipe_of_a_model_provider_runs(copy: Path, tmp_path: Path) -> None:
    workspace = make(tmp_path / "task", upto="split")
    rows = zoo(copy, "extract", "--source", "mine:narrow", "--device", "cpu", workspace=workspace)
    assert [(row["source"], row["features"], row["classes"]) for row in rows] == [("narrow", 16, 10)]


def test_every_python_block_is_run() -> None:
    sections = [block.section for block in read_blocks("python")]
    assert sections == ["From Python", *(heading for heading in RECIPES for _ in range(2))]
