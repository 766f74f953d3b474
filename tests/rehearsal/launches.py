"""How many operations a training step launches on a card, recorded for the versions of torch that were looked at.

    python -m tests.rehearsal.launches        records them for this version of torch

A step on a card that waits for its launches is as slow as their number.
"""

import json
import shutil
import tempfile
from pathlib import Path

import torch

from tests.pipeline import head_answers
from tests.pipeline.test_objectives_resume import COMMANDS, LENGTH
from tests.pipeline.transfer_workspace import ok
from tests.rehearsal.pretended_card import pretend_card
from tests.rehearsal.training_steps import count_steps

RECORDED = Path(__file__).with_name("launches.json")
VERSION = ".".join(torch.__version__.split(".")[:2])


def count_launches(name: str, workspace: Path) -> float:
    """The launches in a step of a command with its own augmentation, among them those that make its batch."""
    shutil.rmtree(workspace / "runs", ignore_errors=True)
    with pretend_card() as card, count_steps(card) as steps:
        ok(*COMMANDS[name], *LENGTH, "--compile", "off", "--device", "cuda", workspace=workspace)
        return card.launches.total() / steps()


def main() -> None:
    """Record the launches of every command."""
    with (
        tempfile.TemporaryDirectory() as folder,
        head_answers.workspace_with_answers(Path(folder) / "task") as workspace,
    ):
        counts = {name: round(count_launches(name, workspace), 1) for name in COMMANDS}
    recorded = json.loads(RECORDED.read_text(encoding="utf-8")) if RECORDED.exists() else {}
    recorded[VERSION] = counts
    RECORDED.write_text(json.dumps(recorded, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
