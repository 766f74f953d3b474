"""zoo finetune from end to end: the model it starts from, frozen bodies, sweeps on held-out images."""

import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from tests.faults.tables import listed
from tests.marks import slow_unless
from zoo_cli import config, free_memory
from zoo_cli.images import augmentation, pixel_cache
from zoo_cli.models import loading
from zoo_cli.store import files, parquet_files, schemas
from zoo_cli.training import students
from zoo_cli.training.image_cache import ImageCache
from zoo_cli.training.run_folder import RunFolder

from ..workspaces import CLASSES, PER_CLASS, edit, make, run
from .test_bytes import contents
from .transfer_workspace import QUICK, add_normed, load_task, model, ok, until_done
from .transfer_workspace import make as with_teachers

LONGER = ("--steps", "30", "--batch-size", "8", "--workers", "0")
FEATURES = '\n[[source]]\nname = "remote"\nmodel = "features:remote.parquet"\n'


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return make(tmp_path / "task", upto="pseudo-label")


def order(workspace: Path) -> list[str]:
    """The sources as zoo rank orders them, without the excluded ones."""
    return [row["source"] for row in ok("rank", "--json", workspace=workspace).data if row["rank"] is not None]


def remote(workspace: Path) -> None:
    """Add a source of stored outputs, which are nearly always correct."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = pq.read_table(workspace / "manifest.parquet").to_pylist()
    truth = [row["truth"] if row["label"] is None else row["label"] for row in rows]
    noise = np.random.default_rng(0).normal(size=(len(rows), len(CLASSES)))
    outputs = np.eye(len(CLASSES))[truth] * 5 + 0.1 * noise
    table = pa.table({"id": [row["id"] for row in rows], "embedding": listed(outputs), "logits": listed(outputs)})
    pq.write_table(table, workspace / "remote.parquet")
    with (workspace / "zoo.toml").open("a", encoding="utf-8") as stream:
        stream.write(FEATURES)
    ok("extract", workspace=workspace)
    ok("score", "--metric", "parc", "--overwrite", workspace=workspace)


def test_best_is_the_highest_ranked_source(workspace: Path) -> None:
    first, second, _ = order(workspace)
    result = ok("finetune", "best", *QUICK, "--json", workspace=workspace)
    assert f"best is {first}" in result.err
    assert [row["run"] for row in result.data] == [f"finetune-{first}-s0"]
    assert files.read_json(workspace / f"runs/finetune-{first}-s0/run.json")["source"] == first
    ok("finetune", first, *QUICK, "--name", "named", workspace=workspace)
    assert model(workspace / "runs/named") == model(workspace / f"runs/finetune-{first}-s0")
    other = ok("finetune", "best", "--metric", "random:seed=3", *QUICK, workspace=workspace)
    by = ok("rank", "--metric", "random:seed=3", "--json", workspace=workspace).data[0]["source"]
    assert f"best is {by}" in other.err
    assert second != first


def test_best_is_neither_leaked_nor_without_network(workspace: Path) -> None:
    remote(workspace)
    first, second, *_ = order(workspace)
    assert first == "remote"
    assert f"best is {second}" in ok("finetune", "best", *QUICK, workspace=workspace).err
    line = f'name = "{second}"\n'
    trained = 'trained_on = ["shapes"]\n' if second == "alpha" else ""
    if trained:
        edit(workspace, trained, "")
    edit(workspace, line, line + 'trained_on = ["patterns"]\n')
    third = next(name for name in order(workspace) if name not in ("remote", second))
    assert f"best is {third}" in ok("finetune", "best", *QUICK, workspace=workspace).err


def test_best_of_an_architecture_can_be_a_run(tmp_path: Path) -> None:
    workspace = with_teachers(tmp_path / "task")
    ok("finetune", "normed", *LONGER, "--name", "ours", workspace=workspace)
    with (workspace / "zoo.toml").open("a", encoding="utf-8") as stream:
        stream.write('\n[[source]]\nname = "ours"\nmodel = "file:runs/ours"\n')
    ok("score", "--metric", "parc", "--overwrite", workspace=workspace)
    ranked = order(workspace)
    normed = ("ours", "normed")
    best, other = min(normed, key=ranked.index), next(name for name in ranked if name not in normed)
    assert f"best:normed is {best}" in ok("finetune", "best:normed", *QUICK, workspace=workspace).err
    assert f"best:small is {other}" in ok("finetune", "best:small", *QUICK, workspace=workspace).err
    edit(workspace, 'model = "file:runs/ours"', 'model = "file:runs/ours"\ntrained_on = ["patterns"]')
    assert "best:normed is normed" in run("finetune", "best:normed", *QUICK, workspace=workspace).err
    edit(workspace, 'model = "python:normed.py:normed"', 'model = "python:normed.py:normed"\ntrained_on = ["patterns"]')
    result = run("finetune", "best:normed", *QUICK, workspace=workspace)
    assert (result.code, result.error) == (2, "no source of normed has a rank; zoo rank shows why")
    result = run("finetune", "best:norm", *QUICK, workspace=workspace)
    assert result.code == 2
    assert result.error == 'no source of architecture "norm"; did you mean normed? one of: normed, small'


def test_student_source_and_spec_can_be_fine_tuned(workspace: Path) -> None:
    ok("finetune", "student", "alpha", *QUICK, workspace=workspace)
    spec = f"file:{workspace}/runs/finetune-alpha-s0"
    result = ok("finetune", spec, *QUICK, "--json", workspace=workspace)
    names = ["finetune-student-s0", "finetune-alpha-s0", "finetune-finetune-alpha-s0-s0"]
    assert [row["run"] for row in result.data] == names[2:]
    for name in names:
        written = files.read_json(workspace / "runs" / name / "config.json")["zoo"]
        assert written["classes"] == list(CLASSES)
    first, again = (load_file(workspace / "runs" / name / "model.safetensors") for name in names[1:])
    assert first.keys() == again.keys()
    assert not torch.equal(first["4.weight"], again["4.weight"])


def test_stored_outputs_cannot_be_fine_tuned(workspace: Path) -> None:
    with (workspace / "zoo.toml").open("a", encoding="utf-8") as stream:
        stream.write(FEATURES)
    for named in (("remote",), ("alpha", "remote"), ("features:remote.parquet",)):
        result = run("finetune", *named, *QUICK, workspace=workspace)
        assert result.code == 2
        assert result.error == "remote has stored outputs only; a student needs a network"
    assert not (workspace / "runs").exists()


def test_frozen_body_keeps_weights_and_buffers(tmp_path: Path) -> None:
    workspace = with_teachers(tmp_path / "task")
    free = ("--weight-decay", "0.1", "--lr", "0.1", *QUICK)
    ok("finetune", "normed", "--freeze", "body", *free, workspace=workspace)
    ok("finetune", "normed", *free, workspace=workspace)
    settings = config.load(workspace)
    before = loading.load_model(settings.find_source("normed"), workspace, seed=0).module.state_dict()
    frozen = load_file(workspace / "runs/finetune-head-normed-s0/model.safetensors")
    whole = load_file(workspace / "runs/finetune-normed-s0/model.safetensors")
    assert before.keys() == frozen.keys() == whole.keys()
    same = {key for key in before if torch.equal(before[key], frozen[key])}
    assert same == {key for key in before if not key.startswith("6.")}
    assert len(same) == 6
    assert not any(torch.equal(before[key], whole[key]) for key in before)


def test_nesterov_and_steps_schedule_match_torch(workspace: Path) -> None:
    """With all labelled images in every batch, a run is gradient descent, as written out here."""
    settings = config.load(workspace)
    task = load_task(settings)
    images = task.images
    rows = images.where(split=("labelled",))
    size = ("--batch-size", str(len(rows)), "--steps", "60", "--workers", "0", "--lr", "0.05", "--augment", "none")
    ok("finetune", "alpha", *size, workspace=workspace)
    options = files.read_json(workspace / "runs/finetune-alpha-s0/run.json")["options"]
    assert (options["nesterov"], options["schedule"], options["momentum"], options["lr"]) == (True, "steps", 0.9, 0.05)
    log = files.read_lines(workspace / "runs/finetune-alpha-s0/metrics.jsonl")
    assert [(row["step"], row["lr"]) for row in log] == [(50, pytest.approx(5e-3)), (60, pytest.approx(5e-4))]

    trained = load_file(workspace / "runs/finetune-alpha-s0/model.safetensors")
    for nesterov, equal in ((True, True), (False, False)):
        student = students.build_student(settings, settings.find_source("alpha"), None, task.classes, 0).train()
        shown = ImageCache(images, rows, torch.device("cpu"), 0)
        (views,) = shown.evaluation_views(student.preprocessing, rows, len(rows))
        labels = torch.from_numpy(images.labels[rows])
        sgd = torch.optim.SGD(student.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4, nesterov=nesterov)
        for step in range(60):
            sgd.param_groups[0]["lr"] = 0.05 if step < 30 else 0.005 if step < 50 else 0.0005
            sgd.zero_grad()
            nn.functional.cross_entropy(student(views)[1], labels).backward()
            sgd.step()
        close = [torch.allclose(trained[key], value, atol=1e-5) for key, value in student.plain_state_dict().items()]
        assert all(close) == equal
    ok("finetune", "alpha", *QUICK, "--momentum", "0", "--name", "still", workspace=workspace)
    assert files.read_json(workspace / "runs/still/run.json")["options"]["nesterov"] is False


def test_sweep_of_one_rate_is_a_plain_run(workspace: Path) -> None:
    ok("finetune", "alpha", *QUICK, workspace=workspace)
    before = contents(workspace / "runs")
    result = ok("finetune", "alpha", *QUICK, "--lr", "0.01", workspace=workspace)
    assert "finetune-alpha-s0 is up to date" in result.err
    ok("finetune", "alpha", *QUICK, "--lr", "0.01", "--overwrite", workspace=workspace)
    assert contents(workspace / "runs") == before


@pytest.mark.parametrize("objective", slow_unless(["supervised", "fixmatch"], ("supervised",)))
def test_interrupted_sweep_ends_as_plain_run_of_best_rate(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, objective: str
) -> None:
    command = ("finetune", "alpha", "--objective", objective, *QUICK, "--name", "swept")
    rates = ("0", "0.3", "0.05")
    assert until_done(*command, "--lr", ",".join(rates), workspace=workspace, monkeypatch=monkeypatch) > 3
    swept = workspace / "runs/swept"
    summary = files.read_json(swept / "sweep.json")
    assert [row["lr"] for row in summary["rows"]] == [0, 0.3, 0.05]
    for row in summary["rows"]:
        rows = parquet_files.read_table(
            swept / f"sweep/lr-{row['lr']:g}/predictions.parquet", schemas.PREDICTIONS
        ).to_pylist()
        correct = [max(range(3), key=line["logits"].__getitem__) == line["label"] for line in rows]
        assert (row["accuracy"], row["n"]) == (sum(correct) / len(correct), len(correct))
    best = max(summary["rows"], key=lambda row: row["accuracy"])
    assert summary["lr"] == best["lr"]
    for rate in rates:
        ok(*command[:-1], f"plain-{rate}", "--lr", rate, workspace=workspace)
    same = [rate for rate in rates if model(workspace / f"runs/plain-{rate}") == model(swept)]
    assert same == [f"{best['lr']:g}"]
    before = contents(workspace / "runs")
    again = ok(*command, "--lr", ",".join(rates), workspace=workspace)
    assert "swept is up to date" in again.err
    assert contents(workspace / "runs") == before
    ok(*command, "--lr", "0.05", "--overwrite", workspace=workspace)
    assert contents(swept)["model.safetensors"] == contents(workspace / "runs/plain-0.05")["model.safetensors"]
    assert {path.name for path in swept.iterdir()} == {path.name for path in (workspace / "runs/plain-0.05").iterdir()}


def test_diverging_rate_leaves_the_sweep(workspace: Path) -> None:
    sweep = ("finetune", "alpha", *QUICK, "--lr")
    result = ok(*sweep, "1e30,0.01", workspace=workspace)
    assert "dropped the learning rate 1e+30: " in result.err
    assert files.read_json(workspace / "runs/finetune-alpha-s0/sweep.json")["lr"] == 0.01
    near = ok(*sweep, "0.1,0.1000001", "--name", "near", workspace=workspace)
    assert near.err.count("training ") == 4  # on CPU, two trials, all labels
    result = run(*sweep, "1e30,1e31", "--name", "wild", workspace=workspace)
    assert (result.code, result.error.partition(";")[0]) == (2, "every learning rate of 1e+30,1e+31 is too high")


def predicted(folder: Path) -> set[str]:
    """The images of a run's predictions."""
    return {
        row["id"] for row in parquet_files.read_table(folder / "predictions.parquet", schemas.PREDICTIONS).to_pylist()
    }


