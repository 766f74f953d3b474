"""Data sets on disk as Hugging Face `datasets` saves them: shards in order, images where they lie, damage in a line."""

import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.pipeline.test_parquet_images import KIND
from tests.workspaces import make as make_workspace
from tests.workspaces import run, toml
from zoo_cli.data.samples import open_data
from zoo_cli.errors import ContractError, UsageError, ZooError
from zoo_cli.store.manifest import load_manifest
from zoo_cli.store.parquet_images import ImagePlace, ParquetImages

CLASSES = ["blue", "green", "red"]
FEATURES = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": CLASSES}}


def save_to_disk(
    folder: Path,
    rows: list[dict[str, object]],
    shards: int = 2,
    *,
    batch: int = 3,
    features: dict[str, object] | None = FEATURES,
    compression: str | None = None,
) -> None:
    """Write rows as `datasets` does: shards in the stream format, state.json and dataset_info.json."""
    folder.mkdir(parents=True, exist_ok=True)
    metadata = {"huggingface": json.dumps({"info": {"features": features}})} if features else None
    others = [pa.field(name, pa.int64() if name == "label" else pa.string()) for name in rows[0] if name != "image"]
    schema = pa.schema([("image", KIND), *others], metadata=metadata)
    names = [f"data-{number:05d}-of-{shards:05d}.arrow" for number in range(shards)]
    options = pa.ipc.IpcWriteOptions(compression=compression)
    size = -(-len(rows) // shards)
    for number, name in enumerate(names):
        table = pa.Table.from_pylist(rows[number * size : (number + 1) * size], schema)
        with pa.OSFile(str(folder / name), "wb") as sink, pa.ipc.new_stream(sink, schema, options=options) as writer:
            writer.write_table(table, max_chunksize=batch)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))
    (folder / "dataset_info.json").write_text(json.dumps({"features": FEATURES}))


def image_rows(count: int) -> list[dict[str, object]]:
    return [{"image": {"bytes": b"%d" % n * 50, "path": f"{n}.png"}, "label": n % 4 - 1} for n in range(count)]


def test_shards_are_read_in_order(tmp_path: Path) -> None:
    save_to_disk(tmp_path / "d", image_rows(10))
    data = open_data("arrow:d", tmp_path)
    assert data.classes == tuple(CLASSES)
    samples = list(data.samples())
    assert [sample.image for sample in samples] == [b"%d" % n * 50 for n in range(10)]
    assert [sample.label for sample in samples] == [None, 0, 1, 2, None, 0, 1, 2, None, 0]
    assert samples[9].id == "data-00001-of-00002/4"
    assert samples[9].place == ImagePlace("d/data-00001-of-00002.arrow", "image", 1, 1)
    assert [s.id for s in open_data("arrow:d/*-00001-*.arrow", tmp_path).samples()] == [s.id for s in samples[5:]]


