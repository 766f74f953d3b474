"""General transfer from end to end: one teacher and several, live and stored, with classes in any order."""

from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from tests.faults.tables import listed
from tests.marks import slow, slow_unless
from zoo_cli import config
from zoo_cli.images import pixel_cache
from zoo_cli.models import loading
from zoo_cli.objectives import teacher_context
from zoo_cli.store import files, parquet_files, schemas
from zoo_cli.training import students
from zoo_cli.training.image_cache import ImageCache
from zoo_cli.training.run_folder import RunFolder

from ..workspaces import CLASSES, edit, run
from .test_bytes import contents
from .transfer_workspace import QUICK, load_task, make, model, ok

KL = ("distill", "--objective", "kl", "--student", "normed", *QUICK, "--lr", "0.05")
DP = ("distill", "--objective", "dp", "--student", "normed", *QUICK, "--lr", "0.05")
LIVE, STILL = ("--source", "expert"), ("--augment", "none")
BOTH = ("--source", "expert", "--source", "noisy")
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return make(tmp_path / "task")


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """The weights of a student."""
    return load_file(folder / "model.safetensors")


def alike(folder: Path, other: Path, *, within: float = 1e-6) -> bool:
    """Whether two students are the same to rounding."""
    first, second = weights(folder), weights(other)
    assert first.keys() == second.keys()
    return all(torch.allclose(first[key].double(), second[key].double(), rtol=0, atol=within) for key in first)


def load_record(folder: Path) -> dict[str, object]:
    """The run.json of a run."""
    record: dict[str, object] = files.read_json(folder / "run.json")
    return record


def last(folder: Path) -> dict[str, float]:
    """The last row of a run's log."""
    return files.read_lines(folder / "metrics.jsonl")[-1]


@pytest.mark.parametrize("way", ["sequential", "soup", *slow("sequential:order=descending", "parallel")])
def test_combining_one_teacher_is_that_teacher(workspace: Path, way: str) -> None:
    ok(*DP, *LIVE, "--name", "mine", workspace=workspace)
    before = contents(workspace / "runs/mine")
    again = ok(*DP, *LIVE, "--name", "mine", "--teachers", way, workspace=workspace)
    assert "mine is up to date" in again.err
    ok(*DP, *LIVE, "--name", "mine", "--teachers", way, "--overwrite", workspace=workspace)
    assert contents(workspace / "runs/mine") == before


def test_soup_is_the_average_of_its_students(workspace: Path) -> None:
    soup = (*KL, *BOTH, "--teachers", "soup")
    result = ok(*soup, "--json", workspace=workspace)
    whole = Path(result.data[0]["path"])
    assert (whole.name, result.data[0]["steps"]) == ("kl-expert+noisy-soup-s0", 6)
    ok(*KL, "--source", "expert", workspace=workspace)
    ok(*KL, "--source", "noisy", workspace=workspace)
    folders = [whole / "teachers" / name for name in ("expert", "noisy")]
    for folder in folders:
        assert model(folder) == model(workspace / f"runs/kl-{folder.name}-s0")
    parts, average = [weights(folder) for folder in folders], weights(whole)
    for key, value in average.items():
        if value.is_floating_point():
            expected = ((parts[0][key].double() + parts[1][key].double()) / 2).float()
            assert not torch.equal(parts[0][key], parts[1][key])
        else:
            expected = parts[0][key]
        assert torch.equal(value, expected), key
    assert load_record(whole)["teachers"] == [{"source": "expert", "weight": 0.5}, {"source": "noisy", "weight": 0.5}]


