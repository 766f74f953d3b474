"""Thumbnails as data URIs."""

import base64
import io
from dataclasses import dataclass

from PIL import Image

SIDE = 88
"""The longer side of a thumbnail in pixels, shown at half of it and more."""
TINY = 32
"""Images up to this side are kept as they are, without loss, and enlarged by the browser."""
QUALITY = 72


@dataclass(frozen=True)
class Thumbnail:
    """A data URI, and whether the image is so small that its pixels are to be seen."""

    source: str
    tiny: bool


def make_thumbnail(image: Image.Image) -> Thumbnail:
    """The thumbnail of an RGB image."""
    tiny = max(image.size) <= TINY
    stream = io.BytesIO()
    if tiny:
        image.save(stream, "PNG", optimize=True)
    else:
        small = image.copy()
        small.thumbnail((SIDE, SIDE))
        small.save(stream, "JPEG", quality=QUALITY)
    kind = "png" if tiny else "jpeg"
    return Thumbnail(f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}", tiny)
