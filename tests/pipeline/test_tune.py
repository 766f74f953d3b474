"""`zoo tune`: what a trial sees, the search as a command, what it refuses. The rule is in evaluate/test_tuning.py."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests import workspaces
from tests.workspaces import Result, run
from zoo_cli import config, console
from zoo_cli.commands.tune_answer import describe_verdict, format_command
from zoo_cli.evaluation.named_runs import LABELS_ONLY
from zoo_cli.evaluation.tuning import Gain, SearchResult, Trial
from zoo_cli.pipeline import tune, tune_plans
from zoo_cli.pipeline.tune_candidates import BASELINE, Candidate
from zoo_cli.pipeline.tune_config import TuneConfig
from zoo_cli.pipeline.tune_record import CandidateRow, describe_search
from zoo_cli.pipeline.tune_trials import ABSENT, Split, Trials, draw_splits
from zoo_cli.store.manifest import Images, load_manifest
from zoo_cli.store.text_column import TextColumn
from zoo_cli.training.training_config import TrainingConfig

LEARNING = '[[candidate]]\nname = "learns"\nobjective = "labels-only"\nlr = 0.1\n'
FLAGS = ("--lr", "0.000001", "--steps", "40", "--batch-size", "16", "--augment", "none", "--budget", "8")
"""Labels only hardly learns at this rate."""


def prepare_workspace(folder: Path) -> Path:
    made = workspaces.make(folder, upto="extract")
    (made / "candidates.toml").write_text(LEARNING)
    return made


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return prepare_workspace(tmp_path / "task")


@pytest.fixture(scope="module")
def first_search(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workspace after a search that chose `learns`."""
    made = prepare_workspace(tmp_path_factory.mktemp("first") / "task")
    result = tune_in(made)
    assert result.code == 0, result.err
    return made


@pytest.fixture
def searched(first_search: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    shutil.copytree(first_search, tmp_path / "searched")
    return tmp_path / "searched"


def tune_in(workspace: Path, *flags: str) -> Result:
    return run("tune", "--candidates", str(workspace / "candidates.toml"), *FLAGS, *flags, workspace=workspace)


def contents(folder: Path) -> dict[str, bytes]:
    """The files below a folder, without those that hold times."""
    paths = [path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".log.json")]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(paths)}


def make_images(sha256: list[str], splits: str) -> Images:
    """Images of two classes, in turn. `splits`: a letter each, of labelled, unlabelled, test."""
    n = len(sha256)
    split = np.array([{"l": "labelled", "u": "unlabelled", "t": "test"}[letter] for letter in splits], dtype=object)
    return Images(
        Path("manifest.parquet"),
        Path(),
        TextColumn.of(f"{i:02}" for i in range(n)),
        np.array(["train"] * n, dtype=object),
        split,
        split == "labelled",
        np.where(split == "labelled", np.arange(n) % 2, -1),
        TextColumn.of(sha256),
        TextColumn.of([None] * n),
    )


@pytest.fixture
def without_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "zoo_cli.pipeline.tune_trials.load_groups", lambda images: np.array([None] * len(images), dtype=object)
    )


@pytest.mark.usefixtures("without_groups")
def test_held_out_images_are_in_no_part_of_a_trial() -> None:
    images = make_images([str(i) for i in range(24)], "l" * 12 + "u" * 8 + "t" * 4)
    for split in draw_splits(images, 5, seed=0):
        parts = split.images
        assert len(split.held_out) == 2
        assert set(images.labels[split.held_out]) == {0, 1}
        assert np.array_equal(parts.where(split=("test",)), split.held_out)
        assert not parts.probe[split.held_out].any()
        assert len(parts.where(split=("labelled",))) == split.sizes.left == 10
        assert np.array_equal(parts.where(split=("unlabelled",)), np.arange(12, 20))
        assert set(parts.split[20:]) == {ABSENT}


