"""What Pillow raises on damaged images."""

import struct
import zlib

from PIL import Image

# What Pillow's readers raise on damaged bytes, collected by fuzzing. The `try` that catches them only opens, loads and
# converts, so it hides no bug of ours.
DAMAGE = (
    OSError,
    EOFError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    RuntimeError,
    MemoryError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
