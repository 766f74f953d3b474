"""What an image shows at all: one colour, or a drawing in its transparency alone."""

from PIL import Image


def is_one_colour(rgb: Image.Image) -> bool:
    """Whether all pixels of an RGB image are equal."""
    corner, centre = rgb.getpixel((0, 0)), rgb.getpixel((rgb.width // 2, rgb.height // 2))
    return corner == centre and all(isinstance(band, tuple) and band[0] == band[1] for band in rgb.getextrema())


def has_varied_alpha(image: Image.Image) -> bool:
    """Whether an image has pixels of different transparency."""
    if "A" not in image.mode and "transparency" not in image.info:
        return False
    low, high = image.convert("RGBA").getchannel("A").getextrema()
    return low != high
