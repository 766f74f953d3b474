"""Whether what a command will write fits on the disk, before it works for it."""

import os
from pathlib import Path

from zoo_cli.errors import UsageError

DENSE_SHARE = 0.6
"""What zstd leaves at least of dense float32: 23 of 32 bits are those of the mantissa, which do not compress."""
SPARSE_SHARE = 0.1
"""The same of features that may come from a ReLU, many of which are zero."""
STORED_SHARE = 0.5
"""New outputs of a source take at least this share of what its stored ones take per image."""


def check_space(folder: Path, needed: int, files: int, what: str) -> None:
    """Raise UsageError if so many bytes or files do not fit where a folder is, or will be.

    `needed`: bytes that will surely be written, a lower bound. A file system that does not tell its size is not judged.
    """
    status = os.statvfs(next(path for path in (folder, *folder.absolute().parents) if path.exists()))
    free = status.f_bavail * status.f_frsize
    if status.f_blocks and needed > free:
        raise UsageError(
            f"{what} take at least {describe(needed)}, only {describe(free)} are free in {folder}",
            "free some space, or move the workspace to a larger disk",
        )
    if status.f_files and files > status.f_favail:
        raise UsageError(
            f"{what} are {files:,} files, only {status.f_favail:,} inodes are free in {folder}",
            "remove files, or move the workspace to another disk",
        )


def describe(size: int) -> str:
    """A number of bytes for a message."""
    return f"{size / 1e6:,.1f} MB" if size < 1e9 else f"{size / 1e9:,.1f} GB"
