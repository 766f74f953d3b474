"""Which files are images: their first bytes decide, where the ending does not say."""

import re
from pathlib import PurePath

ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".gif")
"""Endings that are taken for images without a look inside: a damaged one counts as a failed image."""

HEAD = 32
"""How many first bytes `has_signature` needs."""

_RAW = {"3fr", "arw", "cr2", "dng", "erf", "iiq", "kdc", "mos", "nef", "nrw", "orf", "pef", "raf", "rw2", "sr2", "srw"}
"""Camera files that begin like TIFF: as TIFF they would show the preview alone."""
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*")
_PORTABLE = re.compile(rb"P[1-6]\s+[0-9#]")
_BMP = re.compile(rb"BM.{4}\0{4}.{4}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0", re.DOTALL)


def has_image_ending(name: str) -> bool:
    """Whether the ending of a file name is one of an image format that is read."""
    return name.lower().endswith(ENDINGS)


def is_raw(name: str) -> bool:
    """Whether the ending is that of a camera's raw format, which is not read."""
    return PurePath(name).suffix[1:].lower() in _RAW


def has_signature(head: bytes) -> bool:
    """Whether the first bytes of a file, at least HEAD of them if it has as many, are those of an image format."""
    return (
        head.startswith(_SIGNATURES)
        or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
        or _PORTABLE.match(head) is not None
        or _BMP.match(head) is not None
    )
