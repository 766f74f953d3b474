"""A training step launches no more operations on a card than were recorded."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from zoo_cli.pipeline import prepare

from ..pipeline import head_answers
from ..pipeline.test_objectives_resume import COMMANDS
from ..pipeline.transfer_workspace import make
from .launches import RECORDED, VERSION, count_launches

MOST = 1.05
QUICK = ("cross-task", "heads", "mcl")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(prepare.MAKERS, "head-labels", head_answers.MAKER)
        place = make(tmp_path_factory.mktemp("launches") / "task")
        head_answers.write_answers(place)
        yield place


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in COMMANDS]
)
def test_step_launches_no_more_than_recorded(workspace: Path, name: str) -> None:
    recorded = json.loads(RECORDED.read_text(encoding="utf-8")).get(VERSION)
    if recorded is None:
        pytest.skip(f"no launches are recorded for torch {VERSION}: python -m tests.rehearsal.launches")
    assert count_launches(name, workspace) <= MOST * recorded[name]
