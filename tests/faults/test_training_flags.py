"""Flags of the commands that train: errors come before any file is written, and a dry run writes none."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.marks import slow_unless
from tests.pipeline import transfer_workspace
from tests.pipeline.test_bytes import contents
from tests.pipeline.transfer_workspace import QUICK
from tests.workspaces import edit, make, run
from zoo_cli import registry

TEACHER = ("--student", "normed", "--source", "expert")
TWO = (*TEACHER, "--source", "noisy")
CROSS_TASK_FLAGS = {
    "--weighting": "p=1",
    "--metric": "parc",
    "--on": "probs",
    "--each-source": "",
    "--draws": "2",
    "--init": "alpha",
    "--lam": "0.5",
    "--min-weight": "0.1",
    "--pseudo": "nowhere",
    "--scores": "nowhere",
}
HEADS_TOO = ("--weighting", "--metric", "--on", "--init", "--lam", "--min-weight")
TRANSFER_FLAGS = {"--teachers": "soup", "--targets": "live"}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With teachers of the task's classes; read-only."""
    place = transfer_workspace.make(tmp_path_factory.mktemp("flags") / "task")
    with (place / "zoo.toml").open("a", encoding="utf-8") as stream:
        stream.write('\n[[source]]\nname = "remote"\nmodel = "features:remote.parquet"\n')
    return place


def refuse(*arguments: str, workspace: Path) -> str:
    """Run a command that must fail and write nothing but the weights of a model that it loaded; its error."""
    before = without_weights(workspace)
    result = run(*arguments, *QUICK, workspace=workspace)
    assert result.code == 2, result.err
    assert without_weights(workspace) == before
    return result.error


def without_weights(workspace: Path) -> dict[str, str]:
    return {name: value for name, value in contents(workspace).items() if not name.startswith("sources/")}


def transfer_objectives() -> list[str]:
    return [name for name, entry in registry.OBJECTIVES.items() if entry.needs_teacher]


@pytest.mark.parametrize("objective", transfer_objectives())
@pytest.mark.parametrize("flag", CROSS_TASK_FLAGS)
def test_other_objectives_refuse_cross_task_flags(workspace: Path, objective: str, flag: str) -> None:
    value = CROSS_TASK_FLAGS[flag]
    arguments = [flag, value] if value else [flag]
    error = refuse("distill", "--objective", objective, *TEACHER, *arguments, workspace=workspace)
    owners = "cross-task or heads" if flag in HEADS_TOO else "cross-task"
    assert error == f"{flag} belongs to --objective {owners}; {objective} does not use it"


@pytest.mark.parametrize("flag", TRANSFER_FLAGS)
def test_cross_task_refuses_transfer_flags(workspace: Path, flag: str) -> None:
    error = refuse("distill", flag, TRANSFER_FLAGS[flag], workspace=workspace)
    assert error == f"{flag} belongs to --objective kl, xe-kl, mcl or dp; cross-task does not use it"


@pytest.mark.parametrize("flag", ["--threshold", "--temperature", "--lam", "--unlabelled-weight"])
def test_supervised_refuses_fixmatch_flags(workspace: Path, flag: str) -> None:
    error = refuse("finetune", "alpha", flag, "0.5", workspace=workspace)
    assert error == f"{flag} belongs to --objective fixmatch; drop it"


