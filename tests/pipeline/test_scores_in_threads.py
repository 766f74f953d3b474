"""Stored outputs that are given by path are scored side by side, each as it would be alone."""

import importlib.util
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from zoo_cli import label_sets
from zoo_cli.errors import ContractError
from zoo_cli.pipeline import score_files
from zoo_cli.pipeline.metric_specs import ScoreConfig, parse_metrics
from zoo_cli.store.score_store import ScoreRow


def write_sources(folder: Path, count: int) -> list[Path]:
    draw = np.random.default_rng(0)
    labels = np.arange(18) % 3
    paths = []
    for number in range(count):
        features = draw.standard_normal((18, 5)).astype(np.float32) + labels[:, None]
        paths.append(folder / f"source-{number}.parquet")
        columns = {"id": [f"{i:02}" for i in range(18)], "label": labels, "embedding": list(features)}
        pq.write_table(pa.table(columns), paths[-1])
    return paths


def score_paths(folder: Path, paths: list[Path]) -> list[ScoreRow]:
    settings = label_sets.load_config(folder, None, features=paths)
    options = ScoreConfig(parse_metrics(["parc", "lfc"], None), features=tuple(paths))
    return score_files.score_files(settings, options).rows


@pytest.mark.skipif(importlib.util.find_spec("threadpoolctl") is None, reason="needs threadpoolctl")
def test_files_are_scored_in_several_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: set[threading.Thread] = set()
    score_source = score_files.score_source

    def score(*arguments: Any, **options: Any) -> Any:
        threads.add(threading.current_thread())
        return score_source(*arguments, **options)

    monkeypatch.setattr(score_files, "score_source", score)
    score_paths(tmp_path, write_sources(tmp_path, 4))
    assert threads
    assert threading.main_thread() not in threads


def test_scores_side_by_side_equal_each_alone(tmp_path: Path) -> None:
    paths = write_sources(tmp_path, 4)
    together = score_paths(tmp_path, paths)
    assert [row.source for row in together] == [path.stem for path in paths] * 2
    alone = [row for path in paths for row in score_paths(tmp_path, [path])]
    assert sorted(together, key=lambda row: (row.source, row.metric)) == sorted(
        alone, key=lambda row: (row.source, row.metric)
    )


def test_first_damaged_file_ends_the_scores(tmp_path: Path) -> None:
    paths = write_sources(tmp_path, 4)
    table = pq.read_table(paths[2])
    lacking = [row[:4] for row in table.column("embedding").to_pylist()]
    lacking[3][1] = float("nan")
    pq.write_table(table.set_column(2, "embedding", pa.array(lacking)), paths[2])
    with pytest.raises(ContractError, match=r"source-2\.parquet: column embedding is not finite"):
        score_paths(tmp_path, paths)
