"""`zoo distill --objective heads`: students of a written pool of heads."""

import shutil
from pathlib import Path

import pytest

from tests.marks import slow_unless
from tests.pipeline import head_answers
from tests.pipeline.head_answers import write_answers
from tests.pipeline.test_bytes import contents
from tests.pipeline.transfer_workspace import QUICK, make, model, ok
from tests.workspaces import run
from zoo_cli.pipeline import prepare
from zoo_cli.store import files

HEADS = ("distill", "--objective", "heads", "--source", "alpha", "--source", "beta", "--student", "normed", *QUICK)
BOTH = (*HEADS[:2], "heads:cross_task=0.5", *HEADS[3:])


@pytest.fixture(autouse=True)
def written_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(prepare.MAKERS, "head-labels", head_answers.MAKER)
    head_answers.calls.clear()


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    place = make(tmp_path / "task")
    write_answers(place)
    return place


def record(workspace: Path, name: str) -> dict:
    return files.read_json(workspace / "runs" / name / "run.json")


def refuse(*arguments: str, workspace: Path) -> str:
    """The error of a command that must fail and train nothing."""
    result = run(*arguments, workspace=workspace)
    assert result.code == 2, result.err
    assert not list(workspace.glob("runs/*/state"))
    return result.error


def test_student_learns_from_the_pool(workspace: Path) -> None:
    """From labels of half of the images, a few steps on a clean pool: its training loss falls."""
    length = ("--steps", "200", "--lr", "0.1", "--augment", "none")
    result = ok(*HEADS[: -len(QUICK)], *length, "--batch-size", "8", "--workers", "0", "--json", workspace=workspace)
    assert [row["run"] for row in result.data] == ["heads-ridge-product-of-alpha+beta-s0"]
    rows = files.read_lines(workspace / "runs/heads-ridge-product-of-alpha+beta-s0/metrics.jsonl")
    assert rows[-1]["pool_kl"] < rows[0]["pool_kl"]
    assert {"labelled_loss", "labelled_accuracy", "pool_kl"} <= set(rows[0])
    assert "distillation_kl" not in rows[0]
    assert head_answers.calls == [("ridge-product-of-alpha+beta", ["alpha", "beta"], False)]


def test_run_json_names_the_pool(workspace: Path) -> None:
    ok(*HEADS, workspace=workspace)
    run_json = record(workspace, "heads-ridge-product-of-alpha+beta-s0")
    assert run_json["objective"] == "heads"
    assert run_json["weights"] == [{"source": "alpha", "weight": 0.75}, {"source": "beta", "weight": 0.25}]
    options = run_json["options"]
    assert (options["head"], options["pool"], options["lam"], options["augment"]) == ("ridge", "product", 0.2, "affine")
    assert {"answers of the pool", "file normed.py", "labelled images"} <= set(run_json["inputs"])
    assert "kd_temperature" not in options
    assert "| alpha | 0.7500 |" in (workspace / "runs/heads-ridge-product-of-alpha+beta-s0/README.md").read_text()


def test_cross_task_adds_the_sources(workspace: Path) -> None:
    ok(*HEADS, workspace=workspace)
    result = ok(*BOTH, "--weighting", "equal", "--json", workspace=workspace)
    name = "heads-ridge-product-cross_task0.5-parc-equal-of-alpha+beta-s0"
    assert [row["run"] for row in result.data] == [name]
    assert {"pool_kl", "distillation_loss", "distillation_kl"} <= set(result.data[0])
    run_json = record(workspace, name)
    assert run_json["objective"] == "heads:cross_task=0.5"
    assert run_json["options"]["cross_task_weights"] == {"alpha": 0.5, "beta": 0.5}
    assert {"answers of the pool", "pseudo-labels of alpha", "pseudo-labels of beta"} <= set(run_json["inputs"])
    assert model(workspace / "runs/heads-ridge-product-of-alpha+beta-s0") != model(workspace / "runs" / name)


def test_zero_cross_task_is_the_plain_objective(workspace: Path) -> None:
    for name, spec in (("plain", "heads"), ("zero", "heads:cross_task=0,sharpen=1")):
        ok(*HEADS[:2], spec, *HEADS[3:], "--name", name, workspace=workspace)
    assert model(workspace / "runs/plain") == model(workspace / "runs/zero")
    assert record(workspace, "zero")["objective"] == "heads"


def test_head_and_pool_choose_the_answers(workspace: Path) -> None:
    write_answers(workspace, "ncm-kernel-of-alpha+beta", right=0.5)
    result = ok(*HEADS, "--head", "ncm", "--pool", "kernel", "--json", workspace=workspace)
    assert [row["run"] for row in result.data] == ["heads-ncm-kernel-of-alpha+beta-s0"]
    assert head_answers.calls[-1][0] == "ncm-kernel-of-alpha+beta"
    ok(*HEADS, workspace=workspace)
    assert model(workspace / "runs/heads-ncm-kernel-of-alpha+beta-s0") != model(
        workspace / "runs/heads-ridge-product-of-alpha+beta-s0"
    )


