"""Whether the pixels of a PNG are all there: Pillow shows the rows that its data do not reach as black, silently."""

import struct
import zlib
from typing import BinaryIO

import numpy as np
from PIL import Image

_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""Adam7: the first column and row of each pass, and their steps."""
_PIECE = 1 << 20
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_TURNING = (b"Raw profile type exif", b"XML:com.adobe.xmp")
"""Texts in which Pillow looks for an orientation."""
_KEYWORD = 80


def may_end_early(image: Image.Image) -> bool:
    """Whether rows of a loaded PNG may be missing: the last one is black, or rows come in passes."""
    last = image.crop((0, image.height - 1, image.width, image.height))
    return bool(image.info.get("interlace")) or not np.asarray(last).any()


def ends_early(file: BinaryIO) -> bool:
    """Whether the image data of a PNG file are shorter than its header says. Inflates them once more."""
    file.seek(8)
    expected = length = 0
    stream = zlib.decompressobj()
    while len(head := file.read(8)) == 8:
        size, name = struct.unpack(">I4s", head)
        if name == b"IHDR":
            expected = _expected_bytes(file.read(size))
        elif name == b"IDAT":
            length += _inflated_bytes(stream, file.read(size))
        else:
            file.seek(size, 1)
        if name == b"IEND" or length >= expected > 0:
            break
        file.seek(4, 1)
    return length < expected


def may_turn_late(file: BinaryIO) -> bool:
    """Whether a PNG file has metadata behind its pixels that may hold an orientation. Reads no pixels."""
    file.seek(8)
    are_pixels_past = False
    while len(head := file.read(8)) == 8:
        size, name = struct.unpack(">I4s", head)
        if name == b"IDAT":
            are_pixels_past = True
        elif are_pixels_past and name == b"eXIf":
            return True
        elif are_pixels_past and name in _TEXTS:
            keyword = file.read(min(size, _KEYWORD))
            if keyword.partition(b"\0")[0] in _TURNING:
                return True
            size -= len(keyword)
        file.seek(size + 4, 1)
    return False


def _expected_bytes(header: bytes) -> int:
    width, height, bits, kind, _, _, interlace = struct.unpack(">IIBBBBB", header)
    passes = _PASSES if interlace else ((0, 0, 1, 1),)
    total = 0
    for left, top, across, down in passes:
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0 and rows > 0:
            total += rows * (1 + (columns * bits * _CHANNELS[kind] + 7) // 8)
    return total


def _inflated_bytes(stream: "zlib._Decompress", data: bytes) -> int:
    length = 0
    while data and not stream.eof:
        length += len(stream.decompress(data, _PIECE))
        data = stream.unconsumed_tail
    return length
