"""What one image may take is known from its header, and all decoders together stay within what is free."""

import io
import json
import struct
import subprocess
import sys
import threading
import time
import tracemalloc
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from tests.data.encoded_images import encode, make_image
from zoo_cli import free_memory
from zoo_cli.config import Preprocessing
from zoo_cli.images import memory_gate
from zoo_cli.images.decoding import BadImage, decode, image_info, load_views, view_geometry
from zoo_cli.images.in_order import map_in_order
from zoo_cli.images.memory_gate import MemoryGate

WIDTH, HEIGHT = 1600, 1000
PEAKS = """
import io, json, sys
from pathlib import Path
from zoo_cli.images import decoding, memory_gate, sixteen_bits

def peak():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024

counted = []
def count(image, encoded, *, deep):
    counted.append(original(image, encoded, deep=deep))
    return counted[-1]
original, memory_gate.count_bytes = memory_gate.count_bytes, count

for path in sorted(Path(sys.argv[1]).iterdir()):
    decoding.image_info(path)  # imports and tables
    Path("/proc/self/clear_refs").write_text("5")
    before = peak()
    decoding.image_info(path)
    print(json.dumps([path.name, peak() - before, counted[-1]]))
"""


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, raw: bytes, *, bits: int = 8, kind: int = 2, extra: bytes = b"") -> bytes:
    """A PNG of these rows, each after its filter byte."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", zlib.compress(raw, 1)) + chunk(b"IEND", b"")


def deep_png(values: np.ndarray, kind: int) -> bytes:
    """A PNG of 16 bits."""
    height, width = values.shape[:2]
    return png(width, height, b"".join(b"\0" + row.astype(">u2").tobytes() for row in values), bits=16, kind=kind)


def kinds() -> dict[str, bytes]:
    """A large image of every kind that decodes differently."""
    image = make_image(WIDTH, HEIGHT)
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = np.asarray(image)
    gray = np.asarray(image.convert("L"))
    palette = image.quantize(16)
    later = [image.transpose(Image.Transpose.ROTATE_180)] * 2
    clear = Image.new("RGBA", (WIDTH, HEIGHT))
    return {
        "jpeg": encode(image, "JPEG", exif=exif),
        "jpeg, progressive": encode(image, "JPEG", exif=exif, progressive=True, subsampling=0),
        "jpeg, CMYK": encode(image.convert("CMYK"), "JPEG", progressive=True),
        "jpeg, gray": encode(image.convert("L"), "JPEG"),
        "png": encode(image, exif=exif),
        "png, black": encode(clear.convert("RGB")),
        "png, clear": encode(clear),
        "png, two colours": encode(image.convert("1")),
        "png, palette with transparency": encode(palette, transparency=3),
        "png, gray of 16 bits": encode(Image.fromarray(gray.astype(np.uint16) * 257)),
        "png, colours of 12 bits": deep_png(pixels.astype(np.uint16), 2),
        "png, animated": encode(image, save_all=True, append_images=later),
        "gif, animated": encode(palette, "GIF", save_all=True, append_images=later),
        "webp": encode(image.convert("RGBA"), "WEBP", method=0, exif=exif),
        "webp, animated": encode(image, "WEBP", save_all=True, append_images=later, method=0),
        "tiff": encode(image, "TIFF"),
        "tiff, LZW": encode(image, "TIFF", compression="tiff_lzw", exif=exif),
        "tiff, JPEG": encode(image, "TIFF", compression="jpeg"),
        "tiff, CMYK of several frames": encode(image.convert("CMYK"), "TIFF", save_all=True, append_images=later),
        "tiff, 32 bits": encode(Image.fromarray(gray.astype(np.int32) * 257), "TIFF"),
        "bmp": encode(image, "BMP"),
        "ppm": encode(image, "PPM"),
    }


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the system does not tell a peak of memory")
def test_the_header_tells_what_an_image_takes(tmp_path: Path) -> None:
    files = kinds()
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    # With a fixed threshold freed blocks go back to the system, and every peak is that of one image.
    settings = {"PYTHONPATH": ":".join(sys.path), "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"}
    process = subprocess.run(
        [sys.executable, "-c", PEAKS, str(tmp_path)], capture_output=True, text=True, check=True, env=settings
    )
    rows = [json.loads(line) for line in process.stdout.splitlines()]
    assert len(rows) == len(files)
    for name, peak, counted in rows:
        assert peak <= counted + 2_000_000, name
        assert counted <= 4 * peak, name
        assert peak > WIDTH * HEIGHT * 3, name


TOGETHER = """
import sys
from pathlib import Path
from zoo_cli import free_memory
from zoo_cli.config import Preprocessing
from zoo_cli.images import decoding

