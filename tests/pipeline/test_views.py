"""Consistent views: sources and student see the same pixels, and the targets are those of the view that is seen."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from tests.faults.tables import table
from tests.pipeline.test_bytes import contents
from tests.pipeline.transfer_workspace import QUICK, model, ok, until_done
from tests.workspaces import CLASSES, edit, make, run
from zoo_cli import config, free_memory, specs
from zoo_cli.heads.estimate import estimate_accuracy
from zoo_cli.heads.fitting import fit_heads
from zoo_cli.heads.standardise import Features
from zoo_cli.heads.target_labels import TargetLabels
from zoo_cli.heads.view_pools import ViewFeatures, pool_views
from zoo_cli.images import augmented_views
from zoo_cli.models.extraction import FeatureRunner
from zoo_cli.objectives.supervised import Batch
from zoo_cli.store import feature_files, feature_store, files, view_store
from zoo_cli.store.manifest import Images, load_manifest
from zoo_cli.store.view_set import ViewSet
from zoo_cli.training import runner
from zoo_cli.training.batches import draw_indices

SOURCES = ("alpha", "beta", "gamma")
HEADS = ("distill", "--objective", "heads", *QUICK)
VIEWS = 3


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = make(tmp_path_factory.mktemp("views") / "task", upto="extract")
    ok("extract", "--views", str(VIEWS), workspace=place)
    return place


@pytest.fixture
def workspace(template: Path, tmp_path: Path) -> Path:
    """After zoo extract --views 3."""
    return Path(shutil.copytree(template, tmp_path / "task"))


def load_images(workspace: Path) -> Images:
    return load_manifest(workspace / "manifest.parquet", workspace)


class Recorder:
    """What the networks are shown: by source in the order of the images and views, and the batches of the student."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.sources: dict[int, list[Tensor]] = {}
        self.batches: list[tuple[Tensor, Batch]] = []
        self.augmented: dict[tuple[str, int], bytes] = {}
        call, make_fn, augment = FeatureRunner.__call__, runner.make_consistent_batch_fn, augmented_views.augment_image

        def run_source(runner_of_source: FeatureRunner, images: Tensor) -> Any:
            shown = self.sources.setdefault(id(runner_of_source), [])
            shown += runner_of_source.normalise(images).contiguous()
            return call(runner_of_source, images)

        def make_batch_fn(*arguments: Any) -> Callable[[int], Batch]:
            batch_fn, streams = make_fn(*arguments), arguments[1]

            def batch(step: int) -> Batch:
                chosen, epoch = draw_indices(
                    streams.seed, "unlabelled", len(streams.unlabelled), step, streams.batch_sizes[1]
                )
                rows = torch.from_numpy(streams.unlabelled)[chosen]
                self.batches.append((torch.stack([rows, epoch % VIEWS], 1), batch_fn(step)))
                return self.batches[-1][1]

            return batch

        def augment_image(image: Image.Image, views: ViewSet, view: int, sample_id: str) -> Image.Image:
            result = augment(image, views, view, sample_id)
            pixels = str(result.size).encode() + result.tobytes()
            assert self.augmented.setdefault((sample_id, view), pixels) == pixels
            self.calls += 1
            return result

        self.calls = 0
        monkeypatch.setattr(FeatureRunner, "__call__", run_source)
        monkeypatch.setattr(runner, "make_consistent_batch_fn", make_batch_fn)
        monkeypatch.setattr(augmented_views, "augment_image", augment_image)