ONE_RUN = "--name and --out cannot be used with several runs; drop them or ask for one run"
OTHERS = "alpha has 4 classes; its classes do not match the task's 3: blue, green, red"
REFUSED: list[tuple[tuple[str, ...], str]] = [
    (
        ("distill", "--objective", "supervised"),
        "supervised learns from labels, not from sources; zoo finetune --objective supervised",
    ),
    (
        ("finetune", "alpha", "--objective", "kl"),
        "kl learns from sources, not from labels alone; zoo distill --objective kl",
    ),
    (("distill", "--weighting", "p=1", "--weighting", "equal", "--name", "mine"), ONE_RUN),
    (("distill", "--seed", "0", "--seed", "1", "--out", "mine"), ONE_RUN),
    (("distill", "--draws", "2", "--name", "mine"), ONE_RUN),
    (("distill", "--each-source", "--name", "mine"), ONE_RUN),
    (("finetune", "best", "alpha", "--name", "mine"), ONE_RUN),
    (
        ("distill", "--objective", "kl", *TEACHER, "--seed", "0", "--seed", "1", "--name", "mine"),
        ONE_RUN,
    ),
    (("finetune", "best", "--name", "a/b"), '--name is "a/b"; '),
    (("distill", "--weighting", "p=1", "--weighting", "power:p=1"), "two of the requested runs are the same"),
    (("finetune", "best", "best"), "two of the requested runs are the same"),
    (("finetune", "best", "--seed", "1", "--seed", "1"), "--seed repeats a seed"),
    (("distill", "--each-source", "--weighting", "p=1"), "--weighting and --each-source cannot be combined"),
    (("distill", "--each-source", "--metric", "cka"), "--metric and --each-source cannot be combined"),
    (("distill", "--each-source", "--draws", "2"), "--draws and --each-source cannot be combined"),
    (
        ("distill", "--lam", "1", "--each-source"),
        "--lam 1 uses labels only, no source; drop --each-source and --weighting",
    ),
    (
        ("distill", "--lam", "1", "--draws", "2"),
        "--lam 1 uses labels only, no source; drop --each-source and --weighting",
    ),
    (("distill", "--kd-temperature", "0"), "--kd-temperature is 0; "),
    (("distill", "--objective", "kl", *TEACHER, "--kd-temperature", "-1"), "--kd-temperature is -1; "),
    (("distill", "--objective", "mcl:alpha=2", *TEACHER), "mcl:alpha=2 is not between 0 and 1"),
    (("distill", "--objective", "mcl:steps_per_update=7", *TEACHER), "mcl:steps_per_update=7 is more than the 6 steps"),
    (("distill", "--objective", "mcl:tau=0.9,retention=0.5", *TEACHER), "mcl:retention and mcl:tau cannot be combined"),
    (("distill", "--objective", "dp:select=flip,labels=false", *TEACHER), "dp:select=flip needs labels"),
    (("distill", "--objective", "dp:lables=false", *TEACHER), "did you mean labels?"),
    (("distill", "--objective", "dp:select=flop", *TEACHER), "prob, flip"),
    (("distill", "--objective", "kl", *TWO, "--teachers", "soop"), "did you mean soup?"),
    (
        ("distill", "--objective", "kl", *TWO, "--teachers", "sequential:order=random"),
        "one of: sequential, parallel, soup, sequential:order=ascending",
    ),
    (("distill", "--objective", "kl", *TWO, "--teachers", "soup:order=given"), '--teachers is "soup:order=given"; '),
    (
        ("distill", "--objective", "kl", *TWO, "--teachers", "parallel"),
        "kl cannot choose a teacher for each sample, which --teachers parallel needs; set --objective dp",
    ),
    (("distill", "--objective", "kl", *TEACHER, "--targets", "storde"), "did you mean stored?"),
    (
        ("distill", "--objective", "kl", *TEACHER, "--targets", "stored", "--augment", "crop"),
        "stored targets are of the plain or the mirrored view, not of --augment crop",
    ),
    (("distill", "--objective", "kl", *TEACHER, "--source", "expert"), "two teachers have the same name"),
    (
        ("distill", "--objective", "dp", "--student", "normed", "--source", "alpha"),
        f"{OTHERS}; use --objective cross-task for sources of other label spaces",
    ),
    (
        ("distill", "--objective", "dp", "--student", "alpha", "--source", "expert"),
        f"{OTHERS}; train it for the task first: zoo finetune alpha",
    ),
    (
        ("distill", "--objective", "kl", "--student", "remote", "--source", "expert"),
        "remote has stored outputs only; a student needs a network",
    ),
    (
        ("distill", "--objective", "xe-kl", *TEACHER, "--unlabelled-from", "unlabelled"),
        "xe-kl learns from labelled images alone; drop --unlabelled-from",
    ),
    (("distill", "--source", "alpha", "--pseudo", "there"), "--source and --pseudo cannot be combined"),
    (("distill", "--scores", "there"), "--scores needs --pseudo"),
    (("distill", "--pseudo", "there", "--metric", "cka"), "--metric and --pseudo cannot be combined"),
    (
        ("distill", "--out", "x" * 151),
        "the run name xxxxxxxxxxxxxxxxxxxx… is too long: 151 bytes, at most 150; give a shorter --name",
    ),
    (("finetune", "alpha", "--name", "x" * 300), "… is too long: 300 bytes"),
    (("finetune", "best", "--unlabelled-from", "unlabelled"), "--unlabelled-from belongs to --objective fixmatch"),
    (("finetune", "best", "--freeze", "head"), '--freeze is "head"'),
    (("finetune", "best", "--freeze", "body", "--recalibrate"), "--recalibrate would change the body"),
    (
        ("finetune", "best", "--objective", "fixmatch", "--lam", "0.5", "--unlabelled-weight", "1"),
        "--lam and --unlabelled-weight cannot be combined",
    ),
    (("finetune", "best", "--objective", "fixmatch", "--threshold", "-1"), "--threshold is -1; "),
    (("finetune", "best", "--objective", "fixmatch", "--temperature", "0"), "--temperature is 0; "),
    (("finetune", "best", "--lr", "0.1,x"), '--lr is "0.1,x"; '),
    (("finetune", "best", "--lr", "0.1,0.10"), "--lr repeats a learning rate"),
    (("finetune", "best", "--lr", "0.1,-1"), "--lr holds -1; "),
    (("finetune", "best", "--lr", "nan,0.1"), "--lr holds nan; "),
    (("finetune", "alpha", "--metric", "cka"), "--metric selects the best source"),
    (("finetune", "best", "--metric", "prac"), "did you mean parc?"),
    (("finetune", "best", "alhpa"), 'no source "alhpa"; did you mean alpha?'),
    (("finetune", "best:smal"), 'no source of architecture "smal"; did you mean small?'),
]


