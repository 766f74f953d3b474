"""The hash and size of an image without its pixels, for images that are known to be sound."""

from pathlib import Path

from PIL import ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from zoo_cli.images import png_stream
from zoo_cli.images.damage import DAMAGE
from zoo_cli.images.decoding import (
    MAX_PIXELS,
    BadImage,
    hash_file,
    image_info,
    name_damage,
    open_checked,
    open_source,
    read_orientation,
)
from zoo_cli.images.image_info import ImageInfo

_WIDTH, _HEIGHT = 256, 257
_SIDEWAYS = (5, 6, 7, 8)


def header_info(source: bytes | Path, *, max_pixels: int = MAX_PIXELS) -> ImageInfo:
    """Hash an image's encoded bytes and read its upright size from its header; its pixels are not looked at.

    A PNG that may be turned by what comes after its pixels is decoded. Raises BadImage for what the header alone shows:
    an empty file, an unknown format, too many pixels, floating-point pixels; not for damage after it.
    """
    with open_source(source) as file:
        digest = hash_file(file)
        image, _, _ = open_checked(file, max_pixels)
        if image.mode == "F":
            raise BadImage("floating-point pixels have no known range")
        try:
            is_known = image.format != "PNG" or not png_stream.may_turn_late(file)
            if is_known:
                return ImageInfo(digest, *_upright_size(image))
        except DAMAGE as error:
            raise name_damage(error, max_pixels) from None
    info = image_info(source, max_pixels=max_pixels)
    return ImageInfo(info.sha256, info.width, info.height)


def _upright_size(image: ImageFile.ImageFile) -> tuple[int, int]:
    """The width and height of an opened image once it is turned."""
    width, height = image.size
    if isinstance(image, TiffImageFile):  # some versions of Pillow have turned the size of these already
        width, height = image.tag_v2[_WIDTH], image.tag_v2[_HEIGHT]
    return (height, width) if read_orientation(image) in _SIDEWAYS else (width, height)