class Watched:
    """The images that each run of a command trains on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.used: dict[str, set[str]] = defaultdict(set)
        seen: set[str] = set()
        batch, finish = pixel_cache.PixelCache.batch, students.write_student

        def watch(cache: pixel_cache.PixelCache, places: torch.Tensor) -> torch.Tensor:
            seen.update(cache.ids[place] for place in places.tolist())
            return batch(cache, places)

        def close(now: RunFolder, *rest: object) -> None:
            self.used[now.path.name] |= seen
            finish(now, *rest)  # type: ignore[arg-type]
            seen.clear()  # its predictions are of the same images

        monkeypatch.setattr(pixel_cache.PixelCache, "batch", watch)
        monkeypatch.setattr(students, "write_student", close)


def uneven(workspace: Path) -> dict[str, tuple[str, str]]:
    """Samples of classes of 11, 6 and 1 images, two or three a group, all labelled; the class and group of each."""
    sizes = {"blue": range(11), "green": range(6), "red": range(1)}
    samples = {
        f"images/{name}/{n:02}.png": (name, f"{name}-{n // 3}") for name, numbers in sizes.items() for n in numbers
    }
    rows = [f"{path},{label},{group}" for path, (label, group) in samples.items()]
    (workspace / "samples.csv").write_text("\n".join(["path,label,group", *rows]) + "\n", encoding="utf-8")
    tests = [f"images/{name}/{n:02}.png,{name}" for name in CLASSES for n in (PER_CLASS - 1,)]
    (workspace / "test.csv").write_text("\n".join(["path,label", *tests]) + "\n", encoding="utf-8")
    return samples


@pytest.mark.parametrize("objective", ["supervised", "fixmatch"])
@pytest.mark.parametrize("seed", ["0", "1"])
def test_held_out_images_are_never_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, objective: str, seed: str
) -> None:
    workspace = make(tmp_path / "task", train="csv:samples.csv", test="csv:test.csv", labelled="all")
    samples = uneven(workspace)
    add_normed(workspace)
    ok("split", workspace=workspace)
    table = parquet_files.read_table(workspace / "manifest.parquet", schemas.MANIFEST).to_pylist()
    labelled = {row["id"]: samples[row["path"]] for row in table if row["split"] == "labelled"}
    assert len(labelled) == 18
    watched = Watched(monkeypatch)
    sweep = ("finetune", "normed", "--objective", objective, "--lr", "0.1,0.01", "--recalibrate", "--seed", seed)
    ok(*sweep, "--name", "swept", *QUICK, workspace=workspace)
    trials = ("lr-0.1", "lr-0.01")
    held_out = [predicted(workspace / "runs/swept/sweep" / trial) for trial in trials]
    assert held_out[0] == held_out[1] < labelled.keys()
    for trial in trials:
        assert watched.used[trial] == labelled.keys() - held_out[0]
    assert watched.used["swept"] == labelled.keys()
    # A fifth of 18 is 3.6; a group of three may exceed it.
    assert 4 <= len(held_out[0]) <= 7
    of_class = {name: [image for image in held_out[0] if labelled[image][0] == name] for name in CLASSES}
    assert of_class["blue"]
    assert of_class["green"]
    assert not of_class["red"]
    groups = {labelled[image] for image in held_out[0]}
    assert not groups & {labelled[image] for image in labelled.keys() - held_out[0]}


def test_sweep_needs_two_labels_in_a_class(tmp_path: Path) -> None:
    workspace = make(tmp_path / "task", labelled="1/class")
    result = run("finetune", "alpha", "--lr", "0.1,0.01", *QUICK, workspace=workspace)
    assert result.code == 2
    assert result.error == "no class has two labelled images: none can be held out; give one --lr"


def test_fixmatch_without_confidence_learns_from_labels(workspace: Path) -> None:
    fixmatch = ("finetune", "student", "--objective", "fixmatch", *LONGER, "--name")
    ok(*fixmatch, "none", "--threshold", "1.1", "--unlabelled-weight", "1", workspace=workspace)
    ok(*fixmatch, "nothing", "--threshold", "0", "--unlabelled-weight", "0", workspace=workspace)
    ok(*fixmatch, "all", "--threshold", "0", "--unlabelled-weight", "1", workspace=workspace)
    assert model(workspace / "runs/none") == model(workspace / "runs/nothing") != model(workspace / "runs/all")
    shares = [files.read_lines(workspace / f"runs/{name}/metrics.jsonl")[-1]["confident"] for name in ("none", "all")]
    assert shares == [0, 1]
    # The labelled half of its batches is the stream of supervised training with half the batch.
    half = ("--batch-size", "4", "--augment", "shift", "--schedule", "cosine", "--steps", "30", "--workers", "0")
    ok("finetune", "student", *half, "--name", "supervised", workspace=workspace)
    ours, plain = (load_file(workspace / f"runs/{name}/model.safetensors") for name in ("none", "supervised"))
    for key, value in ours.items():
        torch.testing.assert_close(value, plain[key], rtol=0, atol=1e-6)


def test_fixmatch_loss_weights(workspace: Path) -> None:
    fixmatch = ("finetune", "student", "--objective", "fixmatch", *QUICK, "--threshold", "0", "--schedule", "constant")
    for name, weight, rate in (("lam", ("--lam", "0.5"), "0.2"), ("w", ("--unlabelled-weight", "1"), "0.1")):
        decay = ("--weight-decay", "0")
        ok(*fixmatch, *weight, *decay, "--lr", rate, "--name", name, workspace=workspace)
        options = files.read_json(workspace / "runs" / name / "run.json")["options"]
        assert (options["threshold"], options["temperature"]) == (0, 1)
        assert (options["lam"], options["unlabelled_weight"]) == ((0.5, None) if name == "lam" else (None, 1))
    # Half the loss at twice the rate.
    halved, whole = (load_file(workspace / f"runs/{name}/model.safetensors") for name in ("lam", "w"))
    for key, value in halved.items():
        torch.testing.assert_close(value, whole[key], rtol=0, atol=1e-6)


def test_strong_views_differ_within_a_batch(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each image draws operations of its own, and they are others again in the next epoch."""
    strong_views: list[torch.Tensor] = []
    apply_plan = augmentation.apply_plan

    def same_picture(images: torch.Tensor, plan: augmentation.ViewPlan, *rest: Any) -> torch.Tensor:
        is_strong = plan.name == "strong"
        views = apply_plan(images[:1].expand(len(images), -1, -1, -1) if is_strong else images, plan, *rest)
        if is_strong:
            strong_views.append(views)
        return views

    monkeypatch.setattr(augmentation, "apply_plan", same_picture)
    ok("finetune", "student", "--objective", "fixmatch", "--augment", "none", *QUICK, workspace=workspace)
    assert strong_views
    for views in strong_views:
        assert len({view.numpy().tobytes() for view in views}) == len(views) == 4


