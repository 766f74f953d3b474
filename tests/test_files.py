"""Files are written whole or not at all, and damage is detected."""

import errno
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from zoo_cli.errors import ContractError, UsageError, ZooError
from zoo_cli.store import commits, files, parquet_files, provenance, schemas
from zoo_cli.store.columns import to_list_column, to_matrix
from zoo_cli.store.score_store import ScoreRow, load_scores, write_scores, write_together
from zoo_cli.store.writers import Writer


def features(rows: int, width: int = 8) -> pa.Table:
    rng = np.random.default_rng(0)
    return pa.table(
        {
            "id": pa.array([f"s{row}" for row in range(rows)]),
            "embedding": to_list_column(rng.normal(size=(rows, width)).astype(np.float32)),
        }
    )


def test_table_reads_back_as_written(tmp_path: Path) -> None:
    path, table = tmp_path / "deep" / "part.parquet", features(100)
    parquet_files.write_table(path, table, schemas.FEATURES, {"seed": 3})
    assert parquet_files.read_table(path, schemas.FEATURES).equals(table)
    assert parquet_files.read_header(path)["inputs"] == {"seed": 3}
    assert [p.name for p in path.parent.iterdir()] == ["part.parquet"]


def test_equal_rows_give_equal_bytes_in_any_pieces(tmp_path: Path) -> None:
    table = features(20_000, 4)
    parquet_files.write_table(tmp_path / "whole", table, schemas.FEATURES, {})
    with parquet_files.table_writer(tmp_path / "pieces", schemas.FEATURES, {}, table.schema) as write:
        for start in range(0, 20_000, 777):
            write(table.slice(start, 777))
    assert (tmp_path / "whole").read_bytes() == (tmp_path / "pieces").read_bytes()
    groups = pq.read_metadata(tmp_path / "whole")
    assert [groups.row_group(k).num_rows for k in range(groups.num_row_groups)] == [8192, 8192, 3616]


def test_every_flipped_bit_in_the_pages_is_detected(tmp_path: Path) -> None:
    path = tmp_path / "part.parquet"
    parquet_files.write_table(path, features(500), schemas.FEATURES, {})
    whole = path.read_bytes()
    pages = pq.read_metadata(path).row_group(0).column(1)
    start, rng = pages.data_page_offset, np.random.default_rng(1)
    for _ in range(50):
        position = int(rng.integers(start + 40, start + pages.total_compressed_size))
        flipped = bytes([whole[position] ^ 1 << int(rng.integers(8))])
        path.write_bytes(whole[:position] + flipped + whole[position + 1 :])
        with pytest.raises(ContractError):
            parquet_files.read_table(path, schemas.FEATURES)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"not parquet at all", b"PAR1" + bytes(100) + b"PAR1"])
def test_non_parquet_file_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.parquet"
    path.write_bytes(content)
    with pytest.raises(ContractError, match="not an intact parquet file") as raised:
        parquet_files.read_table(path, schemas.FEATURES)
    assert "\n" not in str(raised.value)


def test_other_artifact_or_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    parquet_files.write_table(path, features(3), schemas.FEATURES, {})
    with pytest.raises(ContractError, match=r"zoo.features/1, not a zoo.scores/1"):
        parquet_files.read_table(path, schemas.SCORES)


def test_failed_write_leaves_only_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    files.write_json(path, {"old": True})

    def full(_handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ZooError, match=r"no space left to write .*a.json \(.* MB free\); free some space") as raised:
        files.write_json(path, {"new": True})
    assert raised.value.code == 1
    monkeypatch.undo()
    assert files.read_json(path) == {"old": True}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_file_is_synced_before_rename_and_folder_after(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    sync, rename = os.fsync, os.replace

    def seen(handle: int) -> None:
        order.append("dir" if os.path.isdir(f"/proc/self/fd/{handle}") else "file")
        sync(handle)

    monkeypatch.setattr(os, "fsync", seen)
    monkeypatch.setattr(os, "replace", lambda a, b: (order.append("rename"), rename(a, b)))
    files.write_text(tmp_path / "x", "hello")
    assert order == ["file", "rename", "dir"]


def test_leftovers_of_dead_processes_are_removed(tmp_path: Path) -> None:
    own = Writer.current()
    writers = {
        "dead": replace(own, pid=999999999),
        "whose pid is used again": replace(own, started="1"),
        "alive": own,
        "of another container": replace(own, namespace="pid:[1]", pid=999999999),
        "of another boot": replace(own, boot="other", pid=999999999),
    }
    paths = {name: tmp_path / f".x.{writer.token}.aa.tmp" for name, writer in writers.items()}
    for path in paths.values():
        path.write_text("")
    commits.remove_leftovers(tmp_path)
    kept = {name for name, path in paths.items() if path.exists()}
    assert kept == {"alive", "of another container", "of another boot"}


def test_files_together_are_replaced_in_order_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [tmp_path / name for name in ("a", "b", "last")]
    (tmp_path / "old").write_text("")
    order: list[str] = []
    rename = os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: (order.append(Path(b).name), rename(a, b)))
    with commits.replacing_together(*paths, obsolete=[tmp_path / "old"]) as temporaries:
        for temporary in temporaries:
            temporary.write_text("new")
    assert order == ["a", "b", "last"]
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b", "last"}

    def full(_handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    together = commits.replacing_together(*paths)
    temporaries = together.__enter__()
    for temporary in temporaries:
        temporary.write_text("newer")
    with pytest.raises(ZooError, match="no space left"):
        together.__exit__(None, None, None)
    assert [path.read_text() for path in paths] == ["new"] * 3


def test_tensors_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        files.write_tensors(tmp_path / "t.safetensors", {"a": torch.ones(2)}, {"k": "v"})
    finally:
        os.umask(before)
    assert (tmp_path / "t.safetensors").stat().st_mode & 0o777 == 0o644
    tensors, metadata = files.read_tensors(tmp_path / "t.safetensors")
    assert tensors["a"].tolist() == [1, 1]
    assert metadata == {"k": "v"}


def test_truncated_tensors_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    files.write_tensors(path, {"a": torch.ones(100)})
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ContractError, match="not a safetensors file"):
        files.read_tensors(path)


