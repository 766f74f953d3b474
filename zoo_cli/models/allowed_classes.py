"""What may stand beside the tensors of a checkpoint, by the names in the file: plain values of training programs.

A name that is not here ends the reading, and none of them runs code: paths become text without a file system, and
values of numpy are passed over.
"""

from argparse import Namespace
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any


class NumpyValue:
    """In the place of a number, an array or a dtype of numpy, whose own constructors are never called."""

    def __init__(self, *_: object):
        pass

    def __setstate__(self, _: object) -> None:
        pass


NUMPY = (
    "numpy.dtype",
    "numpy.ndarray",
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
)
ALLOWED: list[Any] = [
    Namespace,
    (PurePosixPath, "pathlib.PosixPath"),
    (PurePosixPath, "pathlib._local.PosixPath"),
    (PureWindowsPath, "pathlib.WindowsPath"),
    (PureWindowsPath, "pathlib._local.WindowsPath"),
    *((NumpyValue, name) for name in NUMPY),
]
"""As torch.serialization.safe_globals takes them."""
