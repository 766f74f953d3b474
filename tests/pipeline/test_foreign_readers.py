"""pandas, DuckDB and Polars read every artifact, file and folder, as it is."""

from pathlib import Path

import duckdb
import pandas
import polars
import pytest

from tests.workspaces import make, run
from zoo_cli.store import parquet_files, source_record

PATHS = (
    "manifest.parquet",
    "ranking.parquet",
    "features/source=alpha",
    "features/source=alpha/data=train",
    "gradients/source=alpha",
    "scores/parc",
    "scores/lgc",
    "pseudo/source=alpha",
    "runs/labels-only-s0/predictions.parquet",
    "predictions/source=@student.parquet",
    "errors/split.parquet",
)
COMMANDS = (
    ("split", "--overwrite", "--max-errors", "1"),
    ("rank", "--refresh"),
    ("pseudo-label", "--refresh"),
    ("extract", "--gradients", "--projection", "none"),
    ("score", "--metric", "lgc"),
    ("distill", "--lam", "1", "--steps", "1", "--batch-size", "4"),
    ("evaluate", "accuracy", "student"),
)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = make(tmp_path_factory.mktemp("readers") / "task", upto="pseudo-label")
    (place / "images/blue/broken.png").write_bytes(b"not an image")
    for command in COMMANDS:
        result = run(*command, workspace=place)
        assert result.code == 0, result.err
    return place


def rows(path: Path) -> int:
    parts = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
    assert parts
    return sum(parquet_files.row_count(part) for part in parts)


@pytest.mark.parametrize("name", PATHS)
def test_pandas_reads_it(workspace: Path, name: str) -> None:
    assert len(pandas.read_parquet(workspace / name)) == rows(workspace / name)


@pytest.mark.parametrize("name", PATHS)
def test_duckdb_reads_it(workspace: Path, name: str) -> None:
    path = workspace / name
    pattern = f"{path}/**/*.parquet" if path.is_dir() else str(path)
    assert len(duckdb.sql(f"select * from read_parquet('{pattern}')").fetchall()) == rows(path)


@pytest.mark.parametrize("name", PATHS)
def test_polars_reads_it(workspace: Path, name: str) -> None:
    path = workspace / name
    assert len(polars.read_parquet(f"{path}/**/*.parquet" if path.is_dir() else path)) == rows(path)


def test_every_artifact_folder_is_covered(workspace: Path) -> None:
    top = {path.name for path in workspace.iterdir() if any(path.rglob("*.parquet")) or path.suffix == ".parquet"}
    assert top == {name.partition("/")[0] for name in PATHS}


def test_old_source_record_is_read_and_renamed(tmp_path: Path) -> None:
    place = make(tmp_path / "task", upto="rank")
    folder = place / "features/source=alpha"
    content = (folder / source_record.DOCUMENT).read_bytes()
    parts = {path: path.read_bytes() for path in folder.rglob("*.parquet")}
    (folder / source_record.DOCUMENT).rename(folder / source_record.OLD_DOCUMENT)
    assert run("rank", workspace=place).code == 0
    assert (folder / source_record.OLD_DOCUMENT).exists()
    next(iter(parts)).unlink()
    assert run("extract", workspace=place).code == 0
    assert (folder / source_record.DOCUMENT).read_bytes() == content
    assert not (folder / source_record.OLD_DOCUMENT).exists()
    assert {path: path.read_bytes() for path in parts} == parts
