"""How files come into their place: written under a temporary name, fsynced, and renamed; several of them in order."""

import errno
import fnmatch
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from zoo_cli import system_errors
from zoo_cli.errors import ZooError
from zoo_cli.store.writers import Writer, is_gone

LEFTOVERS = (".*.tmp", ".lease-*", ".DS_Store", ".nfs*")
"""Files that nobody has put there: our own of a process that was killed, and those of file managers and of NFS."""
FEW = 16
"""Files that are written to the disk at a time."""
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

    All of them are on the disk before the first is replaced, and the others are in their places before the last, which
    vouches for them: readers see from it whether it belongs to them. `obsolete`: files that are removed right before it
    comes. Raises UsageError for a pipe or a device, which a file must not replace: root may, with `--out /dev/null`.
    """
    for path in paths:
        _check_target(path)
    token = Writer.current().token
    temporaries = tuple(path.parent / f".{path.name}.{token}.{secrets.token_hex(4)}.tmp" for path in paths)
    place = last = paths[-1]
    try:
        prepared: set[Path] = set()
        for place, temporary in zip(paths, temporaries, strict=True):
            if place.parent not in prepared:
                # A result that another process has brought into its place must not begin again with one file.
                if not any(folder.name.endswith(BESIDE) for folder in place.parents):
                    place.parent.mkdir(parents=True, exist_ok=True)
                remove_leftovers(place.parent)
                prepared.add(place.parent)
            os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        yield temporaries
        _sync_files(temporaries)
        for place, temporary in zip(paths[:-1], temporaries, strict=False):
            os.replace(temporary, place)
        for folder in dict.fromkeys(path.parent for path in paths[:-1]):
            sync(folder, os.O_RDONLY)
        place = last
        for path in obsolete:
            path.unlink(missing_ok=True)
        os.replace(temporaries[-1], last)
        sync(last.parent, os.O_RDONLY)
    except OSError as error:
        raise write_error(place, error) from None
    finally:
        for temporary in temporaries:
            with suppress(OSError):
                temporary.unlink()


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of processes that have certainly ended; one of another container may be at work."""
    pattern = f".*.{Writer.current().place}.*.tmp"
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:  # many: the end of the name is looked at before the pattern
            if not entry.name.endswith(".tmp") or not fnmatch.fnmatchcase(entry.name, pattern):
                continue
            pid, _, started = entry.name.split(".")[-3].partition("-")
            if pid.isdigit() and is_gone(int(pid), started):
                with suppress(OSError):
                    os.unlink(entry.path)


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


def _sync_files(paths: Sequence[Path]) -> None:
    """Write many files to the disk side by side: it does so together, while one waits for the next."""
    if len(paths) <= FEW:
        for path in paths:
            sync(path, os.O_RDWR)
        return
    with ThreadPoolExecutor(FEW) as pool:
        list(pool.map(lambda path: sync(path, os.O_RDWR), paths))


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
