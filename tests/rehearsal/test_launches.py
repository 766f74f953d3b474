"""A training step launches no more operations on a card than were recorded."""

import json
from pathlib import Path

import pytest

from ..pipeline.test_objectives_resume import COMMANDS
from .launches import RECORDED, VERSION, count_launches

MOST = 1.05
QUICK = ("cross-task", "heads", "mcl")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in COMMANDS]
)
def test_step_launches_no_more_than_recorded(workspace: Path, name: str) -> None:
    recorded = json.loads(RECORDED.read_text(encoding="utf-8")).get(VERSION)
    if recorded is None:
        pytest.skip(f"no launches are recorded for torch {VERSION}: python -m tests.rehearsal.launches")
    assert count_launches(name, workspace) <= MOST * recorded[name]
