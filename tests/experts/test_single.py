"""zoo expert on one domain: the folder that it makes is a run and a full source."""

import hashlib
import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.experts.single_workspace import expert, make
from tests.pipeline.test_bytes import contents
from tests.workspaces import CLASSES, PER_CLASS, edit, run
from zoo_cli.config import Source
from zoo_cli.images.decoding import decode, make_view
from zoo_cli.models import loading
from zoo_cli.progress import Progress
from zoo_cli.store import checksums, parquet_files, schemas


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workspace = make(tmp_path_factory.mktemp("expert") / "task")
    result = expert(workspace)
    assert result.code == 0, result.err
    return workspace


@pytest.fixture
def workspace(trained: Path, tmp_path: Path) -> Path:
    return shutil.copytree(trained, tmp_path / "task")


def training_ids(workspace: Path) -> list[str]:
    """The images that are not test images, by their paths in the data set."""
    tested = parquet_files.read_parquet(workspace / "zoo/shapes/predictions.parquet", ["id"]).column("id").to_pylist()
    every = [f"shapes/train/{path.relative_to(workspace / 'images')}" for path in (workspace / "images").glob("*/*")]
    assert len(tested) == len(set(tested) & set(every))
    return sorted(set(every) - set(tested))


def test_folder_lists_its_training_images(trained: Path) -> None:
    paths = [trained / "images" / name.removeprefix("shapes/train/") for name in training_ids(trained)]
    listed = (trained / "zoo/shapes/images.sha256").read_text().splitlines()
    assert listed == sorted(hashlib.sha256(path.read_bytes()).hexdigest() for path in paths)
    assert {"images.sha256", "source_means.parquet"} <= set(checksums.read_sums(trained / "zoo/shapes"))


def test_class_means_are_those_of_the_features(trained: Path) -> None:
    table = parquet_files.read_table(trained / "zoo/shapes/source_means.parquet", schemas.SOURCE_MEANS)
    assert table.column("class").to_pylist() == list(CLASSES)
    model = loading.load_model(Source("shapes", "file:zoo/shapes"), trained)
    by_class: dict[str, list[np.ndarray]] = {name: [] for name in CLASSES}
    for name in training_ids(trained):
        path = trained / "images" / name.removeprefix("shapes/train/")
        view = (
            torch.from_numpy(make_view(decode(path), model.preprocessing).copy()).permute(2, 0, 1)[None].float() / 255
        )
        mean, std = (
            torch.tensor(values).view(-1, 1, 1) for values in (model.preprocessing.mean, model.preprocessing.std)
        )
        with torch.no_grad():
            by_class[path.parent.name].append(model.extractor()((view - mean) / std)[0][0].numpy())
    assert table.column("count").to_pylist() == [len(rows) for rows in by_class.values()]
    expected = np.stack([np.mean(rows, axis=0) for rows in by_class.values()])
    np.testing.assert_allclose(np.array(table.column("mean").to_pylist()), expected, rtol=0, atol=1e-5)


def test_expert_is_a_full_source(workspace: Path) -> None:
    with (workspace / "zoo.toml").open("a") as file:
        file.write('\n[[source]]\nname = "own"\nmodel = "file:zoo/shapes"\n')
    words = ("--metric", "domain-similarity:min_images=2", "--source", "own")
    rows = run("score", *words, "--json", workspace=workspace)
    assert rows.code == 0, rows.err
    assert [row["status"] for row in rows.data if row["source"] == "own"] == ["ok"]
    edit(workspace, 'name = "patterns"', 'name = "task"\naliases = ["shapes"]')
    ranked = run("rank", "--source", "own", "--source", "alpha", "--json", workspace=workspace)
    assert {row["source"]: row["excluded"] for row in ranked.data}["own"] == "trained on shapes"
    listed = run("sources", "--json", workspace=workspace)
    assert {row["source"]: row["trained_on"] for row in listed.data}["own"] == "shapes"


