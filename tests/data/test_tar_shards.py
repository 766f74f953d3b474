"""WebDataset shards: members of one name are a sample, images stay in the tar files, damage is told in a line."""

import io
import json
import random
import tarfile
from pathlib import Path

import pytest

from tests.workspaces import make as make_workspace
from tests.workspaces import run, toml
from zoo_cli.data.samples import open_data
from zoo_cli.errors import ContractError, UsageError, ZooError
from zoo_cli.store.manifest import load_manifest
from zoo_cli.store.parquet_images import ImagePlace, ParquetImages


def write_shard(file: Path, members: dict[str, bytes], mode: str = "w") -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, mode) as tar:  # type: ignore[call-overload]
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def write_two(root: Path) -> None:
    write_shard(root / "d/s-0.tar", {"a.jpg": b"A" * 700, "a.cls": b"1", "a.json": b'{"kind": "x"}', "b.jpg": b"B"})
    write_shard(root / "d/s-1.tar", {"./e/a.cls": b"0\n", "./e/a.PNG": b"C", "__index__.x": b"", "README": b"r"})


def test_members_of_one_name_are_a_sample(tmp_path: Path) -> None:
    write_two(tmp_path)
    data = open_data("wds:d/s-*.tar", tmp_path)
    assert data.classes == ("0", "1")
    samples = list(data.samples())
    assert [(s.id, s.image, s.label) for s in samples] == [
        ("s-0/a", b"A" * 700, 1),
        ("s-0/b", b"B", None),
        ("s-1/e/a", b"C", 0),
    ]
    images = ParquetImages(tmp_path)
    for sample in reversed(samples):
        assert sample.place is not None
        assert images.read(sample.place) == sample.image
    assert samples[0].place == ImagePlace("d/s-0.tar", "jpg", 700, 512)


def test_label_and_image_can_be_chosen(tmp_path: Path) -> None:
    write_two(tmp_path)
    assert open_data("wds:d/s-0.tar?label=kind", tmp_path).classes == ("x",)
    with pytest.raises(UsageError, match="did you mean kind"):
        open_data("wds:d/s-0.tar?label=kinds", tmp_path)
    write_shard(
        tmp_path / "two.tar", {"a.left.png": b"L", "a.right.png": b"R", "a.json": json.dumps({"label": 3}).encode()}
    )
    with pytest.raises(ContractError, match=r'"left.png" and "right.png".*\?image=left.png'):
        list(open_data("wds:two.tar", tmp_path).samples())
    (sample,) = open_data("wds:two.tar?image=right.png", tmp_path).samples()
    assert (sample.image, sample.label) == (b"R", 3)
    with pytest.raises(UsageError, match=r"did you mean right\.png"):
        list(open_data("wds:two.tar?image=rigt.png", tmp_path).samples())


def test_the_manifest_refers_to_the_images(tmp_path: Path) -> None:
    place = make_workspace(tmp_path / "task")
    files = sorted(place.glob("images/*/*.png"))
    members = {}
    for number, file in enumerate(files):
        members |= {f"{number:03}.png": file.read_bytes(), f"{number:03}.txt": file.parent.name.encode()}
    write_shard(place / "data/s.tar", members)
    (place / "zoo.toml").write_text(toml(train="wds:data/*.tar?label=txt"))
    result = run("split", workspace=place)
    assert result.code == 0, result.err
    images = load_manifest(place / "manifest.parquet", place)
    assert [images.encoded(row) for row in range(len(files))] == [file.read_bytes() for file in files]
    (place / "data/s.tar").write_bytes((place / "data/s.tar").read_bytes()[:3000])
    changed = load_manifest(place / "manifest.parquet", place)
    with pytest.raises(ContractError, match="has changed since zoo split"):
        changed.encoded(len(files) - 1)
    (place / "data/s.tar").unlink()
    with pytest.raises(ContractError, match="is gone since zoo split"):
        load_manifest(place / "manifest.parquet", place).encoded(0)


def test_a_shard_that_is_cut_off_or_damaged_is_named(tmp_path: Path) -> None:
    write_two(tmp_path)
    shard = tmp_path / "d/s-0.tar"
    content = shard.read_bytes()
    with tarfile.open(shard) as tar:
        used = tar.getmembers()[-1].offset_data + 512
    for end in (*range(0, used, 97), *range(0, used + 1, 512)):
        shard.write_bytes(content[:end])
        with pytest.raises(ContractError, match=r"s-0\.tar") as caught:
            open_data("wds:d/*.tar", tmp_path)
        assert str(caught.value).isprintable()
    for header in range(512, used, 512):
        if content[header + 257 : header + 262] == b"ustar":
            shard.write_bytes(content[: header + 100] + b"\xff" * 8 + content[header + 108 :])
            with pytest.raises(ContractError, match="cut off or damaged"):
                open_data("wds:d/*.tar", tmp_path)
    draw, reasons = random.Random(0), set()
    for _ in range(200):
        position = draw.randrange(used)
        shard.write_bytes(content[:position] + bytes([draw.randrange(256)]) + content[position + 1 :])
        try:
            list(open_data("wds:d/*.tar", tmp_path).samples())
        except ZooError as error:
            reasons.add(str(error))
    assert reasons
    assert all(reason.isprintable() for reason in reasons)


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"a.cls": b"1"}, "no image .*its members are"),
        ({"a.jpg": b"x", "a.JPG": b"y"}, "occurs twice"),
        ({"a.jpg": b"x", "a.cls": b"\xff"}, "not UTF-8"),
        ({"a.jpg": b"x", "a.json": b"{"}, "not JSON"),
        ({"a.jpg": b"x", "a.cls": b"a|b"}, "several labels"),
    ],
)
def test_samples_that_break_the_rules_are_refused(tmp_path: Path, members: dict[str, bytes], reason: str) -> None:
    write_shard(tmp_path / "x.tar", members)
    with pytest.raises(ContractError, match=reason):
        list(open_data("wds:x.tar", tmp_path).samples())


def test_what_is_not_a_tar_file_is_refused(tmp_path: Path) -> None:
    write_shard(tmp_path / "x.tar.gz", {"a.jpg": b"x"}, "w:gz")
    with pytest.raises(ContractError, match="gzip -d"):
        open_data("wds:x.tar.gz", tmp_path)
    write_shard(tmp_path / "x.tar", {"a.jpg": b"x", "a.json": b'{"kind": "x"}'})
    assert "wds:x.tar?label=kind" in open_data("wds:x.tar", tmp_path).label_hint()


def test_braces_name_every_shard(tmp_path: Path) -> None:
    for number in range(3):
        write_shard(tmp_path / f"d/s-{number:03}.tar", {"a.jpg": b"x"})
    ids = [sample.id for sample in open_data("wds:d/s-{000..002}.tar", tmp_path).samples()]
    assert ids == ["s-000/a", "s-001/a", "s-002/a"]
    with pytest.raises(UsageError, match="no file matches"):
        open_data("wds:d/t-{000..002}.tar", tmp_path)
    (tmp_path / "d/s-001.tar").unlink()
    with pytest.raises(ContractError, match=r'2 of 4 files are missing, e.g. "s-001.tar"'):
        open_data("wds:d/s-{000..003}.tar", tmp_path)
    with pytest.raises(ContractError, match=r'001\}\.tar": "s-001.tar" is missing'):
        open_data("wds:d/s-{000..001}.tar", tmp_path)
