"""A source that gives every image the same has no score, no weight and no place in a pool."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests import workspaces
from tests.workspaces import run
from zoo_cli import config
from zoo_cli.store import output_summary, parquet_files
from zoo_cli.store.manifest import load_manifest

RANDOM = np.random.default_rng(0)
DECLARED = '\n[[source]]\nname = "remote"\nmodel = "features:remote.parquet"\n'


def flat(count: int, classes: int = 5) -> np.ndarray:
    """Probabilities of a network that answers one class whatever it sees."""
    probs = np.full((count, classes), 0.02) + RANDOM.uniform(0, 1e-3, (count, classes))
    probs[:, 2] += 1 - probs.sum(axis=1)
    return probs


def write(path: Path, ids: list[str], **columns: np.ndarray) -> None:
    lists = {name: pa.array(values.tolist()) for name, values in columns.items()}
    pq.write_table(pa.table({"id": ids, **lists}), path)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The small task with a fourth source, "remote", whose features are good and whose answers are one class."""
    place = workspaces.make(tmp_path / "task", upto="extract")
    images = load_manifest(place / "manifest.parquet", place)
    embedding = np.eye(3)[np.maximum(images.labels, 0)] + RANDOM.normal(0, 0.1, (len(images), 3))
    write(place / "remote.parquet", images.ids.tolist(), embedding=embedding, probs=flat(len(images)))
    (place / "zoo.toml").write_text((place / "zoo.toml").read_text() + DECLARED)
    return place


def row(place: Path, *command: str, source: str = "remote") -> dict[str, object]:
    result = run(*command, "--json", workspace=place)
    assert result.code == 0, result.err
    return next(dict(each) for each in result.data if each["source"] == source)


def test_extract_shows_how_many_classes_are_answered(place: Path) -> None:
    collapsed = row(place, "extract")
    assert (collapsed["classes"], collapsed["answered"], collapsed["note"]) == (5, 1, "collapsed")
    other = row(place, "extract", source="alpha")
    assert isinstance(other["answered"], int)
    assert 1 <= other["answered"] <= 4
    assert "collapsed" in str(row(place, "sources")["note"])


def test_a_collapsed_source_is_undefined_and_last(place: Path) -> None:
    for metric in ("parc", "leep"):
        score = row(place, "score", "--metric", metric)
        assert (score["status"], score["reason"], score["value"]) == ("undefined", "collapsed", None)
    for weighting in ("p=2", "equal", "nearest", "random:seed=1"):
        result = run("rank", "--weighting", weighting, "--json", workspace=place)
        last = result.data[-1]
        assert (last["source"], last["rank"], last["weight"]) == ("remote", None, 0)
        assert (last["excluded"], last["teaches"], last["fit"]) == ("undefined: collapsed", "no", None)
        assert "remote" not in json.loads(result.out)["meta"]["verdict"]["sentence"]


def test_weights_of_a_file_do_not_revive_it(place: Path) -> None:
    rows = [{"source": name, "weight": 1.0} for name in ("alpha", "beta", "gamma", "remote")]
    (place / "mine.json").write_text(json.dumps({"sources": rows}))
    result = run("rank", "--weighting", f"file:{place}/mine.json", "--json", workspace=place)
    assert {each["source"]: round(each["weight"], 3) for each in result.data}["remote"] == 0


def test_scores_of_an_earlier_version_are_not_believed(place: Path) -> None:
    assert run("score", "--metric", "parc", workspace=place).code == 0
    path = place / "scores/parc/remote.parquet"
    other = pq.read_table(place / "scores/parc/alpha.parquet").to_pylist()[0]
    header = parquet_files.read_header(path)
    table = pa.Table.from_pylist([{**other, "source": "remote", "value": 0.99}], schema=pq.read_schema(path))
    pq.write_table(table.replace_schema_metadata({b"zoo": json.dumps(header).encode()}), path)
    assert row(place, "rank", "--metric", "parc")["excluded"] == "undefined: collapsed"
    assert row(place, "score", "--metric", "parc")["value"] is None


def test_a_pool_and_students_leave_it_out(place: Path) -> None:
    heads = run("pseudo-label", "--head", "ridge", "--json", workspace=place)
    assert [each["source"] for each in heads.data] == ["alpha", "beta", "gamma"]
    assert "remote is excluded: undefined: collapsed" in heads.err
    labels = run("pseudo-label", "--json", workspace=place)
    assert [each["source"] for each in labels.data] == ["alpha", "beta", "gamma"]
    assert "remote is collapsed" in labels.err
    quick = ("--steps", "2", "--batch-size", "8", "--device", "cpu")
    each = run("distill", "--each-source", "--source", "alpha", "--source", "remote", *quick, "--json", workspace=place)
    assert each.code == 0, each.err
    assert len(each.data) == 1
    assert "remote is excluded: undefined: collapsed" in each.err


