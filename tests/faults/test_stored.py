"""Stored outputs of other programs: score, rank and pseudo-label by path, without a zoo.toml."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tests.faults.tables import CLASSES, IDS, LABELS, PROBS, SAMPLES, VALUES, listed, shuffled, table
from tests.workspaces import Result, run
from zoo_cli import registry

Make = Callable[..., Path]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def parc(*paths: Path) -> Result:
    arguments = [text for path in paths for text in ("--features", str(path))]
    return run("score", *arguments, "--metric", "parc", "--json")


def value(path: Path) -> float:
    result = parc(path)
    assert result.code == 0, result.err
    (row,) = result.data
    assert row["status"] == "ok"
    score: float = row["value"]
    return score


@pytest.mark.parametrize("of", ["float16", "float32", "float64"])
@pytest.mark.parametrize("kind", ["list", "large", "fixed"])
def test_every_list_of_floats_is_accepted(tmp_path: Path, kind: str, of: str) -> None:
    plain = value(table(tmp_path / "plain.parquet", embedding=VALUES))
    assert value(table(tmp_path / "other.parquet", embedding=listed(VALUES, kind, of))) == pytest.approx(
        plain, abs=0.02
    )


def test_row_order_and_other_columns_do_not_matter(tmp_path: Path) -> None:
    plain = table(tmp_path / "plain.parquet", embedding=VALUES)
    other = table(
        tmp_path / "other.parquet",
        note=["?"] * SAMPLES,
        embedding=shuffled(VALUES),
        id=pa.array(shuffled(IDS)).dictionary_encode(),
        label=shuffled(LABELS),
    )
    result = parc(plain, other)
    assert result.code == 0, result.err
    first, second = result.data
    assert {**first, "source": ""} == {**second, "source": ""}


def test_two_sources_are_ranked_without_a_zoo_toml(tmp_path: Path) -> None:
    good = table(tmp_path / "good.parquet", embedding=VALUES)
    bad = table(tmp_path / "bad.parquet", embedding=np.random.default_rng(0).normal(size=(SAMPLES, 4)))
    result = run("rank", "--features", str(bad), "--features", str(good), "--weighting", "nearest", "--json")
    assert result.code == 0, result.err
    assert [(row["rank"], row["source"], row["weight"]) for row in result.data] == [(1, "good", 1.0), (2, "bad", 0.0)]
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".parquet"] == []
    assert run("rank", "--features", str(bad), "--out", str(tmp_path / "out" / "ranking.parquet")).code == 0
    assert (tmp_path / "out" / "weights.json").exists()


NAN, INF = VALUES.copy(), VALUES.copy()
NAN[3, 1], INF[3, 1] = np.nan, -np.inf
NEGATIVE = np.concatenate([PROBS + 0.01, np.full((SAMPLES, 1), -0.03)], axis=1)
BROKEN: dict[str, tuple[dict[str, object], str]] = {
    "NaN": ({"embedding": NAN}, "column embedding is not finite (or beyond float32) in 1 rows, e.g. s03"),
    "Inf": ({"embedding": INF}, "column embedding is not finite (or beyond float32) in 1 rows, e.g. s03"),
    "beyond float32": ({"embedding": listed(VALUES * 1e300, of="float64")}, "beyond float32"),
    "no id": ({"id": None, "embedding": VALUES}, "has no column id"),
    "null id": ({"id": [None, *IDS[1:]], "embedding": VALUES}, "column id has nulls"),
    "repeated id": ({"id": [IDS[0], *IDS[:-1]], "embedding": VALUES}, "1 ids repeat, e.g. s00"),
    "no label": ({"label": None, "embedding": VALUES}, "has no column label"),
    "text label": ({"label": [f"c{n}" for n in LABELS], "embedding": VALUES}, "column label is string"),
    "fractional label": ({"label": LABELS + 0.5, "embedding": VALUES}, "column label is double"),
    "negative label": ({"label": LABELS - 2, "embedding": VALUES}, "label -2"),
    "null row": ({"embedding": pa.array([None, *VALUES[1:].tolist()])}, "column embedding has 1 nulls"),
    "ragged": ({"embedding": pa.array([[1.0], *VALUES[1:].tolist()])}, "column embedding is ragged"),
    "even but ragged": (
        {"id": IDS[:2], "label": LABELS[:2], "embedding": pa.array([[1.0], [1.0, 2.0, 3.0]])},
        "column embedding is ragged",
    ),
    "whole numbers": ({"embedding": pa.array([[1, 2]] * SAMPLES)}, "expected a list of float16, float32 or float64"),
    "one number a row": ({"embedding": LABELS * 1.0}, "expected a list of float16, float32 or float64"),
    "empty lists": ({"embedding": np.zeros((SAMPLES, 0))}, "column embedding holds empty lists"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_broken_table_is_refused_by_file_and_column(tmp_path: Path, fault: str) -> None:
    columns, message = BROKEN[fault]
    path = table(tmp_path / "theirs.parquet", **columns)
    result = parc(path)
    assert result.code == 3
    assert result.error.startswith(str(path))
    assert message in result.error


@pytest.mark.parametrize(
    "probs", [PROBS * 1.1, PROBS * 0.9, NEGATIVE, np.log(PROBS)], ids=["large", "small", "negative", "logs"]
)
def test_probabilities_that_do_not_sum_to_one_are_refused(tmp_path: Path, probs: np.ndarray) -> None:
    path = table(tmp_path / "theirs.parquet", probs=probs)
    result = run("score", "--features", str(path), "--metric", "leep")
    assert result.code == 3
    assert "probabilities of 24 rows do not sum to 1, e.g. s00, s01" in result.error
    assert "name the column logits" in result.error


@pytest.mark.parametrize("of", ["float16", "float32", "float64"])
def test_rounded_probabilities_are_accepted(tmp_path: Path, of: str) -> None:
    path = table(tmp_path / "theirs.parquet", probs=listed(PROBS, of=of))
    assert run("score", "--features", str(path), "--metric", "leep").code == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "0 bytes"), (b"id,embedding\n1,2\n", "not an intact parquet"), (None, "not an intact parquet")],
    ids=["empty", "text", "truncated"],
)
def test_non_parquet_outputs_are_refused(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = table(tmp_path / "theirs.parquet", embedding=VALUES)
    path.write_bytes(path.read_bytes()[:-30] if content is None else content)
    result = parc(path)
    assert result.code == 3
    assert message in result.error


def test_path_without_parquet_files_is_wrong_usage(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "nowhere.parquet", tmp_path / "empty", tmp_path / "no*.parquet"):
        result = parc(path)
        assert result.code == 2
        assert result.error == f"no parquet file at {path}"


def test_folder_of_agreeing_parts_is_one_source(tmp_path: Path) -> None:
    folder = tmp_path / "source=theirs"
    folder.mkdir()
    half = SAMPLES // 2
    table(folder / "a.parquet", id=IDS[:half], label=LABELS[:half], embedding=VALUES[:half])
    table(folder / "b.parquet", id=IDS[half:], label=LABELS[half:], embedding=VALUES[half:])
    assert value(folder) == value(table(tmp_path / "whole.parquet", embedding=VALUES))
    table(folder / "b.parquet", id=IDS[half:], label=LABELS[half:], embedding=VALUES[half:, :2])
    result = parc(folder)
    assert result.code == 3
    assert "the parts disagree on the width of embedding" in result.error


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"id": [f"t{n}" for n in range(SAMPLES)]}, "48 ids are in only one of them, e.g. s00"),
        ({"label": (LABELS + 1) % CLASSES}, "disagree on the label of 24 samples, e.g. s00"),
    ],
    ids=["ids", "labels"],
)
def test_sources_on_different_samples_are_refused(tmp_path: Path, columns: dict[str, object], message: str) -> None:
    first = table(tmp_path / "first.parquet", embedding=VALUES)
    second = table(tmp_path / "second.parquet", embedding=VALUES, **columns)
    result = run("rank", "--features", str(first), "--features", str(second))
    assert result.code == 3
    assert message in result.error
    fewer = table(tmp_path / "fewer.parquet", id=IDS[:20], label=LABELS[:20], embedding=VALUES[:20])
    assert "4 ids are in only one of them" in run("rank", "--features", str(first), "--features", str(fewer)).error


def test_two_sources_of_one_name_are_refused(tmp_path: Path) -> None:
    path = table(tmp_path / "theirs.parquet", embedding=VALUES)
    result = run("rank", "--features", str(path), "--features", str(path))
    assert result.code == 2
    assert 'two --features are named "theirs"' in result.error


def test_features_must_have_the_ids_of_the_manifest(tmp_path: Path, workspace: Make) -> None:
    place = workspace(upto="split")
    rows = pq.read_table(place / "manifest.parquet").to_pylist()
    probe = [row["id"] for row in rows if row["probe"]]
    outputs = np.random.default_rng(2).normal(size=(len(rows), 4))
    ids = [row["id"] for row in rows]
    whole = table(tmp_path / "whole.parquet", id=ids, label=None, embedding=outputs)
    score = ("score", "--metric", "parc", "--manifest", str(place / "manifest.parquet"), "--features")
    good = run(*score, str(whole), "--json")
    assert good.code == 0, good.err
    assert good.data[0]["n"] == len(probe)
    renamed = table(tmp_path / "renamed.parquet", id=[f"my/{name}" for name in ids], label=None, embedding=outputs)
    result = run(*score, str(renamed))
    assert result.code == 3
    assert f"lacks {len(probe)} of {len(probe)} ids of the manifest, e.g. {probe[0]}" in result.error


def test_stored_source_in_zoo_toml_is_joined_by_id(tmp_path: Path, workspace: Make) -> None:
    place = workspace(upto="rank")
    ids = [row["id"] for row in pq.read_table(place / "manifest.parquet").to_pylist()]
    outputs = np.random.default_rng(2).normal(size=(len(ids), 4))
    entry = f'\n[[source]]\nname = "theirs"\nmodel = "features:{tmp_path}/theirs.parquet"\n'
    with (place / "zoo.toml").open("a", encoding="utf-8") as stream:
        stream.write(entry)
    table(tmp_path / "theirs.parquet", id=["x"] * len(ids), label=None, embedding=outputs)
    assert "ids repeat" in run("rank", workspace=place).error
    table(tmp_path / "theirs.parquet", id=[f"x{n}" for n in ids], label=None, embedding=outputs)
    result = run("rank", workspace=place)
    assert result.code == 3
    assert "theirs.parquet has no id of" in result.error
    table(tmp_path / "theirs.parquet", id=shuffled(ids), label=None, logits=shuffled(outputs))
    result = run("rank", "--overwrite", "--on", "probs", "--json", workspace=place)
    assert result.code == 0, result.err
    assert "theirs" in {row["source"] for row in result.data}
    # The file is replaced: what was imported is stale, and the command that the hint names fixes it.
    table(tmp_path / "theirs.parquet", id=ids, label=None, logits=outputs)
    stale = run("rank", "--on", "probs", workspace=place)
    assert stale.code == 2
    assert "zoo extract --source theirs --overwrite makes it again" in stale.error
    assert run("extract", "--source", "theirs", "--overwrite", workspace=place).code == 0
    assert run("rank", "--overwrite", "--on", "probs", workspace=place).code == 0


SMALL: dict[str, tuple[dict[str, object], str]] = {
    "one class only": ({"label": np.zeros(SAMPLES, int)}, "single_class"),
    "no sample": ({"id": pa.array([], pa.string()), "label": pa.array([], pa.int64())}, "too_few_examples"),
    "one sample": ({"id": IDS[:1], "label": LABELS[:1]}, "too_few_examples"),
    "two samples": ({"id": IDS[:2], "label": LABELS[:2]}, "too_few_examples"),
    "no label known": ({"label": pa.array([None] * SAMPLES, pa.int64())}, "too_few_examples"),
}


LABEL_FREE = {"random", "sparsity"}
"""Metrics that use no labels, for which one class or one sample is enough."""


@pytest.mark.parametrize("metric", registry.METRICS)
@pytest.mark.parametrize("case", SMALL)
def test_undefined_score_has_a_reason(tmp_path: Path, case: str, metric: str) -> None:
    columns, reason = SMALL[case]
    count = len(columns["id"]) if "id" in columns else SAMPLES  # type: ignore[arg-type]
    values = VALUES[:count] if count else pa.array([], pa.list_(pa.float32()))
    path = table(tmp_path / "theirs.parquet", **columns, embedding=values, logits=values)
    result = run("score", "--features", str(path), "--metric", metric, "--json")
    assert result.code == 0, result.err
    (row,) = result.data
    if metric in LABEL_FREE and row["status"] == "ok":
        return
    assert (row["value"], row["low"], row["high"]) == (None, None, None)
    if set(registry.METRICS[metric].needs) - {"logits", "probs"}:
        # Arrays that are not in a table of outputs: the reason names what is missing.
        assert row["status"] == "skipped"
        assert row["reason"]
    else:
        assert (row["status"], row["reason"]) == ("undefined", reason)


def test_undefined_source_is_ranked_last(tmp_path: Path) -> None:
    good = table(tmp_path / "good.parquet", embedding=VALUES)
    flat = table(tmp_path / "flat.parquet", embedding=np.ones((SAMPLES, 3)))
    result = run("rank", "--features", str(flat), "--features", str(good), "--json")
    assert result.code == 0, result.err
    best, last = result.data
    assert (best["source"], best["weight"]) == ("good", 1.0)
    assert (last["source"], last["rank"], last["value"], last["weight"]) == ("flat", None, None, 0.0)
    assert last["excluded"] == "undefined: collapsed"
    alone = run("rank", "--features", str(flat), "--json")
    assert alone.code == 0
    assert "no source has a parc score" in alone.err
    assert alone.data[0]["weight"] == 0.0


def test_pseudo_labels_of_outputs_by_path(tmp_path: Path) -> None:
    theirs = table(tmp_path / "theirs.parquet", label=None, logits=VALUES)
    out = tmp_path / "pseudo" / "source=theirs"
    make = ("pseudo-label", "--features", str(theirs))
    assert run(*make).code == 2
    assert run(*make, "--out", str(out)).code == 0
    written = pq.read_table(out / "part-00000-of-00001.parquet").to_pydict()
    assert written["id"] == IDS
    np.testing.assert_allclose(np.array(written["probs"], float), PROBS, atol=1e-3)
    assert run(*make, "--out", str(out)).code == 0
    table(tmp_path / "theirs.parquet", label=None, logits=VALUES * 2)
    stale = run(*make, "--out", str(out))
    assert stale.code == 2
    assert f"{out} was made from other inputs: source" in stale.error
    assert run(*make, "--out", str(out), "--overwrite").code == 0
    table(tmp_path / "theirs.parquet", label=None, embedding=VALUES)
    assert "has neither logits nor probs" in run(*make, "--out", str(tmp_path / "none")).error


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_table_gives_a_score_a_reason_or_an_error(tmp_path: Path, data: st.DataObject) -> None:
    count, width = data.draw(st.integers(0, 8)), data.draw(st.integers(0, 4))
    of = data.draw(st.sampled_from(["float16", "float32", "float64"]))
    kind = data.draw(st.sampled_from(["list", "large", "fixed"] if width else ["list", "large"]))
    numbers = arrays.arrays(of, (count, width), elements=arrays.from_dtype(np.dtype(of)))
    columns = {
        "id": data.draw(st.lists(st.text(max_size=3), min_size=count, max_size=count)),
        "label": pa.array(
            data.draw(st.lists(st.none() | st.integers(-2, 3), min_size=count, max_size=count)), pa.int64()
        ),
        "embedding": listed(data.draw(numbers), kind, of),
    }
    path = table(tmp_path / "drawn.parquet", **columns)
    result = parc(path)
    assert result.code in (0, 3), result.err
    if result.code:
        assert str(path) in result.error
    else:
        (row,) = result.data
        assert (row["value"] is None) == (row["status"] == "undefined")
