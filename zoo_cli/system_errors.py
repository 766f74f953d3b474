"""The one rule for errors of the system: a path that it refuses, or memory that it lacks, gives one line."""

import errno
import os
import stat
from pathlib import Path

from zoo_cli.errors import UsageError, ZooError

FAILED = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""What happens to a right path while the program runs; any other number of the system means a wrong path."""
WRONG_PATH = (
    errno.EACCES,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.ENXIO,
    errno.EPERM,
)
"""What the system answers to the opening of a wrong path."""
SHOWN = 300
"""Characters of a path that an error shows."""
KINDS = {
    stat.S_ISFIFO: "a pipe",
    stat.S_ISSOCK: "a socket",
    stat.S_ISCHR: "a device",
    stat.S_ISBLK: "a device",
}


def translate(error: BaseException) -> ZooError | None:
    """An error of the system as one line, of wrong usage or of a failed run; None for any other error."""
    if isinstance(error, MemoryError):
        what = str(error).rstrip(".") or "an allocation failed"
        return ZooError(f"out of memory: {what}", "use smaller values or fewer samples, or a machine with more memory")
    if isinstance(error, RuntimeError) and str(error).startswith("can't start new thread"):
        return ZooError("no more threads can be started", "allow more processes (ulimit -u), or use fewer --workers")
    if isinstance(error, ValueError) and str(error).startswith("embedded null"):
        return UsageError("a path with a NUL character", "no file can have that name")
    if isinstance(error, RuntimeError) and str(error).startswith("Could not determine home directory"):
        return UsageError("a path begins with ~ and an unknown user", "write ./~name for such a folder")
    if isinstance(error, RuntimeError) and str(error).startswith("Symlink loop"):
        return UsageError(str(error), "a link leads back to itself: remove it")
    if not isinstance(error, OSError) or error.errno is None:
        return None
    reason = error.strerror or type(error).__name__
    line = f"{shorten(error.filename)}: {reason}" if error.filename is not None else reason
    if error.errno in FAILED:
        return ZooError(line, "what was done before is kept")
    return UsageError(line, "check the path")


def shorten(path: object) -> str:
    """A path for one line of an error: its beginning and its end where it is long."""
    text = os.fsdecode(path) if isinstance(path, bytes) else str(path)
    return text if len(text) <= SHOWN else f"{text[: SHOWN // 2]}…{text[-SHOWN // 2 :]}"


def refuse_special(path: Path) -> None:
    """Raise UsageError for a pipe, a socket or a device, which a reader could wait for, or read, for ever."""
    mode = path.stat().st_mode
    for is_kind, name in KINDS.items():
        if is_kind(mode):
            raise UsageError(f"{shorten(path)} is {name}, not a file", "give a regular file")