def test_several_runs_in_one_command_are_byte_equal(tmp_path: Path) -> None:
    together, apart = make(tmp_path / "together"), make(tmp_path / "apart")
    for place in (together, apart):
        write_answers(place)
    weightings, seeds = ("p=1", "equal"), ("0", "1")
    flags = [part for weighting in weightings for part in ("--weighting", weighting)]
    flags += [part for seed in seeds for part in ("--seed", seed)]
    result = ok(*BOTH, *flags, "--json", workspace=together)
    stem = "heads-ridge-product-cross_task0.5-parc"
    assert [row["run"] for row in result.data] == [
        f"{stem}-{kind}-of-alpha+beta-s{seed}" for kind in ("p1", "equal") for seed in seeds
    ]
    for weighting in weightings:
        for seed in seeds:
            ok(*BOTH, "--weighting", weighting, "--seed", seed, workspace=apart)
    assert contents(together / "runs") == contents(apart / "runs")


def test_run_of_another_pool_is_stale(workspace: Path) -> None:
    ok(*HEADS, workspace=workspace)
    before = model(workspace / "runs/heads-ridge-product-of-alpha+beta-s0")
    assert "is up to date" in ok(*HEADS, workspace=workspace).err
    write_answers(workspace, right=0.6)
    result = run(*HEADS, workspace=workspace)
    assert result.code == 2
    assert "was made from other inputs: answers of the pool" in result.error
    ok(*HEADS, "--overwrite", workspace=workspace)
    assert model(workspace / "runs/heads-ridge-product-of-alpha+beta-s0") != before


def test_answers_in_other_classes_are_refused(workspace: Path) -> None:
    write_answers(workspace, columns=4)
    result = run(*HEADS, workspace=workspace)
    assert result.code == 3
    assert "answers in 4 classes, the task has 3" in result.error


def test_record_without_sources_is_refused(workspace: Path) -> None:
    (workspace / "pseudo/head=ridge-product-of-alpha+beta/_head.json").write_text("{}")
    result = run(*HEADS, workspace=workspace)
    assert result.code == 3
    assert "_head.json" in result.error
    assert "zoo pseudo-label --head makes it again" in result.error


def head_weights(folder: Path) -> list[float]:
    tensors, _ = files.read_tensors(folder / "model.safetensors")
    return next(value for name, value in tensors.items() if name.endswith("weight") and value.ndim == 2).tolist()


def test_trained_student_keeps_its_head(workspace: Path) -> None:
    """With a rate of 0 the student of a run ends with the head of that run, other students with a new one."""
    ok(*HEADS, "--name", "first", workspace=workspace)
    still = ("--student", f"file:{workspace}/runs/first", "--lr", "0", *QUICK)
    again = ("distill", "--objective", "heads", "--source", "alpha", "--source", "beta", *still)
    ok(*again, "--name", "second", workspace=workspace)
    assert head_weights(workspace / "runs/second") == head_weights(workspace / "runs/first")
    ok(*again, "--init", f"file:{workspace}/runs/first", "--name", "third", workspace=workspace)
    assert head_weights(workspace / "runs/third") != head_weights(workspace / "runs/first")


def test_student_of_other_classes_gets_a_new_head(workspace: Path) -> None:
    others = (*HEADS[:7], "--student", "alpha", *QUICK)
    ok(*others, "--lr", "0", workspace=workspace)
    assert len(head_weights(workspace / "runs/heads-ridge-product-of-alpha+beta-s0")) == 3


@pytest.mark.parametrize("augment", slow_unless(["none", "flip", "shift", "crop", "affine", "rand"], ("none", "crop")))
def test_moving_views_give_one_warning(workspace: Path, augment: str) -> None:
    result = ok(*HEADS, "--augment", augment, workspace=workspace)
    text = f"the pool answered for the plain view; the student sees other views with {augment}"
    assert result.err.count(text) == (augment in ("crop", "rand"))


REFUSED = [
    (("--teachers", "soup"), "--teachers belongs to --objective kl, xe-kl, mcl or dp; heads does not use it"),
    (("--each-source",), "--each-source belongs to --objective cross-task; heads does not use it"),
    (("--draws", "2"), "--draws belongs to --objective cross-task"),
    (("--pseudo", "there"), "--pseudo belongs to --objective cross-task"),
    (("--weighting", "p=2"), "--weighting belongs to the cross-task term, which heads leaves out; drop it, or set"),
    (("--metric", "cka"), "--metric belongs to the cross-task term"),
    (("--kd-temperature", "2"), "--kd-temperature belongs to the cross-task term"),
    (
        ("--lam", "1"),
        "--lam is 1; expected a number from 0 (the pool only) to below 1; "
        "--objective cross-task with --lam 1 uses labels only",
    ),
    (("--lam", "-1"), "--lam is -1; "),
    (("--objective", "heads:cross_task=2"), "heads:cross_task=2 is not between 0 and 1"),
    (("--objective", "heads:sharpen=0"), "heads:sharpen=0 is not positive"),
    (("--objective", "heads:sharpness=2"), "did you mean sharpen?"),
    (("--objective", "head"), "did you mean heads?"),
    (("--objective", "heads:cross_task=0.5", "--weighting", "equel"), "did you mean equal?"),
    (
        ("--objective", "heads:cross_task=0.5", "--min-weight", "2"),
        "--min-weight is 2; expected a number from 0 to below 1",
    ),
    (("--source", "alhpa"), "did you mean alpha?"),
]


