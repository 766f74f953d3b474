"""Flags of the commands that train: what cannot be is refused before anything is made, and a dry run makes nothing."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.pipeline import pupils
from tests.pipeline.pupils import QUICK
from tests.pipeline.test_bytes import contents
from tests.workspaces import edit, make, run
from zoo_cli import registry

TEACHER = ("--student", "normed", "--source", "expert")
TWO = (*TEACHER, "--source", "noisy")
OURS = {
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
THEIRS = {"--teachers": "soup", "--targets": "live"}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With teachers of the task's classes; no test of this file may change anything in it."""
    place = pupils.make(tmp_path_factory.mktemp("flags") / "task")
    with (place / "zoo.toml").open("a", encoding="utf-8") as stream:
        stream.write('\n[[source]]\nname = "remote"\nmodel = "features:remote.parquet"\n')
    return place


def refused(*arguments: str, workspace: Path) -> str:
    """The one line with which a command is refused, having made nothing."""
    before = contents(workspace)
    result = run(*arguments, *QUICK, workspace=workspace)
    assert result.code == 2, result.err
    assert contents(workspace) == before
    return result.error


def taught() -> list[str]:
    return [name for name, facts in registry.OBJECTIVES.items() if facts.needs_teacher]


@pytest.mark.parametrize("objective", taught())
@pytest.mark.parametrize("flag", OURS)
def test_a_flag_of_cross_task_distillation_is_refused_by_the_others(workspace: Path, objective: str, flag: str) -> None:
    given = [flag, OURS[flag]] if OURS[flag] else [flag]
    told = refused("distill", "--objective", objective, *TEACHER, *given, workspace=workspace)
    assert told == f"{flag} belongs to --objective cross-task; {objective} does not know it"


@pytest.mark.parametrize("flag", THEIRS)
def test_a_flag_of_general_transfer_is_refused_by_cross_task(workspace: Path, flag: str) -> None:
    told = refused("distill", flag, THEIRS[flag], workspace=workspace)
    assert told == f"{flag} belongs to --objective kl, xe-kl, mcl or dp; cross-task does not know it"


@pytest.mark.parametrize("flag", ["--threshold", "--temperature", "--lam", "--unlabelled-weight"])
def test_a_flag_of_fixmatch_is_refused_by_supervised_training(workspace: Path, flag: str) -> None:
    told = refused("finetune", "alpha", flag, "0.5", workspace=workspace)
    assert told == f"{flag} belongs to --objective fixmatch; leave it out"


