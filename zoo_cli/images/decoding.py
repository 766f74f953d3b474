"""From an encoded image to the pixels that a model sees, each image decoded once for all models.

`decode` defines the result for every kind of image. It follows torchvision's own loader, because pretrained models were
trained with it, and is also defined where that loader warns, clips or fails.
"""

import hashlib
import io
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, UnidentifiedImageError

from zoo_cli import specs
from zoo_cli.config import Preprocessing
from zoo_cli.images import inspection, memory_gate, png_stream, sixteen_bits, tag_sizes
from zoo_cli.images.damage import DAMAGE
from zoo_cli.images.image_info import ImageInfo
from zoo_cli.images.in_order import map_in_order
from zoo_cli.images.pillow_warnings import hush_pillow

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "PPM", "GIF")
MAX_PIXELS = 64_000_000
MAX_SIDE = 65_535  # what JPEG allows; Pillow and numpy keep something for every row
WIDEST = 16_000_000  # pixels of a resized image; above it, only the centre that is kept is resized
INTERPOLATIONS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "nearest": Image.Resampling.NEAREST,
    "lanczos": Image.Resampling.LANCZOS,
}

Encoded = io.BytesIO | io.BufferedReader
Pixels = npt.NDArray[np.uint8]
Getter = Callable[[], bytes | Path]

_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class BadImage(Exception):
    """An image that cannot be used. The text is the reason, on one line."""


class Geometry(NamedTuple):
    """The settings that determine the pixels of a view of an image; sources with equal geometries share one view.

    `side`: side of the square that is kept, in pixels, at least `input_size`. The centre crop of `input_size` from a
    larger square equals, bit for bit, the view with `side = input_size`.
    """

    input_size: int
    resize: int | None
    interpolation: str
    channels: int
    side: int


@dataclass(frozen=True)
class _Decoded:
    """An image as `decode` returns it, as Pillow loaded it, and whether it has 16 bits of which few are used."""

    rgb: Image.Image
    loaded: Image.Image
    few_levels: bool

    def close(self) -> None:
        self.rgb.close()
        self.loaded.close()


def decode(source: bytes | Path, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode an image: mode RGB, fully loaded, upright.

    Only JPEG, PNG, WebP, BMP, TIFF, PPM and GIF are read. The size in the header is checked before anything is decoded.
    Transparency is dropped, not blended (a transparent pixel shows the colour stored under it); CMYK is converted by
    Pillow's plain formula, colour profiles are ignored; 16 bits become 8 as `sixteen_bits` says; black and white become
    0 and 255; an animation gives its first frame; an EXIF orientation is applied. What Pillow only warns about (damaged
    EXIF, odd metadata) is accepted if the pixels decode.

    Raises BadImage for empty, truncated or corrupt bytes, a PNG whose data end early, an unknown format, more pixels
    than `max_pixels`, a side above MAX_SIDE, more memory than `memory_gate` allows an image, pixels without a known
    range (floating point, more than 16 bits), or an unreadable file.
    """
    with open_source(source) as file, _decoded(file, max_pixels) as decoded:
        return decoded.rgb


@contextmanager
def open_decoded(source: bytes | Path, *, max_pixels: int = MAX_PIXELS) -> Iterator[Image.Image]:
    """The image as `decode` returns it, until the context ends: its memory counts as used for decoding."""
    with open_source(source) as file, _decoded(file, max_pixels) as decoded:
        try:
            yield decoded.rgb
        finally:
            decoded.close()


def image_info(source: bytes | Path, *, max_pixels: int = MAX_PIXELS) -> ImageInfo:
    """Hash an image's encoded bytes and read its size, decoding it as a check. Raises BadImage as `decode` does."""
    with open_source(source) as file:
        digest = hash_file(file)
        with _decoded(file, max_pixels) as decoded:
            one_colour = inspection.is_one_colour(decoded.rgb)
            lost = one_colour and inspection.has_varied_alpha(decoded.loaded)
            size = decoded.rgb.size
            decoded.close()
            return ImageInfo(digest, *size, one_colour and not lost, lost, decoded.few_levels)


def hash_file(file: Encoded) -> str:
    """The SHA-256 of an encoded image, which is then at its start again. Raises BadImage if it cannot be read."""
    try:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0)
    except OSError as error:
        raise BadImage(f"cannot be read: {error.strerror or error}") from None
    return digest


def view_geometry(preprocessing: Preprocessing) -> Geometry:
    """The geometry of a model's own view: its preprocessing without mean and standard deviation."""
    p = preprocessing
    return Geometry(p.input_size, p.resize, p.interpolation, p.channels, side=p.input_size)


