"""The Python API: what its methods return and raise, and that nothing is printed."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import zoo_cli as zoo
from tests.faults.processes import start
from tests.guide.readme_blocks import write_outputs
from tests.workspaces import CLASSES, edit, make, run
from zoo_cli.api.silence import in_python
from zoo_cli.errors import ContractError, Paused, UsageError
from zoo_cli.store.provenance import Stale

TRAINING = zoo.TrainingConfig(steps=2, batch_size=8, augment="none", device="cpu")
RUN = ("--steps", "2", "--batch-size", "8", "--augment", "none", "--device", "cpu")
EVERY_STEP = """
import zoo_cli as zoo

ws = zoo.Workspace("task")
assert [row.source for row in ws.sources()] == ["alpha", "beta", "gamma", "@student"]
assert ws.split().labelled == 15
assert [row.source for row in ws.extract(device="cpu", gradients=True)] == ["alpha", "beta", "gamma", "@student"]
assert {row.metric for row in ws.score(["parc", "lgc"]).rows} == {"parc", "lgc"}
ranking = ws.rank()
assert {row.source for row in ranking.rows} == {row.source for row in ws.pseudo_label()} == {"alpha", "beta", "gamma"}
assert len(ranking.to_pandas()) == 3

training = zoo.TrainingConfig(steps=2, batch_size=8, augment="crop", device="cpu")
run = ws.distill("p=2", training=training)
assert (run.path.as_posix(), run.steps) == ("task/runs/cross-task-parc-p2-s0", 2)
baseline = ws.distill(lam=1, training=training)
record = ws.pseudo_label(head="ridge", with_student=True)
assert [row.source for row in record.sources][-1] == "@student"
assert record.estimate.low <= record.estimate.accuracy <= record.estimate.high
headed = ws.distill(config=zoo.HeadsConfig(), training=zoo.TrainingConfig(steps=2, batch_size=8, device="cpu"))
assert headed.path.as_posix() == "task/runs/heads-ridge-product-s0"
tuned = ws.finetune("best", rates=(0.1, 0.01), training=training)
transferred = ws.distill(config=zoo.TransferConfig("kl", sources=(f"file:{tuned.path}",)), student=f"file:{run.path}",
                    training=training)

flips = zoo.flips(baseline.path, run.path, teacher=tuned.path)
assert flips.statistics.uptake is not None
student = zoo.load_student(transferred.path)
assert student.classes == ("blue", "green", "red")
ids, X = zoo.features("task/features/source=alpha")
assert zoo.score(X, [name.split("/")[1] for name in ids]).value > 0
"""


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace that is extracted, which tests only add to."""
    return make(tmp_path_factory.mktemp("api") / "task", upto="extract")


def test_every_step_prints_nothing(tmp_path: Path) -> None:
    make(tmp_path / "task")
    before = f"os.chdir({str(tmp_path)!r})\nexec({EVERY_STEP!r}, {{}})\nsys.stdout.flush()\nos._exit(0)"
    result = start(workspace=None, before=before, place=tmp_path / "log").result()
    assert (result.code, result.out, result.err) == (0, "", "")


def test_warnings_are_python_warnings_of_the_caller(tmp_path: Path) -> None:
    ws = zoo.Workspace(make(tmp_path / "task", probe=500))
    with pytest.warns(zoo.ZooWarning, match="the probe has only 15 of 500 images") as caught:
        ws.split()
    assert {warning.filename for warning in caught} == {__file__}


def probe_arrays(task: Path) -> tuple[np.ndarray, np.ndarray]:
    """Features of alpha and labels of the probe set, in its order."""
    manifest = pq.read_table(task / "manifest.parquet").to_pylist()
    labels = {row["id"]: row["label"] for row in manifest if row["probe"]}
    ids, X = zoo.features(task / "features" / "source=alpha")
    row_of = {name: row for row, name in enumerate(ids)}
    return X[[row_of[name] for name in labels]], np.array(list(labels.values()))


def test_ranking_is_rows_arrow_and_pandas(task: Path) -> None:
    ranking = zoo.Workspace(task).rank(metric="parc")
    answer = run("rank", "--json", workspace=task)
    assert [row.source for row in ranking.rows] == [row["source"] for row in answer.data]
    table = ranking.to_arrow()
    assert table.equals(pq.read_table(task / "ranking.parquet").cast(table.schema))
    frame = ranking.to_pandas()
    assert list(frame["weight"]) == [row.weight for row in ranking.rows]
    assert list(frame.columns) == table.column_names


