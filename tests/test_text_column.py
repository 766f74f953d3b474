import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tests.workspaces import make
from zoo_cli.errors import ContractError
from zoo_cli.store import manifest, provenance
from zoo_cli.store.parquet_images import ImagePlace, ImagePlaces
from zoo_cli.store.text_column import BLOCK, TextColumn, decode_few, to_arrow, to_numbers

TEXTS = ["b", "a", None, "ä\n", "", '"', "a"]


@pytest.mark.parametrize(
    "values",
    [
        TEXTS,
        np.array(TEXTS, dtype=object),
        pa.array(TEXTS),
        pa.array(TEXTS, pa.large_string()),
        pa.chunked_array([TEXTS[:2], [], TEXTS[2:]]),
        pa.array(["x", *TEXTS])[1:],
    ],
)
def test_rows_of_a_column_are_those_of_a_list(values: object) -> None:
    column = TextColumn.of(values)  # type: ignore[arg-type]
    assert (len(column), list(column), [column[i] for i in range(7)]) == (7, TEXTS, TEXTS)
    assert column[np.array([6, 0])].tolist() == ["a", "b"]
    assert column[np.array([True] + [False] * 5 + [True])].tolist() == ["b", "a"]
    assert column[1:4].tolist() == list(column.take(slice(1, 4))) == TEXTS[1:4]
    assert column[np.zeros(0, np.int64)].tolist() == []
    assert column.isin(["a", "?"]).tolist() == [False, True, False, False, False, False, True]
    assert column.positions(TextColumn.of(["", "?", "a"])).tolist() == [4, -1, 1]
    assert column.repeats()
    assert not column.take(slice(0, 6)).repeats()


def test_columns_join_whatever_their_offsets() -> None:
    pieces = [TextColumn.of(pa.array(["a"], pa.large_string())), TextColumn.of([]), TextColumn.of(["b", "c"])]
    assert list(TextColumn.join(pieces)) == ["a", "b", "c"]
    assert list(TextColumn.join([])) == []


def test_iteration_goes_on_over_blocks() -> None:
    names = [str(number) for number in range(2 * BLOCK + 3)]
    assert list(TextColumn.of(names)) == names
    assert [len(block) for block in TextColumn.of(names).blocks()] == [BLOCK, BLOCK, 3]


def test_numbers_and_few_values_come_with_their_nulls() -> None:
    column = pa.chunked_array([pa.array([0, 7, None, 5], pa.int64())[1:], pa.array([2], pa.int64())])
    assert to_numbers(column, -1).tolist() == [7, -1, 5, 2]
    assert to_numbers(pa.array([None, True, False, True])[1:]).tolist() == [True, False, True]
    assert to_numbers(pa.array([], pa.int32())).dtype == np.int32
    assert to_arrow(np.array([3, 1])[::-1]).to_pylist() == [1, 3]
    rows, names = decode_few(pa.chunked_array([["u", "v"], [None, "u"]]))
    assert (rows.tolist(), names) == (["u", "v", None, "u"], ["u", "v"])


def test_a_digest_in_blocks_is_that_of_the_whole() -> None:
    columns = [["a", 'ä"\\\n', ""], ["1", "2", "3"], []]
    blocks = [[[], column[:1], [], column[1:]] for column in columns]
    assert provenance.fingerprint_columns(blocks) == provenance.fingerprint(columns)
    assert provenance.fingerprint_columns([]) == provenance.fingerprint([])
    assert json.dumps("ä") != '"ä"', "digests are of ASCII"


def test_images_keep_their_digest_and_lose_the_failed(tmp_path: Path) -> None:
    workspace = make(tmp_path / "task", upto="split")
    images = manifest.load_manifest(workspace / "manifest.parquet", workspace)
    rows = images.where(split=("labelled",))
    columns = [[str(value) for value in getattr(images, name)[rows]] for name in ("ids", "labels")]
    assert images.fingerprint(rows, "ids", "labels") == provenance.fingerprint(columns)
    rest = images.without(frozenset([images.ids[rows[0]]]))
    assert rest.where(split=("labelled",)).tolist() == rows[1:].tolist()


def test_places_of_images_are_read_by_row() -> None:
    def columns(*rows: tuple[object, ...]) -> list[pa.ChunkedArray]:
        types = pa.string(), pa.string(), pa.int32(), pa.int64()
        return [pa.chunked_array([pa.array(v, t)]) for v, t in zip(zip(*rows, strict=True), types, strict=True)]

    places = ImagePlaces(columns(("a", "image", 0, 5), (None,) * 4, ("b", "image", 2, 0)))
    assert dict(places) == {0: ImagePlace("a", "image", 0, 5), 2: ImagePlace("b", "image", 2, 0)}
    assert (1 in places, np.int64(2) in places, 3 in places, len(places)) == (False, True, False, 2)
    with pytest.raises(ContractError, match=r"half of the place of an image \(row 1\)"):
        ImagePlaces(columns(("a", "image", 0, 5), ("b", None, 2, 0)))
