"""The sizes of TIFF tags, which EXIF has too: many may point at the same bytes, of which Pillow copies each."""

import io
import struct
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np

SLACK = 16_000_000
"""Bytes of tags above those of the data that they point into."""
LARGE = 1 << 16
"""Bytes of a JPEG below which its tags are not worth a look."""
_UNIT = np.array([0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8, 8, 8], dtype=np.uint64)
_EXIF = b"Exif\0\0"
_TEXT = "Raw profile type exif"


def check_file(file: BinaryIO, head: bytes, size: int) -> None:
    """Raise ValueError for a TIFF, or a JPEG with EXIF, whose tags are far larger than the file. Moves its position.

    `head`: its first bytes, `size`: the number of all.
    """
    if head[:2] in (b"II", b"MM"):
        _check(file)
    elif head[:2] == b"\xff\xd8" and size > LARGE:
        _check(io.BytesIO(_jpeg_exif(file)))


def check_exif(info: Mapping[Any, Any]) -> None:
    """Raise ValueError for EXIF, among what Pillow keeps of an image, whose tags are far larger than itself."""
    exif = info.get("exif", b"")
    if not exif and _TEXT in info:
        exif = bytes.fromhex("".join(str(info[_TEXT]).split("\n")[3:]))
    if isinstance(exif, bytes) and exif:
        _check(io.BytesIO(exif.removeprefix(_EXIF)))


def _check(file: BinaryIO) -> None:
    """Add up the tags of the first folder of a TIFF."""
    whole = file.seek(0, io.SEEK_END)
    file.seek(0)
    head = file.read(16)
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None or len(head) < 8:
        return
    large = len(head) == 16 and head[2:4] in (b"+\0", b"\0+")  # BigTIFF
    (offset,) = struct.unpack(f"{order}Q", head[8:16]) if large else struct.unpack(f"{order}I", head[4:8])
    if offset >= whole:
        return
    file.seek(offset)
    count = int.from_bytes(file.read(8 if large else 2), "little" if order == "<" else "big")
    row = np.dtype([("tag", f"{order}u2"), ("kind", f"{order}u2"), ("count", f"{order}u{8 if large else 4}")])
    size = 20 if large else 12
    table = file.read(min(count, LARGE) * size)
    rows = np.frombuffer(table[: len(table) // size * size], np.uint8).reshape(-1, size)
    entries = np.ascontiguousarray(rows[:, : row.itemsize]).view(row)[:, 0]
    units = _UNIT[np.minimum(entries["kind"], len(_UNIT) - 1)]
    # Pillow reads no further than to the end of the data.
    total = int((np.minimum(entries["count"], whole).astype(np.uint64) * units).clip(max=whole).sum())
    if total > whole + SLACK:
        raise ValueError(f"its {len(entries)} tags point at {total:,} bytes in {whole:,}")


def _jpeg_exif(file: BinaryIO) -> bytes:
    """The EXIF of a JPEG, which may be in several segments."""
    exif = bytearray()
    file.seek(2)
    while len(head := file.read(4)) == 4 and head[0] == 0xFF and head[1] != 0xDA:
        size = int.from_bytes(head[2:], "big") - 2
        if size < 0:
            break
        if head[1] == 0xE1 and (segment := file.read(size)).startswith(_EXIF):
            exif += segment.removeprefix(_EXIF)
        elif head[1] != 0xE1:
            file.seek(size, io.SEEK_CUR)
    return bytes(exif)