def test_changed_source_weights_make_a_run_stale(workspace: Path) -> None:
    ok("finetune", "alpha", *QUICK, workspace=workspace)
    weights = load_file(workspace / "alpha.safetensors")
    save_file({key: value + 1 for key, value in weights.items()}, workspace / "alpha.safetensors")
    result = run("finetune", "alpha", *QUICK, workspace=workspace)
    assert result.code == 2
    assert "finetune-alpha-s0 was made from other inputs: file alpha.safetensors" in result.error
    refused = run("finetune", "alpha", *QUICK, "--overwrite", workspace=workspace)
    assert refused.code == 2
    assert "zoo extract --source alpha --overwrite takes these" in refused.error
    ok("extract", "--source", "alpha", "--overwrite", workspace=workspace)
    ok("finetune", "alpha", *QUICK, "--overwrite", workspace=workspace)


def test_finetune_from_paths_without_workspace(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ok("finetune", "alpha", *QUICK, workspace=workspace)
    shutil.copytree(workspace / "runs/finetune-alpha-s0", tmp_path / "theirs")
    (workspace / "zoo.toml").unlink()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "here/models.py").write_bytes((workspace / "models.py").read_bytes())
    bare = ("finetune", "file:../theirs", "--manifest", str(workspace / "manifest.parquet"), "--out", "student")
    ok(*bare, *QUICK, "--trust", "../theirs")
    assert {path.name for path in (tmp_path / "here").iterdir()} == {"models.py", "student", "student.log.json"}
    assert (tmp_path / "here/student/model.safetensors").exists()


