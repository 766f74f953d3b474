"""Files behind a URI that `pyarrow.fs.FileSystem.from_uri` opens, such as s3://bucket/train/*.parquet."""

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import pyarrow as pa
from pyarrow import fs

from zoo_cli.errors import UsageError, ZooError
from zoo_cli.spec_paths import is_uri

PATTERN = re.compile(r"[*\[]")
GONE = (FileNotFoundError, NotADirectoryError)


@dataclass(frozen=True, order=True)
class RemoteFile:
    """A file by its URI, whose query holds options of the file system, such as ?endpoint_override=HOST."""

    uri: str

    def __str__(self) -> str:
        return self.uri

    @property
    def path(self) -> PurePosixPath:
        """Its path below the bucket or host."""
        return PurePosixPath(unquote(urlsplit(self.uri).path) or "/")

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.path.name

    @property
    def suffix(self) -> str:
        """The ending of its name."""
        return self.path.suffix

    def open(self) -> pa.NativeFile:
        """Open it for reading. Raises OSError."""
        filesystem, base = _open_root(self.uri)
        return filesystem.open_input_file(_join(base, self.path))


File = Path | RemoteFile


def resolve_file(root: Path, name: str) -> File:
    """The file that a manifest names: by its URI, or relative to the workspace."""
    return RemoteFile(name) if is_uri(name) else root / name


def read_error(file: File, error: BaseException) -> ZooError | None:
    """The error for a remote file that cannot be read, or not to its end; None for any other file or error."""
    if not isinstance(file, RemoteFile) or not isinstance(error, OSError):
        return None
    if isinstance(error, GONE):
        return UsageError(f"no file {file}", "check its URI, and the permission to read it")
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return ZooError(
        f"{file} cannot be read: {reason}",
        "check the connection and the permission; what is finished is kept, and the same command goes on",
    )


def match_uris(pattern: str) -> list[RemoteFile]:
    """The files that a URI or pattern names, sorted. `**` crosses folders.

    Raises UsageError for a URI that no file system opens, ZooError where it cannot be listed.
    """
    return [file for file, _ in list_uris(pattern)]


def list_uris(pattern: str) -> list[tuple[RemoteFile, int]]:
    """As `match_uris`, each file with its size in bytes."""
    filesystem, base = _open_root(pattern)
    written = [part for part in urlsplit(pattern).path.split("/") if part]
    literal = next((number for number, part in enumerate(written) if PATTERN.search(part)), len(written))
    parts = [unquote(part) for part in written]  # an escaped bracket is one
    folder = PurePosixPath("/", *parts[:literal])
    try:
        if literal == len(parts):
            infos = filesystem.get_file_info([_join(base, folder)])
        else:
            recursive = len(parts) - literal > 1 or "**" in parts[literal]
            selector = fs.FileSelector(_join(base, folder), recursive=recursive, allow_not_found=True)
            infos = filesystem.get_file_info(selector)
    except (OSError, pa.ArrowException) as error:
        raise read_error(RemoteFile(pattern), error) or ZooError(
            f"{pattern} cannot be listed: {error}", "check its URI"
        ) from None
    start = _join(base, folder)
    files = []
    for info in infos:
        inner = PurePosixPath(info.path.removeprefix(start).lstrip("/")).parts
        if info.is_file and (literal == len(parts) or _matches(inner, parts[literal:])):
            files.append((_with_path(pattern, PurePosixPath(folder, *inner)), int(info.size or 0)))
    return sorted(files)


def _matches(names: Sequence[str], patterns: Sequence[str]) -> bool:
    """Whether the parts of a path match those of a pattern; as in a shell, `*` leaves out hidden names."""
    if not patterns:
        return not names
    if patterns[0] == "**":
        return any(_matches(names[start:], patterns[1:]) for start in range(len(names) + 1))
    if not names or (names[0].startswith(".") and not patterns[0].startswith(".")):
        return False
    return fnmatchcase(names[0], patterns[0]) and _matches(names[1:], patterns[1:])


def _with_path(uri: str, path: PurePosixPath) -> RemoteFile:
    return RemoteFile(urlsplit(uri)._replace(path=quote(str(path)), fragment="").geturl())


def _join(base: str, path: PurePosixPath) -> str:
    """A path as a file system names it, whose root is at `base`: the bucket, or / of a host."""
    return f"{base.rstrip('/')}/{str(path).lstrip('/')}".rstrip("/") or "/"


def _open_root(uri: str) -> tuple[Any, str]:
    """The file system of a URI, and the path of its root there."""
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        raise UsageError(f"{uri} is not a URI: {error}", "write SCHEME://PLACE/PATH") from None
    if parts.password is not None:
        raise UsageError(
            f"the URI of {parts.hostname} holds a password, which the manifest would keep",
            "set the variables of its file system instead, such as AWS_SECRET_ACCESS_KEY",
        )
    # Built by hand, since urllib leaves out the // of a scheme that it does not know.
    return _connect(f"{parts.scheme}://{parts.netloc}/" + (f"?{parts.query}" if parts.query else ""))


@functools.lru_cache(maxsize=16)
def _connect(root: str) -> tuple[Any, str]:
    try:
        filesystem, base = fs.FileSystem.from_uri(root)
    except (pa.ArrowException, OSError, ImportError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UsageError(f"{root} cannot be opened: {reason}", "see pyarrow.fs.FileSystem.from_uri") from None
    return filesystem, base