OTHERS = "alpha has 4 classes; its classes do not match the task's 3: blue, green, red"
CANNOT: list[tuple[tuple[str, ...], str]] = [
    (
        ("distill", "--objective", "supervised"),
        "supervised trains with labels, not sources; zoo finetune --objective supervised",
    ),
    (("finetune", "alpha", "--objective", "kl"), "kl learns from sources; zoo distill --objective kl"),
    (("distill", "--weighting", "p=1", "--weighting", "equal", "--name", "mine"), "--name and --out are of one run"),
    (("distill", "--seed", "0", "--seed", "1", "--out", "mine"), "--name and --out are of one run"),
    (("distill", "--draws", "2", "--name", "mine"), "--name and --out are of one run"),
    (("distill", "--each-source", "--name", "mine"), "--name and --out are of one run"),
    (("finetune", "best", "alpha", "--name", "mine"), "--name and --out are of one run"),
    (
        ("distill", "--objective", "kl", *TEACHER, "--seed", "0", "--seed", "1", "--name", "mine"),
        "--name and --out are of one run",
    ),
    (("finetune", "best", "--name", "a/b"), '--name "a/b"'),
    (("distill", "--weighting", "p=1", "--weighting", "power:p=1"), "two of the runs asked for are the same"),
    (("finetune", "best", "best"), "two of the runs asked for are the same"),
    (("finetune", "best", "--seed", "1", "--seed", "1"), "a --seed is given twice"),
    (("distill", "--each-source", "--weighting", "p=1"), "--weighting weighs sources, --each-source gives each"),
    (("distill", "--each-source", "--metric", "cka"), "--metric weighs sources, --each-source gives each"),
    (("distill", "--each-source", "--draws", "2"), "--draws weighs sources, --each-source gives each"),
    (("distill", "--lam", "1", "--each-source"), "--lam 1 is labels only: no source takes part"),
    (("distill", "--lam", "1", "--draws", "2"), "--lam 1 is labels only: no source takes part"),
    (("distill", "--kd-temperature", "0"), "--kd-temperature 0"),
    (("distill", "--objective", "kl", *TEACHER, "--kd-temperature", "-1"), "--kd-temperature -1"),
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
    (("distill", "--objective", "kl", *TWO, "--teachers", "soup:order=given"), '--teachers "soup:order=given"'),
    (("distill", "--objective", "kl", *TWO, "--teachers", "parallel"), "kl has one teacher a step"),
    (("distill", "--objective", "kl", *TEACHER, "--targets", "storde"), "did you mean stored?"),
    (
        ("distill", "--objective", "kl", *TEACHER, "--targets", "stored", "--augment", "crop"),
        "stored targets are of the plain or the mirrored view, not of --augment crop",
    ),
    (("distill", "--objective", "kl", *TEACHER, "--source", "expert"), "two teachers have one name"),
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
        "of remote only stored outputs are known; a student needs a network",
    ),
    (
        ("distill", "--objective", "xe-kl", *TEACHER, "--unlabelled-from", "unlabelled"),
        "xe-kl learns from labelled images alone; leave --unlabelled-from out",
    ),
    (("distill", "--source", "alpha", "--pseudo", "there"), "--source names a source of zoo.toml"),
    (("distill", "--scores", "there"), "--scores are those of the sources of --pseudo"),
    (("distill", "--pseudo", "there", "--metric", "cka"), "--metric is of the scores of zoo.toml"),
    (("distill", "--out", "x" * 151), "xxxxxxxxxxxxxxxxxxxx… of 151 bytes is too long for the name of a run"),
    (("finetune", "alpha", "--name", "x" * 300), "… of 300 bytes is too long for the name of a run"),
    (("finetune", "best", "--unlabelled-from", "unlabelled"), "--unlabelled-from belongs to --objective fixmatch"),
    (("finetune", "best", "--freeze", "head"), '--freeze "head"'),
    (("finetune", "best", "--freeze", "body", "--recalibrate"), "--recalibrate would change the body"),
    (
        ("finetune", "best", "--objective", "fixmatch", "--lam", "0.5", "--unlabelled-weight", "1"),
        "--lam and --unlabelled-weight are two ways to say one thing",
    ),
    (("finetune", "best", "--objective", "fixmatch", "--threshold", "-1"), "threshold=-1 is negative or not finite"),
    (("finetune", "best", "--objective", "fixmatch", "--temperature", "0"), "temperature=0 is not positive"),
    (("finetune", "best", "--lr", "0.1,x"), '--lr "0.1,x"'),
    (("finetune", "best", "--lr", "0.1,0.10"), "names a rate twice"),
    (("finetune", "best", "--lr", "0.1,-1"), "lr is -1"),
    (("finetune", "best", "--lr", "nan,0.1"), "lr is nan"),
    (("finetune", "alpha", "--metric", "cka"), "--metric says which source is the best"),
    (("finetune", "best", "--metric", "prac"), "did you mean parc?"),
    (("finetune", "best", "alhpa"), 'no source "alhpa"; did you mean alpha?'),
    (("finetune", "best:smal"), 'no source of architecture "smal"; did you mean small?'),
]