def test_images_decoded_for_every_batch_give_the_same_files(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = ("finetune", "student", "--objective", "fixmatch", *QUICK, "--checkpoint-every", "2", "--name", "mine")
    ok(*command, workspace=workspace)
    expected = contents(workspace / "runs/mine")
    assert "runs/mine is up to date" in ok(*command, "--images", "stream", workspace=workspace).err
    streamed = (*command, "--images", "stream")
    ok(*streamed, "--overwrite", workspace=workspace)
    assert contents(workspace / "runs/mine") == expected
    shutil.rmtree(workspace / "runs")
    assert until_done(*streamed, workspace=workspace, monkeypatch=monkeypatch)
    assert contents(workspace / "runs/mine") == expected


def test_images_on_a_gpu_need_one(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run("finetune", "student", *QUICK, "--images", "gpu", "--device", "cpu", workspace=workspace)
    assert (result.code, result.error) == (2, "--images gpu: --device is cpu; set --images auto")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    result = run("finetune", "student", *QUICK, "--images", "gpu", workspace=workspace)
    assert (result.code, result.error) == (2, "--images gpu: training is on cpu; set --images auto")
    result = run("finetune", "student", *QUICK, "--images", "ram", workspace=workspace)
    assert result.code == 2
    assert '--images is "ram"; ' in result.error


def test_images_that_exceed_the_ram_are_refused(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(free_memory, "free_ram", lambda: 100)
    result = run("finetune", "student", *QUICK, "--images", "memory", workspace=workspace)
    assert result.code == 2
    assert "--images memory: they take 0.0 GB, 0.0 GB are free in RAM; set --images auto, or stream" in result.error