@pytest.mark.parametrize(
    ("arguments", "message"), REFUSED, ids=lambda value: "" if isinstance(value, str) else " ".join(value)
)
def test_wrong_flags_are_refused(workspace: Path, arguments: tuple[str, ...], message: str) -> None:
    assert message in refuse(*arguments, workspace=workspace)


UNKNOWN_VIEW = [
    (("distill", "--student", "python:models.py:small"), "the student"),
    (("distill", "--student", "torchvision:resnet18"), "the student"),
    (("distill", "--objective", "kl", "--source", "expert", "--student", "python:models.py:small"), "the student"),
    (("distill", "--init", "python:models.py:small"), "the source models.py-small"),
    (("finetune", "python:models.py:small"), "the source models.py-small"),
]


@pytest.mark.parametrize(("arguments", "model"), UNKNOWN_VIEW, ids=lambda value: "" if isinstance(value, str) else None)
def test_unknown_preprocessing_is_refused_first(tmp_path: Path, arguments: tuple[str, ...], model: str) -> None:
    place = transfer_workspace.make(tmp_path / "task")
    for folder in ("features", "scores", "pseudo"):
        shutil.rmtree(place / folder)
    error = refuse(*arguments, workspace=place)
    missing = "input_size, mean, std missing; set them in zoo.toml, in the table of the model"
    assert error == f"the preprocessing of {model} is not known: {missing}"


def test_early_answers_load_no_torch(tmp_path: Path) -> None:
    place = make(tmp_path / "task", upto="split")
    code = "import json, sys; from zoo_cli.__main__ import main\n"
    code += (
        "for words in json.loads(sys.argv[1]):\n    main([*words, '-C', sys.argv[2]]); print('after:', *sys.modules)"
    )
    words = [UNKNOWN_VIEW[0][0], UNKNOWN_VIEW[-1][0], ("distill", "--dry-run")]
    command = [sys.executable, "-c", code, json.dumps(words), str(place)]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    after = [line for line in loaded.stdout.splitlines() if line.startswith("after:")]
    assert len(after) == 3
    for line in after:
        assert not {"torch", "torchvision"} & set(line.split())


def test_out_must_not_be_a_file(workspace: Path) -> None:
    error = refuse("finetune", "alpha", "--out", str(workspace / "samples.csv"), workspace=workspace)
    assert error == f"{workspace}/samples.csv is a file, not a folder; choose another folder"


def test_stored_teachers_cannot_run_live(tmp_path: Path) -> None:
    place = transfer_workspace.make(tmp_path / "task")
    ids = pq.read_table(place / "manifest.parquet").column("id").to_pylist()
    logits = pa.array([[0.0, 1.0, 2.0]] * len(ids), pa.list_(pa.float32()))
    pq.write_table(pa.table({"id": ids, "logits": logits}), place / "remote.parquet")
    with (place / "zoo.toml").open("a", encoding="utf-8") as stream:
        stream.write('\n[[source]]\nname = "remote"\nmodel = "features:remote.parquet"\n')
    kl = ("distill", "--objective", "kl", "--student", "normed", "--source", "remote", *QUICK)
    live = run(*kl, workspace=place)
    assert live.code == 2
    assert live.error == (
        "remote has stored outputs only: it cannot run on every batch; set --targets stored and --augment none"
    )
    mirrored = run(*kl, "--targets", "stored", workspace=place)
    assert mirrored.code == 2
    assert mirrored.error == (
        "remote has stored outputs of the plain view only, not of the mirrored one; "
        "set --augment none, or --targets stored-clean"
    )
    assert not (place / "runs").exists()
    assert run(*kl, "--targets", "stored-clean", workspace=place).code == 0


