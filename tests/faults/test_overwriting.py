"""--overwrite of results of many files: the old one stays whole until the new one is, and nothing is made twice."""

import errno
import itertools
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.faults.deadly import each_step, finish
from tests.faults.processes import start
from tests.faults.test_interruption import digests
from tests.workspaces import run
from zoo_cli.errors import Interrupted
from zoo_cli.pipeline import gradient_extraction
from zoo_cli.store import feature_store, parquet_files, replacement
from zoo_cli.store.commits import write_error

Make = Callable[..., Path]
SMALL = """
from zoo_cli.pipeline import gradient_extraction
from zoo_cli.store import feature_store
feature_store.PART_ROWS = 12
gradient_extraction.PART_ROWS = 6
"""
"""Three parts of a source."""
VIEWS = ("extract", "--views", "2")
GRADIENTS = ("extract", "--gradients", "--projection", "20")
COMMANDS: dict[str, tuple[str, ...]] = {
    "features": ("extract",),
    "views": (*VIEWS, "--source", "alpha", "--source", "beta"),
    "gradients": (*GRADIENTS, "--source", "alpha", "--source", "beta"),
    "pseudo-labels": ("pseudo-label",),
    "pseudo-labels of views": ("pseudo-label", "--views", "2"),
    "heads": ("pseudo-label", "--head", "ridge"),
    "heads of views": ("pseudo-label", "--head", "ridge", "--views", "2"),
    "scores": ("score", "--metric", "logme", "--metric", "lfc"),
    "scores of ensembles": ("score", "--metric", "ms-leep"),
}
FOLDERS = {
    "features": ("features/source=*",),
    "views": ("features/source=alpha", "features/source=beta", "features/views"),
    "gradients": ("features/source=alpha", "features/source=beta", "gradients/source=*"),
    "pseudo-labels": ("pseudo/source=*",),
    "pseudo-labels of views": ("pseudo/views/source=*",),
    "heads": ("pseudo/head=*",),
    "heads of views": ("pseudo/views/head=*",),
    "scores": ("scores/*",),
    "scores of ensembles": ("scores/ms-leep",),
}
"""The results that each of them replaces."""


def roll_values(place: Path, patterns: tuple[str, ...]) -> None:
    """Change the numbers of stored results, so that old ones are not new ones; all else stays as it is."""
    for part in (each for pattern in patterns for each in place.glob(f"{pattern}/**/*.parquet")):
        table = pq.read_table(part)
        for name, column in zip(table.column_names, table.columns, strict=True):
            position = table.column_names.index(name)
            if pa.types.is_fixed_size_list(column.type):
                values = np.roll(np.stack(column.to_pylist()), 1, axis=1)
                kind = column.type.value_type
                flat = pa.array(values.ravel().astype(kind.to_pandas_dtype()), kind)
                rolled = pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
                table = table.set_column(position, name, rolled)
            elif name == "value":
                table = table.set_column(position, name, pa.array([0.123] * len(table), column.type))
        pq.write_table(table, part, compression="zstd", write_page_checksum=True)


@pytest.fixture
def stored(workspace: Make, tmp_path: Path) -> Callable[[str], Path]:
    """Makes workspaces in which a result is stored, whose numbers are not those that its command gives."""
    made: dict[str, Path] = {}

    def make(kind: str) -> Path:
        if kind not in made:
            made[kind] = workspace(upto="split")
            finish(*COMMANDS[kind], workspace=made[kind], before=SMALL, place=tmp_path / f"made-{kind}")
            roll_values(made[kind], FOLDERS[kind])
        place = Path(tempfile.mkdtemp(dir=tmp_path)) / "task"
        shutil.copytree(made[kind], place)
        return place

    return make


def results(place: Path, kind: str) -> dict[Path, dict[str, str]]:
    """The files of each result, without what is derived from it."""
    folders = [folder for pattern in FOLDERS[kind] for folder in place.glob(pattern) if folder.name[0] != "."]
    for folder in folders:
        replacement.settle(folder)
    return {
        folder.relative_to(place): {name: value for name, value in digests(folder).items() if name != "_outputs.json"}
        for folder in folders
        if folder.is_dir()
    }


def hidden(place: Path) -> list[str]:
    return sorted(str(path) for path in place.rglob(".*"))