def peak():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024

free_memory.free_ram = lambda: 600_000_000
half = (0.5, 0.5, 0.5)
before, geometry = peak(), decoding.view_geometry(Preprocessing(224, half, half, resize=256))
views = decoding.load_views([lambda: Path(sys.argv[1])] * 12, [geometry], 8)
print(sum(isinstance(view, dict) for _, view in views), peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell a peak of memory")
def test_eight_threads_stay_within_half_of_what_is_free(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "large.jpg").write_bytes(encode(make_image(4000, 3000), "JPEG", exif=exif))
    process = subprocess.run(
        [sys.executable, "-c", TOGETHER, str(tmp_path / "large.jpg")],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    count, peak = map(int, process.stdout.split())
    assert count == 12
    assert peak < 400_000_000  # each takes 100; one after another is freed a little late


def header(width: int, height: int, *, bits: int = 8, kind: int = 2) -> bytes:
    return png(width, height, b"", bits=bits, kind=kind)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (header(1, 60_000_000), "1 x 60000000 is more than 65,535 pixels long"),
        (header(60_000_000, 1), "60000000 x 1 is more than 65,535 pixels long"),
        (header(65_536, 1), "65536 x 1 is more than 65,535 pixels long"),
        (header(8000, 7000, bits=16), "8000 x 7000 in RGB takes more than 1,400,000,000 bytes"),
        (header(8001, 8000), "more than 64,000,000 pixels"),
    ],
)
def test_an_image_that_takes_too_much_is_refused_from_its_header(data: bytes, reason: str) -> None:
    tracemalloc.start()
    for refuse in (decode, image_info):
        with pytest.raises(BadImage, match=reason):
            refuse(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


def test_longest_side_decodes() -> None:
    assert decode(png(1, 65_535, bytes(4) * 65_535)).size == (1, 65_535)


class Opened(ImageFile.ImageFile):
    """An image without a file."""

    def _open(self) -> None:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("format", "mode"),
    [
        *(("JPEG", mode) for mode in ("L", "RGB", "CMYK")),
        *(("PNG", mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16", "I")),
        *(("WEBP", mode) for mode in ("RGB", "RGBA")),
        *(("TIFF", mode) for mode in ("1", "L", "P", "RGB", "RGBA", "CMYK", "I;16", "I")),
        *(("GIF", mode) for mode in ("L", "P", "RGB", "RGBA")),
    ],
)
def test_64_million_pixels_are_allowed_in_every_mode(format: str, mode: str) -> None:
    image = Opened.__new__(Opened)
    Image.Image.__init__(image)
    image._mode, image._size, image.format = mode, (8000, 8000), format  # type: ignore[misc]
    image.info = {"progressive": 1} if format == "JPEG" else {}
    assert memory_gate.count_bytes(image, 0, deep=False) <= memory_gate.MAX_IMAGE_BYTES


def test_file_of_too_many_bytes_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "large.png").open("wb") as file:
        file.write(encode(make_image()))
        file.truncate(memory_gate.MAX_IMAGE_BYTES + 1)
    with pytest.raises(BadImage, match="its file has more than 1,400,000,000 bytes"):
        decode(tmp_path / "large.png")


def tag_bomb(size: int = 1_500_000) -> bytes:
    """A TIFF whose tags all point at the whole of it."""
    count = 20_000
    entries = b"".join(struct.pack("<HHII", 40_000 + n, 7, size - 8, 8) for n in range(count))
    data = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", count) + entries
    return data + bytes(size - len(data))


def tile_bomb(side: int) -> bytes:
    """A TIFF of 16 x 16 pixels in one far larger tile."""
    data = zlib.compress(bytes(side * side // 64), 9)
    tags = [(256, 16), (257, 16), (258, 8), (259, 8), (262, 1), (277, 1), (322, side), (323, side)]
    tags += [(324, 200), (325, len(data))]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return (b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries).ljust(200, b"\0") + data


def test_tile_far_larger_than_its_image_is_refused() -> None:
    with pytest.raises(BadImage, match="16 x 16 in L takes more than 1,400,000,000 bytes"):
        decode(tile_bomb(30_000))
    image = make_image(100, 100)
    assert decode(encode(image, "TIFF", tiffinfo={322: 64, 323: 64}, compression="tiff_lzw")).size == image.size


def in_segments(exif: bytes) -> bytes:
    """A JPEG with EXIF in as many segments as it needs."""
    plain = encode(make_image(), "JPEG")
    pieces = [b"Exif\0\0" + exif[begin : begin + 65_000] for begin in range(0, len(exif), 65_000)]
    segments = b"".join(b"\xff\xe1" + struct.pack(">H", len(piece) + 2) + piece for piece in pieces)
    return plain[:2] + segments + plain[2:]


@pytest.mark.parametrize(
    "data",
    [
        tag_bomb(),
        in_segments(tag_bomb()),
        png(4, 4, bytes(13) * 4, extra=chunk(b"eXIf", tag_bomb())),
        encode(make_image(), "WEBP", exif=tag_bomb()),
        png(4, 4, bytes(13) * 4, extra=chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(100_000_000)))),
        png(4, 4, bytes(13) * 4, extra=chunk(b"zTXt", b"x\0\0" + zlib.compress(bytes(100_000_000)))),
    ],
    ids=["tiff", "jpeg", "png", "webp", "colour profile", "text"],
)
def test_metadata_that_unpacks_to_far_more_takes_little(data: bytes) -> None:
    tracemalloc.start()
    begin = time.process_time()
    with suppress(BadImage):
        assert max(decode(data).size) <= 24
    seconds, peak = time.process_time() - begin, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000
    assert seconds < 2


def test_images_that_do_not_fit_together_are_decoded_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_gate, "FREE_PASS", 100)
    monkeypatch.setattr(free_memory, "free_ram", lambda: 2000)
    gate = MemoryGate()
    used: list[int] = []

    def work(size: int) -> int:
        gate.enter(size)
        used.append(gate.used)
        time.sleep(0.01)
        gate.leave(size)
        return size

    sizes = [600, 600, 30, 5000, 30, 30, 400, 600] * 2
    assert list(map_in_order(work, sizes, 8)) == sizes
    assert all(total <= 1000 or total == 5000 for total in used)
    assert max(total for total in used if total < 5000) > 600  # some fit together
    assert gate.used == 0


