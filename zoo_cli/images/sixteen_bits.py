"""Pixels of 16 bits as pixels of 8.

They become 8 by their high byte. Cameras and microscopes store 12 or 8 bits in files of 16, whose high bytes are black:
where no value of an image reaches 4096 it is read as one of 12 bits, where none reaches 256 as one of 8.
"""

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageFile

FEW = 16
"""Levels of the high byte, of 256, below which a 16-bit image uses few."""
_OTHER_BYTE = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}


def to_eight_bits(values: np.ndarray) -> np.ndarray:
    """Values of 16 bits, integers (…), as uint8 (…) by the rule of this module."""
    largest = int(values.max())
    shift = 8 if largest >= 1 << 12 else 4 if largest >= 1 << 8 else 0
    return (values >> shift).astype(np.uint8)


def uses_few_levels(values: np.ndarray) -> bool:
    """Whether values of 16 bits have fewer than 16 levels in their high byte, but more than one value."""
    low, high = int(values.min()), int(values.max())
    return low < high and (high >> 8) - (low >> 8) < FEW


def has_deep_colours(tiles: Sequence[Any]) -> bool:
    """Whether the tiles of an image hold colours of 16 bits, whose low byte can be read too."""
    return bool(tiles) and all(_swap_bytes(tile) is not None for tile in tiles)


def deepen_colours(high: Image.Image, tiles: Sequence[Any], image: ImageFile.ImageFile) -> tuple[Image.Image, bool]:
    """Colours of 16 bits in 8, and whether few levels are used. `high`: their high byte, which Pillow reads alone.

    `image`: the same image, opened, not loaded, and `tiles`, its own. It is loaded only where `high` is nearly black.
    """
    values = np.asarray(high)
    if values.max() >= FEW:
        return high, 0 < int(values.max()) - int(values.min()) < FEW
    image.tile = [tile for tile in map(_swap_bytes, tiles) if tile is not None]
    image.load()
    deep = values.astype(np.uint16) << 8 | np.asarray(image.convert("RGB"))
    return Image.fromarray(to_eight_bits(deep)), uses_few_levels(deep)


def _swap_bytes(tile: Any) -> Any | None:
    """A tile of Pillow that reads the low byte in place of the high one: raw mode "RGB;16L" for "RGB;16B"."""
    codec, extents, offset, arguments = tile
    mode = arguments if isinstance(arguments, str) else arguments[0] if arguments else ""
    name, _, order = str(mode).partition(";16")
    if name not in ("RGB", "RGBA", "RGBX") or order not in _OTHER_BYTE:
        return None
    other = f"{name};16{_OTHER_BYTE[order]}"
    return codec, extents, offset, other if isinstance(arguments, str) else (other, *arguments[1:])
