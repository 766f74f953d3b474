"""A lease of the folder of a run: one process writes it at a time, also where several machines share the folder.

The lease in force is the file `.lease-N` with the greatest N. It is made by linking a whole file to a name that must
not exist yet, which is atomic on NFS too; a stale one is taken over by making N + 1. A lease is stale if its process
has certainly ended, or, where that cannot be known, if it gave no sign for minutes by the clock of the file server.
"""

import json
import os
import random
import re
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from zoo_cli import console, progress
from zoo_cli.errors import ContractError, UsageError, ZooError
from zoo_cli.quantities import duration
from zoo_cli.store.commits import remove_leftovers, sync, write_error
from zoo_cli.store.json_text import parse_json
from zoo_cli.store.records import build_record
from zoo_cli.store.writers import Writer

BEAT_SECONDS = 30.0
STALE_SECONDS = 300.0
POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Holder:
    """What a lease says: who holds it, since when in seconds of the epoch, and a digest of the run it is for."""

    writer: Writer
    since: float
    run: str

    def __str__(self) -> str:
        age = duration(max(0.0, time.time() - self.since))
        return f"process {self.writer.pid} on {self.writer.host} for {age}"


@dataclass(frozen=True)
class _Document(Writer):
    """The content of the file of a lease. `mark`: random, so that no two leases have the same bytes."""

    since: float
    run: str
    mark: str = ""


@dataclass(frozen=True)
class _Found:
    """A lease that is there. `holder`: None if it cannot be read. `content`: its bytes."""

    path: Path
    number: int
    holder: Holder | None
    content: bytes


class LeaseLost(ZooError):
    """Another process has taken the lease of a run over."""

    def __init__(self, folder: Path) -> None:
        super().__init__(
            f"{folder}: another process has taken this run over, because this one gave no sign for too long",
            "the same command waits for it",
        )


@dataclass
class Lease:
    """The lease of a folder that this process holds.

    `sole`: no other process can be writing; False after a holder that gave no sign, but may still run.
    """

    folder: Path
    path: Path
    content: bytes
    sole: bool
    last_beat: float
    thread: int
    made_folder: bool = False

    def beat(self) -> None:
        """Give a sign, at most every BEAT_SECONDS. Raises LeaseLost."""
        if time.monotonic() - self.last_beat >= BEAT_SECONDS:
            self.confirm()

    def confirm(self) -> None:
        """Give a sign. Raises LeaseLost if another process has taken over."""
        newest = _newest(self.folder)
        if newest is None or newest.path != self.path or newest.content != self.content:
            raise LeaseLost(self.folder)
        self.last_beat = time.monotonic()
        try:
            os.utime(self.path)  # without times: by the clock of the file server
        except OSError as error:
            raise write_error(self.path, error) from None

    def release(self) -> None:
        """Let others take the folder; one that this process has not filled is removed."""
        _held.remove(self)
        with suppress(OSError):
            if self.path.read_bytes() == self.content:
                self.path.unlink()
            if self.made_folder:
                self.folder.rmdir()


_held: list[Lease] = []


def take(folder: Path, run: str, wait: float | None) -> Lease:
    """The lease of a folder for a run, named by a digest; the folder is made if it is missing.

    A holder with the same run is waited for, `wait` seconds at most, None: until it ends. Raises UsageError at once if
    the holder makes another run, ZooError if it is still there after `wait` seconds.
    """
    start = time.monotonic()
    content = json.dumps({**asdict(Writer.current()), "since": time.time(), "run": run, "mark": secrets.token_hex(8)})
    announced = False
    try:
        made_folder = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder)
        while True:
            current = _newest(folder)
            if current is None or _is_stale(current):
                lease = _try_to_take(folder, content.encode(), current)
                if lease is not None:
                    lease.made_folder = made_folder
                    _held.append(lease)
                    if beat_all not in progress.watchers:
                        progress.watchers.append(beat_all)
                    return lease
                time.sleep(random.uniform(0, POLL_SECONDS))
                continue
            _refuse_other_run(folder, current, run)
            if wait is not None and time.monotonic() - start >= wait:
                raise ZooError(
                    f"{folder} is being made by {current.holder or 'another process'}",
                    "run the same command later, or with a longer --wait",
                )
            if not announced:
                console.say(f"waiting for {current.holder or 'another process'}, which makes {folder}")
                announced = True
            time.sleep(POLL_SECONDS)
    except OSError as error:
        raise write_error(folder, error) from None


def check_free(folder: Path, run: str) -> None:
    """Raise UsageError if another process makes another run in the folder. Nothing is written."""
    current = _newest(folder)
    if current is not None and not (current.holder and current.holder.writer.is_provably_gone()):
        _refuse_other_run(folder, current, run)


