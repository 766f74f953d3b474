"""`zoo plan`: the units of stages, their commands, the script for Slurm, and what it refuses."""

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.workspaces import make, run

TRAIN = "--steps 1 --batch-size 4"
SBATCH = """#!/bin/bash
script=$(mktemp); cat > "$script"
number=$(($(wc -l < "$JOBS") + 1))
echo "$*" >> "$JOBS"
range=$(sed 's/.*--array=0-\\([0-9]*\\).*/\\1/' <<< "$*")
for task in $(seq 0 "$range"); do
  SLURM_ARRAY_JOB_ID=$number SLURM_ARRAY_TASK_ID=$task bash "$script" || echo "$number $task $?" >> "$JOBS.failed"
done
echo "$number;cluster"
"""
"""An sbatch that runs the tasks of an array at once, one after another."""
FAKES = {
    "sbatch": SBATCH,
    "srun": '#!/bin/bash\nexec "$@"\n',
    "scontrol": '#!/bin/bash\necho "$*" >> "$JOBS.requeued"\n',
    "zoo": '#!/bin/bash\necho "zoo $*" >> "$JOBS.commands"\ncase "$*" in *"--seed 1"*) exit 75;; esac\n',
}


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two workspaces in T; alpha has seen the second, which has a blank in its name."""
    make(tmp_path / "T" / "one")
    make(tmp_path / "T" / "second task", name="shapes")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "T"


def commands(*words: str) -> list[str]:
    result = run("plan", "T/one", "T/second task", *words, "--format", "sh")
    assert result.code == 0, result.err
    return result.out.splitlines()


def test_sources_that_have_seen_a_task_have_no_unit(tasks: Path) -> None:
    assert tasks.is_dir()
    assert commands("--stage", "extract", "--stage", f"finetune {TRAIN}", "--seed", "3") == [
        "zoo extract --source alpha -C T/one",
        "zoo extract --source beta -C T/one",
        "zoo extract --source gamma -C T/one",
        "zoo extract --source @student -C T/one",
        "zoo extract --source beta -C 'T/second task'",
        "zoo extract --source gamma -C 'T/second task'",
        "zoo extract --source @student -C 'T/second task'",
        f"zoo finetune alpha --seed 3 {TRAIN} -C T/one",
        f"zoo finetune beta --seed 3 {TRAIN} -C T/one",
        f"zoo finetune gamma --seed 3 {TRAIN} -C T/one",
        f"zoo finetune beta --seed 3 {TRAIN} -C 'T/second task'",
        f"zoo finetune gamma --seed 3 {TRAIN} -C 'T/second task'",
    ]


@pytest.mark.usefixtures("tasks")
@pytest.mark.parametrize(
    ("stage", "expected"),
    [
        (f"distill --lam 1 {TRAIN}", [f"zoo distill --seed 0 {TRAIN} --lam 1 -C T/one"]),
        ("distill --seed 4 --seed 5", ["zoo distill --seed 4 -C T/one", "zoo distill --seed 5 -C T/one"]),
        (
            "distill --weighting nearest --draws 1",
            [
                "zoo distill --weighting nearest --seed 0 -C T/one",
                "zoo distill --weighting random:seed=0 --seed 0 -C T/one",
            ],
        ),
        (
            "distill --each-source --source beta --lr 0.0001",
            ["zoo distill --each-source --source beta --seed 0 --lr 0.0001 -C T/one"],
        ),
        ("distill --objective heads --head ncm", ["zoo distill --seed 0 --objective heads --head ncm -C T/one"]),
        ("pseudo-label --head ridge", ["zoo pseudo-label --head ridge -C T/one"]),
        ("score --metric parc:pca=2 --source beta", ["zoo score --source beta --metric parc:pca=2 -C T/one"]),
        ("score --metric e-leep", ["zoo score --metric e-leep -C T/one"]),
        ("finetune student --lr 0.1,0.2", ["zoo finetune student --seed 0 --lr 0.1,0.2 -C T/one"]),
        ("tune --budget 40 --steps 9", ["zoo tune --seed 0 --budget 40 --steps 9 -C T/one"]),
    ],
)
def test_each_run_has_a_command(stage: str, expected: list[str]) -> None:
    result = run("plan", "T/one", "--stage", stage, "--format", "sh")
    assert result.code == 0, result.err
    assert result.out.splitlines() == expected


def test_units_train_the_runs_that_they_name(tmp_path: Path) -> None:
    workspace = make(tmp_path / "task", upto="pseudo-label")
    stages = (f"distill --weighting p=2 --draws 1 {TRAIN}", f"distill --objective heads {TRAIN}")
    flags = [word for stage in stages for word in ("--stage", stage)]
    units = run("plan", str(workspace), *flags, "--json").data
    for unit in units:
        assert run(*shlex.split(unit["command"])[1:]).code == 0
        assert (Path(unit["path"]) / "predictions.parquet").is_file()
    assert len(list((workspace / "runs").glob("*/run.json"))) == len(units) == 3
    (row,) = run("status", str(workspace), "--stage", stages[1], "--json").data
    assert row["done"] == 1


def test_label_sets_have_units_of_their_own(tasks: Path) -> None:
    flags = ("--stage", "split --labelled 2/class", "--stage", "extract --source beta", "--stage", f"distill {TRAIN}")
    listed = commands(*flags, "--labels", "few", "--labels", "more")
    assert listed[0] == "zoo split --labelled 2/class -C T/one --labels few"
    assert sum("zoo extract" in line for line in listed) == 2
    assert sum(line.endswith("--labels more") for line in listed) == 4
    assert "--labels" not in next(line for line in listed if "zoo extract" in line)
    refused = run("plan", str(tasks / "one"), "--stage", "distill", "--labels", "few")
    assert 'no label set "few"' in refused.error


def test_the_script_submits_each_stage_after_what_it_reads(tasks: Path) -> None:
    stages = ["split", "extract", "score", f"finetune {TRAIN}", f"distill {TRAIN}"]
    flags = [word for stage in stages for word in ("--stage", stage)]
    seeds = ("--seed", "0", "--seed", "1")
    fakes, jobs = tasks.parent / "fakes", tasks.parent / "jobs"
    fakes.mkdir()
    jobs.touch()
    for name, text in FAKES.items():
        (fakes / name).write_text(text)
        (fakes / name).chmod(0o755)
    script = run("plan", "T/one", "T/second task", *flags, *seeds, "--format", "slurm").out
    environment = {**os.environ, "PATH": f"{fakes}{os.pathsep}{os.environ['PATH']}", "JOBS": str(jobs)}
    bash = [shutil.which("bash") or "bash", "-s", "--", "--gres=gpu:1"]
    result = subprocess.run(bash, input=script, text=True, env=environment, capture_output=True, timeout=60)
    assert result.returncode == 0, result.stderr
    submitted = jobs.read_text().splitlines()
    assert all("--gres=gpu:1" in line and "--requeue" in line for line in submitted)
    assert [line.partition("--dependency=")[2] for line in submitted] == [
        "",
        "afterok:1",
        "afterok:1:2",
        "afterok:1",
        "afterok:1:2:3",
    ]
    listed = commands(*flags, *seeds)
    assert Path(f"{jobs}.commands").read_text().splitlines() == [" ".join(shlex.split(line)) for line in listed]
    failed = [line.split() for line in Path(f"{jobs}.failed").read_text().splitlines()]
    assert failed
    assert {code for *_, code in failed} == {"75"}
    requeued = Path(f"{jobs}.requeued").read_text().splitlines()
    assert requeued == [f"requeue {job}_{task}" for job, task, _ in failed]


def test_a_long_stage_is_several_arrays(tasks: Path) -> None:
    seeds = [word for seed in range(501) for word in ("--seed", str(seed))]
    assert tasks.is_dir()
    script = run(
        "plan", "T/one", "T/second task", "--stage", f"distill --lam 1 {TRAIN}", *seeds, "--format", "slurm"
    ).out
    assert [line.partition("--array=")[2].split()[0] for line in script.splitlines() if "--array=" in line] == [
        "0-999",
        "0-1",
    ]


@pytest.mark.usefixtures("tasks")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("T/one",), "no stage to plan"),
        (("T/one", "--stage", "distil"), 'no stage "distil"; did you mean distill?'),
        (("T/one", "--stage", 'distill "'), "is not a command"),
        (("T/one", "--stage", ""), "is not a command"),
        (("T/one", "--stage", "distill --out x"), "--out cannot be used in a stage"),
        (("T/one", "--stage", "distill --lam 2"), "--lam is 2"),
        (("T/one", "--stage", "extract --source nose"), 'no source "nose"'),
        (("T/one", "--stage", "tune", "--seed", "0", "--seed", "1"), "a workspace has one search"),
        (("T/one", "--stage", "tune", "--stage", "tune --budget 9"), "a workspace has one search"),
        (("T/one", "--stage", "tune --source nose"), 'no source "nose"'),
        (("T/one", "--stage", "tune --candidates nowhere.toml"), "nowhere.toml"),
        (("T/one", "--stage", "finetune best"), "best has no name before the sources are scored"),
        (("T/one", "T/one", "--stage", "extract"), "a workspace is named twice"),
        (("T/one", "--stage", "extract", "--stage", "extract"), "two stages ask for the same work"),
        (("T", "--stage", "extract"), "T is not a workspace"),
        (("T/one", "--stage", "extract", "--format", "yaml"), 'no format "yaml"'),
    ],
)
def test_what_cannot_be_planned_is_one_line(words: tuple[str, ...], message: str) -> None:
    result = run("plan", *words)
    assert result.code == 2
    assert message in result.error


@pytest.mark.parametrize("share", ["0/2", "3/2", "1", "a/b", "1/0", "-1/2", "1/2/3"])
def test_a_wrong_share_of_runs_is_one_line(share: str, tmp_path: Path) -> None:
    result = run("distill", "--lam", "1", f"--runs={share}", workspace=make(tmp_path / "task"))
    assert result.code == 2
    assert f'--runs is "{share}"' in result.error


def test_jobs_share_the_runs_of_a_command(tmp_path: Path) -> None:
    workspace = make(tmp_path / "task", upto="extract")
    flags = ("--lam", "1", *TRAIN.split(), "--seed", "0", "--seed", "1", "--seed", "2")
    dealt = []
    for part in range(1, 5):
        result = run("distill", *flags, "--runs", f"{part}/4", "--json", workspace=workspace)
        assert result.code == 0, result.err
        dealt.append([row["run"] for row in result.data])
    assert dealt == [["labels-only-s0"], ["labels-only-s1"], ["labels-only-s2"], []]
    assert "part 4 of 4 has none of the 3 runs" in result.err