@pytest.mark.usefixtures("without_groups")
def test_splits_are_stratified_and_differ() -> None:
    images = make_images([str(i) for i in range(40)], "l" * 40)
    drawn = {tuple(split.held_out) for split in draw_splits(images, 8, seed=0)}
    assert len(drawn) == 8
    assert [tuple(split.held_out) for split in draw_splits(images, 8, seed=0)] != sorted(drawn)
    assert {tuple(np.bincount(images.labels[list(rows)])) for rows in drawn} == {(4, 4)}


def test_images_like_held_out_ones_are_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    sha256 = [str(i // 2) for i in range(20)] + [str(i) for i in range(10)] + ["x", "y"]
    groups = [None] * 30 + ["a", None]
    images = make_images(sha256, "l" * 20 + "u" * 12)
    images.labels[:20] = np.arange(20) // 10
    groups[0] = "a"
    monkeypatch.setattr("zoo_cli.pipeline.tune_trials.load_groups", lambda _: np.array(groups, dtype=object))
    group_seen = False
    for split in draw_splits(images, 12, seed=0):
        others = np.setdiff1d(np.arange(len(images)), split.held_out)
        seen = others[split.images.split[others] != ABSENT]
        assert not set(images.sha256[seen]) & set(images.sha256[split.held_out])
        assert (split.images.split[30] == ABSENT) == (0 in split.held_out)
        group_seen |= 0 in split.held_out
    assert group_seen


@pytest.mark.usefixtures("without_groups")
def test_probe_set_keeps_no_single_image_of_a_class() -> None:
    images = make_images([str(i) for i in range(6)], "llluuu")
    for split in draw_splits(images, 4, seed=0):
        left = split.images.where(split=("labelled",))
        counts = np.bincount(images.labels[left], minlength=2)
        assert all(counts[images.labels[row]] > 1 for row in split.images.where(probe=True))


def prepare_trials(workspace: Path, splits: list[Split] | None = None) -> Trials:
    """The trials of labels only, of heads and of cross-task, three steps each."""
    training = TrainingConfig(steps=3, batch_size=8, device="cpu")
    (workspace / "three.toml").write_text(
        '[[candidate]]\nobjective = "heads"\n[[candidate]]\nobjective = "cross-task"\n'
    )
    settings = config.load(workspace)
    plan = tune_plans.plan_search(settings, TuneConfig(workspace / "three.toml"), training)
    with console.use(console.Console(verbosity=-1)):
        plan, task = tune_plans.load_shared(plan, refresh=False)
    return Trials(task, plan, splits or draw_splits(task.images, 1, seed=0), steps=3, overwrite=False)


def test_labels_of_held_out_images_change_nothing(tmp_path: Path) -> None:
    folders, answers = [], []
    for name in ("true", "others"):
        workspace = workspaces.make(tmp_path / name, upto="extract")
        images = load_manifest(workspace / "manifest.parquet", workspace)
        (split,) = draw_splits(images, 1, seed=0)
        if name == "others":
            labels = images.labels.copy()
            labels[split.held_out] = (labels[split.held_out] + 1) % 3
            split = replace(split, images=replace(split.images, labels=labels))
        trials = [Trial(0, candidate) for candidate in (LABELS_ONLY, "heads", "cross-task")]
        with console.use(console.Console(verbosity=-1)):
            answers.append(prepare_trials(workspace, [split]).evaluate(trials))
        folders.append(contents(workspace / "tune"))
    assert len([name for name in folders[0] if name.endswith("model.safetensors")]) == 3
    assert len([name for name in folders[0] if "/pseudo/" in name or "/scores/" in name]) > 3
    of_labels = ("predictions.parquet", "SHA256SUMS")
    assert folders[0].keys() == folders[1].keys()
    assert {name for name in folders[0] if folders[0][name] != folders[1][name]} <= {
        name for name in folders[0] if name.endswith(of_labels)
    }


def test_pools_answer_without_held_out_images(tmp_path: Path) -> None:
    from zoo_cli.store import feature_files

    workspace = workspaces.make(tmp_path / "task", upto="extract")
    trials = prepare_trials(workspace)
    with console.use(console.Console(verbosity=-1)):
        trials.evaluate([Trial(0, "heads"), Trial(0, "cross-task")])
    (split,) = trials.splits
    (pool,) = (workspace / "tune" / "split-00" / "pseudo").glob("head=*")
    outputs = feature_files.load_outputs(pool, columns=("probs",))
    assert set(outputs.ids) == set(split.images.ids[split.images.where(split=("labelled", "unlabelled"))])
    assert not set(outputs.ids) & set(split.images.ids[split.held_out])
    assert not (workspace / "scores").exists()
    assert not (workspace / "heads").exists()


def test_planted_candidate_is_chosen_and_trained(searched: Path) -> None:
    workspace = searched
    again = tune_in(workspace, "--json")
    assert again.code == 0, again.err
    assert "tune.json is up to date" in again.err
    data = again.data
    assert (data["chosen"], data["best"], data["labels"]) == ("learns", "learns", 15)
    assert [row["candidate"] for row in data["rows"]] == [LABELS_ONLY, "learns"]
    assert data["rows"][1]["low"] > 0
    record = json.loads((workspace / "tune" / "tune.json").read_text())
    assert record["rows"] == data["rows"]
    options = json.loads((workspace / "runs" / "tuned-s0" / "run.json").read_text())["options"]
    assert (options["lr"], options["lam"], options["steps"]) == (0.1, 1.0, 40)
    trial = json.loads((workspace / "tune" / "split-03" / "runs" / "learns" / "run.json").read_text())["options"]
    assert (trial["lr"], trial["steps"], trial["seed"]) == (0.1, 40, 3)

    other = tune_in(workspace, "--momentum", "0.5")
    assert other.code == 2
    assert other.error.startswith(f"{workspace}/tune/tune.json was made from other inputs: momentum (0.9 there, 0.5")


def test_fixmatch_is_a_candidate_that_trains_on_all_labels(workspace: Path) -> None:
    candidate = '[[candidate]]\nname = "self-taught"\nobjective = "fixmatch"\nlr = 0.1\nlam = 0.9\n'
    (workspace / "candidates.toml").write_text(candidate)
    result = tune_in(workspace, "--json")
    assert result.code == 0, result.err
    assert result.data["chosen"] == "self-taught"
    for run_folder in (workspace / "tune" / "split-00" / "runs" / "self-taught", workspace / "runs" / "tuned-s0"):
        record = json.loads((run_folder / "run.json").read_text())
        assert (record["objective"], record["options"]["lam"], record["options"]["steps"]) == ("fixmatch", 0.9, 40)


def test_candidate_without_weights_on_a_split_is_dropped(tmp_path: Path) -> None:
    trials = prepare_trials(workspaces.make(tmp_path / "task", upto="extract"))
    plan = trials.candidates["cross-task"].plan
    config = replace(plan.config, min_weight=0.9)
    rankings = tuple(replace(ranking, min_weight=0.9) for ranking in plan.rankings)
    trials.candidates["cross-task"] = replace(
        trials.candidates["cross-task"], plan=replace(plan, config=config, rankings=rankings)
    )
    with console.use(console.Console(verbosity=-1)):
        answers = trials.evaluate([Trial(0, LABELS_ONLY), Trial(0, "cross-task")])
    assert answers[Trial(0, "cross-task")] == "no source has a weight of at least 0.9 without the held-out labels"
    assert len(answers[Trial(0, LABELS_ONLY)]) == 3


def test_tuned_run_is_a_method_of_its_own(searched: Path) -> None:
    flags = ("--lr", "0.1", "--steps", "40", "--batch-size", "16", "--augment", "none", "--lam", "1")
    assert run("distill", *flags, workspace=searched).code == 0
    result = run("evaluate", "accuracy", "--by", "method", "--json", workspace=searched)
    assert result.code == 0, result.err
    rows = {row["name"]: row for row in result.data["rows"]}
    assert set(rows) == {LABELS_ONLY, "tuned"}
    assert rows["tuned"]["accuracy"] == rows[LABELS_ONLY]["accuracy"], "they are the same student"


def test_weighting_of_a_candidate_gives_its_weights(workspace: Path) -> None:
    (workspace / "candidates.toml").write_text(
        '[[candidate]]\nobjective = "cross-task"\nweighting = "nearest"\n'
        '[[candidate]]\nobjective = "cross-task"\nweighting = "equal"\n'
    )
    plan = tune_plans.plan_search(
        config.load(workspace), TuneConfig(workspace / "candidates.toml"), TrainingConfig(steps=2)
    )
    assert plan.tried == ("cross-task-weightingnearest", "cross-task-weightingequal")
    assert [ranking.weighting.slug for name in plan.tried for ranking in plan.candidates[name].plan.rankings] == [
        "nearest",
        "equal",
    ]


def test_labels_only_is_kept_without_a_gain(workspace: Path) -> None:
    (workspace / "candidates.toml").write_text('[[candidate]]\nobjective = "labels-only"\nlr = 0.000002\n')
    result = tune_in(workspace, "--format", "table")
    assert result.code == 0, result.err
    assert "labels-only: no candidate is certain to be better" in result.out
    assert "tuned-s0 is labels-only on all labels" in result.out
    options = json.loads((workspace / "runs" / "tuned-s0" / "run.json").read_text())["options"]
    assert options["lr"] == 0.000001


@pytest.mark.parametrize(
    ("settings", "command"),
    [
        ({"objective": "heads"}, "zoo distill --objective heads"),
        (
            {"objective": "heads", "pool": "logmean", "lam": 0.5},
            "zoo distill --objective heads --lam 0.5 --pool logmean",
        ),
        ({"objective": "cross-task", "weighting": "p=6"}, "zoo distill --weighting p=6"),
        ({"objective": LABELS_ONLY, "lr": 0.03}, "zoo distill --lam 1 --lr 0.03"),
        ({"objective": "fixmatch", "augment": "flip"}, "zoo finetune student --objective fixmatch --augment flip"),
    ],
)
def test_a_gain_that_is_not_certain_names_the_command_that_trains_it(settings: dict[str, object], command: str) -> None:
    candidate = Candidate("c", **settings)  # type: ignore[arg-type]
    accuracies = {LABELS_ONLY: [0.5], "c": [0.6]}
    searched = SearchResult(accuracies, {"c": Gain(0.1, -0.2, 0.4, 1)}, (), "c")
    record = describe_search(searched, [BASELINE, candidate], 20, [4], 10)
    assert (
        describe_verdict(record)[-1]
        == f"{command} trains c all the same, with the other training options of this search"
    )
    without = replace(searched, gains={"c": Gain(-0.1, -0.2, 0.1, 1)})
    assert "all the same" not in " ".join(
        describe_verdict(describe_search(without, [BASELINE, candidate], 20, [4], 10))
    )


@pytest.mark.parametrize(
    ("objective", "command"),
    [("fixmatch", "zoo finetune small --objective fixmatch"), ("cross-task", "zoo distill --student small")],
)
def test_the_command_names_another_student(objective: str, command: str) -> None:
    row = CandidateRow("c", objective, *[None] * 5, splits=4, accuracy=0.5)
    assert format_command(row, "small") == command


def test_stopped_search_goes_on(workspace: Path, searched: Path) -> None:
    stopped = tune_in(workspace, "--max-time", "0.01s")
    assert stopped.code == 75
    assert not (workspace / "tune" / "tune.json").exists()
    assert (workspace / "tune" / "split-00" / "runs" / LABELS_ONLY / "state" / "state.json").exists()
    assert tune_in(workspace).code == 0
    assert contents(workspace / "tune") == contents(searched / "tune")
    assert contents(workspace / "runs") == contents(searched / "runs")


def test_overwrite_uses_trials_of_the_same_inputs(searched: Path) -> None:
    workspace = searched
    runs = workspace / "tune" / "split-00" / "runs"
    times = [(runs / name / "SHA256SUMS").stat().st_mtime_ns for name in (LABELS_ONLY, "learns")]
    (workspace / "candidates.toml").write_text(LEARNING.replace("0.1", "0.2"))
    assert tune_in(workspace, "--overwrite").code == 0
    assert (runs / LABELS_ONLY / "SHA256SUMS").stat().st_mtime_ns == times[0]
    assert (runs / "learns" / "SHA256SUMS").stat().st_mtime_ns != times[1]
    assert json.loads((runs / "learns" / "run.json").read_text())["options"]["lr"] == 0.2


def test_dry_run_lists_candidates_and_writes_nothing(workspace: Path) -> None:
    before = contents(workspace)
    result = run("tune", "--dry-run", "--budget", "60", "--steps", "9", workspace=workspace)
    assert (result.code, result.out) == (0, "")
    lines = result.err.splitlines()
    assert lines[0] == "would try labels-only: objective labels-only"
    assert len(lines) == 1 + 6 + 2
    assert lines[-2].startswith("would try at most 58 runs, on 13 splits, of 9 steps of 128 images")
    assert contents(workspace) == before


def test_time_budget_counts_splits_by_the_first(workspace: Path) -> None:
    plan = tune_plans.plan_search(config.load(workspace), TuneConfig(budget="10s"), TrainingConfig())
    right = np.ones(3)

    def count(seconds: float) -> int:
        return tune.count_splits(plan, lambda trials: dict.fromkeys(trials, right), lambda _: seconds)

    assert count(0.01) == 20
    assert count(0.2) == 11
    with pytest.raises(
        config.UsageError, match=r"a run takes 2 s, so that 10s is enough for 5 runs: 6 candidates need"
    ):
        count(2.0)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ('[[candidate]]\nobjective = "heads"\nrate = 1\n', 'unknown key "rate" in [[candidate]] 1 of '),
        ('[[candidates]]\nobjective = "heads"\n', 'unknown key "candidates" in '),
        ('[candidate]\nobjective = "heads"\n', "[candidate] of "),
        ("[[candidate]]\nlr = 0.1\n", 'no "objective" in [[candidate]] 1 of '),
        ('[[candidate]]\nobjective = "head"\n', '[[candidate]] 1 of {}: no objective "head"'),
        ('[[candidate]]\nobjective = "heads"\nlam = 2.0\n', "[[candidate]] 1 of {}: lam is 2"),
        ('[[candidate]]\nobjective = "heads"\nlr = -1\n', "[[candidate]] 1 of {}: lr is -1"),
        ('[[candidate]]\nobjective = "heads"\nlr = nan\n', "[[candidate]] 1 of {}: lr is nan"),
        ('[[candidate]]\nobjective = "heads"\naugment = "warp"\n', '[[candidate]] 1 of {}: augment is "warp"'),
        ('[[candidate]]\nobjective = "heads"\npool = "sum"\n', '[[candidate]] 1 of {}: no pool "sum"'),
        ('[[candidate]]\nobjective = "cross-task"\npool = "best"\n', "[[candidate]] 1 of {}: pool belongs to"),
        ('[[candidate]]\nobjective = "cross-task"\nlam = 1\n', "[[candidate]] 1 of {}: lam 1 uses labels only"),
        (
            '[[candidate]]\nobjective = "labels-only"\nlam = 0.5\n',
            "[[candidate]] 1 of {}: lam belongs to objective cross-task",
        ),
        ('[[candidate]]\nobjective = "heads"\nweighting = "p=2"\n', "[[candidate]] 1 of {}: weighting belongs to"),
        (
            '[[candidate]]\nobjective = "cross-task"\nweighting = "q=2"\n',
            "[[candidate]] 1 of {}: no parameter of weighting",
        ),
        ('[[candidate]]\nobjective = "heads"\nname = "a/b"\n', '[[candidate]] 1 of {}: name is "a/b"'),
        ('[[candidate]]\nobjective = "heads"\nlr = "high"\n', "lr = 'high' in [[candidate]] 1 of "),
        ('[[candidate]]\nobjective = "labels-only"\n', 'a candidate of {} has the name "labels-only"'),
        ('[[candidate]]\nobjective = "labels-only"\nname = "a"\n', "a of {} sets what labels-only sets"),
        ('[[candidate]]\nobjective = "heads"\n' * 2, 'a candidate of {} has the name "heads" of another one'),
        ("", "{} has 0 candidates"),
        ("candidate = 3", "[candidate] of "),
        ("[[candidate]\n", "{} is not valid TOML"),
    ],
)
def test_bad_candidates_are_one_line(workspace: Path, text: str, error: str) -> None:
    path = workspace / "candidates.toml"
    path.write_text(text)
    result = tune_in(workspace)
    assert result.code == 2
    assert result.error.startswith(error.format(path))
    assert "`" not in result.error


