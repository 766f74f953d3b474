"""Scores are stored in one file per metric and source, and each depends on its own source alone."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tests.workspaces import edit, make, run
from zoo_cli.metrics import parc
from zoo_cli.models import extraction
from zoo_cli.store import files, parquet_files, schemas, score_store
from zoo_cli.store.columns import to_list_column


def digests(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): files.digest(path) for path in sorted(folder.rglob("*.parquet"))}


def counting(calls: list[str], name: str, function: Callable[..., object]) -> Callable[..., object]:
    def counted(*arguments: object, **keywords: object) -> object:
        calls.append(name)
        return function(*arguments, **keywords)

    return counted


def add_source(workspace: Path, name: str) -> None:
    text = (workspace / "zoo.toml").read_text(encoding="utf-8")
    model = text[text.index("[[source]]") :].split("[[source]]")[2]
    (workspace / "zoo.toml").write_text(f"{text}\n[[source]]{model.replace('beta', name)}", encoding="utf-8")


def test_each_metric_and_source_has_a_file(tmp_path: Path) -> None:
    place = make(tmp_path / "task", upto="extract")
    assert run("score", "--metric", "parc:pca=4,cosine=true", "--metric", "lfc", workspace=place).code == 0
    names = ("@student", "alpha", "beta", "gamma")
    assert sorted(digests(place / "scores")) == sorted(
        f"{spec}/{name}.parquet" for spec in ("lfc", "parc-cosinetrue-pca4") for name in names
    )


def test_intervals_from_other_subsamples_are_stale(tmp_path: Path) -> None:
    place = make(tmp_path / "task", upto="extract")
    command = ("score", "--metric", "rsa")
    assert run(*command, workspace=place).code == 0
    path, before = place / "scores/rsa/alpha.parquet", digests(place / "scores")
    made_from = dict(parquet_files.read_header(path)["inputs"])
    assert made_from.pop("subsamples") == 16
    score_store.write_scores(path, score_store.load_scores(path), made_from)  # as an earlier version wrote it
    result = run(*command, workspace=place)
    assert result.code == 2
    assert "subsamples" in result.err
    assert "stale" in run("verify", workspace=place).out
    assert run(*command, "--refresh", workspace=place).code == 0
    assert digests(place / "scores") == before


def test_added_source_is_scored_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = make(tmp_path / "task", upto="score")
    before = digests(place / "scores")
    add_source(place, "delta")
    calls: list[str] = []
    runner = extraction.FeatureRunner.__call__
    monkeypatch.setattr(extraction.FeatureRunner, "__call__", counting(calls, "forward", runner))
    monkeypatch.setattr(parc, "parc", counting(calls, "parc", parc.parc))
    assert run("rank", workspace=place).code == 0
    forward, metric = calls.count("forward"), calls.count("parc")
    calls.clear()
    alone = make(tmp_path / "alone", upto="split")
    assert run("rank", workspace=alone).code == 0
    # Four sources with the student; each takes as many batches and metric calls as one.
    assert forward > 0
    assert metric > 0
    assert calls.count("parc") == 4 * metric
    assert calls.count("forward") == 4 * forward
    after = digests(place / "scores")
    assert {name: after[name] for name in before} == before
    assert after.keys() - before.keys() == {"parc/delta.parquet"}


def test_scores_do_not_depend_on_other_sources(tmp_path: Path) -> None:
    place, other = make(tmp_path / "task", upto="score"), make(tmp_path / "other", upto="extract")
    assert run("score", "--metric", "parc", "--source", "beta", workspace=other).code == 0
    assert digests(other / "scores").items() <= digests(place / "scores").items()


def test_scores_of_earlier_versions_are_remade(tmp_path: Path) -> None:
    place = make(tmp_path / "task", upto="score")
    expected = digests(place / "scores")
    old = parquet_files.read_table(place / "scores/parc/alpha.parquet", schemas.SCORES)
    (place / "scores/parc/alpha.parquet").rename(place / "scores/parc.parquet")
    for path in (place / "scores/parc").iterdir():
        path.unlink()
    assert old.num_rows == 1
    assert run("rank", workspace=place).code == 0
    (place / "scores/parc.parquet").unlink()
    assert digests(place / "scores") == expected


@pytest.mark.parametrize("command", [("rank",), ("score", "--metric", "parc"), ("pseudo-label",)], ids=lambda c: c[0])
def test_refresh_remakes_stale_inputs(tmp_path: Path, command: tuple[str, ...]) -> None:
    place = make(tmp_path / "task", upto="pseudo-label")
    edit(place, 'labelled = "50%"', 'labelled = "25%"')
    (place / "zoo.toml").write_text(
        (place / "zoo.toml").read_text(encoding="utf-8").replace("input_size = 12", "input_size = 10"), "utf-8"
    )
    assert run(*command, workspace=place).code == 2
    result = run(*command, "--refresh", workspace=place)
    assert result.code == 0, result.err
    fresh = make(tmp_path / "fresh")
    (fresh / "zoo.toml").write_text((place / "zoo.toml").read_text(encoding="utf-8"), encoding="utf-8")
    assert run(*command, workspace=fresh).code == 0
    for folder in ("features", "pseudo" if command[0] == "pseudo-label" else "scores"):
        expected = digests(fresh / folder)
        assert expected
        assert expected.items() <= digests(place / folder).items()
    assert files.digest(place / "manifest.parquet") == files.digest(fresh / "manifest.parquet")


def add_source_means(workspace: Path, name: str, width: int) -> None:
    table = pa.table({"class": ["a", "b"], "count": [3, 4], "mean": to_list_column(np.eye(2, width, dtype=np.float32))})
    folder = workspace / "features" / f"source={name}"
    parquet_files.write_table(folder / "source_means.parquet", table, schemas.SOURCE_MEANS, {})


def test_a_source_that_lacks_an_input_has_a_row_whenever_it_comes(tmp_path: Path) -> None:
    place, late = make(tmp_path / "task", upto="extract"), make(tmp_path / "late", upto="extract")
    for workspace in (place, late):
        add_source_means(workspace, "alpha", 8)
    assert run("score", workspace=place).code == 0
    assert run("score", "--metric", "domain-similarity", "--source", "alpha", workspace=late).code == 0
    assert run("score", workspace=late).code == 0
    assert digests(late / "scores") == digests(place / "scores")
    assert "domain-similarity/beta.parquet" in digests(late / "scores")


def test_a_file_of_all_sources_serves_some_of_them(tmp_path: Path) -> None:
    place, out = make(tmp_path / "task", upto="extract"), tmp_path / "parc.parquet"
    command = ("score", "--metric", "parc", "--out", str(out), "--json")
    assert run(*command, workspace=place).code == 0
    before = out.read_bytes()
    some = run(*command, "--source", "beta", workspace=place)
    assert [row["source"] for row in some.data] == ["beta", "@student"]
    assert out.read_bytes() == before


def test_scores_that_cannot_be_made_again_are_not_shown(tmp_path: Path) -> None:
    place = make(tmp_path / "task", upto="extract")
    reference = ("--reference", str(place / "features/source=alpha"))
    assert run("score", "--metric", "rsa-ref", *reference, workspace=place).code == 0
    assert "rsa-ref" in {row["metric"] for row in run("score", "--json", workspace=place).data}
    edit(place, 'labelled = "50%"', 'labelled = "25%"')
    assert run("split", "--overwrite", workspace=place).code == 0
    for flag in ("--refresh", "--overwrite"):
        result = run("score", flag, "--json", workspace=place)
        assert result.code == 0, result.err
        assert "parc" in {row["metric"] for row in result.data}
        assert "rsa-ref" not in {row["metric"] for row in result.data}


def test_scores_of_two_probe_sets_are_not_ranked_together(tmp_path: Path) -> None:
    place = make(tmp_path / "task", upto="score")
    edit(place, 'labelled = "50%"', 'labelled = "25%"')
    assert run("split", "--overwrite", workspace=place).code == 0
    assert run("score", "--metric", "parc", "--source", "alpha", "--refresh", workspace=place).code == 0
    result = run("rank", "--scores", str(place / "scores/parc"), workspace=place)
    assert result.code == 2
    assert "has scores of different probe sets or seeds; zoo score --metric parc --refresh" in result.error


def test_dry_run_of_the_best_source_needs_all_scores(tmp_path: Path) -> None:
    place = make(tmp_path / "task", upto="extract")
    assert run("score", "--metric", "parc", "--source", "alpha", workspace=place).code == 0
    assert "would train the best source, after zoo rank" in run("finetune", "best", "--dry-run", workspace=place).err
    assert run("score", "--metric", "parc", workspace=place).code == 0
    assert "would train" in run("finetune", "best", "--dry-run", workspace=place).err
