"""One rule for paths: as typed from the current folder, else a run of the workspace by its name."""

from pathlib import Path

import pytest

from tests.evaluate.test_flips import STUDENT, TEACHER, run_folder, write
from tests.workspaces import run
from zoo_cli.evaluation.named_runs import resolve_run


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace with the runs a and b, seen from a folder beside it."""
    (tmp_path / "work").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    run_folder("a", STUDENT)
    run_folder("b", TEACHER)
    write(Path("c.parquet"), TEACHER)
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "work"


@pytest.mark.parametrize("typed", ["a", "runs/a", "./a", "../work/runs/a"])
def test_run_is_named_by_name_or_path(workspace: Path, typed: str) -> None:
    result = run("evaluate", "accuracy", typed, "--json", workspace=workspace)
    assert result.code == 0, result.err
    assert result.data[0]["run"] == "a"
    assert result.data[0]["accuracy"] > 0


@pytest.mark.parametrize("typed", ["c.parquet", "work/runs/a", "runs/a/predictions.parquet", "runs"])
def test_other_paths_are_not_looked_up_in_the_workspace(workspace: Path, typed: str) -> None:
    result = run("evaluate", "accuracy", typed, workspace=workspace)
    assert result.code == 2
    assert f"no file at {typed}" in result.error


def test_path_wins_over_a_run_of_its_name(workspace: Path) -> None:
    here = Path(run_folder("a", TEACHER))
    assert resolve_run(here, workspace) == here
    assert resolve_run(Path("a"), workspace) == workspace / "runs" / "a"
    data = run("evaluate", "flips", "runs/a", "b", "--json", workspace=workspace).data
    assert (data["positive"], data["negative"]) == (0, 0)


@pytest.mark.parametrize("typed", [".", "..", "", "nothing", "runs/nothing"])
def test_what_is_no_run_stays_as_typed(workspace: Path, typed: str) -> None:
    assert resolve_run(Path(typed), workspace) == Path(typed)


def test_folder_of_another_kind_does_not_hide_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "heads").mkdir()
    (tmp_path / "heads" / "source=a.safetensors").touch()
    assert resolve_run(Path("heads"), Path(".")) == Path("heads")
    (tmp_path / "runs" / "heads").mkdir(parents=True)
    assert resolve_run(Path("heads"), Path(".")) == Path("runs/heads")
    (tmp_path / "heads" / "predictions.parquet").touch()
    assert resolve_run(Path("heads"), Path(".")) == Path("heads")