@pytest.mark.parametrize(
    ("flags", "error"),
    [
        (("--budget", "soon"), '--budget is "soon"; write a number of runs'),
        (("--budget", "0"), "--budget is 0; write a number of runs"),
        (("--budget", "0m"), "--budget is 0m; write a number of runs"),
        (("--budget", "7"), "--budget is 7 runs: 6 candidates need"),
        (("--source", "delta"), 'no source "delta"'),
        (("--candidates", "none.toml"), "none.toml"),
        (("--steps", "5", "--epochs", "1"), "--steps and --epochs cannot be combined"),
    ],
)
def test_bad_flags_are_one_line(workspace: Path, flags: tuple[str, ...], error: str) -> None:
    result = run("tune", *flags, workspace=workspace)
    assert result.code == 2
    assert error in result.error
    assert not (workspace / "tune").exists()


def test_one_label_in_each_class_cannot_be_held_out(tmp_path: Path) -> None:
    workspace = workspaces.make(tmp_path / "task", labelled="1/class")
    result = run("tune", workspace=workspace)
    assert result.code == 2
    assert result.error.startswith("no class has two labelled images: none can be held out; ")
    assert not (workspace / "features").exists()


@pytest.fixture
def without_sources(workspace: Path) -> Path:
    """A workspace without sources."""
    text = (workspace / "zoo.toml").read_text()
    (workspace / "zoo.toml").write_text(text[: text.index("[[source]]")])
    return workspace


