"""Scores are stored in one file per metric and source, and each depends on its own source alone."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.workspaces import edit, make, run
from zoo_cli.metrics import parc
from zoo_cli.models import extraction
from zoo_cli.store import files, schemas


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
    old = files.read_table(place / "scores/parc/alpha.parquet", schemas.SCORES)
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