def test_changed_preprocessing_has_no_class_means(workspace: Path) -> None:
    with (workspace / "zoo.toml").open("a") as file:
        file.write('\n[[source]]\nname = "own"\nmodel = "file:zoo/shapes"\ninput_size = 16\n')
    words = ("--metric", "domain-similarity:min_images=2", "--source", "own")
    result = run("score", *words, "--json", workspace=workspace)
    assert result.data[0]["reason"] == "missing source class means"


def test_expert_continues_from_another(workspace: Path) -> None:
    result = expert(workspace, "--init", f"file:{workspace / 'zoo/shapes'}", out="zoo/next", data="next")
    assert result.code == 0, result.err
    record = json.loads((workspace / "zoo/next/config.json").read_text())["zoo"]
    assert record["trained_on"] == ["next", "shapes"]
    assert (workspace / "zoo/next/images.sha256").read_text() == (workspace / "zoo/shapes/images.sha256").read_text()
    again = expert(workspace, out="zoo/next", data="next")
    assert again.code == 2
    assert "made from other inputs" in again.error


def test_term_resumes_bit_equal(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = shutil.copytree(trained, tmp_path / "task")
    expected = contents(workspace / "zoo/shapes")
    shutil.rmtree(workspace / "zoo")
    advance, steps = Progress.advance, [0]

    def count(self: Progress, more: int) -> None:
        advance(self, more)
        steps[0] += self.title == "train" and more > 0
        if steps[0] == 7:
            steps[0] += 1
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "advance", count)
        assert expert(workspace).code == 143
    assert expert(workspace).code == 0
    assert contents(workspace / "zoo/shapes") == expected


def test_finished_expert_is_up_to_date(workspace: Path) -> None:
    before = contents(workspace / "zoo/shapes")
    result = expert(workspace)
    assert result.code == 0
    assert "up to date" in result.err
    assert contents(workspace / "zoo/shapes") == before


def test_one_class_is_refused(workspace: Path) -> None:
    for name in CLASSES[1:]:
        shutil.rmtree(workspace / "images" / name)
    result = expert(workspace, out="zoo/one")
    assert (result.code, result.error.split(";")[0]) == (
        2,
        'domain shapes: the training images are all of one class, "blue"',
    )
    assert not (workspace / "zoo/one").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--data", "shapes=folder:images"), '--data: two domains are named "shapes"'),
        (("--data", "more=folder:images"), "2 domains in one network need --multi"),
        (("--per-domain", "5"), "--per-domain belongs to --multi"),
        (("--multi", "multi"), '--multi is "multi"'),
        (("--test", "other=folder:images"), '--test: no domain "other"'),
        (("--unlabelled-from", "unlabelled"), "--unlabelled-from: an expert learns from labels alone"),
        (("--input-size", "0"), "--input-size is 0"),
        (("--schedule", "steps:at=2/3,1/3"), '--schedule is "steps:at=2/3,1/3"'),
    ],
)
def test_wrong_options_are_refused(trained: Path, arguments: tuple[str, ...], message: str) -> None:
    result = expert(trained, *arguments, out="zoo/refused")
    assert (result.code, result.error.split(";")[0]) == (2, message)
    assert not (trained / "zoo/refused").exists()


def test_weights_of_other_channels_are_refused(workspace: Path) -> None:
    edit(
        workspace,
        'model = "python:models.py:normed"',
        'model = "python:models.py:normed"\nchannels = 1\nargs = { channels = 1 }',
    )
    result = expert(workspace, "--init", f"file:{workspace / 'zoo/shapes'}", out="zoo/grey")
    assert result.code == 2
    assert "takes images of 3 channels, the network to train of 1" in result.error
    assert not (workspace / "zoo/grey").exists()


def test_test_images_of_their_own_are_predicted(trained: Path) -> None:
    result = expert(trained, "--test", f"folder:{trained / 'images'}", "--steps", "1", out="zoo/tested")
    assert result.code == 0, result.err
    assert (
        len(parquet_files.read_parquet(trained / "zoo/tested/predictions.parquet", ["id"])) == len(CLASSES) * PER_CLASS
    )
