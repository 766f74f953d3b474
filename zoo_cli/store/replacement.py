"""Results of many files that replace older ones: made beside them, and moved into their place once all are there.

A result is made in a hidden folder beside its place. When it is complete, that folder is renamed to `.NAME.ready`: from
this moment on it is the result, and whoever comes next, a reader too, moves its files into their place before anything
else. Several processes may do so together: every move is right, whoever makes it. No lease is needed; processes that
make the same result share a folder, or each makes the same bytes.
"""

import errno
import glob
import os
import secrets
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Concatenate, ParamSpec, Self, TypeVar

from zoo_cli.errors import UsageError, ZooError
from zoo_cli.store import commits, files
from zoo_cli.store.commits import BESIDE, sync, write_error
from zoo_cli.store.writers import Writer, is_gone

T = TypeVar("T")
P = ParamSpec("P")

LIST = ".swap.json"
"""In a complete result: where its files go, and which files of the old one are removed."""
READY, DONE = ".ready", ".done"
SHARED = "shared.0-0.0"
"""In the name of an unfinished result, instead of the process that began it: several jobs make it."""
DEPTH = 3
"""A path of parts is at most so deep below the place of its result, the place itself counted."""
ATTEMPTS = 10
DIGITS = 10
"""Of an identity, in the names of files."""


@dataclass(frozen=True)
class Replacement:
    """A result in the making: `new`, the folder in which it is made, will replace what is at `place`.

    `identity`: a digest of all that the result depends on; the same command goes on with an unfinished one of it.
    """

    place: Path
    identity: str
    new: Path

    @classmethod
    def begin(cls, place: Path, identity: str, folders: Iterable[str] = ("",), *, is_shared: bool = False) -> Self:
        """Make the new folder with its `folders`, or go on with an unfinished one of the same identity.

        `is_shared`: its name has no process in it, so that jobs which begin at the same time have the same one. Raises
        UsageError for a place that nothing can be moved to.
        """
        settle(place)
        real, identity = _real(place), identity[:DIGITS]
        if real.is_dir() and real.stat().st_dev != real.parent.stat().st_dev:
            raise UsageError(
                f"{place} is a file system of its own: nothing can be made beside it to replace it",
                "remove what is in it first, or use a folder inside another file system",
            )
        try:
            unfinished = [new for new in _unfinished(real) if _parse(new)[0] == identity]
            writer = SHARED if is_shared else f"{Writer.current().token}.{secrets.token_hex(2)}"
            name = f".{real.name}.{identity}.{writer}{BESIDE}"
            new = min(unfinished, default=real.with_name(name))
            for folder in folders:
                (new / folder).mkdir(parents=True, exist_ok=True)
                commits.remove_leftovers(new / folder)
        except OSError as error:
            raise write_error(place, error) from None
        return cls(place, identity, new)

    def path(self, final: Path) -> Path:
        """Where the file that belongs at `final` is made."""
        return self.new / final.relative_to(self.place)

    @property
    def is_taken(self) -> bool:
        """Whether another process, which made the same result, has brought it into its place."""
        return not self.new.exists()

    def keep(self, find_current: Callable[[], set[Path]]) -> set[Path]:
        """The current parts of an unfinished result, by their final paths; others, of a changed task, are removed."""
        listed = {self.place / path.relative_to(self.new) for path in _files(self.new) if path.match("part-*.parquet")}
        current = find_current()  # after the others are listed: another process may be adding some
        for path in listed - current:
            self.path(path).unlink(missing_ok=True)
        return current

    def write(self, work: Callable[[], None]) -> None:
        """Do work that writes to the new folder, unless another process has brought it into its place by now."""
        try:
            if not self.is_taken:
                work()
        except ZooError:
            if not self.is_taken:
                raise

    def discard(self) -> None:
        """Remove what has been made."""
        shutil.rmtree(self.new, ignore_errors=True)

    def swap(
        self, obsolete: Iterable[str] = (), *, targets: Mapping[str, str] | None = None, remember: bool = False
    ) -> None:
        """Bring the complete result into its place: every file of the new folder, by its path relative to it.

        `obsolete`: files of the old result that go, relative to the place. `targets`: the places of files that belong
        elsewhere, relative to the place. `remember`: so that the same command, interrupted later, does not make it
        again, until `forget`.
        """
        if self.is_taken:
            return
        names = [path.relative_to(self.new).as_posix() for path in sorted(_files(self.new))]
        moves = {name: (targets or {}).get(name, name) for name in names}
        remove = sorted(set(obsolete) - set(moves.values()))
        plan = {"moves": moves, "remove": remove, "done": self.identity if remember else None}
        self.write(lambda: files.write_sealed_json(self.new / LIST, plan))
        real = _real(self.place)
        try:
            while not self.is_taken:
                settle(self.place)
                try:
                    os.rename(self.new, _ready(real))
                except FileNotFoundError:
                    break
                except OSError as error:
                    if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                        raise
                    continue
                sync(real.parent, os.O_RDONLY)
            settle(self.place)
            _remove_abandoned(real, self.identity)
        except OSError as error:
            raise write_error(self.place, error) from None


def commit(
    new: Replacement | None,
    final: Path,
    write: Callable[Concatenate[Path, P], None],
    *arguments: P.args,
    **options: P.kwargs,
) -> None:
    """Write the file that belongs at `final`: in its place or, for a result that replaces another, beside it."""
    if new is None:
        write(final, *arguments, **options)
    else:
        new.write(lambda: write(new.path(final), *arguments, **options))