def test_search_without_sources_is_one_line(without_sources: Path) -> None:
    result = run("tune", workspace=without_sources)
    assert result.code == 2
    assert result.error.startswith(f"no source in {without_sources}/zoo.toml")


def test_cross_task_without_a_source_head_is_left_out_or_refused(tmp_path: Path) -> None:
    workspace = workspaces.make(tmp_path / "task")
    text = (workspace / "zoo.toml").read_text().replace('name = "beta"', 'name = "beta"\nhead = false')
    start, beta, gamma = (
        text.index(part) for part in ("[[source]]", '[[source]]\nname = "beta"', '[[source]]\nname = "g')
    )
    (workspace / "zoo.toml").write_text(text[:start] + text[beta:gamma])
    training = TrainingConfig(steps=3, batch_size=8, device="cpu")
    with console.use(console.Console(verbosity=-1)):
        plan = tune_plans.plan_search(config.load(workspace), TuneConfig(), training)
        plan, _ = tune_plans.load_shared(plan, refresh=False)
    assert LABELS_ONLY in plan.candidates
    assert "heads" in plan.tried
    assert "cross-task" not in plan.tried
    (workspace / "candidates.toml").write_text('[[candidate]]\nobjective = "cross-task"\n')
    result = tune_in(workspace)
    assert result.code == 2
    assert result.error.startswith("no source has a head that can teach cross-task; leave candidates")


def test_damaged_record_is_refused(searched: Path) -> None:
    path = searched / "tune" / "tune.json"
    record = json.loads(path.read_text())
    for damage in ({"chosen": "another"}, {"rows": 5}, {"rows": []}, {"rows": [{"candidate": "learns"}]}):
        path.write_text(json.dumps({**record, **damage}))
        result = tune_in(searched)
        assert result.code == 3
        assert result.error.startswith(f"{path} is not a record of this search; ")
