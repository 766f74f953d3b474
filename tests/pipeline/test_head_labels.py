"""`zoo pseudo-label --head`: the pool's answers in the task's classes, their record and messages."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.workspaces import CLASSES, edit, make, run
from zoo_cli.heads.estimate import estimate_accuracy
from zoo_cli.heads.pool_weights import weigh_heads
from zoo_cli.heads.product import product
from zoo_cli.heads.ridge import ridge
from zoo_cli.heads.standardise import Features
from zoo_cli.heads.target_labels import TargetLabels
from zoo_cli.store import feature_files, files
from zoo_cli.store.manifest import load_manifest

SOURCES = ("alpha", "beta", "gamma")


def digests(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): files.digest(path) for path in sorted(folder.rglob("*.*"))}


def test_answers_are_those_of_the_arrays(tmp_path: Path) -> None:
    place = make(tmp_path / "task", upto="extract")
    result = run("pseudo-label", "--head", "ridge", "--json", workspace=place)
    assert result.code == 0, result.err
    images = load_manifest(place / "manifest.parquet", place)
    rows = images.where(split=("labelled", "unlabelled"))
    targets = TargetLabels.of(images.labels[rows], len(CLASSES))
    stored = [
        feature_files.load_outputs(place / f"features/source={name}", ids=images.ids[rows]).embedding
        for name in SOURCES
    ]
    features = [Features.of(values) for values in stored if values is not None]
    heads = [ridge(source, targets) for source in features]
    pool = product(features, heads, weigh_heads(heads), targets)
    written = feature_files.load_outputs(place / "pseudo/head=ridge-product")
    assert written.ids.tolist() == images.ids[rows].tolist()
    assert written.probs is not None
    np.testing.assert_allclose(written.probs, pool.probabilities, atol=1e-3)
    assert [row["source"] for row in result.data] == list(SOURCES)
    assert [row["weight"] for row in result.data] == pytest.approx(pool.weights.tolist())
    meta = json.loads(result.out)["meta"]
    estimate = estimate_accuracy(pool, targets)
    assert meta["estimate"]["accuracy"] == pytest.approx(estimate.accuracy)
    assert (meta["estimate"]["low"], meta["estimate"]["high"]) == pytest.approx((estimate.low, estimate.high))
    record = files.read_json(place / "pseudo/head=ridge-product/_head.json")
    assert {name for name, _ in record["disagreement"]} == set(images.ids[images.where(split=("unlabelled",))])


def test_show_lists_the_images_to_label_next(tmp_path: Path) -> None:
    """In the order of the weighted Jensen-Shannon divergence of the heads, with the classes of their mean answer."""
    place = make(tmp_path / "task", upto="extract")
    flags = ("pseudo-label", "--head", "ridge", "--show", "4")
    result = run(*flags, "--json", workspace=place)
    assert result.code == 0, result.err
    assert [row["path"] for row in result.data] == [
        str(place / "images" / row["id"].removeprefix("train/")) for row in result.data
    ]
    assert all(Path(row["path"]).is_file() for row in result.data)
    images = load_manifest(place / "manifest.parquet", place)
    rows = images.where(split=("labelled", "unlabelled"))
    targets = TargetLabels.of(images.labels[rows], len(CLASSES))
    heads, answers = [], []
    for name in SOURCES:
        stored = feature_files.load_outputs(place / f"features/source={name}", ids=images.ids[rows]).embedding
        assert stored is not None
        heads.append(ridge(Features.of(stored), targets))
        answers.append(heads[-1].answer(stored[targets.unlabelled]))
    weights = weigh_heads(heads)
    mixture = np.einsum("s,snc->nc", weights, np.array(answers))
    divergence = sum(
        weight * (own * np.log(own / mixture)).sum(axis=1) for weight, own in zip(weights, answers, strict=True)
    )
    order = np.argsort(-divergence)[:4]
    assert [row["id"] for row in result.data] == images.ids[rows][targets.unlabelled[order]].tolist()
    np.testing.assert_allclose([row["disagreement"] for row in result.data], divergence[order], atol=1e-6)
    for row, shares in zip(result.data, mixture[order], strict=True):
        expected = {CLASSES[c]: shares[c] for c in np.argsort(-shares) if shares[c] >= 0.05}
        assert list(row["leaning"]) == list(expected)
        assert row["leaning"] == pytest.approx(expected, abs=1e-4)
    listed = run(*flags, "--format", "tsv", workspace=place)
    lines = [line.split("\t") for line in listed.out.splitlines()]
    assert lines[0] == ["id", "path", "disagreement", "leaning"]
    assert [line[0] for line in lines[1:]] == [row["id"] for row in result.data]
    name, share = next(iter(result.data[0]["leaning"].items()))
    assert lines[1][3].startswith(f"{name} {100 * share:.0f} %")


def test_summary_has_the_interval_and_the_class_shares(tmp_path: Path) -> None:
    place = make(tmp_path / "task", upto="extract")
    run("pseudo-label", "--head", "ridge", workspace=place)
    record = files.read_json(place / "pseudo/head=ridge-product/_head.json")
    accuracy, low, high = (100 * record["estimate"][key] for key in ("accuracy", "low", "high"))
    shares = sorted(record["class_shares"].items(), key=lambda item: -item[1])
    assert sum(record["class_shares"].values()) == pytest.approx(1)
    for more in ((), ("--show", "2")):
        result = run("pseudo-label", "--head", "ridge", *more, workspace=place)
        assert f"15 labels: about {accuracy:.1f} % [{low:.1f} %, {high:.1f} %] of the answers" in result.err
        listed = ", ".join(f"{name} {100 * share:.0f} %" for name, share in shares)
        assert f"class shares of these answers: {listed}" in result.err


def test_same_inputs_give_same_bytes_and_are_up_to_date(tmp_path: Path) -> None:
    place, other = make(tmp_path / "task", upto="extract"), make(tmp_path / "other")
    for workspace in (place, other):
        assert run("pseudo-label", "--head", "ridge", workspace=workspace).code == 0
    for folder in ("pseudo", "heads"):
        assert digests(place / folder)
        assert digests(place / folder) == digests(other / folder)
    assert "is up to date" in run("pseudo-label", "--head", "ridge", workspace=place).err


def test_sources_without_a_head_and_without_features_take_part(tmp_path: Path) -> None:
    place = make(tmp_path / "task")
    edit(place, 'name = "beta"', 'name = "beta"\nhead = false')
    result = run("pseudo-label", "--head", "ncm", "--pool", "logmean", "--json", workspace=place)
    assert result.code == 0, result.err
    assert [row["source"] for row in result.data] == list(SOURCES)


def test_source_that_has_seen_the_task_is_excluded(tmp_path: Path) -> None:
    place = make(tmp_path / "task")
    edit(place, 'trained_on = ["shapes"]', 'trained_on = ["patterns"]')
    result = run("pseudo-label", "--head", "ridge", "--json", workspace=place)
    assert result.code == 0, result.err
    assert [row["source"] for row in result.data] == ["beta", "gamma"]
    assert "alpha is excluded: trained on patterns" in result.err
    alone = run("pseudo-label", "--head", "ridge", "--source", "alpha", "--overwrite", workspace=place)
    assert alone.code == 2
    assert "no source is left to fit a head on" in alone.error


def test_other_labels_make_it_stale(tmp_path: Path) -> None:
    place = make(tmp_path / "task", upto="extract")
    assert run("pseudo-label", "--head", "ridge", workspace=place).code == 0
    edit(place, 'labelled = "50%"', 'labelled = "25%"')
    assert run("split", "--overwrite", workspace=place).code == 0
    result = run("pseudo-label", "--head", "ridge", workspace=place)
    assert result.code == 2
    assert result.error.endswith("zoo pseudo-label --head ridge --overwrite makes it again")
    assert run("pseudo-label", "--head", "ridge", "--refresh", workspace=place).code == 0


def test_class_without_labels_is_named_and_never_answered(tmp_path: Path) -> None:
    place = make(tmp_path / "task", labelled="2")
    result = run("pseudo-label", "--head", "ridge", "--json", workspace=place)
    assert result.code == 0, result.err
    meta = json.loads(result.out)["meta"]
    (missing,) = meta["missing"]
    assert f"no labelled image of {missing}: the heads never answer" in result.err
    probs = feature_files.load_outputs(place / "pseudo/head=ridge-product").probs
    assert probs is not None
    assert not probs[:, CLASSES.index(missing)].any()
    assert meta["class_shares"][missing] == 0
    # One label in each of the others: nothing can be estimated.
    assert meta["estimate"] == {"accuracy": None, "low": None, "high": None, "reason": "one_label_per_class"}
    assert [row["weight"] for row in result.data] == pytest.approx([1 / 3] * 3)


@pytest.mark.parametrize(
    ("flags", "error"),
    [
        (("--pool", "product"), "--pool, --with-student and --show belong to --head"),
        (("--head", "rigde"), "did you mean ridge?"),
        (("--head", "ridge", "--pool", "prodct"), "did you mean product?"),
        (("--head", "ridge", "--out", "x"), "--out needs --features"),
    ],
)
def test_wrong_flags_are_refused(tmp_path: Path, flags: tuple[str, ...], error: str) -> None:
    result = run("pseudo-label", *flags, workspace=make(tmp_path / "task"))
    assert result.code == 2
    assert error in result.error
