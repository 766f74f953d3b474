"""Images in parquet files: the manifest refers to them, and they are read in bounded memory."""

import json
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.data.encoded_images import encode
from tests.workspaces import make as make_workspace
from tests.workspaces import run, toml
from zoo_cli.errors import ContractError
from zoo_cli.images import in_order
from zoo_cli.store import parquet_files, parquet_images, schemas
from zoo_cli.store.columns import arrow_schema
from zoo_cli.store.manifest import Images, load_manifest
from zoo_cli.store.parquet_images import ImagePlace, ParquetImages

KIND = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
CLASSES = ("blue", "green", "red")


def make(folder: Path, group: int = 7) -> Path:
    """The small task with its images in one parquet file, `group` rows a row group."""
    place = make_workspace(folder)
    rows = [
        {"image": {"bytes": file.read_bytes(), "path": None}, "label": CLASSES.index(file.parent.name)}
        for file in sorted(place.glob("images/*/*.png"))
    ]
    random.Random(0).shuffle(rows)
    schema = pa.schema([("image", KIND), ("label", pa.int64())], metadata={b"class_names": json.dumps(CLASSES)})
    pq.write_table(pa.Table.from_pylist(rows, schema), place / "data.parquet", row_group_size=group)
    (place / "zoo.toml").write_text(toml(train="parquet:data.parquet"))
    return place


def encoded(place: Path) -> list[bytes]:
    rows = pq.read_table(place / "data.parquet").column("image").to_pylist()
    return [row["bytes"] for row in rows]


def load(place: Path) -> Images:
    return load_manifest(place / "manifest.parquet", place)


def embed(place: Path) -> None:
    """Rewrite the manifest as earlier versions wrote it: with the images in it."""
    header = parquet_files.read_header(place / "manifest.parquet")
    rows = pq.read_table(place / "manifest.parquet").to_pylist()
    for row, image in zip(rows, encoded(place), strict=True):
        row["image"] = image
    table = pa.Table.from_pylist(rows, arrow_schema(schemas.MANIFEST, schemas.PLACE))
    parquet_files.write_table(place / "manifest.parquet", table, schemas.MANIFEST, header["inputs"])


def test_the_manifest_refers_to_the_images(tmp_path: Path) -> None:
    place = make(tmp_path / "task")
    assert run("split", workspace=place).code == 0
    rows = pq.read_table(place / "manifest.parquet").to_pylist()
    assert [(row["id"], row["file"], row["column"], row["row_group"], row["row"]) for row in rows] == [
        (f"train/data/{n}", "data.parquet", "image", n // 7, n % 7) for n in range(36)
    ]
    assert {(row["image"], row["path"]) for row in rows} == {(None, None)}
    images = load(place)
    assert [images.encoded(row) for row in range(36)] == encoded(place)
    assert "up to date" in run("split", workspace=place).err


def test_other_manifests_have_no_columns_for_places(tmp_path: Path) -> None:
    place = make_workspace(tmp_path / "task", upto="split")
    assert not set(schemas.PLACE) & set(pq.read_schema(place / "manifest.parquet").names)


def test_a_file_outside_the_workspace_is_named_absolutely(tmp_path: Path) -> None:
    place = make(tmp_path / "task")
    (place / "data.parquet").rename(tmp_path / "data.parquet")
    assert run("split", "--train", f"parquet:{tmp_path}/data.parquet", workspace=place).code == 0
    assert set(pq.read_table(place / "manifest.parquet").column("file").to_pylist()) == {f"{tmp_path}/data.parquet"}
    assert len(load(place).encoded(35)) > 0


def test_manifests_with_images_are_still_read(tmp_path: Path) -> None:
    place, old = make(tmp_path / "task"), make(tmp_path / "old")
    for each in (place, old):
        assert run("split", workspace=each).code == 0
    embed(old)
    (old / "data.parquet").unlink()
    assert [load(old).encoded(row) for row in range(36)] == encoded(place)
    parts = []
    for each in (place, old):
        assert run("extract", "--source", "alpha", workspace=each).code == 0
        (part,) = (each / "features/source=alpha").glob("data=train/*.parquet")
        parts.append(part.read_bytes())
    assert parts[0] == parts[1]


def test_a_moved_file_is_a_contract_error(tmp_path: Path) -> None:
    place = make(tmp_path / "task")
    assert run("split", workspace=place).code == 0
    (place / "data.parquet").rename(place / "moved.parquet")
    result = run("extract", "--source", "alpha", workspace=place)
    assert result.code == 3
    assert "data.parquet is gone since zoo split" in result.error
    assert not list((place / "features").rglob("part-*.parquet"))


@pytest.mark.parametrize("change", ["shuffled", "regrouped", "shorter", "another column", "text"])
def test_a_changed_file_is_a_contract_error(tmp_path: Path, change: str) -> None:
    place = make(tmp_path / "task")
    assert run("split", workspace=place).code == 0
    table = pq.read_table(place / "data.parquet")
    if change == "shuffled":
        table = table.take([1, 0, *range(2, 36)])
    if change == "shorter":
        table = table.slice(0, 20)
    if change == "another column":
        table = table.rename_columns(["picture", "label"])
    pq.write_table(table, place / "data.parquet", row_group_size=5 if change == "regrouped" else 7)
    if change == "text":
        (place / "data.parquet").write_text("no parquet")
    result = run("extract", "--source", "alpha", workspace=place)
    assert result.code == 3
    assert "data.parquet" in result.error
    assert ("has changed since zoo split" in result.error) == (change != "text")


def test_half_a_place_is_a_contract_error(tmp_path: Path) -> None:
    place = make(tmp_path / "task")
    assert run("split", workspace=place).code == 0
    header = parquet_files.read_header(place / "manifest.parquet")
    rows = pq.read_table(place / "manifest.parquet").to_pylist()
    rows[3]["row_group"] = None
    table = pa.Table.from_pylist(rows, arrow_schema(schemas.MANIFEST))
    parquet_files.write_table(place / "manifest.parquet", table, schemas.MANIFEST, header["inputs"])
    with pytest.raises(ContractError, match="half of the place"):
        load(place)


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize(("block", "cache"), [(1, 1), (300, 1000), (10**9, 10**9)])
def test_any_order_gives_the_same_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int, cache: int, plain: bool
) -> None:
    values = [bytes([n]) * (50 + n) for n in range(60)]
    column = pa.array(values, pa.large_binary()) if plain else pa.array([{"bytes": v} for v in values], KIND)
    pq.write_table(pa.table({"image": column}), tmp_path / "a.parquet", row_group_size=25)
    monkeypatch.setattr(parquet_images, "BLOCK_BYTES", block)
    monkeypatch.setattr(parquet_images, "CACHE_BYTES", cache)
    images = ParquetImages(tmp_path)
    places = [ImagePlace("a.parquet", "image", n // 25, n % 25) for n in range(60)]
    orders = [range(60), range(59, -1, -1), random.Random(1).sample(range(60), 60)]
    for order in orders:
        assert [images.read(places[n]) for n in order] == [values[n] for n in order]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda n: images.read(places[n]), range(60))) == values
    for group, row in ((2, 10), (3, 0), (0, -1), (-1, 0)):
        with pytest.raises(ContractError, match="has changed"):
            images.read(ImagePlace("a.parquet", "image", group, row))