def test_sigmoid_sources_cannot_be_teachers(tmp_path: Path) -> None:
    place = transfer_workspace.make(tmp_path / "task")
    edit(place, 'name = "expert"', 'name = "expert"\noutput = "sigmoid"')
    error = refuse("distill", "--objective", "kl", *TEACHER, workspace=place)
    assert error == (
        "the outputs of expert are not a probability distribution (sigmoid): it cannot be a teacher; "
        "--objective cross-task learns from such sources"
    )


def test_no_source_is_an_error(tmp_path: Path) -> None:
    place = make(tmp_path / "task", upto="split")
    text = (place / "zoo.toml").read_text()
    (place / "zoo.toml").write_text(text[: text.index("[[source]]")])
    assert "no teacher" in refuse("distill", "--objective", "kl", workspace=place)
    assert "has no source with a network" in refuse("finetune", "best", workspace=place)


DRY: dict[str, tuple[tuple[str, ...], list[str]]] = {
    "weightings": (
        ("distill", "--weighting", "p=1", "--weighting", "equal", "--seed", "0", "--seed", "1"),
        [f"cross-task-parc-{kind}-s{seed}" for kind in ("p1", "equal") for seed in (0, 1)],
    ),
    "each": (
        ("distill", "--each-source", "--source", "alpha", "--source", "beta"),
        ["cross-task-from-alpha-s0", "cross-task-from-beta-s0"],
    ),
    "of": (
        ("distill", "--source", "beta", "--source", "alpha", "--weighting", "p=1", "--weighting", "equal"),
        ["cross-task-parc-p1-of-alpha+beta-s0", "cross-task-parc-equal-of-alpha+beta-s0"],
    ),
    "labels": (("distill", "--source", "alpha", "--lam", "1"), ["labels-only-s0"]),
    "draws": (("distill", "--draws", "2"), [f"cross-task-parc-random-seed{draw}-s0" for draw in range(2)]),
    "heads": (("distill", "--objective", "heads", "--seed", "3"), ["heads-ridge-product-s3"]),
    "kl": (("distill", "--objective", "kl", *TEACHER), ["kl-expert-s0"]),
    "soup": (("distill", "--objective", "dp", *TWO, "--teachers", "soup"), ["dp-expert+noisy-soup-s0"]),
    "sequential": (("distill", "--objective", "mcl", *TWO), ["mcl-expert+noisy-sequential-s0"]),
    "stored": (("distill", "--objective", "kl", *TEACHER, "--targets", "stored"), ["kl-expert-s0"]),
    "finetune": (("finetune", "alpha", "student"), ["finetune-alpha-s0", "finetune-student-s0"]),
    "head": (("finetune", "alpha", "--freeze", "body"), ["finetune-head-alpha-s0"]),
    "fixmatch": (("finetune", "student", "--objective", "fixmatch"), ["fixmatch-student-s0"]),
    "sweep": (("finetune", "alpha", "--lr", "0.1,0.01"), ["finetune-alpha-s0"]),
}


@pytest.mark.parametrize("case", DRY)
def test_dry_run_names_every_run_and_writes_nothing(workspace: Path, case: str) -> None:
    command, names = DRY[case]
    before = contents(workspace)
    result = run(*command, *QUICK, "--dry-run", workspace=workspace)
    assert result.code == 0, result.err
    assert result.out == ""
    lines = [line for line in result.err.splitlines() if line.startswith("would train ")]
    assert [line.split(": ")[0].removeprefix(f"would train {workspace}/runs/") for line in lines] == names
    assert all("6 steps of 8 images" in line for line in lines)
    assert contents(workspace) == before


@pytest.mark.parametrize("upto", [None, "split", "extract"])
def test_dry_run_of_best_scores_nothing(tmp_path: Path, upto: str | None) -> None:
    place = make(tmp_path / "task", upto=upto)
    before = contents(place)
    result = run("finetune", "best", *QUICK, "--dry-run", workspace=place)
    assert (result.code, result.err) == (0, "would train the best source, after zoo rank\n")
    assert contents(place) == before


def test_dry_run_of_best_reads_existing_scores(tmp_path: Path) -> None:
    place = make(tmp_path / "task", upto="rank")
    best = run("rank", "--json", workspace=place).data[0]["source"]
    before = contents(place)
    result = run("finetune", "best", *QUICK, "--dry-run", workspace=place)
    assert result.code == 0
    assert f"would train {place}/runs/finetune-{best}-s0: 6 steps of 8 images" in result.err
    assert contents(place) == before