def make_view(image: Image.Image, preprocessing: Preprocessing | Geometry) -> Pixels:
    """A model's view of an RGB image, before scaling and normalisation: uint8 (H, W, C), H = W = `side`, C = 1 or 3.

    Conversion to gray (ITU-R 601-2 luma) comes first. With `resize` the shorter side becomes `resize`, the longer one
    is rounded down, and the centre is cropped with torchvision's rounding; an image smaller than the crop is padded
    with black. Without `resize` the whole image becomes a square. Pillow resizes, so shrinking averages (antialias),
    except with "nearest". Images of extreme shape (above 16 million pixels after resizing) are cropped before they are
    resized: the same view up to rounding, in little memory.

    Raises UsageError for an unknown interpolation.
    """
    geometry = preprocessing if isinstance(preprocessing, Geometry) else view_geometry(preprocessing)
    if geometry.interpolation not in INTERPOLATIONS:
        raise specs.nearest("interpolation", geometry.interpolation, INTERPOLATIONS)
    method = INTERPOLATIONS[geometry.interpolation]
    if geometry.channels == 1:
        image = image.convert("L")
    if geometry.resize is not None:
        image = _resize_centre(image, geometry.resize, geometry, method)
    else:
        image = image.resize((geometry.side, geometry.side), method)
    pixels = np.array(image)  # a copy: Pillow's own memory is read-only, which torch warns about
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


def load_views(
    items: Iterable[Getter],
    geometries: Iterable[Geometry],
    workers: int,
    *,
    max_pixels: int = MAX_PIXELS,
    size_of: Callable[[Getter], int] = lambda _: 0,
) -> Iterator[tuple[int, dict[Geometry, Pixels] | BadImage]]:
    """Decode every image once, in order: yields its position and one view per geometry, or why it cannot be used.

    A getter returns what to decode and runs in the worker; it may raise BadImage itself, and have a `name`, that of its
    image in errors. Any other error of a getter ends the iteration. See `map_in_order` for threads and memory.
    """
    distinct = tuple(dict.fromkeys(geometries))

    def load(getter: Getter) -> dict[Geometry, Pixels] | BadImage:
        try:
            with open_decoded(getter(), max_pixels=max_pixels) as image:
                return {geometry: make_view(image, geometry) for geometry in distinct}
        except BadImage as bad:
            return bad

    with closing(map_in_order(load, items, workers, size_of, _name)) as views:
        yield from enumerate(views)


def _name(getter: Getter) -> str:
    return str(getattr(getter, "name", "an image"))


@contextmanager
def open_source(source: bytes | Path) -> Iterator[Encoded]:
    if isinstance(source, bytes):
        yield io.BytesIO(source)
        return
    try:
        if source.exists() and not source.is_file():  # reading a pipe could block for ever
            raise BadImage("not a regular file")
        file = source.open("rb")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        link = " behind its link" if source.is_symlink() else ""
        raise BadImage(f"cannot be opened: {reason}{link}") from None
    with file:
        yield file


@contextmanager
def _decoded(file: Encoded, max_pixels: int) -> Iterator[_Decoded]:
    """Decode a file, once there is memory for it, which counts as used until the context ends."""
    image, deep_tiles, size = open_checked(file, max_pixels)
    memory_gate.GATE.enter(size)
    try:
        try:
            decoded = _load(file, image, deep_tiles)
        except DAMAGE as error:
            raise name_damage(error, max_pixels) from None
        yield decoded
    finally:
        memory_gate.GATE.leave(size)


def open_checked(file: Encoded, max_pixels: int) -> tuple[ImageFile.ImageFile, list[Any], int]:
    """An image by its header, its tiles if it has colours of 16 bits, and the bytes that decoding it takes at most.

    Raises BadImage for what the header alone shows to be unusable.
    """
    hush_pillow()
    try:
        encoded = len(file.getbuffer()) if isinstance(file, io.BytesIO) else os.fstat(file.fileno()).st_size
        image = _open(file, encoded, max_pixels)
        tiles = list(image.tile)
        deep = sixteen_bits.has_deep_colours(tiles)
        size = memory_gate.count_bytes(image, encoded, deep=deep)
    except DAMAGE as error:
        raise name_damage(error, max_pixels) from None
    if size > memory_gate.MAX_IMAGE_BYTES:
        what = f"{image.width} x {image.height} in {image.mode}"
        raise BadImage(f"{what} takes more than {memory_gate.MAX_IMAGE_BYTES:,} bytes")
    return image, tiles if deep else [], size