def test_rows_in_order_are_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = [bytes([n]) * 100 for n in range(60)]
    pq.write_table(pa.table({"image": values}), tmp_path / "a.parquet", row_group_size=30)
    monkeypatch.setattr(parquet_images, "BLOCK_BYTES", 500)
    monkeypatch.setattr(parquet_images, "CACHE_BYTES", 1500)
    opened: list[Path] = []
    open_stream = parquet_images.open_stream
    monkeypatch.setattr(parquet_images, "open_stream", lambda path: opened.append(path) or open_stream(path))
    images = ParquetImages(tmp_path)
    for n in range(60):
        assert images.read(ImagePlace("a.parquet", "image", n // 30, n % 30)) == values[n]
    assert len(opened) == 2  # once a row group


def test_large_items_bound_how_far_ahead_workers_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_order, "AHEAD_BYTES", 100)
    taken: list[int] = []
    free = threading.Event()

    def items() -> Iterator[int]:
        for n in range(50):
            taken.append(n)
            yield n

    results = in_order.map_in_order(lambda n: free.wait(5) and n, items(), 2, size_of=lambda _: 40)
    free.set()
    assert next(results) == 0
    assert len(taken) <= 4
    assert list(results) == list(range(1, 50))


def test_manifests_that_hold_images_have_groups_of_bounded_bytes(tmp_path: Path) -> None:
    schema = pa.schema([("id", pa.string()), ("image", pa.binary())])
    pieces = [pa.Table.from_pylist([{"id": f"{n}", "image": bytes(1000)}], schema) for n in range(10)]
    kind = schemas.Schema(
        "test", "t.parquet", (schemas.Column("id", "string", ""), schemas.Column("image", "binary", ""))
    )
    with parquet_files.table_writer(tmp_path / "t.parquet", kind, {}, schema, group_bytes=2500) as write:
        for piece in pieces:
            write(piece)
    assert parquet_files.group_sizes(tmp_path / "t.parquet") == [3, 3, 3, 1]


@pytest.mark.slow
@pytest.mark.parametrize("rows_a_group", [20, 400])
def test_peak_memory_of_large_parquet_files(tmp_path: Path, rows_a_group: int) -> None:
    """400 images, 458 MB: split took 2.3 GB when it copied them into the manifest."""
    pixels = np.random.default_rng(0).integers(0, 256, (900, 900, 3), dtype=np.uint8)
    jpeg = encode(Image.fromarray(pixels), "JPEG", quality=97)
    schema = pa.schema([("image", KIND), ("label", pa.int64())])
    # Pages of 20 images: a page is read whole, so one of all 400 would need its size twice.
    with pq.ParquetWriter(tmp_path / "a.parquet", schema, compression="none", write_batch_size=20) as writer:
        for start in range(0, 400, rows_a_group):
            rows = [
                {"image": {"bytes": jpeg + n.to_bytes(4, "big"), "path": None}, "label": n % 2}
                for n in range(start, start + rows_a_group)
            ]
            writer.write_table(pa.Table.from_pylist(rows, schema), row_group_size=rows_a_group)
    (tmp_path / "zoo.toml").write_text('[task]\ntrain = "parquet:a.parquet"\ntest = "0%"\n')
    code = (
        "import resource, subprocess, sys;"
        "code = subprocess.run([sys.executable, '-m', 'zoo_cli', 'split']).returncode;"
        "print(code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    status, kilobytes = result.stdout.split()
    assert status == "0", result.stderr
    assert int(kilobytes) < 600_000
    assert (tmp_path / "manifest.parquet").stat().st_size < 100_000
