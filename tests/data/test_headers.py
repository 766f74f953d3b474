"""What is read of an image's header alone: the hash and size that decoding gives, without the pixels."""

import io
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data.encoded_images import encode, encode_with_orientation, make_bomb, make_image
from zoo_cli.images import decoding
from zoo_cli.images.decoding import BadImage, image_info
from zoo_cli.images.headers import header_info
from zoo_cli.images.image_info import ImageInfo

XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf tiff:Orientation="6"/></x:xmpmeta>'
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "PPM", "GIF")
TURNED = ("JPEG", "PNG", "WEBP", "TIFF")


def move_exif_behind_pixels(data: bytes) -> bytes:
    """A PNG with its eXIf chunk after its image data."""
    begin = data.index(b"eXIf") - 4
    end = begin + 12 + struct.unpack(">I", data[begin : begin + 4])[0]
    rest = data[:begin] + data[end:]
    return rest[:-12] + data[begin:end] + rest[-12:]


def add_text_behind_pixels(data: bytes, keyword: bytes, text: bytes) -> bytes:
    """A PNG with an international text after its image data."""
    body = b"iTXt" + keyword + b"\0\0\0\0\0" + text
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return data[:-12] + chunk + data[-12:]


SOUND = {
    **{f"plain {name}": encode(make_image(), name) for name in FORMATS},
    **{f"turned {name}": encode_with_orientation(6, name) for name in TURNED},
    **{f"mirrored {name}": encode_with_orientation(2, name) for name in TURNED},
    "PNG turned late": move_exif_behind_pixels(encode_with_orientation(6, "PNG")),
    "PNG turned late by text": add_text_behind_pixels(encode(make_image()), b"XML:com.adobe.xmp", XMP),
    "PNG with late text": add_text_behind_pixels(encode(make_image()), b"date:create", b"today"),
    "JPEG in CMYK": encode(make_image().convert("CMYK"), "JPEG"),
    "gray JPEG": encode(make_image().convert("L"), "JPEG"),
    "PNG of 16 bits": encode(Image.fromarray(np.full((5, 9), 700, np.uint16))),
    "turned TIFF, compressed": encode(make_image(), "TIFF", compression="tiff_lzw", tiffinfo={0x0112: 8}),
    "animation": encode(make_image(), "GIF", save_all=True, append_images=[make_image(seed=50)]),
}


@pytest.mark.parametrize("data", SOUND.values(), ids=SOUND)
def test_a_header_gives_the_size_of_the_pixels(data: bytes) -> None:
    info = image_info(data)
    assert header_info(data) == ImageInfo(info.sha256, info.width, info.height)
    assert (info.width, info.height) == decoding.decode(data).size


def test_late_orientation_is_the_one_that_decodes(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[bytes] = []

    def counted(data: bytes, **options: int) -> ImageInfo:
        decoded.append(data)
        return image_info(data, **options)

    monkeypatch.setattr("zoo_cli.images.headers.image_info", counted)
    for data in SOUND.values():
        header_info(data)
    assert decoded == [SOUND["PNG turned late"], SOUND["PNG turned late by text"]]
    assert header_info(SOUND["PNG turned late by text"]).width == 16


@pytest.mark.parametrize("format", FORMATS)
def test_damage_of_pixels_is_not_looked_for(format: str) -> None:
    data = encode(make_image(200, 100), format)
    cut = data[: len(data) * 3 // 4] if format not in ("TIFF", "WEBP") else data
    info = header_info(cut)
    assert (info.width, info.height) == (200, 100)


def test_what_a_header_shows_is_bad_either_way(tmp_path: Path) -> None:
    floating = io.BytesIO()
    Image.fromarray(np.ones((4, 4), np.float32)).save(floating, "TIFF")
    for source in (b"", b"no image", make_bomb(), floating.getvalue(), tmp_path / "missing.png", tmp_path):
        with pytest.raises(BadImage) as whole:
            image_info(source)
        with pytest.raises(BadImage) as header:
            header_info(source)
        assert str(header.value) == str(whole.value)


def test_random_damage_gives_no_other_error() -> None:
    random = np.random.default_rng(5)
    for name in ("turned JPEG", "turned PNG", "turned WEBP", "turned TIFF", "PNG turned late", "plain GIF"):
        for _ in range(60):
            data = bytearray(SOUND[name])
            for position in random.integers(0, min(len(data), 300), 4):
                data[position] = random.integers(256)
            try:
                whole: ImageInfo | None = image_info(bytes(data))
            except BadImage:
                whole = None
            try:
                header = header_info(bytes(data))
            except BadImage:
                assert whole is None, name
                continue
            if whole is not None:
                assert header == replace(whole, one_colour=False, lost_transparency=False, few_levels=False), name