@pytest.mark.parametrize(
    ("arguments", "told"), CANNOT, ids=lambda value: "" if isinstance(value, str) else " ".join(value)
)
def test_training_that_cannot_be_is_refused_before_anything_is_made(
    workspace: Path, arguments: tuple[str, ...], told: str
) -> None:
    assert told in refused(*arguments, workspace=workspace)


def test_a_run_in_the_place_of_a_file_is_refused(workspace: Path) -> None:
    told = refused("finetune", "alpha", "--out", str(workspace / "samples.csv"), workspace=workspace)
    assert told == f"{workspace}/samples.csv is a file, where a run is a folder; --out another place"


def test_a_teacher_whose_outputs_are_stored_is_refused_where_it_would_be_asked(tmp_path: Path) -> None:
    place = pupils.make(tmp_path / "task")
    ids = pq.read_table(place / "manifest.parquet").column("id").to_pylist()
    logits = pa.array([[0.0, 1.0, 2.0]] * len(ids), pa.list_(pa.float32()))
    pq.write_table(pa.table({"id": ids, "logits": logits}), place / "remote.parquet")
    with (place / "zoo.toml").open("a", encoding="utf-8") as stream:
        stream.write('\n[[source]]\nname = "remote"\nmodel = "features:remote.parquet"\n')
    kl = ("distill", "--objective", "kl", "--student", "normed", "--source", "remote", *QUICK)
    live = run(*kl, workspace=place)
    assert live.code == 2
    assert live.error == (
        "of remote only stored outputs are known: it cannot be asked; --targets stored --augment none"
    )
    mirrored = run(*kl, "--targets", "stored", workspace=place)
    assert mirrored.code == 2
    assert mirrored.error == (
        "the stored outputs of remote are of the plain view, not of the mirrored one; "
        "--augment none, or --targets stored-clean"
    )
    assert not (place / "runs").exists()
    assert run(*kl, "--targets", "stored-clean", workspace=place).code == 0


def test_a_source_with_a_probability_for_each_class_is_no_teacher(tmp_path: Path) -> None:
    place = pupils.make(tmp_path / "task")
    edit(place, 'name = "expert"', 'name = "expert"\noutput = "sigmoid"')
    told = refused("distill", "--objective", "kl", *TEACHER, workspace=place)
    assert told.startswith("expert gives every class a probability of its own: it has no one answer to teach; ")


def test_teachers_without_any_source_are_asked_for(tmp_path: Path) -> None:
    place = make(tmp_path / "task", upto="split")
    text = (place / "zoo.toml").read_text()
    (place / "zoo.toml").write_text(text[: text.index("[[source]]")])
    assert "no teacher" in refused("distill", "--objective", "kl", workspace=place)
    assert "has no source with a network" in refused("finetune", "best", workspace=place)


