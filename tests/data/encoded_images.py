"""Encoded images of every common kind, generated on the spot."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 24, 16


def make_image(width: int = WIDTH, height: int = HEIGHT, seed: int = 0) -> Image.Image:
    """A smooth colour image with a red corner at the top left, so that a turn shows and JPEG changes little."""
    y, x = np.mgrid[:height, :width]
    pixels = np.stack([80 + 2 * x, 90 + 3 * y, np.full_like(x, 60 + seed % 100)], 2).clip(0, 255).astype(np.uint8)
    pixels[: max(1, height // 4), : max(1, width // 4)] = (250, 10, 10)
    return Image.fromarray(pixels)


def encode(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    """The bytes of an image file of this format."""
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def encode_with_orientation(orientation: int, format: str = "JPEG") -> bytes:
    """The default image with an EXIF orientation."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    options: dict[str, object] = {"quality": 95, "subsampling": 0} if format == "JPEG" else {}
    return encode(make_image(), format, exif=exif, **options)


def make_bomb(side: int = 14_000) -> bytes:
    """A valid gray PNG of side x side black pixels, a few hundred kilobytes."""
    packer = zlib.compressobj(1)
    rows = b"\0" * ((side + 1) * 100)
    data = b"".join(packer.compress(rows) for _ in range(side // 100)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(map(_chunk, (b"IHDR", b"IDAT", b"IEND"), (header, data, b"")))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
