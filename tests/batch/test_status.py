"""`zoo status`: the states of units, how long the rest takes, and what comes next."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.workspaces import edit, make, run
from zoo_cli import config
from zoo_cli.commands.stage_flags import parse_stages
from zoo_cli.pipeline import unit_states, work_units
from zoo_cli.store import failures, lease
from zoo_cli.store.failures import Failure
from zoo_cli.store.manifest import load_manifest

TRAIN = "--steps 2 --batch-size 4"
STAGE = f"distill --lam 1 {TRAIN}"
SEARCH = f"tune --candidates candidates.toml --budget 8 {TRAIN}"


def counts(workspace: Path, *flags: str) -> dict[str, Any]:
    """The counts of the last stage."""
    result = run("status", str(workspace), *flags, "--json")
    assert result.code == 0, result.err
    return {key: value for key, value in result.data[-1].items() if value and key not in ("stage", "workspace")}


def train(workspace: Path, *flags: str, code: int = 0) -> None:
    result = run("distill", "--lam", "1", *TRAIN.split(), *flags, workspace=workspace)
    assert result.code == code, result.err


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return make(tmp_path / "task", upto="extract")


def test_the_rest_is_estimated_from_finished_units(workspace: Path) -> None:
    seeds = ("--seed", "0", "--seed", "1", "--seed", "2")
    assert counts(workspace, "--stage", STAGE, *seeds) == {"missing": 3}
    assert "the rest takes" not in run("status", str(workspace), "--stage", STAGE).out
    train(workspace)
    log = workspace / "runs" / "labels-only-s0.log.json"
    log.write_text(json.dumps({**json.loads(log.read_text()), "seconds": 90.0}))
    assert counts(workspace, "--stage", STAGE, *seeds) == {"done": 1, "missing": 2, "rest": 180.0}
    shown = run("status", str(workspace), "--stage", STAGE, *seeds)
    assert "the rest takes about 3 min 0 s in one process" in shown.out + shown.err


def test_the_rest_of_other_stages_is_estimated_from_their_logs(workspace: Path) -> None:
    assert run("score", "--metric", "parc", "--source", "alpha", workspace=workspace).code == 0
    (workspace / "scores" / "parc" / "_alpha.log.json").write_text('{"seconds": 10.0}')
    assert counts(workspace, "--stage", "score --metric parc") == {"done": 1, "missing": 2, "rest": 20.0}
    log = workspace / "features" / "_source=alpha.log.json"
    parts = json.loads(log.read_text())["parts"]
    log.write_text(json.dumps({"seconds": 7.0, "parts": dict.fromkeys(parts, 7.0 / len(parts))}))
    (workspace / "features" / "source=beta").rename(workspace / "beta")
    rest = counts(workspace, "--stage", "extract")["rest"]
    assert 7.0 / 3 < rest < 7.0, "the mean of alpha, and of gamma and the student, which are much faster"


def test_a_run_that_another_process_makes_is_running(workspace: Path) -> None:
    held = lease.take(workspace / "runs" / "labels-only-s0", "digest", None)
    try:
        assert counts(workspace, "--stage", STAGE) == {"running": 1}
        assert run("status", str(workspace), "--stage", STAGE, "--missing", "--json").data == []
    finally:
        held.release()
    assert counts(workspace, "--stage", STAGE) == {"missing": 1}


def test_a_run_whose_process_was_killed_has_failed(workspace: Path) -> None:
    folder = workspace / "runs" / "labels-only-s0"
    kill = "import os; from pathlib import Path; from zoo_cli.store import lease\n"
    kill += f"lease.take(Path({str(folder)!r}), 'digest', None); os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", kill], check=False, timeout=60, env={**os.environ})
    assert counts(workspace, "--stage", STAGE) == {"failed": 1}
    shown = run("status", str(workspace), "--stage", STAGE)
    assert "has ended before the run was finished" in shown.out + shown.err
    train(workspace)
    assert counts(workspace, "--stage", STAGE)["done"] == 1


def test_a_run_that_ended_with_an_error_has_failed_and_says_why(workspace: Path) -> None:
    train(workspace, "--lr", "1e30", "--steps", "20", code=1)
    stage = "distill --lam 1 --lr 1e30 --steps 20 --batch-size 4"
    assert counts(workspace, "--stage", stage) == {"failed": 1}
    (row,) = json.loads(run("status", str(workspace), "--stage", stage, "--json").out)["meta"]["units"]
    assert "finite" in row["detail"]


def test_a_stopped_run_is_missing_and_goes_on(workspace: Path) -> None:
    train(workspace, "--max-time", "0s", code=75)
    (row,) = json.loads(run("status", str(workspace), "--stage", STAGE, "--json").out)["meta"]["units"]
    assert row["state"] == "missing"
    assert "checkpoint at step" in row["detail"]
    stored = run("status", "--missing", "--json", workspace=workspace).data
    command = next(unit["command"] for unit in stored if unit["stage"] == "runs")
    assert command.startswith("zoo distill --lam 1")


def test_units_made_from_other_inputs_are_stale(workspace: Path) -> None:
    train(workspace)
    assert counts(workspace, "--stage", f"{STAGE} --momentum 0.5") == {"stale": 1}
    assert counts(workspace, "--stage", "extract") == {"done": 4}
    edit(workspace, "args = { width = 5, classes = 6 }", "args = { width = 4, classes = 6 }")
    after = counts(workspace, "--stage", "extract")
    assert {key: after[key] for key in ("done", "stale")} == {"done": 3, "stale": 1}
    shown = run("status", str(workspace), "--stage", "extract")
    assert "was made from other inputs: args" in shown.out + shown.err
    edit(workspace, "seed = 0" if "seed = 0" in (workspace / "zoo.toml").read_text() else 'probe = "all"', "probe = 5")
    assert counts(workspace, "--stage", "split") == {"stale": 1}


def test_a_search_is_a_unit_with_its_trials(workspace: Path) -> None:
    file = workspace / "candidates.toml"
    file.write_text('[[candidate]]\nobjective = "labels-only"\nlr = 0.1\n')
    stage = f"tune --candidates {file} --budget 8 {TRAIN}"
    (unit,) = run("plan", str(workspace), "--stage", stage, "--json").data
    assert counts(workspace, "--stage", stage) == {"missing": 1}
    stopped = run(*shlex.split(unit["command"])[1:], "--max-time", "0s")
    assert stopped.code == 75
    trial = workspace / "tune" / "split-00" / "runs" / "labels-only"
    held = lease.take(trial, "digest", None)
    try:
        assert counts(workspace, "--stage", stage) == {"running": 1}
    finally:
        held.release()
    (row,) = json.loads(run("status", str(workspace), "--stage", stage, "--json").out)["meta"]["units"]
    assert (row["state"], row["detail"]) == ("missing", "stopped, with 0 trials finished")
    assert run(*shlex.split(unit["command"])[1:]).code == 0
    assert (Path(unit["path"]) / "predictions.parquet").is_file()
    for log in workspace.glob("tune/split-*/runs/*.log.json"):
        log.write_text('{"seconds": 3.0}')
    (workspace / "runs" / "tuned-s0.log.json").write_text('{"seconds": 2.0}')
    (state,) = unit_states.check_units(work_units.list_units(parse_stages([stage], ()), [workspace]))
    assert (state.state, state.seconds) == ("done", 8 * 3.0 + 2.0)


@pytest.mark.parametrize(
    ("flags", "what"),
    [
        ("--budget 9", "budget"),
        ("--budget 8 --momentum 0.5", "momentum"),
        ("--budget 8 --seed 1", "seed"),
        ("--budget 8 --candidates other.toml", "candidates"),
    ],
)
def test_a_search_for_other_things_is_stale(
    flags: str, what: str, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workspace)
    for name, rate in (("candidates.toml", 0.1), ("other.toml", 0.2)):
        Path(name).write_text(f'[[candidate]]\nname = "faster"\nobjective = "labels-only"\nlr = {rate}\n')
    assert run("tune", "--candidates", "candidates.toml", "--budget", "8", *TRAIN.split()).code == 0
    asked = flags if "--candidates" in flags else f"--candidates candidates.toml {flags}"
    (row,) = json.loads(run("status", "--stage", f"tune {asked} {TRAIN}", "--json").out)["meta"]["units"]
    assert row["state"] == "stale"
    assert what in row["detail"]


@pytest.fixture
def searched(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(workspace)
    Path("candidates.toml").write_text('[[candidate]]\nname = "faster"\nobjective = "labels-only"\nlr = 0.1\n')
    assert run("tune", *SEARCH.split()[1:]).code == 0
    return workspace


def state_of_search(stage: str = SEARCH) -> tuple[str, str]:
    (row,) = json.loads(run("status", "--stage", stage, "--json").out)["meta"]["units"]
    return row["state"], row["detail"]


@pytest.mark.parametrize("content", ["[]", "null", "{}", '{"inputs": []}', '{"inputs": null}', '{"inputs": {}}'])
def test_a_result_that_is_none_of_a_search_is_stale(content: str, searched: Path) -> None:
    assert state_of_search() == ("done", "")
    (searched / "tune" / "tune.json").write_text(content)
    assert state_of_search()[0] == "stale"


def test_a_search_without_its_result_is_missing(searched: Path) -> None:
    (searched / "tune" / "tune.json").unlink()
    assert state_of_search() == ("missing", "stopped, with 8 trials finished")


def test_the_run_of_another_search_is_stale(searched: Path, tmp_path: Path) -> None:
    shutil.copytree(searched / "runs", tmp_path / "runs")
    assert run("tune", *SEARCH.split()[1:], "--momentum", "0.5", "--overwrite").code == 0
    assert state_of_search(f"{SEARCH} --momentum 0.5") == ("done", "")
    shutil.rmtree(searched / "runs")
    shutil.copytree(tmp_path / "runs", searched / "runs")
    state, detail = state_of_search(f"{SEARCH} --momentum 0.5")
    assert (state, "momentum" in detail) == ("stale", True)


def test_a_search_whose_labels_only_diverges_has_failed(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workspace)
    Path("candidates.toml").write_text('[[candidate]]\nname = "slower"\nobjective = "labels-only"\nlr = 0.01\n')
    stage = "tune --candidates candidates.toml --budget 8 --steps 20 --batch-size 4 --lr 1e30"
    assert run(*stage.split()).code == 1
    state, detail = state_of_search(stage)
    assert (state, "finite" in detail) == ("failed", True)


@pytest.mark.parametrize("folder", ["split-00", "split-00/runs/.faster.new"])
def test_a_search_is_running_while_a_process_holds_one_of_its_folders(folder: str, searched: Path) -> None:
    held = lease.take(searched / "tune" / folder, "digest", None)
    try:
        assert state_of_search()[0] == "running"
    finally:
        held.release()


def test_failed_images_make_no_search_stale(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workspace)
    Path("candidates.toml").write_text('[[candidate]]\nname = "faster"\nobjective = "labels-only"\nlr = 0.1\n')
    settings = config.load(workspace)
    images = load_manifest(settings.manifest, settings.root)
    name = str(images.ids[images.where(split=("unlabelled",))[0]])
    failures.record_failures(settings, "extract", [Failure(name, None, "damaged")], len(images.ids), "1")
    assert run("tune", *SEARCH.split()[1:]).code == 0
    assert state_of_search() == ("done", "")


def test_other_labels_make_runs_and_scores_stale(tmp_path: Path) -> None:
    workspace = make(tmp_path / "task", upto="pseudo-label")
    train(workspace)
    assert run("split", "--labelled", "2/class", "--overwrite", workspace=workspace).code == 0
    for stage, state in ((STAGE, "stale"), ("score", "stale"), ("pseudo-label", "done"), ("extract", "done")):
        assert set(counts(workspace, "--stage", stage)) - {"rest"} == {state}, stage


def test_zoo_alone_shows_the_next_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(make(tmp_path / "task", upto="extract"))
    result = run()
    assert result.code == 0
    assert "next: zoo score --metric parc" in result.err
    run("rank"), run("pseudo-label")
    assert "next: zoo distill" in run().err
    train(Path())
    assert "next: zoo evaluate accuracy" in run().err


def test_zoo_alone_elsewhere_is_help(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = run()
    assert "Usage: zoo [OPTIONS] COMMAND" in result.out + result.err
    assert "next:" not in result.err


def test_status_writes_nothing(workspace: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in workspace.rglob("*")}
    assert run("status", str(workspace)).code == 0
    assert {path: path.stat().st_mtime_ns for path in workspace.rglob("*")} == before


def test_scripts_are_of_units() -> None:
    assert "--format slurm is for a list of units" in run("status", "--format", "slurm").error