DRY: dict[str, tuple[tuple[str, ...], list[str]]] = {
    "weightings": (
        ("distill", "--weighting", "p=1", "--weighting", "equal", "--seed", "0", "--seed", "1"),
        [f"cross-task-parc-{kind}-s{seed}" for kind in ("p1", "equal") for seed in (0, 1)],
    ),
    "each": (
        ("distill", "--each-source", "--source", "alpha", "--source", "beta"),
        ["cross-task-from-alpha-s0", "cross-task-from-beta-s0"],
    ),
    "draws": (("distill", "--draws", "2"), [f"cross-task-parc-random-seed{draw}-s0" for draw in range(2)]),
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
def test_a_dry_run_of_training_names_every_run_and_makes_nothing(workspace: Path, case: str) -> None:
    command, names = DRY[case]
    before = contents(workspace)
    result = run(*command, *QUICK, "--dry-run", workspace=workspace)
    assert result.code == 0, result.err
    assert result.out == ""
    told = [line for line in result.err.splitlines() if line.startswith("would train ")]
    assert [line.split(": ")[0].removeprefix(f"would train {workspace}/runs/") for line in told] == names
    assert all("6 steps of 8 images" in line for line in told)
    assert contents(workspace) == before


@pytest.mark.parametrize("upto", [None, "split", "extract"])
def test_a_dry_run_of_the_best_source_scores_none(tmp_path: Path, upto: str | None) -> None:
    place = make(tmp_path / "task", upto=upto)
    before = contents(place)
    result = run("finetune", "best", *QUICK, "--dry-run", workspace=place)
    assert (result.code, result.err) == (0, "would train the best source, after zoo rank\n")
    assert contents(place) == before


def test_a_dry_run_knows_the_best_source_once_it_is_scored(tmp_path: Path) -> None:
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
OTHER: dict[str, tuple[tuple[str, ...], str]] = {
    "cross-task": (("--lam", "0.5"), "lam (0.8 there, 0.5 asked for)"),
    "fixmatch": (("--threshold", "0.5"), "threshold (0.95 there, 0.5 asked for)"),
    "head": (("--recalibrate",), "--recalibrate would change the body"),
    "kl": (("--kd-temperature", "2"), "kd_temperature (1.0 there, 2.0 asked for)"),
    "parallel": (("--teachers", "soup"), "options teachers (parallel there, soup asked for)"),
    "sequential": (("--teachers", "sequential:order=descending"), "teachers"),
    "soup": (("--recalibrate",), "recalibrate (False there, True asked for)"),
    "sweep": (("--momentum", "0.5"), "momentum (0.9 there, 0.5 asked for)"),
}


@pytest.mark.parametrize("case", UP_TO_DATE)
def test_a_run_that_is_there_is_up_to_date_until_something_else_is_asked_for(tmp_path: Path, case: str) -> None:
    place = pupils.make(tmp_path / "task")
    command = (*UP_TO_DATE[case], *QUICK, "--name", "mine")
    first = run(*command, "--json", workspace=place)
    assert first.code == 0, first.err
    before = {path: path.stat().st_mtime_ns for path in (place / "runs").rglob("*")}
    made = contents(place / "runs")
    again = run(*command, "--json", workspace=place)
    assert (again.code, again.data) == (0, first.data)
    assert "runs/mine is up to date" in again.err
    assert "training " not in again.err.replace("training data", "").replace("training on", "")
    more, told = OTHER[case]
    other = run(*command, *more, workspace=place)
    assert other.code == 2
    assert told in other.error
    assert {path: path.stat().st_mtime_ns for path in (place / "runs").rglob("*")} == before
    assert run(*command, "--overwrite", workspace=place).code == 0
    assert contents(place / "runs") == made


@pytest.mark.parametrize("case", UP_TO_DATE)
def test_a_run_says_what_it_was_made_from(tmp_path: Path, case: str) -> None:
    place = pupils.make(tmp_path / "task")
    assert run(*UP_TO_DATE[case], *QUICK, "--name", "mine", workspace=place).code == 0
    said = json.loads((place / "runs/mine/run.json").read_text())
    assert {"objective", "student", "options", "weights", "inputs", "task", "device", "threads", "versions"} <= set(
        said
    )
    assert (said["task"], said["device"]) == ("patterns", "cpu")
    assert set(said["versions"]) == {"zoo", "torch", "torchvision"}
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
    assert {*options, "precision", "recalibrate", "unlabelled_from"} <= set(said["options"])
    assert {"labelled images", "unlabelled images", "test images"} <= set(said["inputs"])
    if UP_TO_DATE[case][0] == "finetune":
        assert said["source"] == "normed"
        assert "file normed.py" in said["inputs"]
    elif case == "cross-task":
        assert {row["source"]: row["weight"] for row in said["weights"]} == {"alpha": 0.5, "beta": 0.5}
        assert {"pseudo-labels of alpha", "file normed.py"} <= set(said["inputs"])
    else:
        assert {"student weights", "student built as", "teacher expert"} <= set(said["inputs"])
        assert said["teachers"]
