"""Stored predictions and scores are evaluated without torch: no model is run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.evaluate.test_flips import STUDENT, TEACHER, run_folder
from tests.evaluate.test_ranking import tables
from tests.test_startup import PROBE
from zoo_cli import config


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_folder("a", STUDENT, 0)
    run_folder("b", TEACHER, 1)
    run_folder("c", TEACHER)
    tables()


@pytest.mark.parametrize(
    "arguments",
    [
        ("accuracy",),
        ("accuracy", "a", "runs/b/predictions.parquet"),
        ("flips", "a", "b", "--teacher", "runs/c"),
        ("flips", "--all"),
        ("transfer", "a", "b", "--teacher", "c"),
        ("ranking", "scores.csv", "accuracies.csv"),
    ],
    ids=" ".join,
)
def test_stored_predictions_load_no_torch(arguments: tuple[str, ...]) -> None:
    command = [sys.executable, "-c", PROBE, "evaluate", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(Path(config.__file__).parents[1])}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    loaded = set(result.stdout.rpartition("LOADED")[2].split())
    assert "numpy" in loaded
    assert not loaded & {"torch", "torchvision"}
