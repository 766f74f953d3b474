"""Seals: a file that is not as it was written is refused, one without a seal is read."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from zoo_cli.errors import ContractError
from zoo_cli.store import files, parquet_files, schemas, seals

ROWS = pa.table({"id": ["a", "b"], "embedding": [[1.0, 2.0], [3.0, 4.0]]})


def write(path: Path) -> bytes:
    parquet_files.write_table(path, ROWS, schemas.FEATURES, {"source": "s"})
    return path.read_bytes()


def test_every_flipped_bit_of_a_parquet_file_is_detected_or_harmless(tmp_path: Path) -> None:
    path = tmp_path / "part.parquet"
    data = write(path)
    whole, header = parquet_files.read_parquet(path), parquet_files.read_header(path)
    silent, detected = [], 0
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        try:
            table = parquet_files.read_parquet(path)
            if parquet_files.read_header(path) != header or not table.equals(whole):
                silent.append(position)
        except ContractError:
            detected += 1
    assert silent == []
    assert detected > len(data) * 0.9


def test_page_that_counts_fewer_values_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "lists.parquet"
    pq.write_table(pa.table({"draws": [[float(n) for n in range(200)]]}), path, use_dictionary=False)
    data = path.read_bytes()
    assert parquet_files.read_parquet(path).num_rows == 1
    place = data.index(b"\x90\x03")  # 200, as Thrift writes it
    path.write_bytes(data[:place] + b"\x90\x02" + data[place + 2 :])
    with pytest.raises(ContractError, match="136 values of draws instead of 200"):
        parquet_files.read_parquet(path)


def test_lists_of_any_length_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "lists.parquet"
    table = pa.table({"a": [[1.0], [], None, [1.0, None]], "b.c": [["x"], ["y"], None, []]})
    pq.write_table(table, path, row_group_size=2)
    assert parquet_files.read_parquet(path).equals(table)
    assert parquet_files.read_parquet(path, ["a"]).equals(table.select(["a"]))


def test_table_that_another_program_wrote_anew_is_read(tmp_path: Path) -> None:
    path = tmp_path / "part.parquet"
    write(path)
    table = pq.read_table(path)
    assert seals.KEY.encode() in table.schema.metadata
    pq.write_table(table.append_column("note", [["x", "y"]]), path)
    assert parquet_files.read_table(path, schemas.FEATURES).num_rows == 2


def test_equal_rows_give_equal_seals(tmp_path: Path) -> None:
    assert write(tmp_path / "a.parquet") == write(tmp_path / "b.parquet")


def test_edited_document_is_refused_and_one_without_a_seal_is_read(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    files.write_sealed_json(path, {"count": 3, "names": ["a"]})
    assert files.read_json(path) == {"count": 3, "names": ["a"]}
    path.write_text(path.read_text().replace("3", "4", 1))
    with pytest.raises(ContractError, match=r"record\.json is damaged: it differs from its seal"):
        files.read_json(path)
    path.write_text('{"count": 4, "seam": "zoo.seal/1:00"}')
    with pytest.raises(ContractError, match="its seal is damaged"):
        files.read_json(path)
    path.write_text('{"count": 4}')
    assert files.read_json(path) == {"count": 4}


def test_every_flipped_bit_of_sealed_arrays_is_detected(tmp_path: Path) -> None:
    path = tmp_path / "head.safetensors"
    files.write_arrays(path, {"weights": np.arange(4.0), "scale": np.ones(2)}, {"head": "ridge"})
    data = path.read_bytes()
    tensors, metadata = files.read_tensors(path)
    assert metadata == {"head": "ridge"}
    assert tensors["weights"].tolist() == [0, 1, 2, 3]
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        try:
            after, changed = files.read_tensors(path)
        except ContractError:
            continue
        # The name of the seal itself: nothing else is damaged then.
        assert b"zoo.seal" not in damaged, position
        assert after.keys() == tensors.keys()
        assert changed["head"] == "ridge"
        assert all(bool((after[name] == tensors[name]).all()) for name in tensors)


def test_arrays_without_metadata_have_no_seal(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    files.write_arrays(path, {"weights": np.arange(4.0)})
    assert seals.KEY.encode() not in path.read_bytes()
    assert files.read_tensors(path)[1] == {}