@pytest.mark.parametrize("kind", [pa.list_(pa.float32()), pa.large_list(pa.float64()), pa.list_(pa.float16(), 2)])
def test_every_kind_of_list_of_floats_is_read(kind: pa.DataType) -> None:
    one, two, three = ([np.float16(n), np.float16(n + 1)] for n in (1, 3, 5))  # pyarrow 15 needs np.float16
    column = pa.chunked_array([pa.array([one, two], kind), pa.array([three], kind)])
    assert to_matrix(column, "x").tolist() == [[1, 2], [3, 4], [5, 6]]


def test_sliced_list_column_reads_its_own_rows() -> None:
    column = pa.chunked_array([pa.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], pa.list_(pa.float32(), 2)).slice(1, 1)])
    assert to_matrix(column, "x").tolist() == [[3, 4]]


@pytest.mark.parametrize(
    ("column", "pattern"),
    [
        (pa.chunked_array([pa.array([[1.0], [1.0, 2.0]])]), "ragged"),
        (pa.chunked_array([pa.array([[1.0], [1.0, 2.0, 3.0]])]), "ragged"),
        (pa.chunked_array([pa.array([[1.0], None])]), "1 nulls"),
        (pa.chunked_array([pa.array([[1.0, None]])]), "ragged"),
        (pa.chunked_array([pa.array([["a"]])]), "expected a list of float"),
        (pa.chunked_array([pa.array([1.0])]), "expected a list of float"),
    ],
)
def test_invalid_matrix_column_is_refused(column: pa.ChunkedArray, pattern: str) -> None:
    with pytest.raises(ContractError, match=pattern):
        to_matrix(column, "x")


def test_stale_error_names_what_differs(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    parquet_files.write_table(path, features(3), schemas.FEATURES, {"seed": 0, "images": "0" * 32})
    assert provenance.is_current(path, {"seed": 0, "images": "0" * 32}, overwrite=False)
    assert not provenance.is_current(path, {"seed": 1}, overwrite=True)
    assert not provenance.is_current(tmp_path / "none", {}, overwrite=False)
    with pytest.raises(UsageError, match=r"other inputs: images, seed \(0 there, 1 requested\); use --overwrite"):
        provenance.is_current(path, {"seed": 1, "images": "f" * 32}, overwrite=False)


@pytest.mark.parametrize("text", ["{", '{"a": NaN}', "\x00", "[" * 100_000])
def test_invalid_json_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ContractError, match="not valid JSON"):
        files.read_json(tmp_path / "x.json")


def test_many_scores_look_at_their_folder_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders: list[Path] = []
    synced: list[Path] = []
    sweep, sync = commits.remove_leftovers, commits.sync
    monkeypatch.setattr(commits, "remove_leftovers", lambda folder: (folders.append(folder), sweep(folder)))
    monkeypatch.setattr(commits, "sync", lambda path, flags: (synced.append(path), sync(path, flags)))
    rows = [ScoreRow(f"s{number}", "parc", "", "features", 10, value=number / 40) for number in range(40)]
    scores = [(tmp_path / "parc" / f"{row.source}.parquet", row, {"seed": 1}) for row in rows]
    write_together(scores, {tmp_path / "parc" / "_s0.log.json": "{}"})
    assert folders == [tmp_path / "parc"]
    assert len(synced) == len(set(synced)) + 1 == 41 + 2  # each file; the folder before the last one is in its place
    for path, row, inputs in scores:
        alone = tmp_path / "alone.parquet"
        write_scores(alone, [row], inputs)
        assert path.read_bytes() == alone.read_bytes()
        assert load_scores(path) == [row]
    assert sorted(p.name for p in (tmp_path / "parc").iterdir() if p.name.endswith(".tmp")) == []


def test_interrupted_scores_leave_none_behind(tmp_path: Path) -> None:
    rows = [ScoreRow(f"s{number}", "parc", "", "features", 10) for number in range(3)]
    bad = replace(rows[2], draws=["text"])  # type: ignore[list-item]
    scores = [(tmp_path / f"{row.source}.parquet", row, {}) for row in (*rows[:2], bad)]
    with pytest.raises((pa.ArrowInvalid, pa.ArrowTypeError)):
        write_together(scores, {})
    assert list(tmp_path.iterdir()) == []
