"""What a check of an image finds: its hash and size, and what it shows."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """What the manifest records of an image: SHA-256 of its encoded bytes, and its upright size in pixels.

    What zoo split reports besides: `one_colour`, all pixels are equal; `lost_transparency`, they are once transparency
    is dropped; `few_levels`, 16 bits of which few are used, see `sixteen_bits`.
    """

    sha256: str
    width: int
    height: int
    one_colour: bool = False
    lost_transparency: bool = False
    few_levels: bool = False
