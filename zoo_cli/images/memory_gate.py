"""What decoding may take: a limit for one image, the same on every machine, and a gate for all threads together."""

import ctypes
import math
import sys
import threading
from collections import deque

from PIL import ImageFile

from zoo_cli import free_memory, ranks
from zoo_cli.images.in_order import paused

MAX_IMAGE_BYTES = 1_400_000_000
"""What one image may take at most, its encoded bytes included: 64 million pixels of all but colours of 16 bits."""
FREE_PASS = 256_000_000
"""What may be in use in all before free memory is looked up."""
SHARE = 2
"""One part in this many of the free memory may be used for decoding."""
LARGE = 64_000_000
"""From so many bytes on, what is freed goes back to the system: glibc would keep it, for each thread apart."""
_trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2, "I;16N": 2}
_TILE_SIDES = (322, 323)
_SAMPLE = 2
_RGB = 4  # Pillow keeps RGB in four bytes


def count_bytes(image: ImageFile.ImageFile, encoded: int, *, deep: bool) -> int:
    """The memory that an opened, not yet loaded image takes at most until its view is made, by its header.

    `encoded`: the bytes of its file; `deep`: it has colours of 16 bits. Measured for every format, see the tests.
    """
    own = _BYTES.get(image.mode, 4)
    loaded = own if image.mode == "RGB" else own + _RGB
    most = loaded + _RGB  # turned or resized
    if image.mode.startswith("I"):
        most = max(most, 3 * own + 4)  # as an array, and shifted to 8 bits
    elif image.mode in ("P", "PA"):
        most += 4  # by way of RGBA
    if "A" in image.mode or "transparency" in image.info:
        most = max(most, loaded + 5)  # the search for transparency makes RGBA and a channel
    other = 0
    if image.format == "WEBP":
        most += 8  # two canvases of the animation
    elif image.format == "TIFF":
        most += 4  # a strip, which may be all of it
        other = _count_tile(image)
    # A progressive JPEG keeps 16 bits of each sample until its last scan.
    loading = own + 2 * len(image.getbands()) if image.info.get("progressive") else 0
    return encoded + other + image.width * image.height * (32 if deep else max(most, loading))


def _count_tile(image: ImageFile.ImageFile) -> int:
    """The memory of a tile of a TIFF, which may be larger than the image: at 16 bits a sample."""
    tags = getattr(image, "tag_v2", {})
    sides = [tags.get(tag, 0) for tag in _TILE_SIDES]
    if not all(isinstance(side, int) for side in sides):
        return 0  # Pillow cannot read it either
    return int(math.prod(sides)) * _SAMPLE * len(image.getbands())


class MemoryGate:
    """Admits work by the bytes that it takes, first come, first served; when nothing else runs, whatever it takes."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[object] = deque()
        self.used = 0

    def enter(self, size: int) -> None:
        """Wait until there is room for `size` bytes, and take it."""
        with self._changed:
            if self._waiting or not self._has_room(size):
                self._wait(size)
            self.used += size

    def leave(self, size: int) -> None:
        """Give back what `enter` took, once its memory is freed."""
        if size >= LARGE and _trim is not None:
            _trim(0)
        with self._changed:
            self.used -= size
            if self._waiting:
                self._changed.notify_all()

    def _wait(self, size: int) -> None:
        ticket = object()
        self._waiting.append(ticket)
        try:
            with paused():
                self._changed.wait_for(lambda: self._waiting[0] is ticket and self._has_room(size))
        finally:
            self._waiting.remove(ticket)
            self._changed.notify_all()

    def _has_room(self, size: int) -> bool:
        if self.used == 0 or self.used + size <= FREE_PASS:
            return True
        return self.used + size <= free_memory.free_ram() // SHARE // ranks.local_world_size()


GATE = MemoryGate()
"""The gate of this process."""