@pytest.mark.parametrize(
    ("objective", "augment"), [("heads", "crop"), ("heads", "affine"), ("heads", "rand"), ("cross-task", "crop")]
)
def test_student_sees_the_pixels_of_the_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, objective: str, augment: str
) -> None:
    """Over all epochs: every batch holds, bit for bit, what the sources were shown of the same image and view."""
    workspace = make(tmp_path / "task", upto="extract")
    recorder = Recorder(monkeypatch)
    views = ("--views", str(VIEWS), "--augment", augment)
    ok("extract", *views, workspace=workspace)
    assert len(recorder.sources) == len(SOURCES)
    shown = [torch.stack(each) for each in recorder.sources.values()]
    images = load_images(workspace)
    train = images.where(data="train").tolist()
    assert [len(each) for each in shown] == [len(train) * VIEWS] * len(SOURCES)
    assert recorder.calls == len(train) * VIEWS
    length = ("--steps", "24", "--batch-size", "8", "--workers", "0", "--name", "mine")
    ok("distill", "--objective", objective, *views, *length, workspace=workspace)
    assert {tuple(pair.tolist()) for pairs, _ in recorder.batches for pair in pairs} == {
        (row, view) for row in images.where(split=("labelled", "unlabelled")).tolist() for view in range(VIEWS)
    }
    for pairs, batch in recorder.batches:
        assert batch.targets is not None
        seen = batch.images[len(batch.labels) :]
        positions = torch.tensor([train.index(row) * VIEWS + view for row, view in pairs.tolist()])
        for each in shown:
            assert torch.equal(seen, each[positions])
    pairs, batch = recorder.batches[-1]
    assert batch.targets is not None
    np.testing.assert_array_equal(batch.targets.numpy(), load_targets(workspace, objective, images, pairs))


def load_targets(workspace: Path, objective: str, images: Images, pairs: Tensor) -> np.ndarray:
    """The stored targets (B, sum K) of images and views (B, 2), in the order of the weights in run.json."""
    weights = files.read_json(workspace / "runs/mine/run.json")["weights"]
    names = ["head=ridge-product"] if objective == "heads" else [f"source={row['source']}" for row in weights]
    columns = []
    for name in names:
        folder = workspace / "pseudo/views" / name
        outputs = [
            feature_files.load_outputs(folder / f"view={view}", ids=images.ids[[row]]) for row, view in pairs.tolist()
        ]
        columns.append(np.concatenate([each.probs for each in outputs if each.probs is not None]))
    return np.concatenate(columns, axis=1)