def test_missing_pandas_is_one_line(task: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ranking = zoo.Workspace(task).rank()
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(zoo.ZooError, match="to_pandas needs pandas; pip install pandas"):
        ranking.to_pandas()


def test_runs_are_those_of_the_commands(task: Path) -> None:
    ws = zoo.Workspace(task)
    student = ws.distill("p=2", lam=0.5, sources="beta", training=TRAINING, seed=3, name="a")
    assert student.path == task / "runs" / "a"
    flags = ("--weighting", "p=2", "--lam", "0.5", "--source", "beta", "--seed", "3")
    answer = run("distill", *flags, *RUN, "--name", "b", "--json", workspace=task)
    assert answer.code == 0, answer.err
    assert (task / "runs/a/model.safetensors").read_bytes() == (task / "runs/b/model.safetensors").read_bytes()
    again = ws.distill("p=2", lam=0.5, sources="beta", training=TRAINING, seed=3, name="b")
    assert again.row == answer.data[0]


def test_one_call_trains_several_students(task: Path) -> None:
    ws = zoo.Workspace(task)
    config = zoo.CrossTaskConfig(weightings=("equal", "nearest"))
    runs = ws.distill_runs(config, training=TRAINING, seeds=(0, 1))
    assert [run.run for run in runs] == [
        f"cross-task-parc-{weighting}-s{seed}" for weighting in ("equal", "nearest") for seed in (0, 1)
    ]
    tuned = ws.finetune_runs(zoo.FinetuneConfig(("alpha", "beta"), freeze="body"), training=TRAINING)
    assert [run.run for run in tuned] == ["finetune-head-alpha-s0", "finetune-head-beta-s0"]


def test_distill_takes_teachers(task: Path) -> None:
    ws = zoo.Workspace(task)
    start = ws.distill(lam=1, training=TRAINING)
    teacher = ws.finetune("beta", training=TRAINING)
    config = zoo.TransferConfig("dp", sources=(f"file:{teacher.path}",))
    run = ws.distill(config=config, student=f"file:{start.path}", training=TRAINING)
    assert run.run == "dp-finetune-beta-s0-s0"


def test_heads_teach_as_by_the_command(task: Path) -> None:
    ws = zoo.Workspace(task)
    record = ws.pseudo_label(head="ridge", pool="logmean", with_student=True)
    assert {row.source for row in record.sources} == {"alpha", "beta", "gamma", "@student"}
    student = ws.distill(config=zoo.HeadsConfig(pool="kernel", lam=0.5), training=TRAINING, seed=3, name="heads")
    flags = ("--objective", "heads", "--pool", "kernel", "--lam", "0.5", "--seed", "3", *RUN, "--name", "same")
    answer = run("distill", *flags, workspace=task)
    assert answer.code == 0, answer.err
    assert (student.path / "model.safetensors").read_bytes() == (task / "runs/same/model.safetensors").read_bytes()


def test_heads_answer_for_stored_views(task: Path) -> None:
    ws = zoo.Workspace(task)
    record = ws.pseudo_label(head="ridge", pool="kernel", views=2)
    assert any("views" in note for note in record.notes)
    assert (task / "pseudo/views/head=ridge-kernel/view=1").is_dir()
    training = zoo.TrainingConfig(steps=2, batch_size=8, augment="crop", device="cpu")
    student = ws.distill(config=zoo.HeadsConfig(pool="kernel", views=2), training=training)
    assert student.run == "heads-ridge-kernel-views2-s0"


@pytest.mark.parametrize(
    ("config", "values", "message"),
    [
        (zoo.TransferConfig("kl"), {"weighting": "p=2"}, "`weighting` is an option of CrossTaskConfig"),
        (zoo.TransferConfig("kl"), {"lam": 0.5}, "`lam` is an option of CrossTaskConfig"),
        (zoo.CrossTaskConfig(draws=2), {}, "distill_runs"),
        (zoo.HeadsConfig("heads:cross_task=0.5", weightings=("equal", "nearest")), {}, "distill_runs"),
        (zoo.HeadsConfig(head="rigde"), {}, 'no head "rigde"; did you mean ridge'),
        (zoo.HeadsConfig(pool="product:a=1"), {}, "a=1 is not between 0 and 1"),
        (zoo.HeadsConfig(), {"sources": "alhpa"}, 'no source "alhpa"'),
        (zoo.CrossTaskConfig(each_source=True), {}, "distill_runs"),
        (None, {"lam": 2.0}, "`lam` is 2"),
        (None, {"weighting": "pover"}, 'no weighting "pover"'),
        (None, {"name": "a/b"}, "`name` is"),
    ],
)
def test_wrong_options_of_distill_are_refused(task: Path, config: Any, values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        zoo.Workspace(task).distill(config=config, training=TRAINING, **values)


def test_paused_run_continues(tmp_path: Path) -> None:
    ws = zoo.Workspace(make(tmp_path / "task", upto="extract"))
    with pytest.raises(Paused):
        ws.distill(lam=1, training=zoo.TrainingConfig(steps=2, batch_size=8, augment="none", max_time="0s"))
    assert ws.distill(lam=1, training=TRAINING).steps == 2


def test_student_predicts_as_stored(task: Path) -> None:
    run = zoo.Workspace(task).distill(lam=1, training=TRAINING)
    student = zoo.load_student(run.path)
    assert not student.module.training
    with torch.no_grad():
        logits = student.module(torch.zeros(2, student.preprocessing.channels, *[student.preprocessing.input_size] * 2))
    assert logits.shape == (2, len(CLASSES))


@pytest.mark.parametrize("folder", ["runs", "nowhere"])
def test_folder_without_a_student_is_a_usage_error(task: Path, folder: str) -> None:
    with pytest.raises(UsageError, match="no trained student at"):
        zoo.load_student(task / folder)


def test_stored_features_come_with_their_ids(task: Path, tmp_path: Path) -> None:
    ids, X = zoo.features(task / "features" / "source=beta")
    assert X.shape == (len(ids), 5)
    assert ids[0].startswith("train/")
    write_outputs(tmp_path)
    ids, X = zoo.features(str(tmp_path / "birds.parquet"))
    assert X.shape == (20, 8)
    with pytest.raises(ContractError, match="no column embedding"):
        zoo.features(tmp_path / "before.parquet")
    with pytest.raises(UsageError, match="no parquet file"):
        zoo.features(tmp_path / "nowhere.parquet")


@pytest.mark.parametrize("metric", ["parc", "lfc", "knn:k=1", "hscore:shrunk=true"])
def test_score_of_arrays_is_that_of_the_workspace(task: Path, metric: str) -> None:
    row = next(row for row in zoo.Workspace(task).score(metric).rows if row.source == "alpha")
    result = zoo.score(*probe_arrays(task), metric)
    expected = [np.nan if value is None else value for value in (row.value, row.low, row.high, row.chance)]
    np.testing.assert_allclose([result.value, result.low, result.high, result.chance], expected, rtol=1e-12)
    assert result.reason == row.reason


def test_score_takes_any_embeddings_and_labels() -> None:
    random = np.random.default_rng(0)
    names = np.repeat(["ant", "bee", "wasp"], 8)
    X = random.standard_normal((24, 6)) + 2 * np.eye(3, 6)[np.repeat(np.arange(3), 8)]
    expected = zoo.score(X, np.repeat([7, -1, 40], 8))
    assert expected.low < expected.value < expected.high
    assert expected.chance < expected.low
    others: list[Any] = [names, names.tolist(), names.astype(object)]
    assert all(zoo.score(X, labels).value == pytest.approx(expected.value) for labels in others)
    assert zoo.score(torch.from_numpy(X), names).value == pytest.approx(expected.value)
    assert zoo.score(X.tolist(), names, seed=1).chance != expected.chance
    probs = np.exp(X) / np.exp(X).sum(axis=1, keepdims=True)
    assert zoo.score(probs, names, "leep").value < 0


def test_undefined_score_is_nan_with_its_reason() -> None:
    result = zoo.score(np.eye(4), ["a"] * 4)
    assert np.isnan([result.value, result.low, result.high, result.chance]).all()
    assert result.reason == "single_class"


@pytest.mark.parametrize(
    ("X", "y", "metric", "message"),
    [
        (np.eye(4), [0, 1, 0], "parc", "do not match 3 labels"),
        (np.eye(4), [0.5, 1, 0, 1], "parc", "labels are float64"),
        (np.full((4, 2), np.nan), [0, 1, 0, 1], "parc", "inputs hold nan"),
        (np.eye(4), [0, 1, 0, 1], "park", "did you mean parc"),
        (np.eye(4), [0, 1, 0, 1], "rsa-ref", "rsa-ref reads more than X and y: reference"),
    ],
)
def test_wrong_arrays_and_metrics_are_refused(X: Any, y: Any, metric: str, message: str) -> None:
    with pytest.raises(zoo.ZooError, match=message):
        zoo.score(X, y, metric)


def test_flips_of_prediction_files(tmp_path: Path) -> None:
    write_outputs(tmp_path)
    flips = zoo.flips(tmp_path / "before.parquet", str(tmp_path / "after.parquet"))
    answer = run("evaluate", "flips", str(tmp_path / "before.parquet"), str(tmp_path / "after.parquet"), "--json")
    assert (flips.statistics.positive, flips.statistics.n) == (answer.data["positive"], 20)
    assert [row.name for row in flips.classes] == [row["class"] for row in answer.data["classes"]]
    with pytest.raises(UsageError, match="no predictions at student; expected a run folder or a parquet file"):
        zoo.flips("student", tmp_path / "after.parquet")


def test_stale_inputs_name_the_call_that_makes_them_again(tmp_path: Path) -> None:
    ws = zoo.Workspace(make(tmp_path / "task", upto="extract"))
    edit(ws.root, 'labelled = "50%"', 'labelled = "25%"')
    with pytest.raises(Stale, match=r"labelled .*; split\(overwrite=True\) makes it again"):
        ws.rank()
    assert ws.rank(refresh=True).rows
    assert ws.split().labelled == 9


@pytest.mark.parametrize(
    ("text", "translated"),
    [
        ("zoo split --overwrite makes it again", "split(overwrite=True) makes it again"),
        (
            "zoo pseudo-label --head ridge --source a --source b --with-student --overwrite",
            "pseudo_label(head='ridge', sources=['a', 'b'], with_student=True, overwrite=True)",
        ),
        (
            "zoo extract --source alpha --overwrite makes it again",
            "extract(sources='alpha', overwrite=True) makes it again",
        ),
        ("zoo pseudo-label --overwrite makes it again", "pseudo_label(overwrite=True) makes it again"),
        ("zoo score --metric rsa-ref --reference PATH, its", "score(metric='rsa-ref', reference='PATH'), its"),
        ("set the number with zoo split --labelled", "set the number with split(labelled=…)"),
        ("lower --batch-size, or take --precision bf16", "lower `batch_size`, or take `precision` bf16"),
        ("leave --on probs out", "leave `on` probs out"),
        ("without one, zoo rank --features FILE", "without one, zoo rank --features FILE"),
        ("zoo rank shows why", "zoo rank shows why"),
        (
            "zoo pseudo-label --head ridge --pool kernel makes it",
            "pseudo_label(head='ridge', pool='kernel') makes it",
        ),
        ("a-b--c - d", "a-b--c - d"),
    ],
)
def test_texts_name_parameters_and_methods(text: str, translated: str) -> None:
    assert in_python(text) == translated


def test_errors_of_the_api_name_no_flag(tmp_path: Path) -> None:
    task = make(tmp_path / "task", upto="extract")
    ws = zoo.Workspace(task)
    calls: list[Any] = [
        lambda: ws.score("rsa-ref"),
        lambda: ws.score("lgc", on="probs"),
        lambda: ws.rank("parc,leep"),
        lambda: ws.extract(device="cuda:9", overwrite=True),
        lambda: ws.extract(batch_size="many"),
        lambda: ws.extract(workers=-1),
        lambda: ws.extract(projection=5),
        lambda: ws.split(max_errors="all"),
        lambda: ws.split(seed=4),
        lambda: ws.distill(lam=1, training=zoo.TrainingConfig(steps=2, lr=1e30)),
        lambda: zoo.Workspace(tmp_path / "empty").split(),
        lambda: zoo.Workspace(tmp_path / "empty").rank(),
        lambda: zoo.Workspace(tmp_path / "empty").pseudo_label(),
        lambda: zoo.Workspace(tmp_path / "empty").pseudo_label(head="ridge"),
        lambda: ws.pseudo_label(head="ridge:lam=0"),
        lambda: ws.pseudo_label(pool="best"),  # type: ignore[call-overload]
    ]
    for call in calls:
        with pytest.raises(zoo.ZooError) as caught:
            call()
        assert "--" not in str(caught.value), caught.value


def test_parameters_are_those_of_the_configs() -> None:
    names = {field.name for field in fields(zoo.CrossTaskConfig)}
    code = zoo.Workspace.distill.__code__
    given = set(code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount])
    assert given - {"weighting", "config", "training", "seed", "name", "overwrite"} <= names


def test_arrow_table_keeps_the_types(task: Path) -> None:
    assert zoo.Workspace(task).rank().to_arrow().schema.field("rank").type == pa.int64()
