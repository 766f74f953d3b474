"""`zoo tune` with real runs, over many draws of a task, and in several processes."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import workspaces
from tests.pipeline.test_tune import FLAGS, LEARNING, contents
from tests.workspaces import run

pytestmark = pytest.mark.slow

DECOYS = "".join(f'[[candidate]]\nname = "{name}"\nobjective = "labels-only"\nlr = {lr}\n' for name, lr in (
    ("lower", 0.029), ("higher", 0.031),
))  # fmt: skip


def choose(folder: Path, candidates: str, seed: int, lr: str) -> str:
    """What a search chooses in one draw of the labels, the splits and the students."""
    workspace = workspaces.make(folder, labelled="60%", seed=seed)
    (workspace / "candidates.toml").write_text(candidates)
    flags = ("--steps", "40", "--batch-size", "16", "--augment", "none", "--budget", "24", "--lr", lr)
    result = run("tune", "--candidates", str(workspace / "candidates.toml"), *flags, "--json", workspace=workspace)
    assert result.code == 0, result.err
    shutil.rmtree(workspace)
    return str(result.data["chosen"])


def test_better_candidate_is_chosen_in_8_of_10_draws(tmp_path: Path) -> None:
    chosen = [
        choose(tmp_path / str(seed), LEARNING + DECOYS.replace("0.0", "0.00000"), seed, "1e-7") for seed in range(10)
    ]
    assert chosen.count("learns") >= 8


def test_labels_only_is_kept_in_19_of_20_draws(tmp_path: Path) -> None:
    chosen = [choose(tmp_path / str(seed), DECOYS, seed, "0.03") for seed in range(20)]
    assert chosen.count("labels-only") >= 19


def start(workspace: Path) -> subprocess.Popen[str]:
    words = ("tune", "--candidates", str(workspace / "candidates.toml"), *FLAGS, "--budget", "10", "-C", str(workspace))
    return subprocess.Popen(
        [sys.executable, "-m", "zoo_cli", *words],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(job: subprocess.Popen[str]) -> None:
    _, err = job.communicate()
    assert job.returncode == 0, err


def prepare(folder: Path) -> Path:
    workspace = workspaces.make(folder, upto="extract")
    (workspace / "candidates.toml").write_text(LEARNING + '[[candidate]]\nobjective = "heads"\n')
    return workspace


def test_jobs_share_the_runs(tmp_path: Path) -> None:
    alone, shared = prepare(tmp_path / "alone"), prepare(tmp_path / "shared")
    finish(start(alone))
    for job in [start(shared), start(shared)]:
        finish(job)
    assert contents(shared / "tune") == contents(alone / "tune")
    assert contents(shared / "runs") == contents(alone / "runs")


def test_killed_search_goes_on(tmp_path: Path) -> None:
    alone, killed = prepare(tmp_path / "alone"), prepare(tmp_path / "killed")
    finish(start(alone))
    job = start(killed)
    while not list(killed.glob("tune/split-*/runs/*/SHA256SUMS")) and job.poll() is None:
        time.sleep(0.02)
    job.kill()
    job.communicate()
    assert not (killed / "tune" / "tune.json").exists()
    before = {path: path.stat().st_mtime_ns for path in killed.glob("tune/split-*/runs/*/SHA256SUMS")}
    finish(start(killed))
    assert before == {path: path.stat().st_mtime_ns for path in before}
    assert contents(killed / "tune") == contents(alone / "tune")
    assert contents(killed / "runs") == contents(alone / "runs")
