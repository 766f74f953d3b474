"""Stored predictions and scores are evaluated without torch: no model is run."""

from pathlib import Path

import pytest

from tests.evaluate.test_flips import STUDENT, TEACHER, run_folder
from tests.evaluate.test_ranking import tables
from tests.test_startup import loaded_after

COMMANDS = (
    ("accuracy",),
    ("accuracy", "a", "runs/b/predictions.parquet"),
    ("flips", "a", "b", "--teacher", "runs/c"),
    ("flips", "--all"),
    ("transfer", "a", "b", "--teacher", "c"),
    ("ranking", "scores.csv", "accuracies.csv"),
)


def test_stored_predictions_load_no_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_folder("a", STUDENT, 0)
    run_folder("b", TEACHER, 1)
    run_folder("c", TEACHER)
    tables()
    for command, names in zip(COMMANDS, loaded_after(*(("evaluate", *words) for words in COMMANDS)), strict=True):
        assert "numpy" in names, command
        assert not names & {"torch", "torchvision"}, command
