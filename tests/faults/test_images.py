"""Images of every kind and missing data: what becomes of each, and what the errors name."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.data.encoded_images import encode
from tests.workspaces import Result, run
from zoo_cli import free_memory
from zoo_cli.images import decoding, memory_gate

Make = Callable[..., Path]
BAD = Path("images/red/00.png")


def giant(side: int, height: int = 0, bits: int = 8) -> bytes:
    """A PNG whose header says `side` by `side` pixels, or another height, with almost no data."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", side, height or side, bits, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def errors(workspace: Path, stage: str) -> list[dict[str, str]]:
    path = workspace / "errors" / f"{stage}.parquet"
    rows: list[dict[str, str]] = pq.read_table(path).to_pylist() if path.exists() else []
    return rows


def manifest(workspace: Path) -> dict[str, dict[str, object]]:
    return {row["id"]: row for row in pq.read_table(workspace / "manifest.parquet").to_pylist()}


NOISE = Image.fromarray(np.random.default_rng(3).integers(0, 256, (12, 12, 3), np.uint8))
WHOLE = encode(NOISE)
BROKEN = {
    "of no bytes": (b"", "the file is empty"),
    "truncated": (WHOLE[: len(WHOLE) // 2], "damaged: "),
    "corrupt": (WHOLE[:60] + bytes(40) + WHOLE[100:], "damaged: "),
    "that is text": (b"not an image\n", "cannot be read as JPEG"),
    "of a format that is not read": (encode(NOISE, "PCX"), "cannot be read as JPEG"),
    "too large": (giant(8001), "8001 x 8001 is more than 64,000,000 pixels"),
    "far too large": (giant(60_000), "more than 64,000,000 pixels"),
    "far too long": (giant(60_000_000, 1), "60000000 x 1 is more than 65,535 pixels long"),
    "that takes too much": (giant(7999, bits=16), "7999 x 7999 in RGB takes more than 1,400,000,000 bytes"),
    "of floating-point pixels": (encode(Image.new("F", (12, 12), 0.5), "TIFF"), "floating-point"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_images_are_listed_and_others_kept(workspace: Make, kind: str) -> None:
    place = workspace()
    data, reason = BROKEN[kind]
    (place / BAD).write_bytes(data)
    result = run("split", workspace=place)
    assert result.code == 4
    assert "split: 1 of 36 images failed, more than --max-errors 1%" in result.error
    assert str(place / "errors/split.parquet") in result.error
    (row,) = errors(place, "split")
    assert (row["id"], row["path"]) == ("train/red/00.png", "images/red/00.png")
    assert reason in row["error"]
    assert "\n" not in row["error"]
    assert len(manifest(place)) == 35
    assert "train/red/00.png" not in manifest(place)
    if kind == "truncated":  # the others are done: the next stage continues with them, whatever the fault
        assert run("extract", workspace=place).code == 0


def test_large_images_are_decoded_in_turn(workspace: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    place = workspace()
    monkeypatch.setattr(memory_gate, "FREE_PASS", 0)
    monkeypatch.setattr(free_memory, "free_ram", lambda: 8000)
    used: list[int] = []
    load = decoding._load

    def watched(*arguments: Any) -> object:
        used.append(memory_gate.GATE.used)
        return load(*arguments)

    monkeypatch.setattr(decoding, "_load", watched)
    for command in ("split", "extract"):
        assert run(command, "--workers", "4", workspace=place).code == 0
    assert len(used) == 72
    assert max(used) <= 4000
    assert memory_gate.GATE.used == 0


@pytest.mark.parametrize(("allowed", "code"), [("1%", 4), ("2.7%", 4), ("2.8%", 0), ("0", 4), ("1", 0)])
def test_failures_count_against_max_errors(workspace: Make, allowed: str, code: int) -> None:
    place = workspace()
    (place / BAD).write_bytes(b"")
    assert run("split", "--max-errors", allowed, workspace=place).code == code
    assert len(errors(place, "split")) == 1
    assert len(manifest(place)) == 35


def test_failures_below_one_percent_only_warn(workspace: Make) -> None:
    place = workspace()
    for number in range(100):
        Image.fromarray(np.full((2, 2, 3), number, np.uint8)).save(place / "images" / "blue" / f"more{number}.png")
    (place / BAD).write_bytes(b"")
    result = run("split", workspace=place)
    assert result.code == 0
    assert "1 of 136 images failed, e.g. train/red/00.png: the file is empty" in result.err
    assert len(errors(place, "split")) == 1


def test_only_broken_images_is_an_error(workspace: Make) -> None:
    place = workspace()
    for path in (place / "images").rglob("*.png"):
        path.write_bytes(b"")
    result = run("split", workspace=place)
    assert result.code == 2
    assert "no readable image" in result.error


def test_image_size_is_read_from_the_header(workspace: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    place = workspace()
    (place / BAD).write_bytes(giant(8001))
    load = Image.Image.load
    decoded: list[tuple[int, int]] = []

    def counted(image: Image.Image) -> object:
        decoded.append(image.size)
        return load(image)

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", counted)
    run("split", workspace=place)
    assert set(decoded) == {(12, 12)}


SIXTEEN = np.arange(144, dtype=np.uint16).reshape(12, 12) * 400
FRAMES = [Image.new("RGB", (12, 12), (200, 10, 10)), Image.new("RGB", (12, 12), (10, 200, 10))]
TURNED = Image.Exif()
TURNED[0x0112] = 6
ODD = {
    "CMYK": (encode(NOISE.convert("CMYK"), "JPEG"), (12, 12)),
    "of a palette": (encode(NOISE.quantize(16)), (12, 12)),
    "of a palette with transparency": (encode(NOISE.quantize(16), "PNG", transparency=3), (12, 12)),
    "of 16 bits": (encode(Image.fromarray(SIXTEEN)), (12, 12)),
    "animated": (encode(FRAMES[0], "GIF", save_all=True, append_images=FRAMES[1:]), (12, 12)),
    "turned by EXIF": (encode(NOISE.resize((12, 8)), "JPEG", exif=TURNED), (8, 12)),
    "gray": (encode(NOISE.convert("L")), (12, 12)),
    "black and white": (encode(NOISE.convert("1")), (12, 12)),
    "with transparency": (encode(NOISE.convert("RGBA")), (12, 12)),
    "of one pixel": (encode(NOISE.resize((1, 1))), (1, 1)),
    "of extreme shape": (encode(NOISE.resize((3000, 1))), (3000, 1)),
    "under a wrong ending": (encode(NOISE, "WEBP", lossless=True), (12, 12)),
}


@pytest.mark.parametrize("kind", ODD)
def test_an_odd_image_has_a_defined_result(workspace: Make, kind: str) -> None:
    place = workspace()
    data, (width, height) = ODD[kind]
    (place / BAD).write_bytes(data)
    assert run("split", workspace=place).code == 0
    row = manifest(place)["train/red/00.png"]
    assert (row["width"], row["height"]) == (width, height)
    result = run("extract", "--source", "alpha", workspace=place)
    assert result.code == 0, result.err
    assert result.out.splitlines()[1].split("\t")[:2] == ["alpha", "36"]


def test_odd_images_decode_as_documented() -> None:
    assert decoding.decode(ODD["animated"][0]).getpixel((5, 5)) == (200, 10, 10)
    high = np.asarray(decoding.decode(ODD["of 16 bits"][0]))[:, :, 0]
    assert (high == SIXTEEN >> 8).all()
    assert decoding.decode(ODD["turned by EXIF"][0]).size == (8, 12)


def spec(place: Path, name: str, rows: list[str]) -> None:
    (place / name).write_text("\n".join(rows) + "\n", encoding="utf-8")


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ("folder:nowhere", "no folder"),
        ("folder:empty", "no image in"),
        ("folder:images/red", "no classes"),
        ("csv:nowhere.csv", "no table"),
        ("parquet:nowhere*.parquet", "nowhere*.parquet"),
        ("folder:splits", "contains splits"),
    ],
)
def test_missing_data_is_named(workspace: Make, train: str, message: str) -> None:
    place = workspace(train=train)
    (place / "empty").mkdir()
    for part in ("train", "test"):
        (place / "splits" / part / "cat").mkdir(parents=True)
    result = run("split", workspace=place)
    assert result.code == 2
    assert message in result.error
    assert not (place / "manifest.parquet").exists()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["path,label,id", "images/red/00.png,red,a", "images/blue/01.png,blue,a"], "1 ids are repeated, e.g. 'a'"),
        (["path,label", "images/red/00.png,red", "images/red/00.png,blue"], "ids are repeated"),
        (
            ["path,label", "images/blue/00.png,blue", "../secret.png,red"],
            'path "../secret.png" leaves the folder of its table',
        ),
        (["path,label", "images/blue/00.png,blue", "/etc/passwd,red"], 'path "/etc/passwd" leaves the folder'),
        (["path,label", "images/red/00.png"], "1 cells where the header has 2"),
        (["file,label", "images/red/00.png,red"], "not a header with one path column"),
        (["path,label", "images/red/00.png,-1", "images/red/01.png,2"], "a negative label"),
    ],
)
def test_broken_image_table_is_refused(workspace: Make, rows: list[str], message: str) -> None:
    place = workspace(train="csv:task.csv")
    spec(place, "task.csv", rows)
    result = run("split", workspace=place)
    assert result.code == 3
    assert message in result.error
    assert not (place / "manifest.parquet").exists()


def test_unknown_test_class_is_refused(workspace: Make) -> None:
    place = workspace(test="csv:test.csv")
    spec(place, "test.csv", ["path,label", "images/red/00.png,purple"])
    result = run("split", workspace=place)
    assert result.code == 3
    assert 'class "purple" of csv:test.csv is not one of the task\'s 3 classes' in result.error


def test_image_in_train_and_test_warns(workspace: Make) -> None:
    place = workspace(test="folder:images")
    result = run("split", workspace=place)
    assert result.code == 0
    assert "36 test images are also among the training images" in result.err


@pytest.mark.parametrize("target", ["nowhere.png", "/etc/hostname", "."])
def test_links_are_not_followed_out_of_the_folder(workspace: Make, target: str) -> None:
    place = workspace()
    (place / BAD).unlink()
    (place / BAD).symlink_to(target)
    result = run("split", workspace=place)
    if target == "nowhere.png":
        assert result.code == 4
        assert "cannot be opened" in errors(place, "split")[0]["error"]
    else:
        assert result.code == 3
        assert "link" in result.error


@pytest.mark.parametrize("command", [("extract",), ("distill", "--lam", "1", "--steps", "1")])
def test_image_changed_after_split_is_refused(workspace: Make, command: tuple[str, ...]) -> None:
    place = workspace(upto="split")
    # The same size in bytes and pixels: only the hash differs.
    data = bytearray((place / BAD).read_bytes())
    Image.fromarray(np.asarray(Image.open(place / BAD)) ^ 1).save(place / BAD)
    assert (place / BAD).read_bytes() != data
    result = run(*command, workspace=place)
    assert result.code == 3
    assert result.error == ("images/red/00.png has changed since zoo split; zoo split --overwrite reads it again")
    assert run("split", "--overwrite", workspace=place).code == 0
    assert run("extract", workspace=place).code == 0


def test_new_image_makes_the_manifest_stale(workspace: Make) -> None:
    place = workspace(upto="extract")
    Image.new("RGB", (12, 12)).save(place / "images" / "red" / "new.png")
    result = run("split", workspace=place)
    assert result.code == 2
    assert "was made from other inputs: images; zoo split --overwrite makes it again" in result.error
    assert run("split", "--overwrite", workspace=place).code == 0
    # Features of other images are stale, and the command that the hint names fixes them.
    stale = run("rank", workspace=place)
    assert stale.code == 2
    assert "images; zoo extract --overwrite makes it again" in stale.error
    assert run("extract", "--overwrite", workspace=place).code == 0
    assert run("rank", workspace=place).code == 0


def rows_of(result: Result) -> dict[str, int]:
    return {row["source"]: row["images"] for row in result.data}


def test_rows_in_equal_rows_out_plus_errors(workspace: Make) -> None:
    place = workspace(upto="split")
    (place / BAD).unlink()
    (place / "images/blue/03.png").unlink()
    strict = run("extract", "--max-errors", "1", workspace=place)
    assert strict.code == 4
    assert "extract: 2 of 36 images failed, more than --max-errors 1" in strict.error
    again = run("extract", "--max-errors", "2", "--overwrite", "--json", workspace=place)
    assert again.code == 0
    lost = {row["id"]: row["error"] for row in errors(place, "extract")}
    assert set(lost) == {"train/red/00.png", "train/blue/03.png"}
    assert all("No such file" in reason for reason in lost.values())
    assert set(rows_of(again).values()) == {36 - len(lost)}


def test_failed_images_are_left_out_of_later_stages(workspace: Make) -> None:
    place = workspace(upto="split")
    content = (place / BAD).read_bytes()
    (place / BAD).unlink()
    assert run("extract", "--max-errors", "1", workspace=place).code == 0
    scores = run("score", "--metric", "parc", "--json", workspace=place)
    whole = run("score", "--metric", "parc", "--json", workspace=workspace(upto="extract"))
    assert {row["n"] for row in scores.data} == {row["n"] - 1 for row in whole.data}
    assert run("pseudo-label", workspace=place).code == 0
    quick = ("--batch-size", "8", "--steps", "1", "--augment", "none")
    student = run("distill", *quick, workspace=place)
    assert student.code == 0, student.err
    assert "1 images that failed in zoo extract are left out" in student.err
    # The image is back, but only one source is run on it: the sources are still compared on the same samples.
    (place / BAD).write_bytes(content)
    assert run("extract", "--source", "beta", "--overwrite", "--max-errors", "1", workspace=place).code == 0
    assert [row["id"] for row in errors(place, "extract")] == ["train/red/00.png"]
    assert {row["n"] for row in run("score", "--metric", "cka", "--json", workspace=place).data} == {14}
    # All sources are run again: nothing is missing, and the record is removed.
    assert run("extract", "--overwrite", workspace=place).code == 0
    assert errors(place, "extract") == []
    assert run("score", "--metric", "cka", "--overwrite", workspace=place).code == 0


def test_non_finite_features_are_refused(workspace: Make) -> None:
    place = workspace(upto="split")
    # It works on the batch of random numbers that locates its head, and overflows on images.
    blow = "class Blow(nn.Module):\n    def forward(self, x):\n        return x * (1e30 if len(x) > 2 else 1) * 1e30\n"
    code = (place / "models.py").read_text(encoding="utf-8")
    code = code.replace("nn.Flatten(),", "nn.Flatten(), Blow(),") + "\n\n" + blow
    (place / "models.py").write_text(code, encoding="utf-8")
    result = run("extract", "--source", "beta", workspace=place)
    assert result.code == 3
    assert "beta gives embedding that are not finite for 36 images, e.g. train/blue/00.png" in result.error
    assert not list(place.glob("features/*/*/part-*.parquet"))


def test_too_many_failures_are_repeated_by_their_command(workspace: Callable[..., Path]) -> None:
    place = workspace()
    (place / "images/blue/03.png").write_bytes(b"no image")
    message = "split: 1 of 36 images failed, more than --max-errors 1%"
    for _ in range(2):
        result = run("split", workspace=place)
        assert result.code == 4
        assert message in result.error
    assert run("split", "--max-errors", "1", workspace=place).code == 0
    (place / "images/blue/01.png").unlink()
    for _ in range(2):
        extracted = run("extract", workspace=place)
        assert extracted.code == 4
        assert f"warning: {message}" in extracted.err
        assert "extract: 1 of 35 images failed, more than --max-errors 0" in extracted.error
    assert run("extract", "--max-errors", "10%", workspace=place).code == 0
    ranked = run("rank", workspace=place)
    assert ranked.code == 0
    assert "warning: extract: 1 of 35 images failed" in ranked.err


def test_missing_input_with_failures_is_made_and_read(workspace: Callable[..., Path]) -> None:
    place = workspace()
    (place / "images/blue/03.png").write_bytes(b"no image")
    result = run("rank", workspace=place)
    assert result.code == 0, result.err
    assert "warning: split: 1 of 36 images failed, more than --max-errors 1%" in result.err
