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
from tests.workspaces import Result, make

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


COMMANDS = {
    "scored": ("extract", ("score", "--metric", "mine")),
    "scored by three": ("extract", ("score", "--metric", "mine:k=3")),
    "ranked": ("extract", ("rank", "--metric", "mine")),
    "weighted": ("score", ("rank", "--weighting", "mine")),
    "weighted squares": ("score", ("rank", "--weighting", "mine:power=2")),
    "extracted": ("split", ("extract", "--source", "mine:narrow", "--device", "cpu")),
}
"""By name: the stage after which a command runs, each stage in a workspace of its own, and the command."""
PROGRAM = """
import json, pathlib, sys
import zoo_cli
from tests.workspaces import run
assert pathlib.Path(zoo_cli.__file__).is_relative_to(pathlib.Path.cwd())
print(json.dumps([vars(run(*words)) for words in json.loads(sys.argv[1])]))
"""


@pytest.fixture(scope="module")
def answers(copy: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The answer of each command of the copied package."""
    places = {stage: make(tmp_path_factory.mktemp(stage) / "task", upto=stage) for stage, _ in COMMANDS.values()}
    words = [[*command, "--json", "-C", str(places[stage])] for stage, command in COMMANDS.values()]
    process = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(words)],
        capture_output=True,
        text=True,
        cwd=copy,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (copy, ROOT)))},
        timeout=120,
    )
    assert process.returncode == 0, process.stderr
    results = [Result(**row) for row in json.loads(process.stdout)]
    assert [result.code for result in results] == [0] * len(results), results
    return {name: result.data for name, result in zip(COMMANDS, results, strict=True)}


def test_recipe_of_a_metric_runs(answers: dict[str, Any]) -> None:
    rows, fewer = answers["scored"], answers["scored by three"]
    assert {row["status"] for row in rows} == {"ok"}
    assert all(row["chance"] < row["value"] <= row["ceiling"] for row in rows if row["source"] != "@student")
    assert all(row["low"] < row["value"] < row["high"] for row in rows)
    assert {row["params"] for row in fewer} == {"k=3"}
    assert [row["value"] for row in fewer] != [row["value"] for row in rows]
    assert answers["ranked"][0]["rank"] == 1


def test_recipe_of_a_weighting_runs(answers: dict[str, Any]) -> None:
    assert [row["weight"] for row in answers["weighted"]] == pytest.approx([6 / 11, 3 / 11, 2 / 11])
    assert [row["weight"] for row in answers["weighted squares"]] == pytest.approx([36 / 49, 9 / 49, 4 / 49])


def test_recipe_of_a_model_provider_runs(answers: dict[str, Any]) -> None:
    rows = answers["extracted"]
    assert [(row["source"], row["features"], row["classes"]) for row in rows] == [("narrow", 16, 10)]


def test_every_python_block_is_run() -> None:
    sections = [block.section for block in read_blocks("python")]
    assert sections == ["From Python", *(heading for heading in RECIPES for _ in range(2))]
