from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from zoo_cli.errors import ContractError, ZooError
from zoo_cli.pipeline import pseudo_label
from zoo_cli.store import feature_files, output_reader, schemas
from zoo_cli.store.output_reader import OutputReader
from zoo_cli.store.text_column import TextColumn

WIDTH = 3


def write(path: Path, rows: range, *, group: int, kind: type = np.float32) -> None:
    values = np.random.default_rng(0).standard_normal((200, WIDTH)).astype(kind)[rows.start : rows.stop]
    table = pa.table({"id": [f"s{row}" for row in rows], "logits": list(values)})
    pq.write_table(table, path, row_group_size=group)


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files of 70 rows in row groups of 10, of 50 rows in one, and of 5; a block has 8 rows."""
    monkeypatch.setattr(output_reader, "BLOCK", 8)
    folder = tmp_path / "stored"
    folder.mkdir()
    write(folder / "a.parquet", range(70), group=10)
    write(folder / "b.parquet", range(70, 120), group=50)
    write(folder / "c.parquet", range(120, 125), group=5)
    return folder


@pytest.mark.parametrize("order", ["as stored", "every third", "backwards", "mixed"])
def test_blocks_are_the_rows_that_are_loaded_whole(stored: Path, order: str) -> None:
    rows = {
        "as stored": np.arange(125),
        "every third": np.arange(0, 125, 3),
        "backwards": np.arange(125)[::-1],
        "mixed": np.random.default_rng(1).permutation(125),
    }[order]
    ids = None if order == "as stored" else TextColumn.of(f"s{row}" for row in rows)
    reader = OutputReader(stored, ("logits", "probs"), ids=ids, needed=("logits",))
    whole = feature_files.load_outputs(stored, ids=ids, columns=("logits",))
    assert (len(reader), reader.columns, reader.width("logits")) == (len(rows), ("logits",), WIDTH)
    for start in range(0, len(rows), 11):
        piece = reader.read(slice(start, start + 11))
        expected = whole.take(slice(start, start + 11))
        assert piece.ids.tolist() == expected.ids.tolist()
        assert piece.logits is not None
        assert np.array_equal(piece.logits, expected.logits)  # type: ignore[arg-type]


def test_rows_in_their_order_are_decoded_once(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[tuple[str, int]] = []
    decode = output_reader._decode_group
    monkeypatch.setattr(
        output_reader,
        "_decode_group",
        lambda block, columns: decoded.append((block.part.name, block.group)) or decode(block, columns),  # type: ignore[func-returns-value]
    )
    reader = OutputReader(stored, ("logits",))
    for start in range(0, 125, 7):
        reader.read(slice(start, start + 7))
    assert decoded == [*(("a.parquet", group) for group in range(7)), ("b.parquet", 0), ("c.parquet", 0)]


def test_faults_are_those_of_whole_outputs(stored: Path) -> None:
    with pytest.raises(ContractError, match=r"lacks 1 of 2 ids of the manifest, e\.g\. x"):
        OutputReader(stored, ("logits",), ids=TextColumn.of(["s1", "x"]))
    with pytest.raises(ContractError, match="has no column embedding in all its parts"):
        OutputReader(stored, ("embedding",), needed=("embedding",))
    pq.write_table(pa.table({"id": ["s0"], "logits": [[1.0, 2.0, 3.0]]}), stored / "d.parquet")
    with pytest.raises(ContractError, match=r"1 ids repeat, e\.g\. s0"):
        OutputReader(stored, ("logits",))
    pq.write_table(pa.table({"id": ["t0"], "logits": [[1.0, 2.0]]}), stored / "d.parquet")
    with pytest.raises(ContractError, match="the parts disagree on the width of logits"):
        OutputReader(stored, ("logits",)).read(slice(120, 126))
    pq.write_table(pa.table({"id": ["t0"], "logits": [[1.0, 2.0, float("nan")]]}), stored / "d.parquet")
    with pytest.raises(ContractError, match=r"not finite .* in 1 rows, e\.g\. t0"):
        OutputReader(stored, ("logits",)).read(slice(120, 126))


def test_a_file_that_is_replaced_meanwhile_is_not_mixed_in(stored: Path) -> None:
    reader = OutputReader(stored, ("logits",))
    write(stored / "new", range(120, 125), group=5)
    (stored / "new").rename(stored / "c.parquet")
    with pytest.raises(ZooError, match="was replaced while it was read"):
        reader.read(slice(120, 125))


def test_a_page_that_is_damaged_is_an_error_of_its_file(stored: Path) -> None:
    path = stored / "b.parquet"
    table = pq.read_table(path)
    pq.write_table(table, path, row_group_size=50, write_page_checksum=True, compression="none")
    start = pq.read_metadata(path).row_group(0).column(1).data_page_offset
    data = bytearray(path.read_bytes())
    data[start + 60] ^= 1
    path.write_bytes(data)
    with pytest.raises(ContractError, match=r"b\.parquet is not an intact parquet file"):
        OutputReader(stored, ("logits",)).read(slice(60, 125))


@pytest.mark.parametrize("output", ["softmax", "sigmoid"])
@pytest.mark.parametrize("column", ["logits", "probs"])
def test_pseudo_labels_of_parts_are_those_of_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str, column: str
) -> None:
    monkeypatch.setattr(pseudo_label, "STEP", 7)
    count = schemas.ROW_GROUP + 30
    values = np.random.default_rng(0).standard_normal((count, WIDTH)).astype(np.float32)
    if column == "probs":
        values = feature_files.to_probabilities(values, output).astype(np.float32)
    table = pa.table({"id": [f"s{row}" for row in range(count)], column: list(values)})
    pq.write_table(table, tmp_path / "remote.parquet")
    summary = pseudo_label.pseudo_label_file(tmp_path / "remote.parquet", tmp_path / "out", output)
    assert (summary.images, summary.classes) == (count, WIDTH)
    expected = feature_files.load_outputs(tmp_path / "remote.parquet", output=output).probabilities(output)
    assert expected is not None
    stored = feature_files.load_outputs(tmp_path / "out", columns=("probs",), output=output).probs
    assert len(list((tmp_path / "out").glob("part-*.parquet"))) == 2
    assert np.array_equal(stored, expected.astype(np.float16))  # type: ignore[arg-type]
