"""Sources of which only outputs are known: they are imported, looked at again, and made again like any other."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.pipeline.test_bytes import contents
from tests.workspaces import edit, make, run

SOURCE = '\n[[source]]\nname = "theirs"\nmodel = "features:theirs.parquet"\n'
PART = "features/source=theirs/data=train/part-00000-of-00001.parquet"


def write_outputs(workspace: Path, seed: int = 0) -> None:
    random = np.random.default_rng(seed)
    paths = sorted((workspace / "images").rglob("*.png"))
    ids = [f"train/{path.relative_to(workspace / 'images').as_posix()}" for path in paths]
    columns = {name: pa.array(list(random.normal(size=(len(ids), 4)))) for name in ("embedding", "logits")}
    pq.write_table(pa.table({"id": ids, **columns}), workspace / "theirs.parquet")


def add(workspace: Path, seed: int = 0) -> Path:
    write_outputs(workspace, seed)
    with (workspace / "zoo.toml").open("a", encoding="utf-8") as stream:
        stream.write(SOURCE)
    return workspace


def ok(*arguments: str, workspace: Path) -> str:
    result = run(*arguments, workspace=workspace)
    assert result.code == 0, result.err
    return result.err


def other_outputs(workspace: Path) -> None:
    write_outputs(workspace, 1)


def other_declaration(workspace: Path) -> None:
    edit(workspace, SOURCE.strip(), SOURCE.strip() + '\noutput = "sigmoid"')


def other_images(workspace: Path) -> None:
    (workspace / "images/red/00.png").unlink()
    ok("split", "--overwrite", workspace=workspace)


CHANGES: dict[str, Callable[[Path], None]] = {
    "outputs": other_outputs,
    "declaration": other_declaration,
    "images": other_images,
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_stale_import_is_refused_and_refreshed(tmp_path: Path, change: str) -> None:
    place, fresh = (add(make(tmp_path / name, upto="split")) for name in ("task", "fresh"))
    ok("extract", "--source", "theirs", workspace=place)
    for workspace in (place, fresh):
        CHANGES[change](workspace)
    for command in (("extract", "--source", "theirs"), ("rank", "--source", "theirs")):
        result = run(*command, workspace=place)
        assert result.code == 2
        assert "was made from other inputs" in result.error
    ok("rank", "--source", "theirs", "--refresh", workspace=place)
    ok("rank", "--source", "theirs", workspace=fresh)
    assert contents(place) == contents(fresh)


def test_extract_alone_refreshes_an_import(tmp_path: Path) -> None:
    place = add(make(tmp_path / "task", upto="split"))
    ok("extract", "--source", "theirs", workspace=place)
    other_outputs(place)
    ok("extract", "--source", "theirs", "--refresh", workspace=place)
    assert "theirs is up to date" in ok("extract", "--source", "theirs", workspace=place)


def test_an_import_that_was_broken_off_goes_on(tmp_path: Path) -> None:
    place = add(make(tmp_path / "task", upto="split"))
    ok("extract", "--source", "theirs", workspace=place)
    whole = (place / PART).read_bytes()
    (place / PART).unlink()
    ok("rank", "--source", "theirs", workspace=place)
    assert (place / PART).read_bytes() == whole


def test_an_import_outlives_its_file(tmp_path: Path) -> None:
    place = add(make(tmp_path / "task", upto="split"))
    ok("extract", "--source", "theirs", workspace=place)
    (place / "theirs.parquet").unlink()
    assert "theirs is up to date" in ok("extract", "--source", "theirs", workspace=place)
    (place / PART).unlink()
    assert "no stored features at" in run("extract", "--source", "theirs", workspace=place).error