def test_recalibration_changes_batch_norm_statistics_alone(workspace: Path) -> None:
    soup = (*KL, *BOTH, "--teachers", "soup", "--name")
    ok(*soup, "plain", workspace=workspace)
    ok(*soup, "anew", "--recalibrate", workspace=workspace)
    for teacher in ("expert", "noisy"):
        assert model(workspace / "runs/plain/teachers" / teacher) == model(workspace / "runs/anew/teachers" / teacher)
    before, after = weights(workspace / "runs/plain"), weights(workspace / "runs/anew")
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert changed == {key for key in before if key.endswith(STATISTICS)}
    # Eighteen images in three batches of six: the mean is that of all of them.
    settings = config.load(workspace)
    images = load_task(settings).images
    rows = images.where(split=("labelled", "unlabelled"))
    teacher = loading.load_model(settings.find_source("normed"), workspace)
    cache = ImageCache(images, rows, torch.device("cpu"), 0)
    views = torch.cat(list(cache.evaluation_views(teacher.preprocessing, rows, 64)))
    assert len(views) == 18
    teacher.module.load_state_dict(before)
    shown = teacher.module[0](views)
    torch.testing.assert_close(after["1.running_mean"], shown.mean((0, 2, 3)).detach(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("way", "turns"),
    [
        ("sequential", ("noisy", "expert", "mirror")),
        ("sequential:order=ascending", ("noisy", "expert", "mirror")),
        ("sequential:order=descending", ("mirror", "expert", "noisy")),
        ("sequential:order=given", ("expert", "noisy", "mirror")),
    ],
)
def test_teachers_are_ordered_by_accuracy_or_as_given(workspace: Path, way: str, turns: tuple[str, ...]) -> None:
    command = (*KL, *BOTH, "--source", "mirror", "--teachers", way, "--name", "mine")
    result = ok(*command, workspace=workspace)
    folder = workspace / "runs/mine"
    first, second, third = turns
    assert {path.name for path in (folder / "teachers").glob("*/")} >= {f"1-{first}", f"2-{second}"}
    for path, name, before in (
        (folder / f"teachers/1-{first}", first, []),
        (folder / f"teachers/2-{second}", second, [first]),
        (folder, third, [first, second]),
    ):
        assert load_record(path)["teachers"] == [{"source": name, "weight": 1.0}]
        assert load_record(path)["student"]["after"] == before  # type: ignore[index]
    message = "teachers by accuracy on the labelled images: noisy 66.7 %, expert 77.8 %, mirror 77.8 %"
    assert (message in result.err) == ("given" not in way)


@pytest.mark.parametrize("objective", slow_unless(["kl", "dp", "mcl"], ("mcl",)))
def test_phase_starts_from_the_student_before_it(workspace: Path, objective: str) -> None:
    command = ("distill", "--objective", objective, *QUICK, "--lr", "0.05", "--recalibrate")
    ok(*command, "--student", "normed", *BOTH, "--name", "both", workspace=workspace)
    ok(*command, "--student", "normed", "--source", "noisy", "--name", "first", workspace=workspace)
    phase = workspace / "runs/both/teachers/1-noisy"
    assert model(phase) == model(workspace / "runs/first")
    ok(*command, "--student", f"file:{phase}", "--source", "expert", "--name", "second", workspace=workspace)
    assert model(workspace / "runs/both") == model(workspace / "runs/second") != model(workspace / "runs/first")


def test_first_of_equal_parallel_teachers_teaches(workspace: Path) -> None:
    ok(*DP, "--source", "expert", "--name", "one", workspace=workspace)
    twice = ("--source", "expert", "--source", "plain", "--teachers", "parallel")
    ok(*DP, *twice, "--name", "two", workspace=workspace)
    ok(*DP, *BOTH, "--teachers", "parallel", "--name", "both", workspace=workspace)
    assert model(workspace / "runs/one") == model(workspace / "runs/two") != model(workspace / "runs/both")
    assert last(workspace / "runs/one")["given"] == last(workspace / "runs/two")["given"]


@pytest.mark.parametrize("objective", ["kl", "mcl", "dp"])
@pytest.mark.parametrize("targets", ["live", "stored"])
def test_teacher_class_order_does_not_matter(workspace: Path, objective: str, targets: str) -> None:
    command = ("distill", "--objective", objective, "--student", "normed", *QUICK, "--lr", "0.05", "--targets", targets)
    for teacher in ("expert", "mirror", "plain", "noisy"):
        result = ok(*command, "--source", teacher, "--name", teacher, workspace=workspace)
        assert ("class names of plain are not known" in result.err) == (teacher == "plain")
    runs = workspace / "runs"
    assert model(runs / "expert") == model(runs / "plain")
    assert alike(runs / "expert", runs / "mirror")
    assert not alike(runs / "expert", runs / "noisy", within=1e-4)


def test_student_ends_in_the_class_order_of_the_task(workspace: Path) -> None:
    command = ("distill", "--objective", "dp", *QUICK, "--lr", "0.05", "--source", "noisy")
    for student in ("expert", "mirror"):
        ok(*command, "--student", student, "--name", student, workspace=workspace)
        assert files.read_json(workspace / f"runs/{student}/config.json")["zoo"]["classes"] == list(CLASSES)
    assert alike(workspace / "runs/expert", workspace / "runs/mirror")
    accuracy = ok("evaluate", "accuracy", "expert", "mirror", "--json", workspace=workspace).data
    assert accuracy[0]["accuracy"] == accuracy[1]["accuracy"]


@pytest.mark.parametrize("objective", slow_unless(["kl", "dp:labels=false", "dp"], ("kl", "dp")))
def test_student_taught_by_itself_does_not_change(workspace: Path, objective: str) -> None:
    command = ("distill", "--objective", objective, *QUICK, "--lr", "1", "--weight-decay", "0", "--momentum", "0")
    ok(*command, "--student", "expert", "--source", "expert", "--name", "same", workspace=workspace)
    start = load_file(workspace / "expert.safetensors")
    assert all(torch.equal(value, start[key]) for key, value in weights(workspace / "runs/same").items())
    assert last(workspace / "runs/same")["loss"] == pytest.approx(0, abs=1e-6)


def test_slow_weights_become_the_student(workspace: Path) -> None:
    command = ("distill", "--student", "expert", "--source", "noisy", *QUICK, "--lr", "0.5", "--objective")
    ok(*command, "mcl:retention=1", "--name", "kept", workspace=workspace)
    ok(*command, "mcl:retention=0.5", "--name", "half", workspace=workspace)
    ok(*command, "mcl:retention=0,steps_per_update=1", "--name", "fast", workspace=workspace)
    start = load_file(workspace / "expert.safetensors")
    kept, half, fast = (weights(workspace / f"runs/{name}") for name in ("kept", "half", "fast"))
    assert all(torch.equal(kept[key], value) for key, value in start.items())
    distances = [sum(float((student[key] - start[key]).abs().sum()) for key in start) for student in (half, fast)]
    assert 0 < distances[0] < distances[1]


@pytest.mark.parametrize("objective", slow_unless(["kl", "xe-kl", "dp"], ("dp",)))
@pytest.mark.parametrize("augment", ["none", "flip"])
def test_stored_targets_equal_live_ones(workspace: Path, objective: str, augment: str) -> None:
    teachers = ("--source", "expert", "--source", "mirror", "--teachers", "parallel") if objective == "dp" else LIVE
    command = ("distill", "--objective", objective, "--student", "normed", *QUICK, "--lr", "0.05", *teachers)
    for targets in ("live", "stored"):
        ok(*command, "--augment", augment, "--targets", targets, "--name", targets, workspace=workspace)
    runs = workspace / "runs"
    assert alike(runs / "live", runs / "stored")
    live, stored = last(runs / "live"), last(runs / "stored")
    assert live.keys() == stored.keys()
    assert all(stored[key] == pytest.approx(value, abs=1e-6) for key, value in live.items())


def test_clean_targets_work_with_any_augmentation(workspace: Path) -> None:
    for augment in ("flip", "crop"):
        ok(*KL, *LIVE, "--augment", augment, "--name", f"live-{augment}", workspace=workspace)
        clean = ("--targets", "stored-clean", "--augment", augment, "--name", f"clean-{augment}")
        ok(*KL, *LIVE, *clean, workspace=workspace)
        assert not alike(workspace / f"runs/live-{augment}", workspace / f"runs/clean-{augment}")
    ok(*KL, *LIVE, *STILL, "--targets", "stored-clean", "--name", "clean", workspace=workspace)
    ok(*KL, *LIVE, *STILL, "--targets", "stored", "--name", "stored", workspace=workspace)
    assert model(workspace / "runs/clean") == model(workspace / "runs/stored")


@pytest.mark.parametrize("column", ["logits", "probs"])
def test_teacher_with_stored_outputs_only(workspace: Path, column: str) -> None:
    ok("extract", "--source", "mirror", workspace=workspace)
    parts = [
        parquet_files.read_parquet(path) for path in workspace.glob("features/source=mirror/data=*/part-*.parquet")
    ]
    table = pa.concat_tables(parts)
    values = np.array(table.column("logits").to_pylist())
    if column == "probs":
        values = np.exp(values) / np.exp(values).sum(1, keepdims=True)
    pq.write_table(pa.table({"id": table.column("id"), column: listed(values)}), workspace / "remote.parquet")
    with (workspace / "zoo.toml").open("a", encoding="utf-8") as stream:
        stream.write(
            f'\n[[source]]\nname = "remote"\nmodel = "features:remote.parquet"\nclasses = {[*CLASSES[::-1]]}\n'
        )
    stored = (*KL, *STILL, "--targets", "stored")
    ok(*stored, "--source", "remote", workspace=workspace)
    ok(*stored, "--source", "expert", workspace=workspace)
    assert alike(workspace / "runs/kl-remote-s0", workspace / "runs/kl-expert-s0")
    mixed = ("--source", "remote", "--source", "noisy")
    result = ok(*stored, *mixed, workspace=workspace)
    assert "noisy 66.7 %, remote 77.8 %" in result.err


def other_labels(manifest: Path, *columns: str) -> None:
    """Replace every label in these columns of a manifest by the next class."""
    table = pq.read_table(manifest)
    for name in columns:
        values = [None if label is None else (label + 1) % 3 for label in table.column(name).to_pylist()]
        column = pa.array(values, table.schema.field(name).type)
        table = table.set_column(table.column_names.index(name), table.schema.field(name), column)
    pq.write_table(table, manifest)


@pytest.mark.parametrize(
    ("objective", "columns", "same"),
    [
        ("kl", ("label", "truth"), True),
        ("dp:labels=false", ("label", "truth"), True),
        ("dp", ("truth",), True),
        ("mcl", ("truth",), True),
        ("dp", ("label",), False),
        ("xe-kl", ("label",), False),
    ],
)
def test_unused_labels_change_nothing(tmp_path: Path, objective: str, columns: tuple[str, ...], same: bool) -> None:
    knowing, misled = make(tmp_path / "knowing"), make(tmp_path / "misled")
    other_labels(misled / "manifest.parquet", *columns)
    command = (
        "distill",
        "--objective",
        objective,
        "--student",
        "normed",
        *QUICK,
        "--lr",
        "0.05",
        *LIVE,
        "--name",
        "mine",
    )
    for workspace in (knowing, misled):
        ok(*command, workspace=workspace)
    first, second = contents(knowing / "runs"), contents(misled / "runs")
    differing = {name for name in first if first[name] != second[name]}
    assert ("mine/model.safetensors" not in differing) == same
    if same:
        assert differing == ({"mine/predictions.parquet", "mine/SHA256SUMS"} if "truth" in columns else set())


@pytest.mark.parametrize(
    ("objective", "more", "splits"),
    [
        ("kl", (), {"labelled", "unlabelled"}),
        ("kl", ("--unlabelled-from", "unlabelled"), {"unlabelled"}),
        ("dp:labels=false", (), {"labelled", "unlabelled"}),
        ("dp", (), {"labelled"}),
        ("xe-kl", (), {"labelled"}),
        ("mcl", (), {"labelled"}),
    ],
)
def test_objectives_use_their_splits(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, objective: str, more: tuple[str, ...], splits: set[str]
) -> None:
    seen: set[str] = set()
    batch = pixel_cache.PixelCache.batch

    def watch(cache: pixel_cache.PixelCache, places: torch.Tensor) -> torch.Tensor:
        seen.update(cache.ids[place] for place in places.tolist())
        return batch(cache, places)

    monkeypatch.setattr(pixel_cache.PixelCache, "batch", watch)
    command = ("distill", "--objective", objective, "--student", "normed", *QUICK, *LIVE, *more, "--json")
    ok(*command, workspace=workspace)
    rows = parquet_files.read_table(workspace / "manifest.parquet", schemas.MANIFEST).to_pylist()
    assert seen == {row["id"] for row in rows if row["split"] in splits}


def test_epoch_counts_the_images_used(workspace: Path) -> None:
    lengths = {"kl": 18, "xe-kl": 9, "dp": 9, "dp:labels=false": 18}
    for objective, count in lengths.items():
        command = ("distill", "--objective", objective, "--student", "normed", *LIVE, "--batch-size", "3", "--dry-run")
        result = ok(*command, "--epochs", "2", workspace=workspace)
        assert f"{2 * count // 3} steps of 3 images" in result.err


def test_defaults_are_those_of_the_paper(workspace: Path) -> None:
    for objective, rate in (("kl", 1e-4), ("dp", 1e-4), ("mcl", 0.01)):
        short = ("--steps", "2", "--batch-size", "8", "--workers", "0")
        ok("distill", "--objective", objective, "--student", "normed", *short, *LIVE, workspace=workspace)
        options = load_record(workspace / f"runs/{objective}-expert-s0")["options"]
        assert options["lr"] == rate * 8 / 256  # type: ignore[index]
        defaults = {key: options[key] for key in ("schedule", "augment", "targets", "teachers", "nesterov", "momentum")}  # type: ignore[index]
        assert defaults == {
            "schedule": "constant",
            "augment": "flip",
            "targets": "live",
            "teachers": "one",
            "nesterov": False,
            "momentum": 0.9,
        }


def test_log_holds_the_share_given_to_the_teacher(workspace: Path) -> None:
    ok(*DP, *LIVE, "--name", "labels", workspace=workspace)
    row = last(workspace / "runs/labels")
    assert 0 <= row["given"] <= 1
    assert 0 <= row["positive_given"] <= row["positive_flips"] <= 1
    assert 0 <= row["negative_given"] <= row["negative_flips"] <= 1
    ok("distill", "--objective", "dp:labels=false", "--student", "normed", *QUICK, *LIVE, workspace=workspace)
    assert "positive_flips" not in last(workspace / "runs/dp-labelsfalse-expert-s0")


@pytest.mark.parametrize(
    ("old", "new", "difference"),
    [
        ('name = "expert"', 'name = "expert"\nresize = 14', "teacher expert built as"),
        ('classes = ["blue", "green", "red"]\ninput', 'classes = ["red", "green", "blue"]\ninput', "student built as"),
    ],
    ids=["teacher", "student"],
)
def test_changed_declaration_makes_a_run_stale(workspace: Path, old: str, new: str, difference: str) -> None:
    ok(*KL, *LIVE, workspace=workspace)
    edit(workspace, old, new)
    result = run(*KL, *LIVE, workspace=workspace)
    assert result.code == 2
    assert difference in result.error
    ok(*KL, *LIVE, "--overwrite", workspace=workspace)


def test_replaced_teacher_weights_make_a_run_stale(workspace: Path) -> None:
    ok(*KL, *LIVE, workspace=workspace)
    before = contents(workspace / "runs")
    (workspace / "expert.safetensors").write_bytes((workspace / "noisy.safetensors").read_bytes())
    result = run(*KL, *LIVE, workspace=workspace)
    assert result.code == 2
    assert "the weights of expert are not those with which it was first used" in result.error
    ok("extract", "--source", "expert", "--overwrite", workspace=workspace)
    result = run(*KL, *LIVE, workspace=workspace)
    assert result.code == 2
    assert "kl-expert-s0 was made from other inputs: teacher expert; " in result.error
    assert contents(workspace / "runs") == before


def test_images_are_decoded_once_for_all_phases(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts: dict[str, int] = defaultdict(int)
    fill, finish = pixel_cache.PixelCache._fill, students.write_student

    def count(cache: pixel_cache.PixelCache, *rest: object) -> None:
        counts["caches"] += 1
        fill(cache, *rest)  # type: ignore[arg-type]

    def done(now: RunFolder, *rest: object) -> None:
        counts["students"] += 1
        finish(now, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(pixel_cache.PixelCache, "_fill", count)
    monkeypatch.setattr(students, "write_student", done)
    ok(*KL, *BOTH, "--seed", "0", "--seed", "1", workspace=workspace)
    assert counts == {"caches": 2, "students": 4}, "one cache of training images, one of test images"


def test_live_answers_are_float32_in_bf16(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As stored ones are: dp compares the teachers with the original student, and bfloat16 would make many equal."""
    seen = []
    compute = {name: getattr(teacher_context, name) for name in ("compute_original_logits", "compute_teacher_logits")}
    for name, function in compute.items():
        monkeypatch.setattr(teacher_context, name, lambda *args, f=function: seen.append(f(*args)) or seen[-1])
    ok(*DP, *LIVE, "--steps", "2", "--precision", "bf16", workspace=workspace)
    assert len(seen) >= 4
    assert {logits.dtype for logits in seen} == {torch.float32}