@pytest.mark.parametrize(("flags", "message"), REFUSED, ids=lambda value: "" if isinstance(value, str) else None)
def test_wrong_flags_are_refused(workspace: Path, flags: tuple[str, ...], message: str) -> None:
    objective = () if "--objective" in flags else ("--objective", "heads")
    assert message in refuse("distill", *objective, "--student", "normed", *flags, *QUICK, workspace=workspace)


@pytest.mark.parametrize("objective", slow_unless(["cross-task", "kl"], ("kl",)))
@pytest.mark.parametrize("flag", ["--head", "--pool"])
def test_other_objectives_refuse_flags_of_heads(workspace: Path, objective: str, flag: str) -> None:
    error = refuse("distill", "--objective", objective, flag, "best", "--student", "normed", workspace=workspace)
    assert error == f"{flag} belongs to --objective heads; {objective} does not use it"


def test_dry_run_needs_no_pool(workspace: Path) -> None:
    shutil.rmtree(workspace / "pseudo/head=ridge-product-of-alpha+beta")
    result = ok(*HEADS, "--seed", "0", "--seed", "1", "--dry-run", workspace=workspace)
    assert [line.split(": ")[0].rpartition("/")[2] for line in result.err.splitlines() if "would train" in line] == [
        "heads-ridge-product-of-alpha+beta-s0",
        "heads-ridge-product-of-alpha+beta-s1",
    ]
    assert not head_answers.calls


def test_run_is_a_student_by_name_and_path(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A round starts from the run of the last one; each way to write it gives the same student."""
    ok(*HEADS, "--name", "first", workspace=workspace)
    monkeypatch.chdir(workspace.parent)
    again = (*HEADS[:7], *QUICK)
    for number, student in enumerate(("first", "runs/first", f"{workspace.name}/runs/first", "file:task/runs/first")):
        ok(*again, "--student", student, "--name", f"second{number}", workspace=Path(workspace.name))
        assert model(workspace / f"runs/second{number}") == model(workspace / "runs/second0")
    assert model(workspace / "runs/second0") != model(workspace / "runs/first")
    assert 'no source "frist"' in refuse_student("frist", again, workspace)


def refuse_student(student: str, command: tuple[str, ...], workspace: Path) -> str:
    result = run(*command, "--student", student, workspace=workspace)
    assert result.code == 2
    return result.error


def test_head_of_classes_in_another_order_is_kept(workspace: Path) -> None:
    """The classes of "mirror" are the task's, the other way round: its columns go with their names."""
    accuracies = {}
    for name in ("expert", "mirror"):
        command = (*HEADS[:7], "--student", name, "--lr", "0", *QUICK, "--name", f"of-{name}")
        ok(*command, workspace=workspace)
        result = ok("evaluate", "accuracy", f"of-{name}", "--json", workspace=workspace)
        accuracies[name] = result.data[0]["accuracy"]
    assert accuracies["expert"] == accuracies["mirror"]
    assert accuracies["expert"] > 0.5


def test_cross_task_says_that_it_draws_a_new_head(workspace: Path) -> None:
    ok(*HEADS, "--name", "first", workspace=workspace)
    text = "first starts with a new head; the objective heads would keep its trained one"
    cross_task = ("distill", *HEADS[3:7], "--weighting", "equal", *QUICK)
    seeds = ("--seed", "0", "--seed", "1")
    assert ok(*cross_task, "--student", "first", *seeds, workspace=workspace).err.count(text) == 1
    assert text not in ok(*HEADS[:7], "--student", "first", "--name", "second", *QUICK, workspace=workspace).err
    untrained = ok(*cross_task, "--student", "normed", "--name", "third", workspace=workspace)
    assert "new head" not in untrained.err


@pytest.mark.parametrize("sharpen", slow_unless(["0.5", "2"], ("2",)))
def test_sharpen_changes_the_student(workspace: Path, sharpen: str) -> None:
    ok(*HEADS, workspace=workspace)
    result = ok(*HEADS[:2], f"heads:sharpen={sharpen}", *HEADS[3:], "--json", workspace=workspace)
    assert [row["run"] for row in result.data] == [f"heads-ridge-product-sharpen{sharpen}-of-alpha+beta-s0"]
    assert (
        record(workspace, f"heads-ridge-product-sharpen{sharpen}-of-alpha+beta-s0")["objective"]
        == f"heads:sharpen={sharpen}"
    )
    assert model(workspace / f"runs/heads-ridge-product-sharpen{sharpen}-of-alpha+beta-s0") != model(
        workspace / "runs/heads-ridge-product-of-alpha+beta-s0"
    )
