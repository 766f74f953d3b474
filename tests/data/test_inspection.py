"""16 bits as 8, PNG streams that end early, and what an image shows at all."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from tests.data.encoded_images import encode, make_image
from zoo_cli.images.decoding import BadImage, decode, image_info

PIXELS = np.asarray(make_image())


def decode_pixels(source: bytes) -> np.ndarray:
    return np.asarray(decode(source))


def deep_png(values: np.ndarray) -> bytes:
    """A PNG of 16 bits from values (H, W), gray, or (H, W, 3 or 4), colours."""
    height, width, channels = (*values.shape, 1)[:3]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    kind = {1: 0, 3: 2, 4: 6}[channels]
    return write_png(width, height, 16, kind, zlib.compress(rows))


def write_png(width: int, height: int, bits: int, kind: int, data: bytes, interlace: int = 0) -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    head = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, interlace)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize(("top", "shift"), [(65536, 8), (4096, 4), (256, 0)])
def test_sixteen_bits_that_use_few_levels_are_scaled(top: int, shift: int, channels: int) -> None:
    values = np.random.default_rng(channels).integers(0, top, (20, 30, channels))
    values[0, 0] = top - 1
    expected = np.broadcast_to((values >> shift)[:, :, :3], (20, 30, 3))
    data = deep_png(values.squeeze())
    assert np.array_equal(decode_pixels(data), expected)
    assert image_info(data).few_levels == (top < 65536)
    if channels != 4:
        encoded = encode(Image.fromarray(values.squeeze().astype(np.uint16)), "TIFF") if channels == 1 else data
        assert np.array_equal(decode_pixels(encoded), expected)


def test_few_levels_far_from_black_stay_as_they_are() -> None:
    values = np.random.default_rng(0).integers(7000, 9000, (20, 30))
    data = deep_png(values)
    assert np.array_equal(decode_pixels(data)[:, :, 0], values >> 8)
    assert image_info(data).few_levels
    assert not image_info(deep_png(np.full((20, 30), 7000))).few_levels


def test_one_colour_and_lost_transparency_are_told_apart() -> None:
    plain = Image.new("RGB", (8, 8), (10, 20, 30))
    dotted = plain.copy()
    dotted.putpixel((7, 3), (10, 20, 31))
    drawing = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    drawing.paste((0, 0, 0, 255), (2, 2, 5, 5))
    clear = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    shown = [(info.one_colour, info.lost_transparency) for info in map(image_info, map(encode, (plain, dotted)))]
    assert shown == [(True, False), (False, False)]
    for form in ("PNG", "WEBP"):
        info = image_info(encode(drawing, form, **({"lossless": True, "exact": True} if form == "WEBP" else {})))
        assert (info.one_colour, info.lost_transparency) == (False, True)
    info = image_info(encode(clear))
    assert (info.one_colour, info.lost_transparency) == (True, False)


PASSES = ((8, 8), (8, 8), (4, 8), (4, 4), (2, 4), (2, 2), (1, 2))
"""How many columns and rows a pass of an interlaced PNG advances."""


def png_rows(side: int, channels: float, interlace: int) -> bytes:
    """The rows of a PNG of random pixels, each with its filter byte; `side` a multiple of 8."""
    random = np.random.default_rng(0)
    sizes = [(side // across, side // down) for across, down in PASSES] if interlace else [(side, side)]
    return b"".join(
        b"\0" + random.integers(1, 255, int(columns * channels + 0.9), np.uint8).tobytes()
        for columns, rows in sizes
        for _ in range(rows)
    )


@pytest.mark.parametrize("interlace", [0, 1])
@pytest.mark.parametrize(("bits", "kind", "channels"), [(8, 2, 3), (8, 0, 1), (8, 6, 4), (16, 0, 2), (1, 0, 1 / 8)])
def test_a_png_whose_stream_ends_early_is_damaged(bits: int, kind: int, channels: float, interlace: int) -> None:
    whole = png_rows(64, channels, interlace)
    assert decode(write_png(64, 64, bits, kind, zlib.compress(whole), interlace)).size == (64, 64)
    for share in (0, 0.05, 0.5, 0.98):
        data = zlib.compress(whole[: int(len(whole) * share)])
        with pytest.raises(BadImage, match="damaged"):
            decode(write_png(64, 64, bits, kind, data, interlace))


def test_a_png_with_a_black_last_row_is_whole() -> None:
    pixels = PIXELS.copy()
    pixels[-1] = 0
    assert np.array_equal(decode_pixels(encode(Image.fromarray(pixels))), pixels)