def is_done(place: Path, identity: str) -> bool:
    """Whether the interrupted command that makes this result has brought it into its place already."""
    settle(place)
    return _done(_real(place), identity).exists()


def unfinished_bytes(place: Path) -> int:
    """The bytes of unfinished results that would replace the one at a place."""
    return sum(path.stat().st_size for new in _unfinished(_real(place)) for path in _files(new))


def has_mark(place: Path) -> bool:
    """Whether an interrupted command has replaced the result at a place, whatever its identity."""
    return bool(_beside(_real(place), DONE))


def forget(places: Iterable[Path]) -> None:
    """The command that made these results has ended: it makes them again when it is run again."""
    for place in map(_real, places):
        for mark in _beside(place, DONE):
            mark.unlink(missing_ok=True)


def settle(path: Path) -> None:
    """Bring a complete result whose swap was interrupted into its place, if it covers this path."""
    for place in (path, *path.parents)[:DEPTH]:
        place = _real(place)
        ready = _ready(place)
        if ready.exists():
            try:
                _finish(place, ready)
            except OSError as error:
                raise write_error(place, error) from None


def read_whole(folder: Path, read: Callable[[], T]) -> T:
    """What a function reads of a folder, of one result: read again where another one came into its place meanwhile."""
    for attempt in range(ATTEMPTS):
        settle(folder)
        before = _stamps(folder)
        try:
            value = read()
        except ZooError:
            if attempt + 1 < ATTEMPTS and _is_replaced(folder, before):
                continue
            raise
        if not _is_replaced(folder, before):
            return value
    raise ZooError(f"{folder} is being overwritten again and again", "run the command when that has ended")


def parts_below(folder: Path) -> list[Path]:
    """The parts in a folder, and in those of its views."""
    return [path for pattern in ("part-*.parquet", "view=*/part-*.parquet") for path in sorted(folder.glob(pattern))]


def is_hidden(path: Path, folder: Path) -> bool:
    """Whether a path below a folder is, or is in, something hidden, such as a result in the making."""
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def _finish(place: Path, ready: Path) -> None:
    """Move the files of a complete result into its place. Another process may be doing the same."""
    plan_file = ready / LIST
    if plan_file.exists():
        with suppress(UsageError):  # another process has just finished
            plan = files.read_json(plan_file)
            for name in plan["remove"]:
                # Read again: a process that slept here must not remove files of a later result.
                if files.read_json(plan_file) == plan:
                    (place / name).unlink(missing_ok=True)
            folders = {place}
            for name, target in plan["moves"].items():
                final = place / target
                final.parent.mkdir(parents=True, exist_ok=True)
                with suppress(FileNotFoundError):  # it is there
                    os.replace(ready / name, final)
                folders.add(final.parent)
            for folder in folders:
                sync(folder, os.O_RDONLY)
            if plan["done"]:
                _done(place, plan["done"]).touch()
            plan_file.unlink(missing_ok=True)
    for folder in sorted(commits.folders_below(ready), reverse=True):
        with suppress(FileNotFoundError):
            for path in folder.iterdir():
                if commits.is_leftover(path):  # of a process that was making the same
                    path.unlink(missing_ok=True)
        with suppress(FileNotFoundError, OSError):
            folder.rmdir()


def _is_replaced(folder: Path, before: Mapping[Path, tuple[int, int]]) -> bool:
    settle(folder)
    after = _stamps(folder)
    return any(after.get(path) != stamp for path, stamp in before.items())


def _stamps(folder: Path) -> dict[Path, tuple[int, int]]:
    stamps = {}
    for path in _files(folder):
        with suppress(FileNotFoundError):
            status = path.stat()
            stamps[path] = status.st_ino, status.st_mtime_ns
    return stamps


def _files(folder: Path) -> Iterator[Path]:
    """The files below a folder that are not hidden."""
    for name, _, names in os.walk(folder):
        path = Path(name)
        if not is_hidden(path, folder):
            yield from (path / each for each in names if not each.startswith("."))


def _remove_abandoned(place: Path, identity: str) -> None:
    """Remove what overwrites that were given up have left: other unfinished results whose process has ended."""
    for new in _unfinished(place):
        _, where, pid, started = _parse(new)
        if where == Writer.current().place and pid.isdigit() and is_gone(int(pid), started):
            shutil.rmtree(new, ignore_errors=True)
    for mark in _beside(place, DONE):
        if mark != _done(place, identity):
            mark.unlink(missing_ok=True)


def _unfinished(place: Path) -> list[Path]:
    return sorted(new for new in _beside(place, BESIDE) if _parse(new)[0])


def _parse(new: Path) -> tuple[str, str, str, str]:
    """Its identity, and the place, pid and start of the process that began it; empty where the name is another."""
    parts = new.name.removesuffix(BESIDE).rsplit(".", 4)
    if len(parts) < 5:
        return "", "", "", ""
    pid, _, started = parts[3].partition("-")
    return parts[1], parts[2], pid, started


def _beside(place: Path, ending: str) -> Collection[Path]:
    return list(place.parent.glob(f".{glob.escape(place.name)}.*{ending}"))


def _ready(place: Path) -> Path:
    return place.with_name(f".{place.name}{READY}") if place.name else place / READY


def _done(place: Path, identity: str) -> Path:
    return place.with_name(f".{place.name}.{identity[:DIGITS]}{DONE}")


def _real(place: Path) -> Path:
    """The folder itself where the place is a link to it."""
    return Path(os.path.realpath(place)) if place.is_symlink() else place
