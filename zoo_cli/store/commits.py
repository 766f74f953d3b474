"""How files come into their place: written under a temporary name, fsynced, and renamed; several of them in order."""

import errno
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from zoo_cli import system_errors
from zoo_cli.errors import ZooError
from zoo_cli.store.writers import Writer, is_gone

LEFTOVERS = (".*.tmp", ".lease-*", ".DS_Store", ".nfs*")
"""Files that nobody has put there: our own of a process that was killed, and those of file managers and of NFS."""
BESIDE = ".beside"
"""The ending of folders in which a result is made that replaces another one, see `store.replacement`."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path in the folder of `path`: it replaces `path` on success; on failure nothing changes."""
    with replacing_together(path) as (temporary,):
        yield temporary


@contextmanager
def replacing_together(*paths: Path, obsolete: Sequence[Path] = ()) -> Iterator[tuple[Path, ...]]:
    """Temporary paths beside several files, which replace them on success, in this order; on failure none changes.

    All of them are on the disk before the first is replaced. The last file vouches for the others: readers see from it
    whether it belongs to them. `obsolete`: files that are removed right before it comes. Raises UsageError for a pipe
    or a device, which a file must not replace: root may, with `--out /dev/null`.
    """
    for path in paths:
        _check_target(path)
    token = Writer.current().token
    temporaries = tuple(path.parent / f".{path.name}.{token}.{secrets.token_hex(4)}.tmp" for path in paths)
    place = paths[-1]
    try:
        for place, temporary in zip(paths, temporaries, strict=True):
            # A result that another process has brought into its place must not begin again with one file.
            if not any(folder.name.endswith(BESIDE) for folder in place.parents):
                place.parent.mkdir(parents=True, exist_ok=True)
            remove_leftovers(place.parent)
            os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        yield temporaries
        for temporary in temporaries:
            sync(temporary, os.O_RDWR)
        for place, temporary in zip(paths, temporaries, strict=True):
            if place == paths[-1]:
                for path in obsolete:
                    path.unlink(missing_ok=True)
            os.replace(temporary, place)
            sync(place.parent, os.O_RDONLY)
    except OSError as error:
        raise write_error(place, error) from None
    finally:
        for temporary in temporaries:
            with suppress(OSError):
                temporary.unlink()


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of processes that have certainly ended; one of another container may be at work."""
    place = Writer.current().place
    for temporary in folder.glob(f".*.{place}.*.tmp"):
        pid, _, started = temporary.name.split(".")[-3].partition("-")
        if pid.isdigit() and is_gone(int(pid), started):
            with suppress(OSError):
                temporary.unlink()


def folders_below(folder: Path) -> list[Path]:
    """A folder and all folders in it; none if it does not exist."""
    return [Path(path) for path, _, _ in os.walk(folder)]


def is_leftover(path: Path) -> bool:
    """Whether a file is none that a user has put there."""
    return any(path.match(pattern) for pattern in LEFTOVERS)


def sync(path: Path, flags: int) -> None:
    """Write what the system holds of a file, or of the names in a folder, to the disk."""
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    except OSError as error:
        if not path.is_dir() or error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def write_error(path: Path, error: OSError) -> ZooError:
    """The error for a file that cannot be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        free = 0
        with suppress(OSError):
            free = shutil.disk_usage(path.parent).free
        quota = "over the disk quota, " if error.errno == errno.EDQUOT else ""
        return ZooError(
            f"no space left to write {path} ({quota}{free / 1e6:,.0f} MB free)",
            "free some space and run the same command again",
        )
    return ZooError(
        f"cannot write {system_errors.shorten(path)}: {error.strerror or error}", "what was done before is kept"
    )


def _check_target(path: Path) -> None:
    try:
        system_errors.refuse_special(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise write_error(path, error) from None
