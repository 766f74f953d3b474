"""Parquet artifacts: checksums of every page, a header that says what each was made from, and checked columns."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from zoo_cli import __version__, system_errors
from zoo_cli.errors import ContractError
from zoo_cli.store import json_text, records, seals
from zoo_cli.store.columns import check_list_lengths
from zoo_cli.store.commits import replacing
from zoo_cli.store.files import reading
from zoo_cli.store.schemas import ROW_GROUP, Schema

HEADER = b"zoo"
STREAM_BUFFER = 1 << 20


@dataclass(frozen=True)
class Header:
    """What the metadata of a parquet artifact holds, see `make_header`."""

    schema: str
    inputs: Mapping[str, Any] = field(default_factory=dict)
    made_by: str = ""
    card: Mapping[str, Any] | None = None
    beside: Mapping[str, str] = field(default_factory=dict)


def write_table(
    path: Path, table: pa.Table, schema: Schema, inputs: Mapping[str, Any], card: Mapping[str, Any] | None = None
) -> None:
    """Write a parquet artifact with page checksums, and a header that says what it is and what it was made from.

    `card`: the GPU that computed it, as in `devices.describe_device`; it is recorded, and makes nothing stale.

    Raises ContractError if the table breaks its schema, through a bug or an array from elsewhere.
    """
    with table_writer(path, schema, inputs, table.schema, card) as write:
        write(table)


def write_rows(path: Path, tag: str, rows: Sequence[Mapping[str, Any]], types: Mapping[str, pa.DataType]) -> None:
    """Write the rows of an answer as parquet, with the types of their values.

    `types`: of the columns that may hold nulls or empty lists alone, which have no type.
    """
    table = pa.Table.from_pylist([dict(row) for row in rows])
    table = table.cast(pa.schema([(field.name, types.get(field.name, field.type)) for field in table.schema]))
    header = json.dumps({"schema": tag, "made_by": f"zoo {__version__}"})
    table = table.replace_schema_metadata({HEADER: header, seals.KEY: seals.BLANK})
    with replacing(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", use_dictionary=False, write_page_checksum=True)
        seals.seal_footer(temporary)


@contextmanager
def table_writer(
    path: Path,
    schema: Schema,
    inputs: Mapping[str, Any],
    arrow_schema: pa.Schema,
    card: Mapping[str, Any] | None = None,
    *,
    group_bytes: int | None = None,
    beside: Mapping[str, str] | None = None,
    temporary: Path | None = None,
) -> Iterator[Any]:
    """As `write_table`, for rows that arrive in pieces: yields a function that takes the next piece.

    Row groups are full whatever the sizes of the pieces, so equal rows give equal bytes. `group_bytes`: a row group
    ends with the piece that fills so many bytes. `beside`: see `make_header`. `temporary`: write there; the caller
    brings it into its place.
    """
    _check_columns(path, arrow_schema, schema)
    header = json.dumps(make_header(schema, inputs, card, beside), separators=(",", ":"))
    arrow_schema = arrow_schema.with_metadata({HEADER: header, seals.KEY: seals.BLANK})
    rows = 0
    pending: list[pa.Table] = []
    with replacing(path) if temporary is None else nullcontext(temporary) as place:
        with pq.ParquetWriter(
            place,
            arrow_schema,
            compression="zstd",
            compression_level=1,
            use_dictionary=False,
            write_page_checksum=True,
            # Incompressible floats gain nothing from statistics, and ids are looked up by scanning.
            write_statistics=False,
        ) as writer:

            def write(piece: pa.Table) -> None:
                nonlocal rows
                rows += piece.num_rows
                pending.append(piece.replace_schema_metadata(arrow_schema.metadata))
                while sum(part.num_rows for part in pending) >= ROW_GROUP:
                    joined = pa.concat_tables(pending)
                    writer.write_table(joined.slice(0, ROW_GROUP), row_group_size=ROW_GROUP)
                    pending[:] = [joined.slice(ROW_GROUP)]
                if group_bytes is not None and sum(part.nbytes for part in pending) >= group_bytes:
                    writer.write_table(pa.concat_tables(pending), row_group_size=ROW_GROUP)
                    pending.clear()

            yield write
            rest = pa.concat_tables(pending) if pending else arrow_schema.empty_table()
            if rest.num_rows or not rows:
                writer.write_table(rest, row_group_size=ROW_GROUP)
        seals.seal_footer(place)
        with pq.ParquetFile(place, page_checksum_verification=True) as check:
            read = sum(check.read_row_group(group).num_rows for group in range(check.num_row_groups))
            assert read == rows, f"{path}: {rows} rows written, {read} read back"


def make_header(
    schema: Schema,
    inputs: Mapping[str, Any],
    card: Mapping[str, Any] | None = None,
    beside: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The header of a parquet artifact. Without a card there is no such key: files made on a CPU keep their bytes.

    `beside`: the digests of files that belong to it and are written before it, by their paths relative to its folder.
    """
    header = {"schema": schema.tag, "inputs": dict(inputs), "made_by": f"zoo {__version__}"}
    optional = {"card": card, "beside": beside}
    return header | {key: dict(value) for key, value in optional.items() if value is not None}


def read_header(path: Path) -> dict[str, Any]:
    """The header of a parquet artifact of zoo; empty for any other file.

    Raises ContractError for one that is damaged: not JSON, or of other types than those of `Header`.
    """
    with reading(path), _parquet(path):
        schema = pq.read_schema(path)
    return parse_header(path, schema)


