"""A kill before every step that changes the disk: readers refuse or answer as before or after, and the same command
goes on and ends with the bytes of an unbroken one.

A sample of the steps is tested by default, all of them with -m slow, where each scenario prints its totals.
"""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.kill_scenarios import SCENARIOS
from tests.faults.kills import READERS, Campaign, arm
from tests.faults.processes import start
from zoo_cli.store import commits

Make = Callable[..., Path]


READ = {"split --overwrite": (READERS[0], READERS[3]), "distill --overwrite": (READERS[1], READERS[2])}
"""Those that are read after the kill in the default suite, and by what."""
SAMPLE = ("init", "extract --views", "score", "rank --out", "pseudo-label --head --overwrite", "predict --heads")
SAMPLE = (*READ, *SAMPLE, "finetune --overwrite", "evaluate flips")
"""The scenarios of the default suite: one of each command but the demonstration, whose commands are the others."""


@pytest.mark.parametrize("name", SAMPLE)
def test_command_goes_on_after_a_kill(tmp_path: Path, name: str) -> None:
    campaign = Campaign(SCENARIOS[name], tmp_path, READ.get(name, ()))
    for step in random.Random(name).sample(range(len(campaign.steps)), 1):
        campaign.kill(step)
    assert campaign.faults == []
    assert campaign.kills == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENARIOS)
def test_every_step_of_a_command_can_be_killed(tmp_path: Path, name: str) -> None:
    campaign = Campaign(SCENARIOS[name], tmp_path)
    steps = range(0, len(campaign.steps), campaign.scenario.every)
    for step in steps:
        campaign.kill(step)
    states = len(campaign.states)
    print(f"\nkills | {name} | {campaign.kills} | {states} | {campaign.reads} | {len(campaign.faults)}", flush=True)
    assert campaign.faults == []
    assert campaign.kills == len(steps) > 3


def test_class_names_of_another_split_are_refused(workspace: Make, tmp_path: Path) -> None:
    scenario = SCENARIOS["split --overwrite"]
    place, unbroken = workspace(upto=scenario.upto), workspace(upto=scenario.upto)
    for each in (place, unbroken):
        scenario.change_images(each)
    before, steps = (place / "manifest.parquet").read_bytes(), tmp_path / "steps"
    start(
        *scenario.command, workspace=unbroken, before=arm(unbroken, None, steps), place=tmp_path / "unbroken"
    ).result()
    kinds = [line.split("\t")[:2] for line in steps.read_text().splitlines()]
    step = kinds.index(["replace", "classes.json"]) + 1  # the names are new, the manifest is not
    killed = start(*scenario.command, workspace=place, before=arm(place, step), place=tmp_path / "killed").result()
    assert killed.code < 0
    assert "violet" in (place / "classes.json").read_text()
    assert (place / "manifest.parquet").read_bytes() == before
    refused = start("pseudo-label", "--head", "ridge", workspace=place, place=tmp_path / "refused").result()
    assert refused.code == 3
    assert "classes.json is not the file that was written with" in refused.error
    assert "zoo split --overwrite" in refused.error


def test_leftovers_are_not_the_users_files() -> None:
    names = {".DS_Store": True, ".nfs0001": True, ".lease-1": True, ".x.12ab.3-4.5e.tmp": True, "notes": False}
    assert {name: commits.is_leftover(Path("runs/mine") / name) for name in names} == names