def test_a_waiting_image_is_not_overtaken_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_gate, "FREE_PASS", 100)
    monkeypatch.setattr(free_memory, "free_ram", lambda: 2000)
    gate, order = MemoryGate(), list[str]()

    def work(name: str, size: int) -> None:
        gate.enter(size)
        order.append(name)
        gate.leave(size)

    threads = [threading.Thread(target=work, args=call) for call in (("large", 990), ("small", 20))]
    gate.enter(50)
    for thread in threads:
        thread.start()
        time.sleep(0.05)
    assert order == []
    gate.leave(50)
    for thread in threads:
        thread.join()
    assert order == ["large", "small"]


def test_a_failed_image_frees_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_gate, "FREE_PASS", 0)
    monkeypatch.setattr(free_memory, "free_ram", lambda: 0)
    data = encode(make_image())
    geometry = view_geometry(Preprocessing(8, (0.5,) * 3, (0.5,) * 3))
    items = [lambda: data[:-30], lambda: data] * 10
    results = [isinstance(views, dict) for _, views in load_views(items, [geometry], 4)]
    assert results == [False, True] * 10
    assert memory_gate.GATE.used == 0


def test_memory_decides_when_an_image_is_decoded_but_not_whether(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_gate, "FREE_PASS", 0)
    monkeypatch.setattr(free_memory, "free_ram", lambda: 0)
    assert decode(io.BytesIO(encode(make_image())).getvalue()).size == make_image().size
