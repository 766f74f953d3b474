"""`zoo score` on large probes: what does not fit is refused before any work, and long work shows how far it is."""

import re
from pathlib import Path

import numpy as np
import pytest

from tests.faults.tables import VALUES, table
from tests.workspaces import run
from zoo_cli import progress
from zoo_cli.metrics import parc
from zoo_cli.pipeline import score_memory
from zoo_cli.ranking import uncertainty


def test_too_little_memory_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(score_memory, "free_ram", lambda: 50_000)
    monkeypatch.setattr(score_memory, "ALWAYS", 0)
    monkeypatch.setattr(score_memory, "COPIES", 10**6)
    path = table(tmp_path / "wide.parquet", embedding=VALUES)
    result = run("score", "--features", str(path), "--metric", "sfda")
    assert result.code == 1
    (line,) = result.err.splitlines()
    assert re.match(r"zoo: error: sfda of wide needs about [\d.]+ GB of memory for \d+ samples of \d+ numbers", line)
    assert line.endswith("0.0 GB are free; score fewer samples or classes, or use a machine with more memory")
    assert result.out == ""


def test_failed_allocation_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> float:
        return float(np.empty((10**6, 10**6, 10**3))[0, 0, 0])

    monkeypatch.setattr(parc, "correlation", fail)
    path = table(tmp_path / "wide.parquet", embedding=VALUES)
    result = run("score", "--features", str(path), "--metric", "parc")
    assert result.code == 1
    (line,) = result.err.splitlines()
    assert line.startswith("zoo: error: out of memory: Unable to allocate")
    assert line.endswith("use smaller values or fewer samples, or a machine with more memory")


def test_progress_counts_every_evaluation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY", 0.0)
    monkeypatch.setattr(progress, "EARLY", 0.0)
    paths = [table(tmp_path / "a.parquet", embedding=VALUES), table(tmp_path / "flat.parquet", embedding=VALUES * 0)]
    features = [text for path in paths for text in ("--features", str(path))]
    result = run("score", *features, "--metric", "cka", "--metric", "parc", "--metric", "leep")
    assert result.code == 0, result.err
    lines = [line for line in result.err.splitlines() if "evaluations/s" in line]
    # For each source: cka, its half samples and permutations; parc, its jackknife and permutations; as cka, leep.
    total = 2 * ((1 + 64 + 10) + (1 + 1 + 10) + (1 + 64 + 10))
    counts = [int(line.split()[2].partition("/")[0]) for line in lines]
    assert counts == sorted(counts)
    assert counts[-1] == total
    # Both sources are scored at once: either may be named.
    assert all(re.match(rf"score (a|flat) \d+/{total} ", line) for line in lines)
    assert f" {total}/{total} 100.0 % " in lines[-1]


def test_many_samples_are_announced_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uncertainty, "MANY", 20)
    paths = [table(tmp_path / f"{name}.parquet", embedding=VALUES) for name in "ab"]
    result = run("score", *(text for path in paths for text in ("--features", str(path))), "--metric", "cka")
    assert result.code == 0
    assert result.err == (
        "score on 24 samples: intervals from 16 subsamples, chance from 3 permutations, fewer than on up to 20\n"
    )


def test_short_work_is_silent(tmp_path: Path) -> None:
    path = table(tmp_path / "a.parquet", embedding=VALUES)
    assert run("score", "--features", str(path), "--metric", "cka").err == ""