def _open(file: Encoded, encoded: int, max_pixels: int) -> ImageFile.ImageFile:
    """The image in a file of this many bytes, of which only the header is read."""
    if not (head := file.read(4)):
        raise BadImage("the file is empty")
    if encoded > memory_gate.MAX_IMAGE_BYTES:
        raise BadImage(f"its file has more than {memory_gate.MAX_IMAGE_BYTES:,} bytes")
    tag_sizes.check_file(file, head, encoded)
    file.seek(0)
    image = Image.open(file, formats=FORMATS)
    _check_size(image.size, max_pixels)
    return image


def _load(file: Encoded, image: ImageFile.ImageFile, deep_tiles: list[Any]) -> _Decoded:
    """The pixels of an opened image. `deep_tiles`: its tiles if it has colours of 16 bits."""
    image.load()
    if image.format == "PNG" and png_stream.may_end_early(image) and png_stream.ends_early(file):
        raise BadImage("damaged: its data end before the last pixels")
    rgb, few_levels = _to_rgb(image)
    if deep_tiles:
        file.seek(0)
        rgb, few_levels = sixteen_bits.deepen_colours(rgb, deep_tiles, Image.open(file, formats=FORMATS))
    turn = _UPRIGHT.get(read_orientation(image))
    return _Decoded(rgb if turn is None else rgb.transpose(turn), image, few_levels)


def name_damage(error: Exception, max_pixels: int) -> BadImage:
    """What an error of Pillow means."""
    if isinstance(error, UnidentifiedImageError):
        return BadImage(f"cannot be read as {', '.join(FORMATS[:-1])} or {FORMATS[-1]}")
    if isinstance(error, Image.DecompressionBombError):
        limit = min(max_pixels, 2 * (Image.MAX_IMAGE_PIXELS or max_pixels))
        return BadImage(f"more than {limit:,} pixels")
    reason = (str(error).splitlines() or [""])[0].strip()
    return BadImage(f"damaged: {reason or type(error).__name__}")


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise BadImage(f"{width} x {height} pixels")
    if width * height > max_pixels:
        raise BadImage(f"{width} x {height} is more than {max_pixels:,} pixels")
    if max(width, height) > MAX_SIDE:
        raise BadImage(f"{width} x {height} is more than {MAX_SIDE:,} pixels long")


def _to_rgb(image: Image.Image) -> tuple[Image.Image, bool]:
    """The image in RGB, and whether it is gray of 16 bits of which few are used."""
    few_levels = False
    if image.mode.startswith("I"):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 0xFFFF:
            raise BadImage("pixels of more than 16 bits have no known range")
        few_levels = sixteen_bits.uses_few_levels(values)
        image = Image.fromarray(sixteen_bits.to_eight_bits(values))
    elif image.mode == "F":
        raise BadImage("floating-point pixels have no known range")
    elif image.mode in ("P", "PA"):
        image = image.convert("RGBA")  # a palette with transparency in one step makes Pillow warn
    if image.mode == "RGB":  # the conversion would make a copy
        return image, few_levels
    return image.convert("RGB"), few_levels


def read_orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8. Read after loading, because by then Pillow has turned a TIFF image itself.

    Unreadable EXIF says nothing about the pixels, so it does not make an image bad.
    """
    try:
        tag_sizes.check_exif(image.info)
        orientation = Image.Image.getexif(image).get(_ORIENTATION, 1)  # that of a PNG would load it
    except DAMAGE:
        return 1
    return orientation if isinstance(orientation, int) else 1


def _resize_centre(image: Image.Image, resize: int, geometry: Geometry, method: Image.Resampling) -> Image.Image:
    """The square of the geometry's side at the centre of the resized image; of a huge one only that part is resized."""
    width, height = image.size
    if width <= height:
        wide, high = resize, int(resize * height / width)
    else:
        wide, high = int(resize * width / height), resize
    side = geometry.side
    margin = centre_offset(side, geometry.input_size)
    left, top = centre_offset(wide, geometry.input_size) - margin, centre_offset(high, geometry.input_size) - margin
    if wide * high > WIDEST:
        first, last = max(left, 0), min(left + side, wide)
        upper, lower = max(top, 0), min(top + side, high)
        across, down = width / wide, height / high
        box = (first * across, upper * down, min(last * across, width), min(lower * down, height))
        image = image.resize((last - first, lower - upper), method, box=box)
        left, top = left - first, top - upper
    else:
        image = image.resize((wide, high), method)
    return image.crop((left, top, left + side, top + side))


def centre_offset(whole: int, part: int) -> int:
    """Where a centred part of a side begins, in pixels, rounded as torchvision does; negative if the part is larger."""
    return round((whole - part) / 2) if whole >= part else -((part - whole) // 2)
