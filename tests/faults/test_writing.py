"""A full disk, a folder that cannot be written, closed streams: one line, and finished work is kept."""

import errno
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults.processes import start, zoo
from tests.marks import slow
from tests.workspaces import run
from zoo_cli.store.writers import Writer

Make = Callable[..., Path]
QUICK = ("--steps", "2", "--batch-size", "8", "--augment", "none")
LIMITED = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({0}, {0}))
"""
"""Limit the size of files in bytes: the kernel refuses more, as on a full disk or over a quota."""


def snapshot(place: Path) -> dict[str, bytes]:
    return {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()}


def leftovers(place: Path) -> list[str]:
    return [path.name for path in place.rglob("*") if path.name.endswith(".tmp")]


@pytest.mark.parametrize(
    ("upto", "command"),
    [
        (None, ("split",)),
        ("split", ("extract",)),
        ("extract", ("score", "--metric", "parc")),
        ("score", ("rank",)),
        ("rank", ("pseudo-label",)),
        ("pseudo-label", ("distill", *QUICK)),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
@pytest.mark.parametrize("fault", [errno.ENOSPC, *slow(errno.EIO, errno.EDQUOT)], ids=errno.errorcode.get)
def test_failing_disk_stops_a_stage_and_loses_nothing(
    workspace: Make, monkeypatch: pytest.MonkeyPatch, upto: str | None, command: tuple[str, ...], fault: int
) -> None:
    check_failing_disk(workspace(upto=upto) if upto else workspace(), monkeypatch, command, fault)


@pytest.mark.parametrize("fault", [errno.EIO, errno.EDQUOT], ids=errno.errorcode.get)
def test_every_fault_of_a_disk_is_named(workspace: Make, monkeypatch: pytest.MonkeyPatch, fault: int) -> None:
    check_failing_disk(workspace(upto="score"), monkeypatch, ("rank",), fault)


def check_failing_disk(place: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], fault: int) -> None:
    before = snapshot(place)

    def refuse(_handle: int) -> None:
        raise OSError(fault, os.strerror(fault))

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", refuse)
        result = run(*command, workspace=place)
    assert result.code == 1
    assert str(place) in result.error
    if fault != errno.EIO:
        assert "no space left to write" in result.error
        assert "MB free" in result.error
        assert ("over the disk quota" in result.error) == (fault == errno.EDQUOT)
        assert "free some space and run the same command again" in result.error
    after = snapshot(place)
    assert {name: after.get(name) for name in before} == before
    assert leftovers(place) == []
    assert run(*command, workspace=place).code == 0


@pytest.mark.parametrize("limit", [2500, *slow(500)])
def test_disk_full_in_the_middle_of_a_part(workspace: Make, tmp_path: Path, limit: int) -> None:
    place = workspace(upto="split")
    full = start("extract", workspace=place, before=LIMITED.format(limit), place=tmp_path / "full").result()
    assert full.code == 1
    assert "no space left to write" in full.error
    assert leftovers(place) == []
    again = run("extract", workspace=place)
    assert again.code == 0, again.err


def test_failed_checkpoint_keeps_the_previous_one(workspace: Make, tmp_path: Path) -> None:
    place = workspace(upto="pseudo-label")
    command = ("distill", "--steps", "40", "--batch-size", "8", "--augment", "none", "--name", "mine")
    assert run(*command, "--max-time", "0s", workspace=place).code == 75
    before = snapshot(place / "runs/mine/state")
    full = start(*command, workspace=place, before=LIMITED.format(900), place=tmp_path / "full").result()
    assert full.code == 1
    assert "no space left to write" in full.error
    assert snapshot(place / "runs/mine/state") == before
    assert run(*command, workspace=place).code == 0


def test_unwritable_path_is_named(workspace: Make, tmp_path: Path) -> None:
    place = workspace(upto="score")
    (tmp_path / "file").write_text("x", encoding="utf-8")
    (tmp_path / "folder").mkdir()
    for out in (tmp_path / "file" / "ranking.parquet", tmp_path / "folder"):
        result = run("rank", "--out", str(out), workspace=place)
        assert result.code == 1
        assert f"cannot write {out}" in result.error
    assert (tmp_path / "file").read_text(encoding="utf-8") == "x"


def test_leftovers_of_killed_process_are_removed(workspace: Make) -> None:
    place = workspace(upto="split")
    folder = place / "features/source=alpha/data=train"
    folder.mkdir(parents=True)
    own = Writer.current()
    dead, alive = (folder / f".part.{writer.token}.00.tmp" for writer in (replace(own, pid=999999999), own))
    for path in (dead, alive):
        path.write_bytes(b"half a part")
    assert run("extract", workspace=place).code == 0
    assert leftovers(place) == [alive.name]


def test_closed_pipe_is_not_an_error(workspace: Make) -> None:
    place = workspace(upto="rank")
    reader, writer = os.pipe()
    os.close(reader)
    result = zoo("rank", "-C", str(place), stdout=writer)
    os.close(writer)
    assert result.code == 141
    assert "error" not in result.err.lower()
    assert "Traceback" not in result.err


def test_ranking_can_be_piped_to_head(workspace: Make) -> None:
    place = workspace(upto="rank")
    command = f"'{sys.executable}' -m zoo_cli rank -C '{place}' | head -1; echo ${{PIPESTATUS[0]}}"
    result = zoo(python=f"import os; os.execvp('bash', ['bash', '-c', {command!r}])")
    first, code = result.out.splitlines()
    assert first.split("\t")[:3] == ["rank", "source", "value"]
    assert code in ("0", "141")
    assert "error" not in result.err.lower()


def test_full_stdout_is_an_error_and_keeps_files(workspace: Make) -> None:
    place = workspace(upto="score")
    with open("/dev/full", "wb") as full:
        result = zoo("rank", "-C", str(place), stdout=full.fileno())
    assert result.code == 1
    assert "cannot write to stdout: No space left on device; files written so far are kept" in result.error
    assert (place / "ranking.parquet").exists()


@pytest.mark.parametrize("closed", ["1", "2"])
def test_closed_stream_does_not_fail(workspace: Make, closed: str) -> None:
    place = workspace(upto="score")
    command = f"exec '{sys.executable}' -m zoo_cli rank -C '{place}' {closed}>&-"
    result = zoo(python=f"import os; os.execvp('bash', ['bash', '-c', {command!r}])")
    assert result.code == 0
    assert (place / "ranking.parquet").exists()
    assert bool(result.out) == (closed == "2")