def parse_header(path: Path, schema: pa.Schema) -> dict[str, Any]:
    """The header of the parquet file at a path, of which this is the schema; see `read_header`."""
    metadata = schema.metadata or {}
    if HEADER not in metadata:
        return {}
    try:
        header: dict[str, Any] = json_text.parse_json(metadata[HEADER])
    except ValueError:
        raise ContractError(f"the header of {path} is damaged", "make the file again") from None
    records.build_record(Header, header, f"the header of {path}", "make the file again", extra_keys=True)
    return header


def read_table(path: Path, schema: Schema, columns: Sequence[str] | None = None) -> pa.Table:
    """An artifact of zoo, the checksum of every page verified, its columns checked against the schema.

    Raises ContractError for a damaged file, another artifact, a newer version or a broken column.
    """
    with open_parquet(path) as stream:
        tag = parse_header(path, stream.schema_arrow).get("schema")
        if tag is not None and tag != schema.tag:
            raise ContractError(f"{path} is a {tag}, not a {schema.tag}", "a newer zoo may have written it")
        table = read_groups(stream, range(stream.num_row_groups), columns)
    _check_columns(path, table.schema, schema, only=columns)
    for column in schema.columns:
        if column.name in table.column_names and not column.nullable and table.column(column.name).null_count:
            raise ContractError(f"{path}: column {column.name} has nulls")
    return table


def read_parquet(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Any parquet file, page checksums verified if it has them. Raises ContractError if it is damaged."""
    with open_parquet(path) as stream:
        return read_groups(stream, range(stream.num_row_groups), columns)


@contextmanager
def open_parquet(path: Path, *, streaming: bool = False) -> Iterator[pq.ParquetFile]:
    """A parquet file for `read_groups`. Raises ContractError if it is, or turns out to be, damaged.

    `streaming`: its columns are read page by page, for row groups that may not fit in memory.
    """
    buffer = STREAM_BUFFER if streaming else 0
    with (
        reading(path),
        _parquet(path),
        pq.ParquetFile(path, page_checksum_verification=True, buffer_size=buffer) as stream,
    ):
        yield stream


def read_groups(stream: pq.ParquetFile, groups: Sequence[int], columns: Sequence[str] | None = None) -> pa.Table:
    """Some row groups of a file that `open_parquet` opened, one after another."""
    metadata = stream.metadata
    table = stream.read_row_groups(list(groups), columns=list(columns) if columns is not None else None)
    sizes = [metadata.row_group(group).num_rows for group in groups]
    expected = metadata.num_rows if len(sizes) == metadata.num_row_groups else sum(sizes)
    if table.num_rows != expected:
        raise pa.ArrowInvalid(f"{table.num_rows} rows instead of {expected}")
    for column in table.columns:
        # Text that is not UTF-8 would fail only when it is used.
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            column.validate(full=True)
    check_list_lengths(metadata, groups, table)
    return table


def group_sizes(path: Path) -> list[int]:
    """The number of rows of every row group of a parquet file."""
    with reading(path), _parquet(path):
        metadata = pq.read_metadata(path)
        return [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]


def column_types(path: Path) -> dict[str, str]:
    """The types of the columns of a parquet file, by name."""
    with reading(path), _parquet(path):
        return {field.name: str(field.type) for field in pq.read_schema(path)}


def first_rows(path: Path, count: int) -> tuple[dict[str, Any], ...]:
    """The first rows of a parquet file, at most `count`, as values of Python."""
    with reading(path), _parquet(path), pq.ParquetFile(path) as stream:
        batch = next(stream.iter_batches(batch_size=count), None)
        return () if batch is None else tuple(batch.slice(0, count).to_pylist())


def list_width(path: Path, column: str) -> int | None:
    """The length of the first list in a column of a parquet file; None without the column or a row."""
    with reading(path), _parquet(path), pq.ParquetFile(path) as stream:
        if column not in stream.schema_arrow.names:
            return None
        first = next(stream.iter_batches(batch_size=1, columns=[column]), None)
        value = None if first is None or not len(first) else first.column(column)[0].as_py()
        return len(value) if isinstance(value, list) else None


def row_count(path: Path) -> int:
    """The number of rows of a parquet file."""
    with reading(path), _parquet(path):
        return int(pq.read_metadata(path).num_rows)


def _check_columns(path: Path, columns: pa.Schema, schema: Schema, only: Sequence[str] | None = None) -> None:
    for column in schema.columns:
        if only is not None and column.name not in only:
            continue
        if column.name not in columns.names:
            if column.required:
                raise ContractError(f"{path} has no column {column.name}", f"it is not a {schema.name} file")
            continue
        kind = columns.field(column.name).type
        if not _type_fits(str(kind), column.type):
            raise ContractError(f"{path}: column {column.name} is {kind}, not {column.type}")


def _type_fits(kind: str, expected: str) -> bool:
    if expected.startswith("fixed_size_list"):
        # Widths differ from file to file, and any float list can be read.
        return kind.startswith(("fixed_size_list<", "list<", "large_list<")) and any(
            width in kind for width in ("halffloat", "float", "double")
        )
    normal = kind.replace("item: ", "").replace("element: ", "").replace("large_", "")
    return normal == expected


@contextmanager
def _parquet(path: Path) -> Iterator[None]:
    try:
        seals.check_footer(path)
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError, seals.BrokenSeal) as error:
        if isinstance(error, OSError) and error.errno in system_errors.WRONG_PATH:
            raise
        line = str(error).splitlines()[0] if str(error) else "unreadable"
        hint = "make it again, or fetch it again"
        raise ContractError(f"{path} is not an intact parquet file: {line}", hint) from None