def test_alone_it_leaves_no_source(place: Path) -> None:
    assert run("extract", workspace=place).code == 0
    each = run("distill", "--each-source", "--source", "remote", "--json", "--steps", "2", workspace=place)
    assert (each.code, each.data) == (0, [])
    assert "remote is excluded: undefined: collapsed" in each.err
    result = run("pseudo-label", "--head", "ridge", "--source", "remote", workspace=place)
    assert result.code == 2
    assert "no source is left to fit a head on: remote undefined: collapsed" in result.error


def test_a_network_that_sees_nothing_is_collapsed(tmp_path: Path) -> None:
    place = workspaces.make(tmp_path / "task", upto="split")
    code = (place / "models.py").read_text()
    (place / "models.py").write_text(
        code + "\ndef blind(width=8, classes=4):\n    net = small(width, classes)\n"
        "    nn.init.zeros_(net[0].weight)\n    return net\n"
    )
    text = (
        (place / "zoo.toml")
        .read_text()
        .replace('name = "gamma"\nmodel = "python:models.py:small"', 'name = "gamma"\nmodel = "python:models.py:blind"')
    )
    (place / "zoo.toml").write_text(text)
    assert row(place, "extract", source="gamma")["note"] == "weights: factory, collapsed"
    assert row(place, "rank", source="gamma")["excluded"] == "undefined: collapsed"


def test_the_summary_is_computed_once(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("extract", workspace=place).code == 0
    document = place / "features/source=alpha/_outputs.json"
    before = document.read_bytes()
    monkeypatch.setattr(output_summary, "summarise_path", lambda *_: pytest.fail("computed again"))
    assert run("rank", workspace=place).code == 0
    assert document.read_bytes() == before
    summary = output_summary.load_summary(config.load(place), "alpha")
    assert summary.images == json.loads(before)["images"] == 36


def test_files_are_looked_at_too(tmp_path: Path) -> None:
    ids = [f"x{i}" for i in range(60)]
    labels = np.arange(60) % 3
    embedding = np.eye(3)[labels] + RANDOM.normal(0, 0.3, (60, 3))
    for name, probs in (("good", RANDOM.dirichlet(np.ones(4), 60)), ("flat", flat(60))):
        write(tmp_path / f"{name}.parquet", ids, label=labels, embedding=embedding, probs=probs)
    paths = [word for name in ("good", "flat") for word in ("--features", str(tmp_path / f"{name}.parquet"))]
    for metric in ("parc", "leep"):
        rows = run("rank", *paths, "--metric", metric, "--json", workspace=tmp_path).data
        assert [(each["source"], each["rank"], each["excluded"]) for each in rows] == [
            ("good", 1, None),
            ("flat", None, "undefined: collapsed"),
        ]
        assert [each["weight"] for each in rows] == [1, 0]


def test_a_softmax_of_one_class_cannot_teach(tmp_path: Path) -> None:
    place = workspaces.make(tmp_path / "task", upto="split")
    workspaces.edit(place, "{ width = 5, classes = 6 }", "{ width = 5, classes = 1 }")
    result = run("rank", "--json", workspace=place)
    teaches = {each["source"]: each["teaches"] for each in result.data}
    assert teaches == {"alpha": "yes", "beta": "no", "gamma": "yes"}
    weights = {each["source"]: each["weight"] for each in result.data}
    assert weights["beta"] == 0
    labels = run("pseudo-label", workspace=place)
    assert "beta has a softmax head of one class: no pseudo-labels of it" in labels.err


def test_collapsed_pseudo_labels_by_path_weigh_nothing(place: Path) -> None:
    assert run("pseudo-label", workspace=place).code == 0
    flat_labels = run("pseudo-label", "--features", f"{place}/remote.parquet", "--out", f"{place}/theirs/source=remote")
    assert flat_labels.code == 0, flat_labels.err
    folders = [word for name in ("pseudo/source=alpha", "theirs/source=remote") for word in ("--pseudo", place / name)]
    command = ("distill", *map(str, folders), "--weighting", "equal", "--steps", "2", "--batch-size", "8")
    result = run(*command, "--device", "cpu", workspace=place)
    assert result.code == 0, result.err
    assert "remote is excluded: undefined: collapsed" in result.err
    (record,) = [json.loads(path.read_text()) for path in place.glob("runs/*/run.json")]
    assert record["weights"] == [{"source": "alpha", "weight": 1.0}]
    alone = run("distill", *map(str, folders[2:]), "--weighting", "equal", "--steps", "2", workspace=place)
    assert alone.code == 2
    assert "no source is left to learn from: remote" in alone.error
