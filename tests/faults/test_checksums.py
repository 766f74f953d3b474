"""SHA256SUMS: every reader of a run checks what it reads, and coreutils can check all of it."""

import errno
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.faults.test_damage import flipped
from tests.marks import slow
from tests.workspaces import make, run
from zoo_cli.store import checksums, files

Make = Callable[..., Path]
QUICK = ("--steps", "4", "--batch-size", "8", "--augment", "none", "--name", "mine")
DISTILL = ("distill", *QUICK)
READERS: dict[str, tuple[tuple[str, ...], ...]] = {
    "run.json": (DISTILL, ("show", "runs/mine")),
    "config.json": (
        ("evaluate", "accuracy", "mine"),
        ("predict", "mine", "--data", "folder:images"),
        ("finetune", "file:runs/mine", "--steps", "1"),
    ),
    "model.safetensors": (
        ("predict", "mine", "--data", "folder:images"),
        ("finetune", "file:runs/mine", "--steps", "1"),
        ("show", "runs/mine/model.safetensors"),
    ),
    "metrics.jsonl": (DISTILL, ("show", "runs/mine"), ("show", "runs/mine/metrics.jsonl")),
    "predictions.parquet": (("evaluate", "accuracy", "mine"), ("show", "runs/mine/predictions.parquet")),
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:

    place = make(tmp_path_factory.mktemp("finished") / "task", upto="pseudo-label")
    assert run(*DISTILL, workspace=place).code == 0
    return place


@pytest.fixture
def copied(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "task"
    shutil.copytree(finished, place)
    monkeypatch.chdir(place)
    return place


def mutated(path: Path, seed: int) -> None:
    """Change one bit of a file."""
    random, data = np.random.default_rng(seed), path.read_bytes()
    path.write_bytes(flipped(data, int(random.integers(len(data))), int(random.integers(8))))


def test_coreutils_check_every_file_of_a_run(copied: Path) -> None:
    for command in (DISTILL, ("finetune", "alpha", "--lr", "0.1,0.01", *QUICK, "--name", "swept")):
        assert run(*command, workspace=copied).code == 0
    for name in ("mine", "swept"):
        folder = copied / "runs" / name
        listed = checksums.read_sums(folder)
        inside = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        assert set(listed) == {each for each in inside - {"SHA256SUMS"} if not each.endswith(".log.json")}
        checked = subprocess.run(["sha256sum", "--strict", "-c", "SHA256SUMS"], cwd=folder, capture_output=True)
        assert checked.returncode == 0, checked.stderr


def test_odd_names_are_escaped_as_coreutils_do(tmp_path: Path) -> None:
    names = ["plain", "with blank", "line\nbreak", "back\\slash", "*star", "ümlaut"]
    for name in names:
        (tmp_path / name).write_text(name)
    checksums.write_sums(tmp_path, names)
    assert set(checksums.read_sums(tmp_path)) == set(names)
    checked = subprocess.run(["sha256sum", "--strict", "-c", "SHA256SUMS"], cwd=tmp_path, capture_output=True)
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize(
    ("name", "reader"),
    [(name, reader) for name, readers in READERS.items() for reader in readers],
    ids=lambda value: value if isinstance(value, str) else "-".join(value[:2]),
)
@pytest.mark.parametrize("seed", [0, *slow(1, 2, 3)])
def test_every_reader_of_a_run_checks_what_it_reads(
    copied: Path, name: str, reader: tuple[str, ...], seed: int
) -> None:
    path = copied / "runs/mine" / name
    before = path.read_bytes()
    mutated(path, seed)
    result = run(*reader, workspace=copied)
    assert result.code == 3, result.err
    assert f"{name} is damaged: it differs from its digest in SHA256SUMS" in result.error
    path.write_bytes(before)
    assert run(*DISTILL, "--overwrite", workspace=copied).code == 0


def test_damaged_list_of_digests_is_named(copied: Path) -> None:
    sums = copied / "runs/mine/SHA256SUMS"
    text = sums.read_text()
    for damaged in ("", text.replace("  ", " ", 1), text.replace("run.json", "run.jsin"), "\x00" + text):
        sums.write_text(damaged)
        result = run("show", "runs/mine", workspace=copied)
        assert result.code == 3
        assert str(Path("runs/mine/SHA256SUMS")) in result.error


def test_run_without_digests_is_read_with_one_warning(copied: Path) -> None:
    folder = copied / "runs/mine"
    record = files.read_json(folder / "run.json")
    del record["written_last"]
    (folder / "SHA256SUMS").unlink()
    assert run("evaluate", "accuracy", "mine", workspace=copied).code == 2  # of this version: it is not finished
    (folder / "run.json").write_text(json.dumps(record))
    for command in (("evaluate", "accuracy", "mine"), DISTILL, ("predict", "mine", "--data", "folder:images")):
        result = run(*command, workspace=copied)
        assert result.code == 0, result.err
        assert result.err.count("has no SHA256SUMS") == 1


def test_run_whose_digests_are_missing_is_finished_by_its_command(copied: Path) -> None:
    folder = copied / "runs/mine"
    before = (folder / "SHA256SUMS").read_bytes()
    (folder / "SHA256SUMS").unlink()
    assert run(*DISTILL, workspace=copied).code == 0
    assert (folder / "SHA256SUMS").read_bytes() == before


@pytest.mark.parametrize("seeds", [range(3), *slow(range(3, 20))], ids=str)
@pytest.mark.parametrize("name", ["state/state.json", "metrics.jsonl"])
def test_damaged_state_of_an_unfinished_run_is_refused(workspace: Make, name: str, seeds: range) -> None:
    place = workspace(upto="pseudo-label")
    assert run(*DISTILL, workspace=place).code == 0
    folder = place / "runs/mine"
    data, sums = ((folder / each).read_bytes() for each in (name, "SHA256SUMS"))
    for seed in seeds:
        for last in ("SHA256SUMS", "predictions.parquet"):
            (folder / last).unlink(missing_ok=True)
        mutated(folder / name, seed)
        result = run(*DISTILL, workspace=place)
        if result.code == 0:  # a blank of JSON that became another one
            assert len((folder / name).read_bytes().split()) == len(data.split())
            assert (folder / "metrics.jsonl").exists()
        else:
            assert result.code == 3, result.err
            assert "--overwrite starts the run again" in result.error
        (folder / name).write_bytes(data)
    assert run(*DISTILL, workspace=place).code == 0
    assert (folder / "SHA256SUMS").read_bytes() == sums


def test_overwriting_keeps_the_old_run_until_the_new_one_is_finished(copied: Path) -> None:
    folder, again = copied / "runs/mine", (*DISTILL, "--lr", "0.3", "--overwrite", "--max-time", "0s")
    (folder / "notes.txt").write_text("mine")
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    codes = []
    while not codes or codes[-1] == 75:
        assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before
        assert run(*DISTILL, workspace=copied).code == 0  # the old one is up to date all the time
        codes.append(run(*again, workspace=copied).code)
    assert codes == [75, 75, 75, 0]  # each goes on from the step of the one before
    assert files.read_json(folder / "run.json")["options"]["lr"] == 0.3
    assert (folder / "notes.txt").read_text() == "mine"
    assert not list((copied / "runs").glob(".*"))
    assert run(*DISTILL, workspace=copied).code == 2


def test_overwriting_with_other_options_starts_anew(copied: Path) -> None:
    stopped = run(*DISTILL, "--lr", "0.3", "--overwrite", "--max-time", "0s", workspace=copied)
    assert stopped.code == 75
    assert (copied / "runs/.mine.new/run.json").exists()
    listed = run("evaluate", "accuracy", "--json", workspace=copied)
    assert [Path(row["run"]).name for row in listed.data] == ["mine"]
    assert run(*DISTILL, "--lr", "0.2", "--overwrite", workspace=copied).code == 0
    assert files.read_json(copied / "runs/mine/run.json")["options"]["lr"] == 0.2
    assert not list((copied / "runs").glob(".*"))


def test_full_disk_while_overwriting_loses_nothing(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = copied / "runs/mine"
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    def full(_handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        result = run(*DISTILL, "--lr", "0.3", "--overwrite", workspace=copied)
    assert result.code == 1
    assert "no space left" in result.error
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert run(*DISTILL, workspace=copied).code == 0