def kill_while_overwriting(
    stored: Callable[[str], Path], tmp_path: Path, kind: str, steps: Sequence[int] | range
) -> int:
    """Kill the command at each of these steps: every result is the old or the new one, in the end the new one."""
    place = stored(kind)
    old = results(place, kind)
    finish(*COMMANDS[kind], "--overwrite", workspace=place, place=tmp_path / "new", before=SMALL)
    new = results(place, kind)
    assert new.keys() == old.keys()
    assert all(new[folder] != old[folder] for folder in new)
    assert hidden(place) == []

    def check(workspace: Path) -> None:
        for folder, content in results(workspace, kind).items():
            assert content in (old[folder], new[folder]), f"{folder} is a mixture"

    return each_step(
        lambda _: stored(kind),
        *COMMANDS[kind],
        "--overwrite",
        tmp_path=tmp_path / "kills",
        steps=steps,
        before=SMALL,
        check=check,
    )


@pytest.mark.parametrize(("kind", "step"), [("features", 40), pytest.param("heads", 20, marks=pytest.mark.slow)])
def test_overwriting_goes_on_after_a_kill(stored: Callable[[str], Path], tmp_path: Path, kind: str, step: int) -> None:
    assert kill_while_overwriting(stored, tmp_path, kind, [step])


@pytest.mark.slow
@pytest.mark.parametrize("kind", COMMANDS)
def test_every_step_of_overwriting_results_can_be_killed(
    stored: Callable[[str], Path], tmp_path: Path, kind: str
) -> None:
    assert kill_while_overwriting(stored, tmp_path, kind, range(1000)) > 20


@pytest.mark.parametrize("kind", ["features", pytest.param("heads", marks=pytest.mark.slow)])
def test_processes_overwriting_at_once_lose_nothing(stored: Callable[[str], Path], tmp_path: Path, kind: str) -> None:
    command = (*COMMANDS[kind], "--overwrite")
    expected = finish(*command, workspace=stored(kind), place=tmp_path / "alone", before=SMALL)
    place = stored(kind)
    processes = [start(*command, workspace=place, before=SMALL, place=tmp_path / f"at-once-{n}") for n in range(4)]
    ends = [process.result() for process in processes]
    assert [end.code for end in ends] == [0] * 4, [end.err for end in ends]
    assert digests(place) == expected
    assert hidden(place) == []


# Interrupted over and over ------------------------------------------------------------------------------------------


def interrupt(patch: pytest.MonkeyPatch, writes: int, error: BaseException) -> None:
    """Let the write of a part after so many others fail."""
    write, left = parquet_files.write_table, itertools.count(writes, -1)

    def failing(path: Path, *arguments: Any, **options: Any) -> None:
        if (path.name.startswith("part-") or "scores" in path.parts) and next(left) <= 0:
            raise error
        write(path, *arguments, **options)

    patch.setattr(parquet_files, "write_table", failing)


@pytest.mark.parametrize(
    ("kind", "cause"),
    [
        ("gradients", "TERM"),
        ("features", "full disk"),
        pytest.param("pseudo-labels", "TERM", marks=pytest.mark.slow),
        pytest.param("scores", "full disk", marks=pytest.mark.slow),
    ],
)
def test_interrupted_overwriting_goes_on_where_it_stopped(
    stored: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, kind: str, cause: str
) -> None:
    monkeypatch.setattr(feature_store, "PART_ROWS", 12)
    monkeypatch.setattr(gradient_extraction, "PART_ROWS", 6)
    place = stored(kind)
    old, between, codes = results(place, kind), [], []
    error = Interrupted(signal.SIGTERM) if cause == "TERM" else OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    for _ in range(40):
        with monkeypatch.context() as patch:
            # A few writes each time: only what is kept lets it end.
            interrupt(patch, 2, error if cause == "TERM" else write_error(place, error))
            codes.append(run(*COMMANDS[kind], "--overwrite", workspace=place).code)
        if codes[-1] == 0:
            break
        between.append(results(place, kind))
        if len(codes) == 1:
            assert run(*COMMANDS[kind], workspace=place).code == 0  # the old ones are valid
    assert set(codes[:-1]) == {143 if cause == "TERM" else 1}
    assert codes[-1] == 0
    assert len(codes) > 1
    new = results(place, kind)
    assert all(new[folder] != old[folder] for folder in new)
    assert all(contents[folder] in (old[folder], new[folder]) for contents in between for folder in new)
    assert between[0] == old
    assert hidden(place) == []