def has_lease(folder: Path) -> bool:
    """Whether a folder has a lease, in force or stale."""
    return _newest(folder) is not None


def describe_holder(folder: Path) -> str:
    """The process that makes the run in a folder, unless it has certainly ended; empty without one."""
    current = _newest(folder)
    if current is None or (current.holder is not None and current.holder.writer.is_provably_gone()):
        return ""
    return str(current.holder or "another process")


def find_holder(folder: Path) -> tuple[str, bool]:
    """Who has the lease of a folder, as a phrase, and whether that process may still be running; "" without a lease."""
    current = _newest(folder)
    if current is None:
        return "", False
    try:
        stale = _is_stale(current)
    except OSError:  # a folder that cannot be written
        stale = current.holder is not None and current.holder.writer.is_provably_gone()
    return str(current.holder or "another process"), not stale


def held_for(path: Path) -> Lease | None:
    """The lease of this thread that covers a path: of a folder above it, or of the one that it will replace."""
    places, own = {path, *path.parents}, threading.get_ident()
    held = (lease for lease in _held if lease.thread == own)
    return next((lease for lease in held if {lease.folder, staging(lease.folder)} & places), None)


def staging(folder: Path) -> Path:
    """Where the run that will replace the one in a folder is made: beside it, as deep as it."""
    return folder.with_name(f".{folder.name}.new")


def beat_all() -> None:
    """Give a sign for every lease of this process. Raises LeaseLost."""
    for lease in _held:
        lease.beat()


def _refuse_other_run(folder: Path, current: _Found, run: str) -> None:
    if current.holder is not None and current.holder.run != run:
        raise UsageError(
            f"{folder} is being made by {current.holder}, with other options or inputs",
            "choose another --name, or wait until that command has ended",
        )


def _newest(folder: Path) -> _Found | None:
    """The lease in force."""
    return max(_leases(folder), key=lambda lease: lease.number, default=None)


def _leases(folder: Path) -> Iterator[_Found]:
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return
    for name in names:
        if match := re.fullmatch(r"\.lease-([0-9]{1,9})", name):
            path = folder / name
            with suppress(FileNotFoundError):  # released by now
                content = path.read_bytes()
                yield _Found(path, int(match[1]), _parse(content), content)


def _parse(content: bytes) -> Holder | None:
    try:
        lease = build_record(_Document, parse_json(content), "a lease")
    except (ValueError, ContractError):
        return None
    writer = Writer(**{field.name: getattr(lease, field.name) for field in fields(Writer)})
    return Holder(writer, lease.since, lease.run)


def _is_stale(lease: _Found) -> bool:
    own = Writer.current()
    if lease.holder is not None and lease.holder.writer == own:
        return lease.content not in [held.content for held in _held]
    if lease.holder is not None and lease.holder.writer.place == own.place:
        return lease.holder.writer.is_provably_gone()
    # Both times are those of the file server: clocks of machines differ.
    probe = lease.path.with_name(f".probe.{own.token}.{secrets.token_hex(4)}.tmp")
    probe.touch(exist_ok=False)
    try:
        return probe.stat().st_mtime - lease.path.stat().st_mtime > STALE_SECONDS
    except FileNotFoundError:
        return False
    finally:
        probe.unlink(missing_ok=True)


def _try_to_take(folder: Path, content: bytes, stale: _Found | None) -> Lease | None:
    """Make the next lease after a stale one, or the first; None if another process was faster."""
    path = folder / f".lease-{1 if stale is None else stale.number + 1}"
    if not _make_exclusively(path, content):
        return None
    # Two processes that saw different leases may both come here: each looks after it has made its own.
    others = [lease for lease in _leases(folder) if lease.path != path]
    if any(stale is None or lease.content != stale.content for lease in others):
        path.unlink(missing_ok=True)
        return None
    if stale is not None:
        stale.path.unlink(missing_ok=True)
    sole = stale is None or (stale.holder is not None and stale.holder.writer.is_provably_gone())
    return Lease(folder, path, content, sole, time.monotonic(), threading.get_ident())


def _make_exclusively(path: Path, content: bytes) -> bool:
    """Make a file that is not there yet, whole; whether this process has made it."""
    temporary = path.with_name(f".{path.name}.{Writer.current().token}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as stream:
            stream.write(content)
        sync(temporary, os.O_RDWR)
        try:
            os.link(temporary, path)
        except FileExistsError:
            # The answer of a file server may be lost, and the request repeated.
            return temporary.stat().st_nlink > 1
        except OSError:
            return _create(path, content)  # no hard links here
        return True
    finally:
        temporary.unlink(missing_ok=True)


def _create(path: Path, content: bytes) -> bool:
    try:
        with path.open("xb") as stream:
            stream.write(content)
    except FileExistsError:
        return False
    return True
