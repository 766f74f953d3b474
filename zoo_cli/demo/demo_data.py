"""Small gray images for the demonstration: scikit-learn's handwritten digits, and drawn glyphs, shapes and textures.

Everything is rendered as the digits were when they were collected: bilevel on 32 x 32, then the number of ink pixels in
each 4 x 4 block, 0 to 16 (Alpaydin and Kaynak 1998, "Optical recognition of handwritten digits").
"""

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from zoo_cli.errors import UsageError

Array = NDArray[Any]

CANVAS, SIDE = 32, 8
MAX_INK = (CANVAS // SIDE) ** 2
FONTS = (
    *(f"DejaVuSans{style}.ttf" for style in ("", "-Oblique", "Mono", "Mono-Oblique")),
    *("DejaVuSerif.ttf", "DejaVuSerif-Italic.ttf", "STIXGeneral.ttf", "STIXGeneralItalic.ttf"),
    *("cmr10.ttf", "cmss10.ttf", "cmtt10.ttf"),
)
"""All of them are included in matplotlib."""
DIGITS = tuple("0123456789")
LETTERS = tuple("acefhkmnrtuvwx")
"""Without the letters that look like a digit or contain most of one: b, d, g, i, j, l, o, p, q, s, y and z."""

_FONT_SIZE = 64  # pixels, before a glyph is transformed onto the canvas
_STROKES = (2, 3, 4)  # pixels at that size, added all around: thick lines survive on 8 x 8


def load_digits() -> tuple[Array, Array]:
    """scikit-learn's digits: uint8 (1797, 8, 8) and labels int64 (1797,), in its order."""
    from sklearn import datasets

    images, labels = datasets.load_digits(return_X_y=True)
    return _to_levels(images.reshape(-1, SIDE, SIDE)), labels.astype(np.int64)


def draw_images(kind: str, count: int, generator: Generator) -> tuple[Array, Array]:
    """Draw N = `count` images of a key of KINDS: uint8 (N, 8, 8), with bright ink, and their labels int64 (N,).

    The class counts differ by at most one.
    """
    classes, paint = KINDS[kind]
    labels = generator.permutation(np.arange(count) % len(classes))
    canvas = np.stack([paint(classes[label], generator) for label in labels])
    blocks = canvas.reshape(count, SIDE, CANVAS // SIDE, SIDE, CANVAS // SIDE)
    return _to_levels(blocks.sum((2, 4))), labels


def check_packages() -> None:
    """Raise UsageError if a package that contains the digits or the fonts is missing."""
    for module, package in (("sklearn", "scikit-learn"), ("matplotlib", "matplotlib")):
        if find_spec(module) is None:
            raise UsageError(f"zoo demo needs {package}", 'pip install "zoo-cli[demo]"')


def _to_levels(ink: Array) -> Array:
    """Ink counts from 0 to 16 as gray levels from 0 to 255."""
    return np.rint(ink * (255 / MAX_INK)).astype(np.uint8)


# Each painter returns one canvas: bool (32, 32), True for ink.


def _glyph(text: str, generator: Generator) -> Array:
    """A glyph as high as the canvas, in a random font and stroke, with random width, slant and rotation."""
    image = _render_glyph(generator.choice(FONTS), text, int(generator.choice(_STROKES)))
    width = CANVAS * generator.uniform(0.45, 0.85)
    angle, slant = np.deg2rad(generator.uniform(-10, 10)), generator.uniform(-0.25, 0.25)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    scale = np.array([[image.width / width, 0], [0, image.height / CANVAS]])
    matrix = scale @ rotation @ np.array([[1, slant], [0, 1]])
    offset = np.array([image.width, image.height]) / 2 - matrix @ [CANVAS / 2, CANVAS / 2]
    data = (matrix[0, 0], matrix[0, 1], offset[0], matrix[1, 0], matrix[1, 1], offset[1])
    canvas = image.transform((CANVAS, CANVAS), Image.Transform.AFFINE, data, Image.Resampling.BILINEAR)
    return np.asarray(canvas) > 127


@cache
def _render_glyph(font: str, text: str, stroke: int) -> Image.Image:
    """A glyph with thickened strokes, cropped to its edges."""
    face = ImageFont.truetype(str(_font_folder() / font), _FONT_SIZE)
    left, top, right, bottom = map(int, face.getbbox(text, stroke_width=stroke))
    image = Image.new("L", (right - left, bottom - top))
    ImageDraw.Draw(image).text((-left, -top), text, fill=255, font=face, stroke_width=stroke)
    return image.crop(image.getbbox())


@cache
def _font_folder() -> Path:
    """The folder of matplotlib's fonts."""
    import matplotlib

    return Path(matplotlib.get_data_path()) / "fonts" / "ttf"


def _shape(name: str, generator: Generator) -> Array:
    """A filled shape of random size, position and rotation."""
    x, y = _coordinates(generator.uniform(0, 2 * np.pi))
    size = generator.uniform(0.55, 0.95)
    across, down = generator.uniform(-0.2, 0.2, 2)
    return SHAPES[name]((x - across) / size, (y - down) / size)


def _texture(name: str, generator: Generator) -> Array:
    """A pattern that fills the canvas, of random period, phase and rotation."""
    x, y = _coordinates(generator.uniform(-0.3, 0.3))
    return TEXTURES[name](x, y, generator)


def _coordinates(angle: float) -> tuple[Array, Array]:
    """The x and y (32, 32) of every pixel, from -1 to 1 across the canvas, rotated."""
    y, x = (np.mgrid[:CANVAS, :CANVAS] + 0.5) * (2 / CANVAS) - 1
    return x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle)


def _star(x: Array, y: Array) -> Array:
    fifth = 2 * np.pi / 5
    angle = np.abs((np.arctan2(y, x) + fifth / 2) % fifth - fifth / 2)
    return np.asarray(np.hypot(x, y) * (np.cos(angle) + 2 * np.sin(angle)) < 1)


def _wave(position: Array, generator: Generator) -> Array:
    period = generator.uniform(0.5, 0.9)
    return np.sin(2 * np.pi * (position / period + generator.uniform())) > 0


def _noise(cells: int, generator: Generator) -> Array:
    ink = generator.random((cells, cells)) < 0.5
    return np.kron(ink, np.ones((CANVAS // cells, CANVAS // cells), bool))


SHAPES: dict[str, Callable[[Array, Array], Array]] = {
    "disc": lambda x, y: np.hypot(x, y) < 0.9,
    "ellipse": lambda x, y: np.hypot(x, 2 * y) < 1,
    "half": lambda x, y: (np.hypot(x, y) < 1) & (y > 0),
    "square": lambda x, y: np.maximum(np.abs(x), np.abs(y)) < 0.75,
    "triangle": lambda x, y: (y > -0.5) & (y < 1 - np.sqrt(3) * np.abs(x)),
    "cross": lambda x, y: (np.minimum(np.abs(x), np.abs(y)) < 0.3) & (np.maximum(np.abs(x), np.abs(y)) < 0.95),
    "star": _star,
    "corner": lambda x, y: (np.maximum(np.abs(x), np.abs(y)) < 0.85) & ((x < -0.2) | (y > 0.2)),
}
TEXTURES: dict[str, Callable[[Array, Array, Generator], Array]] = {
    "rows": lambda _, y, generator: _wave(y, generator),
    "columns": lambda x, _, generator: _wave(x, generator),
    "rising": lambda x, y, generator: _wave((x + y) / np.sqrt(2), generator),
    "falling": lambda x, y, generator: _wave((x - y) / np.sqrt(2), generator),
    "checks": lambda x, y, generator: _wave(x, generator) ^ _wave(y, generator),
    "dots": lambda x, y, generator: _wave(x, generator) & _wave(y, generator),
    "fine noise": lambda _x, _y, generator: _noise(16, generator),
    "coarse noise": lambda _x, _y, generator: _noise(8, generator),
}
KINDS: dict[str, tuple[tuple[str, ...], Callable[[str, Generator], Array]]] = {
    "printed-digits": (DIGITS, _glyph),
    "letters": (LETTERS, _glyph),
    "shapes": (tuple(SHAPES), _shape),
    "textures": (tuple(TEXTURES), _texture),
}
"""For each kind: its classes, and the painter of one image of a class."""