@pytest.mark.parametrize("compression", [None, "zstd"])
def test_places_are_read_in_any_order(tmp_path: Path, compression: str | None) -> None:
    save_to_disk(tmp_path / "d", image_rows(40), compression=compression)
    table = pa.Table.from_pylist(image_rows(7), pa.schema([("image", KIND), ("label", pa.int64())]))
    with pa.OSFile(str(tmp_path / "d/file.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    samples = [s for spec in ("arrow:d", "arrow:d/file.arrow") for s in open_data(spec, tmp_path).samples()]
    assert len(samples) == 47
    random.Random(0).shuffle(samples)
    images = ParquetImages(tmp_path)
    for sample in samples:
        assert sample.place is not None
        assert images.read(sample.place) == sample.image
    for place in (ImagePlace("d/file.arrow", "image", 9, 0), ImagePlace("d/file.arrow", "picture", 0, 0)):
        with pytest.raises(ContractError, match="has changed since zoo split"):
            images.read(place)


def test_features_may_be_beside_the_shards(tmp_path: Path) -> None:
    rows = [{"image": row["image"], "kind": "x", "label": row["label"]} for row in image_rows(4)]
    save_to_disk(tmp_path / "d", rows, features=None)
    assert open_data("arrow:d", tmp_path).classes == tuple(CLASSES)
    assert open_data("arrow:d?label=kind", tmp_path).classes == ("x",)
    with pytest.raises(UsageError, match="did you mean kind"):
        open_data("arrow:d?label=kinds", tmp_path)


def test_the_manifest_refers_to_the_images(tmp_path: Path) -> None:
    place = make_workspace(tmp_path / "task")
    files = sorted(place.glob("images/*/*.png"))
    random.Random(0).shuffle(files)
    rows: list[dict[str, object]] = [
        {"image": {"bytes": file.read_bytes(), "path": None}, "label": CLASSES.index(file.parent.name)}
        for file in files
    ]
    save_to_disk(place / "data", rows, 1)
    (place / "zoo.toml").write_text(toml(train="arrow:data"))
    result = run("split", workspace=place)
    assert result.code == 0, result.err
    images = load_manifest(place / "manifest.parquet", place)
    assert [images.encoded(row) for row in range(len(rows))] == [file.read_bytes() for file in files]
    assert set(pq.read_table(place / "manifest.parquet").column("image").to_pylist()) == {None}
    shard = place / "data/data-00000-of-00001.arrow"
    shard.write_bytes(shard.read_bytes()[:5000])
    changed = load_manifest(place / "manifest.parquet", place)
    with pytest.raises(ContractError, match="not an intact arrow file"):
        changed.encoded(len(rows) - 1)


def test_a_shard_that_is_cut_off_or_damaged_is_named(tmp_path: Path) -> None:
    save_to_disk(tmp_path / "d", image_rows(8), 1)
    (shard,) = tmp_path.glob("d/*.arrow")
    content = shard.read_bytes()
    for end in (*range(0, len(content), 97), len(content) - 8, len(content) - 1):
        shard.write_bytes(content[:end])
        with pytest.raises(ContractError, match=r"data-00000-of-00001.arrow") as caught:
            list(open_data("arrow:d", tmp_path).samples())
        assert str(caught.value).isprintable()
    draw, reasons = random.Random(0), set()
    for _ in range(300):
        position = draw.randrange(len(content))
        shard.write_bytes(content[:position] + bytes([draw.randrange(256)]) + content[position + 1 :])
        try:
            list(open_data("arrow:d", tmp_path).samples())
        except ZooError as error:
            reasons.add(str(error))
    assert reasons
    assert all(reason.isprintable() for reason in reasons)


def test_a_folder_that_is_not_one_data_set_is_refused(tmp_path: Path) -> None:
    for split in ("test", "train"):
        save_to_disk(tmp_path / "d" / split, image_rows(4))
    (tmp_path / "d/dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    with pytest.raises(UsageError, match=r'several data sets: "test", "train".*arrow:d/test'):
        open_data("arrow:d", tmp_path)
    with pytest.raises(UsageError, match="no file matches arrow:gone"):
        open_data("arrow:gone", tmp_path)
    folder = tmp_path / "d/train"
    pq.write_table(pa.table({"image": [b"x"]}), folder / "x.parquet")
    with pytest.raises(ContractError, match=r"not an arrow file.*write parquet:"):
        open_data("arrow:d/train/x.parquet", tmp_path)
    (folder / "data-00001-of-00002.arrow").unlink()
    with pytest.raises(ContractError, match=r"1 of the 2 shards .* are missing"):
        open_data("arrow:d/train", tmp_path)
    for text in (
        "{",
        "[]",
        "{}",
        '{"_data_files": []}',
        '{"_data_files": [{"filename": "../x"}]}',
        '{"_data_files": 3}',
    ):
        (folder / "state.json").write_text(text)
        with pytest.raises(ContractError, match="does not list"):
            open_data("arrow:d/train", tmp_path)
    (folder / "state.json").write_text('{"_data_files": [], "_indices_data_files": [{"filename": "i.arrow"}]}')
    with pytest.raises(ContractError, match="flatten_indices"):
        open_data("arrow:d/train", tmp_path)


def test_two_columns_of_images_are_named(tmp_path: Path) -> None:
    schema = pa.schema(
        [("front", KIND), ("back", KIND)],
        metadata={
            "huggingface": json.dumps({"info": {"features": {n: {"_type": "Image"} for n in ("front", "back")}}})
        },
    )
    (tmp_path / "d").mkdir()
    with pa.ipc.new_stream(str(tmp_path / "d/x.arrow"), schema) as writer:
        writer.write_table(schema.empty_table())
    with pytest.raises(ContractError, match='call one of "front", "back" image'):
        open_data("arrow:d", tmp_path)