UP_TO_DATE: dict[str, tuple[str, ...]] = {
    "cross-task": ("distill", "--weighting", "equal", "--source", "alpha", "--source", "beta", "--student", "normed"),
    "fixmatch": ("finetune", "normed", "--objective", "fixmatch"),
    "head": ("finetune", "normed", "--freeze", "body"),
    "kl": ("distill", "--objective", "kl", *TEACHER),
    "parallel": ("distill", "--objective", "dp", *TWO, "--teachers", "parallel"),
    "sequential": ("distill", "--objective", "kl", *TWO),
    "soup": ("distill", "--objective", "kl", *TWO, "--teachers", "soup"),
    "sweep": ("finetune", "normed", "--lr", "0.1,0.01"),
}
CHANGED: dict[str, tuple[tuple[str, ...], str]] = {
    "cross-task": (("--lam", "0.5"), "lam (0.8 there, 0.5 requested)"),
    "fixmatch": (("--threshold", "0.5"), "threshold (0.95 there, 0.5 requested)"),
    "head": (("--recalibrate",), "--recalibrate would change the body"),
    "kl": (("--kd-temperature", "2"), "kd_temperature (1.0 there, 2.0 requested)"),
    "parallel": (("--teachers", "soup"), "options teachers (parallel there, soup requested)"),
    "sequential": (("--teachers", "sequential:order=descending"), "teachers"),
    "soup": (("--recalibrate",), "recalibrate (False there, True requested)"),
    "sweep": (("--momentum", "0.5"), "momentum (0.9 there, 0.5 requested)"),
}


@pytest.mark.parametrize("case", slow_unless(UP_TO_DATE, ("cross-task", "fixmatch", "sequential", "sweep")))
def test_finished_run_is_up_to_date_until_options_change(tmp_path: Path, case: str) -> None:
    place = transfer_workspace.make(tmp_path / "task")
    command = (*UP_TO_DATE[case], *QUICK, "--name", "mine")
    first = run(*command, "--json", workspace=place)
    assert first.code == 0, first.err
    before = {path: path.stat().st_mtime_ns for path in (place / "runs").rglob("*")}
    first_contents = contents(place / "runs")
    again = run(*command, "--json", workspace=place)
    assert (again.code, again.data) == (0, first.data)
    assert "runs/mine is up to date" in again.err
    assert "training " not in again.err.replace("training data", "").replace("training on", "")
    more, message = CHANGED[case]
    other = run(*command, *more, workspace=place)
    assert other.code == 2
    assert message in other.error
    assert {path: path.stat().st_mtime_ns for path in (place / "runs").rglob("*")} == before
    assert run(*command, "--overwrite", workspace=place).code == 0
    assert contents(place / "runs") == first_contents


@pytest.mark.parametrize("case", slow_unless(UP_TO_DATE, ("cross-task", "head", "soup")))
def test_run_json_holds_what_the_run_is_made_from(tmp_path: Path, case: str) -> None:
    place = transfer_workspace.make(tmp_path / "task")
    assert run(*UP_TO_DATE[case], *QUICK, "--name", "mine", workspace=place).code == 0
    record = json.loads((place / "runs/mine/run.json").read_text())
    assert {"objective", "student", "options", "weights", "inputs", "task", "device", "threads", "versions"} <= set(
        record
    )
    assert (record["task"], record["device"]) == ("patterns", "cpu")
    assert set(record["versions"]) == {"zoo", "torch", "torchvision"}
    options = (
        "steps",
        "lr",
        "momentum",
        "weight_decay",
        "schedule",
        "warmup",
        "nesterov",
        "batch_size",
        "augment",
        "seed",
    )
    assert {*options, "precision", "recalibrate", "unlabelled_from"} <= set(record["options"])
    assert {"labelled images", "unlabelled images", "test images"} <= set(record["inputs"])
    if UP_TO_DATE[case][0] == "finetune":
        assert record["source"] == "normed"
        assert "file normed.py" in record["inputs"]
    elif case == "cross-task":
        assert {row["source"]: row["weight"] for row in record["weights"]} == {"alpha": 0.5, "beta": 0.5}
        assert {"pseudo-labels of alpha", "file normed.py"} <= set(record["inputs"])
    else:
        assert {"student weights", "student built as", "teacher expert"} <= set(record["inputs"])
        assert record["teachers"]