def test_run_stopped_by_term_is_bit_equal(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    length = ("--steps", "9", "--batch-size", "8", "--checkpoint-every", "4", "--workers", "0", "--name", "mine")
    command = ("distill", "--objective", "heads:cross_task=0.5,sharpen=0.5", "--augment", "crop", *length)
    ok(*command, workspace=workspace)
    unbroken = contents(workspace / "runs/mine")
    ok(*command, "--overwrite", workspace=workspace)
    assert contents(workspace / "runs/mine") == unbroken
    shutil.rmtree(workspace / "runs")
    assert until_done(*command, workspace=workspace, monkeypatch=monkeypatch) >= 2
    assert contents(workspace / "runs/mine") == unbroken


def test_streamed_views_give_the_same_student(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ok(*HEADS, "--augment", "crop", "--name", "memory", workspace=workspace)
    monkeypatch.setattr(free_memory, "free_ram", lambda: 0)
    result = ok(*HEADS, "--augment", "crop", "--name", "stream", workspace=workspace)
    assert "do not fit in memory" in result.err
    assert model(workspace / "runs/stream") == model(workspace / "runs/memory")


def test_plain_outputs_keep_their_bytes(template: Path, tmp_path: Path) -> None:
    plain = make(tmp_path / "plain", upto="extract")
    for name in (*SOURCES, "@student"):
        assert contents(template / f"features/source={name}") == contents(plain / f"features/source={name}")
    assert not (template / "features/views/source=@student").exists()
    for command in (("rank",), ("pseudo-label",), ("pseudo-label", "--head", "ridge")):
        for place in (template, plain):
            ok(*command, workspace=place)
    for folder in ("scores", "pseudo", "heads"):
        assert contents(template / folder) == contents(plain / folder)


def test_interrupted_extraction_gives_the_same_bytes(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In parts of two images, of which some views of some sources are lost."""
    monkeypatch.setattr(feature_store, "PART_ROWS", 2 * VIEWS)
    workspace = make(tmp_path / "task", upto="split")
    command = ("extract", "--views", str(VIEWS), "--batch-size", "64")
    ok(*command, workspace=workspace)
    folder = workspace / "features/views"
    parts = sorted(folder.glob("source=alpha/view=1/data=train/*.parquet"))
    assert len(parts) == 18
    before = contents(folder)
    parts[3].unlink()
    shutil.rmtree(folder / "source=gamma/view=2")
    ok(*command, workspace=workspace)
    assert contents(folder) == before
    assert "3 crop views, seed 0 of beta are up to date" in ok(*command, workspace=workspace).err
    whole, split = (
        feature_files.load_outputs(place / "features/views/source=alpha/view=1").embedding
        for place in (template, workspace)
    )
    assert whole is not None
    assert split is not None
    np.testing.assert_allclose(split, whole, atol=1e-5)


def test_answers_are_those_of_the_arrays(workspace: Path) -> None:
    result = ok("pseudo-label", "--head", "ridge", "--views", str(VIEWS), "--json", workspace=workspace)
    images = load_images(workspace)
    rows = images.where(split=("labelled", "unlabelled"))
    targets = TargetLabels.of(images.labels[rows], len(CLASSES))

    def load(name: str, view: str) -> np.ndarray:
        values = feature_files.load_outputs(
            workspace / "features" / view.format(name=name), ids=images.ids[rows]
        ).embedding
        assert values is not None
        return values

    plain = [Features.of(load(name, "source={name}")) for name in SOURCES]
    views = [
        [
            Features(load(name, f"views/source={name}/view={view}"), each.mean, each.scale)
            for name, each in zip(SOURCES, plain, strict=True)
        ]
        for view in range(VIEWS)
    ]
    labelled = [
        Features(
            np.concatenate([[each[s].values[row] for each in views] for row in targets.rows]),
            plain[s].mean,
            plain[s].scale,
        )
        for s in range(len(SOURCES))
    ]
    features = ViewFeatures(plain, labelled, views)
    heads = fit_heads(specs.resolve("head", "ridge"), labelled, targets.repeat(VIEWS))
    pools = pool_views(specs.resolve("pool", "product"), features, heads, targets)
    for view, pool in enumerate(pools):
        written = feature_files.load_outputs(workspace / f"pseudo/views/head=ridge-product/view={view}")
        assert written.ids.tolist() == images.ids[rows].tolist()
        assert written.probs is not None
        np.testing.assert_allclose(written.probs, pool.probabilities, atol=1e-3)
    assert [row["weight"] for row in result.data] == pytest.approx(pools[0].weights.tolist())
    estimates = [estimate_accuracy(pool, targets).accuracy for pool in pools]
    meta = json.loads(result.out)["meta"]
    assert meta["estimate"]["accuracy"] == pytest.approx(np.mean(estimates))
    assert meta["notes"] == ["fitted_on_3_crop_views"]


def test_stored_views_are_used_with_their_augmentation(workspace: Path) -> None:
    result = ok(*HEADS, "--augment", "crop", "--json", workspace=workspace)
    assert [row["run"] for row in result.data] == ["heads-ridge-product-views3-s0"]
    assert "plain view" not in result.err
    run_json = files.read_json(workspace / "runs/heads-ridge-product-views3-s0/run.json")
    assert (run_json["options"]["views"], run_json["options"]["augment"]) == ("3 crop views, seed 0", "crop")
    again = ok(*HEADS, "--views", "3", workspace=workspace)
    assert "runs/heads-ridge-product-views3-s0 is up to date" in again.err


def test_stored_views_give_the_augmentation(workspace: Path) -> None:
    result = ok(*HEADS, "--json", workspace=workspace)
    assert [row["run"] for row in result.data] == ["heads-ridge-product-views3-s0"]
    options = files.read_json(workspace / "runs/heads-ridge-product-views3-s0/run.json")["options"]
    assert options["augment"] == "crop"


@pytest.mark.parametrize("flags", [("--augment", "rand"), ("--augment", "crop", "--views", "0")])
def test_other_views_fall_back_to_plain_answers(workspace: Path, flags: tuple[str, ...]) -> None:
    result = ok(*HEADS, *flags, "--json", workspace=workspace)
    assert [row["run"] for row in result.data] == ["heads-ridge-product-s0"]
    assert result.err.count("the pool answered for the plain view") == 1
    assert ("the stored views are not used: they are of crop, not of rand" in result.err) == ("rand" in flags)
    assert "views" not in files.read_json(workspace / "runs/heads-ridge-product-s0/run.json")["options"]


def test_cross_task_draws_views_anew_by_default(workspace: Path) -> None:
    result = ok("distill", *QUICK, "--json", workspace=workspace)
    assert [row["run"] for row in result.data] == ["cross-task-parc-p12-s0"]


def test_missing_views_are_made_first(tmp_path: Path) -> None:
    workspace = make(tmp_path / "task")
    result = ok(*HEADS, "--views", "2", "--source", "alpha", "--source", "beta", workspace=workspace)
    assert "no 2 crop views, seed 0 of alpha, beta yet: zoo extract --views makes them first" in result.err
    assert not (workspace / "features/views/source=gamma").exists()
    assert (workspace / "runs/heads-ridge-product-views2-of-alpha+beta-s0/model.safetensors").exists()


def test_other_views_than_the_stored_ones_are_stale(workspace: Path) -> None:
    for command in (
        ("extract", "--views", "2"),
        ("pseudo-label", "--head", "ridge", "--views", "2"),
        (*HEADS, "--views", "2"),
        ("distill", "--views", "2", *QUICK),
    ):
        result = run(*command, workspace=workspace)
        assert result.code == 2
        assert "features/views was made from other inputs: views (3 there, 2 requested)" in result.error
        assert "zoo extract --views 2 --augment crop --overwrite makes it again" in result.error
    affine = run(*HEADS, "--views", "3", "--augment", "affine", workspace=workspace)
    assert affine.code == 2
    assert "augment (crop there, affine requested)" in affine.error
    ok("extract", "--views", "2", "--augment", "affine", "--overwrite", workspace=workspace)
    assert {path.name for path in (workspace / "features/views/source=alpha").glob("view=*/*/*")} == {
        "part-00000-of-00001.parquet"
    }
    assert view_store.load_view_set(config.load(workspace)) == ViewSet(2, "affine", 0)
    result = ok(*HEADS, "--augment", "affine", "--refresh", "--json", workspace=workspace)
    assert [row["run"] for row in result.data] == ["heads-ridge-product-views2-s0"]


def test_changed_source_is_made_again_by_refresh(workspace: Path) -> None:
    edit(workspace, "width = 5", "width = 6")
    result = run(*HEADS, "--augment", "crop", workspace=workspace)
    assert result.code == 2
    ok(*HEADS, "--augment", "crop", "--refresh", workspace=workspace)
    widths = [
        feature_files.load_outputs(workspace / f"features/views/source=beta/view={view}").embedding
        for view in range(VIEWS)
    ]
    assert [each.shape[1] for each in widths if each is not None] == [6] * VIEWS


def test_stored_outputs_answer_for_the_plain_view(workspace: Path) -> None:
    images = load_images(workspace)
    values = np.random.default_rng(0).normal(size=(len(images.ids), 4)).astype(np.float32)
    ids = list(map(str, images.ids))
    table(workspace / "theirs.parquet", id=ids, label=None, embedding=values, logits=values)
    with (workspace / "zoo.toml").open("a", encoding="utf-8") as stream:
        stream.write('[[source]]\nname = "theirs"\nmodel = "features:theirs.parquet"\n')
    result = ok("extract", "--views", str(VIEWS), workspace=workspace)
    assert "theirs has stored outputs only: it answers for the plain view" in result.err
    for objective in ("heads:cross_task=0.5", "cross-task"):
        ok("distill", "--objective", objective, "--weighting", "equal", "--views", "3", *QUICK, workspace=workspace)
    sources = [row["source"] for row in files.read_json(answers(workspace) / "_head.json")["sources"]]
    assert sources == [*SOURCES, "theirs"]
    assert not (workspace / "pseudo/views/source=theirs").exists()
    assert (workspace / "pseudo/source=theirs").exists()


def answers(workspace: Path) -> Path:
    return view_store.answers_folder(config.load(workspace), "ridge-product")


def test_image_that_failed_is_left_out_of_the_views(tmp_path: Path) -> None:
    workspace = make(tmp_path / "task", upto="split")
    (workspace / "images/red/03.png").unlink()
    assert run("extract", "--max-errors", "1", workspace=workspace).code == 0
    ok("extract", "--max-errors", "1", "--views", "2", workspace=workspace)
    ids = feature_files.load_outputs(workspace / "features/views/source=alpha/view=1").ids
    assert len(ids) == len(load_images(workspace).ids) - 1
    assert ok(*HEADS, "--augment", "crop", workspace=workspace)


REFUSED = [
    (("extract", "--augment", "crop"), "--augment is of stored views; add --views N"),
    (
        ("extract", "--views", "2", "--augment", "none"),
        'no views of the augmentation "none"; one of: flip, shift, crop',
    ),
    (("extract", "--views", "2", "--augment", "corp"), 'no views of the augmentation "corp"'),
    ((*HEADS, "--views", "2", "--augment", "none"), "--views of --augment none would be 2 times the plain one"),
    (("distill", "--views", "2", "--lam", "1", *QUICK), "--lam 1 uses labels only, no stored views; drop --views"),
    (("distill", "--objective", "kl", "--views", "2"), "--views belongs to --objective cross-task or heads"),
    (("distill", "--views", "2", "--pseudo", "there"), "--pseudo holds pseudo-labels of the plain view; drop --views"),
    (
        ("pseudo-label", "--features", "theirs.parquet", "--out", "x", "--views", "2"),
        "--features needs --out, the folder of its pseudo-labels, and neither --head nor --views",
    ),
]


@pytest.mark.parametrize(("command", "message"), REFUSED, ids=lambda value: value[0] if value[0] != "-" else "")
def test_wrong_flags_are_refused(template: Path, command: tuple[str, ...], message: str) -> None:
    result = run(*command, workspace=template)
    assert result.code == 2
    assert message in result.error


def test_damaged_document_is_refused(workspace: Path) -> None:
    (workspace / "features/views/_views.json").write_text("{}", encoding="utf-8")
    result = run(*HEADS, "--augment", "crop", workspace=workspace)
    assert result.code == 3
    assert "_views.json" in result.error
    assert "zoo extract --views N --overwrite makes it" in result.error


def test_dry_run_writes_nothing(tmp_path: Path) -> None:
    workspace = make(tmp_path / "task", upto="split")
    result = ok("extract", "--views", "2", "--dry-run", workspace=workspace)
    assert "would extract 2 crop views, seed 0 of 3 sources: alpha, beta, gamma" in result.err
    assert not (workspace / "features").exists()


def test_fewer_images_are_made_again_by_refresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of images that are gone are stale, and removed."""
    monkeypatch.setattr(feature_store, "PART_ROWS", 16)
    workspace = make(tmp_path / "task")
    command = ("extract", "--views", "2", "--source", "alpha")
    ok(*command, workspace=workspace)
    for path in sorted((workspace / "images/red").iterdir())[2:]:
        path.unlink()
    ok("split", "--overwrite", workspace=workspace)
    assert run(*command, workspace=workspace).code == 2
    ok(*command, "--refresh", workspace=workspace)
    parts = sorted((workspace / "features/views/source=alpha/view=1/data=train").iterdir())
    assert [part.name for part in parts] == [f"part-0000{number}-of-00004.parquet" for number in range(4)]
    assert "2 crop views, seed 0 of alpha are up to date" in ok(*command, workspace=workspace).err
