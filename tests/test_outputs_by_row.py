import shutil
from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from zoo_cli.errors import ContractError
from zoo_cli.store import feature_files, parquet_files
from zoo_cli.store.text_column import TextColumn

ROWS, GROUP = 90, 10


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two files of 50 and 40 rows in row groups of 10: row i has the values i, i + 0.5, and the label i."""
    folder = tmp_path_factory.mktemp("stored")
    for number, rows in enumerate((range(50), range(50, ROWS))):
        values = np.array([[row, row + 0.5] for row in rows], np.float32)
        table = pa.table({"id": [f"s{row}" for row in rows], "embedding": list(values), "label": list(rows)})
        pq.write_table(table, folder / f"{number}.parquet", row_group_size=GROUP)
    return folder


@pytest.mark.parametrize("rows", [[3], [89, 0], [55, 54, 12, 13, 88], list(range(90))[::-1], list(range(20))])
def test_rows_are_those_of_the_ids(stored: Path, rows: list[int]) -> None:
    names = [f"s{row}" for row in rows]
    for ids in (np.array(names, dtype=object), TextColumn.of(names)):
        outputs = feature_files.load_outputs(stored, ids=ids)
        assert outputs.embedding is not None
        assert outputs.labels is not None
        assert outputs.ids.tolist() == names
        assert outputs.embedding[:, 1].tolist() == [row + 0.5 for row in rows]
        assert outputs.labels.tolist() == rows


def test_only_row_groups_with_a_selected_row_are_read(stored: Path) -> None:
    reads: list[tuple[int, ...]] = []
    read = parquet_files.read_groups

    def spy(stream: pq.ParquetFile, groups: range, columns: list[str]) -> pa.Table:
        if list(columns) != ["id"]:
            reads.append(tuple(groups))
        return read(stream, groups, columns)

    with mock.patch.object(parquet_files, "read_groups", spy):
        feature_files.load_outputs(stored, ids=np.array(["s51", "s33", "s38"], dtype=object))
    assert sorted(reads) == [(0,), (3,)]


def test_the_ids_of_all_files_are_looked_up_at_once(stored: Path) -> None:
    names = np.array([f"s{row}" for row in range(10, ROWS)], dtype=object)
    with mock.patch.object(TextColumn, "positions", autospec=True, side_effect=TextColumn.positions) as lookup:
        feature_files.load_outputs(stored, ids=names)
    assert lookup.call_count == 1, "a lookup for each file grows with the square of the rows"


def test_a_file_that_is_replaced_between_its_ids_and_its_rows_is_an_error(stored: Path, tmp_path: Path) -> None:
    part = shutil.copy(stored / "0.parquet", tmp_path / "a.parquet")

    def replace(_selected: TextColumn, ids: TextColumn) -> np.ndarray:
        shutil.copy(stored / "1.parquet", part)
        return np.arange(len(ids))

    with (
        mock.patch.object(TextColumn, "positions", autospec=True, side_effect=replace),
        pytest.raises(ContractError, match=r"a\.parquet was replaced while it was read"),
    ):
        feature_files.load_outputs(part, ids=np.array(["s1"], dtype=object))


def test_missing_and_repeated_ids_are_named(stored: Path, tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=r"lacks 2 of 3 ids of the manifest, e\.g\. x, y"):
        feature_files.load_outputs(stored, ids=np.array(["x", "s1", "y"], dtype=object))
    table = pa.table({"id": ["a", "b", "a"], "embedding": [[1.0]] * 3})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=1)
    with pytest.raises(ContractError, match=r"1 ids repeat, e\.g\. a"):
        feature_files.load_outputs(tmp_path / "a.parquet", ids=np.array(["a"], dtype=object))


@pytest.mark.parametrize("kind", [pa.int32(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())])
def test_ids_may_be_numbers_or_any_text(tmp_path: Path, kind: pa.DataType) -> None:
    ids = pa.array(["3", "1", "2"]).cast(kind) if pa.types.is_integer(kind) else pa.array(["3", "1", "2"], kind)
    pq.write_table(pa.table({"id": ids, "embedding": [[3.0], [1.0], [2.0]]}), tmp_path / "a.parquet")
    outputs = feature_files.load_outputs(tmp_path / "a.parquet", ids=np.array(["1", "3"], dtype=object))
    assert outputs.embedding is not None
    assert outputs.embedding.tolist() == [[1.0], [3.0]]


@pytest.mark.parametrize("kind", [pa.int8(), pa.uint8(), pa.int64()])
def test_labels_of_any_width_may_be_missing(tmp_path: Path, kind: pa.DataType) -> None:
    table = pa.table({"id": ["a", "b"], "embedding": [[1.0], [2.0]], "label": pa.array([None, 4], kind)})
    pq.write_table(table, tmp_path / "a.parquet")
    labels = feature_files.load_outputs(tmp_path / "a.parquet").labels
    assert labels is not None
    assert labels.tolist() == [-1, 4]


def test_columns_of_all_rows_come_in_the_order_of_the_ids(stored: Path) -> None:
    everything = feature_files.load_outputs(stored)
    assert everything.ids.tolist() == [f"s{row}" for row in range(ROWS)]
    order = np.random.default_rng(0).permutation(ROWS)
    outputs = feature_files.load_outputs(stored, ids=everything.ids[order])
    assert np.array_equal(outputs.embedding, everything.embedding[order])  # type: ignore[arg-type, index]
    twice = feature_files.load_outputs(stored, ids=np.array(["s80", "s2", "s80"], dtype=object))
    assert twice.labels is not None
    assert twice.labels.tolist() == [80, 2, 80]


@pytest.mark.parametrize("first", [pa.float16(), pa.float64()])
def test_files_of_other_precisions_are_joined_in_the_wider_one(tmp_path: Path, first: pa.DataType) -> None:
    for name, kind, value in (("a", first, 0.5), ("b", pa.float32(), 1 / 3)):
        table = pa.table({"id": [name], "embedding": pa.array([[value]], pa.list_(kind))})
        pq.write_table(table, tmp_path / f"{name}.parquet")
    outputs = feature_files.load_outputs(tmp_path, ids=np.array(["b", "a"], dtype=object))
    assert outputs.embedding is not None
    assert outputs.embedding.tolist() == [[float(np.float32(1 / 3))], [0.5]]


@pytest.mark.parametrize("lacking", ["0.parquet", "1.parquet"])
def test_only_columns_of_all_files_are_given(stored: Path, tmp_path: Path, lacking: str) -> None:
    for part in stored.glob("*.parquet"):
        table = pq.read_table(part)
        table = table.append_column("logits", table.column("embedding"))
        pq.write_table(table.drop_columns(["embedding"]) if part.name == lacking else table, tmp_path / part.name)
    outputs = feature_files.load_outputs(tmp_path)
    assert outputs.embedding is None
    assert outputs.logits is not None
    assert outputs.logits[:, 0].tolist() == list(range(ROWS))


@pytest.mark.parametrize("ids", [None, ["a", "c"], ["c", "b", "a", "d"]])
def test_a_column_that_the_first_file_lacks_is_not_given(tmp_path: Path, ids: list[str] | None) -> None:
    pq.write_table(pa.table({"id": ["a", "b"], "logits": [[1.0], [2.0]]}), tmp_path / "0.parquet")
    pq.write_table(pa.table({"id": ["c", "d"], "embedding": [[3.0], [4.0]], "label": [1, 0]}), tmp_path / "1.parquet")
    selected = None if ids is None else np.array(ids, dtype=object)
    for columns in (("embedding",), ("embedding", "logits", "probs"), ()):
        outputs = feature_files.load_outputs(tmp_path, ids=selected, columns=columns)
        assert (outputs.embedding, outputs.logits, outputs.labels) == (None, None, None)
    with pytest.raises(ContractError, match="has no column embedding in all its parts"):
        feature_files.load_outputs(tmp_path, ids=selected, columns=("embedding",), needed=("embedding",))


def test_a_file_without_selected_rows_gives_no_column(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": ["a", "b"], "logits": [[1.0], [2.0]]}), tmp_path / "0.parquet")
    pq.write_table(pa.table({"id": ["c", "d"], "embedding": [[3.0], [4.0]]}), tmp_path / "1.parquet")
    with pytest.raises(ContractError, match="has no column embedding"):
        feature_files.load_outputs(
            tmp_path, ids=np.array(["b", "a"], dtype=object), columns=("embedding",), needed=("embedding",)
        )


def test_a_column_that_a_file_lacks_may_have_any_width_in_others(tmp_path: Path) -> None:
    for name, values in (("a", [1.0, 2.0]), ("b", None), ("c", [1.0, 2.0, 3.0])):
        columns = {"id": [name], "logits": [[0.5]], **({} if values is None else {"embedding": [values]})}
        pq.write_table(pa.table(columns), tmp_path / f"{name}.parquet")
    outputs = feature_files.load_outputs(tmp_path)
    assert outputs.embedding is None
    assert outputs.logits is not None
    assert outputs.logits.tolist() == [[0.5]] * 3
