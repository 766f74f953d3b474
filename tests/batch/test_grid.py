"""A planned grid ends with the bytes of the stages by hand, and what is left is known at each point."""

import random
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.batch import grid
from tests.workspaces import run

Places = Mapping[str, Path]
"""Workspaces by the names of their folders."""


def by_name(workspaces: Sequence[Path]) -> Places:
    return {place.name: place for place in workspaces}


def list_units(command: str, workspaces: Sequence[Path], seeds: int, *flags: str) -> list[dict[str, str]]:
    result = run(command, *grid.plan_flags(workspaces, seeds), *flags, "--json")
    assert result.code == 0, result.err
    return list(result.data)


def list_left(workspaces: Sequence[Path], seeds: int) -> set[str]:
    return {unit["command"] for unit in list_units("status", workspaces, seeds, "--missing")}


def expect_left(units: Sequence[dict[str, str]], made: Places, by_hand: Places) -> set[str]:
    """The commands of the units whose files are not all there with the bytes that they have by hand."""
    now, reference = ({name: grid.digests(place) for name, place in each.items()} for each in (made, by_hand))
    left = set()
    for unit in units:
        place = Path(unit["workspace"])
        if not grid.is_done(unit, place, now[place.name], reference[place.name]):
            left.add(unit["command"])
    return left


def check_same_bytes(made: Places, by_hand: Places) -> None:
    for name, place in by_hand.items():
        assert grid.digests(made[name]) == grid.digests(place)


def check_accuracies(workspaces: Sequence[Path], seeds: int) -> None:
    """The table of methods and targets is that which pandas makes of the predictions."""
    data = run("evaluate", "accuracy", *map(str, workspaces), "--by", "method", "--json").data
    rows = []
    for target, workspace in zip(data["targets"], workspaces, strict=True):
        assert target["workspace"] == str(workspace)
        for name, run_name in (("labels-only", "labels-only"), ("cross-task p=2", "cross-task-parc-p2")):
            for seed in range(seeds):
                table = pd.read_parquet(workspace / f"runs/{run_name}-s{seed}/predictions.parquet")
                right = np.stack(table["logits"].tolist()).argmax(axis=1) == table["label"]
                rows.append({"name": name, "target": target["target"], "seed": seed, "accuracy": right.mean()})
    grouped = pd.DataFrame(rows).groupby(["name", "target"])["accuracy"]
    means, deviations = grouped.mean(), grouped.std()
    assert len(data["cells"]) == len(means)
    for cell in data["cells"]:
        key = cell["name"], cell["target"]
        assert cell["accuracy"] == pytest.approx(means[key])
        assert (cell["deviation"] is None) == (seeds == 1)
        assert cell["deviation"] is None or cell["deviation"] == pytest.approx(deviations[key])
    over_targets = means.groupby("name").mean()
    for row in data["rows"]:
        assert row["accuracy"] == pytest.approx(over_targets[row["name"]])
        gain = over_targets[row["name"]] - over_targets["labels-only"]
        assert (row["gain"] is None and row["name"] == "labels-only") or row["gain"] == pytest.approx(gain)


def test_units_in_any_order_are_the_stages_by_hand(tmp_path: Path) -> None:
    workspaces, reference = (grid.make_grid(tmp_path / name, 1, 3) for name in ("made", "by-hand"))
    grid.make_by_hand(reference, 1)
    made, by_hand = by_name(workspaces), by_name(reference)
    units = list_units("plan", workspaces, 1)
    order = [unit["command"] for unit in units]
    assert list_left(workspaces, 1) == set(order)
    random.Random(5).shuffle(order)
    for number, command in enumerate(order):
        result = run(*shlex.split(command)[1:])
        assert result.code == 0, result.err
        if number % 3 == 0:
            assert list_left(workspaces, 1) == expect_left(units, made, by_hand)
    assert not list_left(workspaces, 1)
    check_same_bytes(made, by_hand)
    check_accuracies(workspaces, 1)


@pytest.mark.slow
def test_killed_jobs_started_again_are_the_stages_by_hand(tmp_path: Path) -> None:
    """Six sources, three tasks and two seeds by xargs in random order; one job in four is killed once."""
    workspaces, reference = (grid.make_grid(tmp_path / name, 3, 6) for name in ("made", "by-hand"))
    grid.make_by_hand(reference, 2)
    made, by_hand = by_name(workspaces), by_name(reference)
    units = list_units("plan", workspaces, 2)
    order = [unit["command"] for unit in units]
    chance = random.Random(7)
    chance.shuffle(order)
    victims = {command: chance.randrange(1, 30) for command in order[::4]}
    shims = tmp_path / "shims"
    half = len(order) // 2
    for part in (order[:half], order[half:]):
        killed = {command: step for command, step in victims.items() if command in part}
        assert grid.work_off(part, shims, killed) == 123  # of xargs: some ended with another code than 0
        assert list_left(workspaces, 2) == expect_left(units, made, by_hand)
    left = [unit["command"] for unit in list_units("status", workspaces, 2, "--missing")]
    assert left, "no kill has left anything to do"
    assert not [path for path in shims.iterdir() if path.name != "zoo"], "a victim was never killed"
    assert grid.work_off(left, shims, {}) == 0
    assert not list_left(workspaces, 2)
    check_same_bytes(made, by_hand)
    check_accuracies(workspaces, 2)
