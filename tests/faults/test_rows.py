"""Faults of the list by number that no other file tests: two extractions at once, clocks, missing libraries."""

import importlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.processes import SMALL_PARTS, start, zoo
from tests.faults.test_interruption import digests, extracting, parts
from tests.marks import slow
from tests.workspaces import edit, run
from zoo_cli.training import run_folder

Make = Callable[..., Path]
WITHOUT = "import sys; sys.modules['torchvision'] = None\n"
COMMANDS = "from zoo_cli import __main__; sys.exit(max(__main__.main(words) for words in {}))"


def test_two_extractions_at_once_write_the_bytes_of_one(workspace: Make, tmp_path: Path) -> None:
    place, alone = workspace(upto="split"), workspace(upto="split")
    before = SMALL_PARTS.format(pause=0.01)
    both = [start("extract", workspace=place, before=before, place=tmp_path / name) for name in ("one", "two")]
    for process in both:
        result = process.result()
        assert result.code == 0, result.err
    assert extracting(alone, tmp_path / "alone").result().code == 0
    assert digests(place / "features") == digests(alone / "features")


def test_finished_parts_are_not_made_again(workspace: Make, tmp_path: Path) -> None:
    place = workspace(upto="split")
    assert extracting(place, tmp_path / "first").result().code == 0
    lost, *kept = parts(place)
    before = {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in kept}
    content = lost.read_bytes()
    lost.unlink()
    assert extracting(place, tmp_path / "again").result().code == 0
    assert lost.read_bytes() == content
    assert {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in kept} == before


@pytest.mark.parametrize("seconds", [4102444800, *slow(0)], ids=["2100", "1970"])
def test_times_of_files_decide_nothing(workspace: Make, seconds: int) -> None:
    place = workspace(upto="pseudo-label")
    quick = ("--steps", "2", "--batch-size", "8", "--augment", "none", "--name", "mine")
    assert run("distill", *quick, workspace=place).code == 0
    commands = (("split",), ("extract",), ("pseudo-label",), ("rank",), ("distill", *quick), ("evaluate", "accuracy"))
    answers = [run(*command, workspace=place).out for command in commands]
    before = digests(place)
    for path in place.rglob("*"):
        os.utime(path, (seconds, seconds))
    for command, answer in zip(commands, answers, strict=True):
        result = run(*command, workspace=place)
        assert (result.code, result.out) == (0, answer), result.err
    assert digests(place) == before


def test_ranking_works_without_torchvision(workspace: Make) -> None:
    place = workspace(upto="score")
    words = [[*command, "-C", str(place)] for command in (("score", "--metric", "cka"), ("rank",))]
    result = zoo(python=WITHOUT + COMMANDS.format(words))
    assert result.code == 0, result.err
    assert (place / "weights.json").exists()


def test_missing_torchvision_is_one_line(workspace: Make, tmp_path: Path) -> None:
    place = workspace(upto="split")
    edit(
        place,
        '[[source]]\nname = "beta"\nmodel = "python:models.py:small"',
        '[[source]]\nname = "beta"\nmodel = "torchvision:resnet18"',
    )
    edit(place, "args = { width = 5, classes = 6 }\n", 'weights = "none"\n')
    before = WITHOUT + "sys.modules.pop('zoo_cli.models.torchvision', None)"
    result = start("extract", workspace=place, before=before, place=tmp_path / "log").result()
    assert result.code == 2, result.err
    assert result.error.startswith("torchvision cannot be imported: ")
    assert result.error.endswith("; install the version for this torch")


def test_runs_are_made_without_torchvision(workspace: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(run_folder.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(run_folder.importlib.metadata, "version", version)
    assert run_folder.library_versions()["torchvision"] == "none"
    place = workspace(upto="split")
    result = run("finetune", "alpha", "--steps", "1", "--batch-size", "8", "--name", "mine", workspace=place)
    assert result.code == 0, result.err
