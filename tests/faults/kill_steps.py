"""The steps of a command that change a disk, counted, and a kill before one of them.

A step is an open for writing, a write, an fsync, a rename or replace, a link, an unlink, a mkdir, a rmdir, a utime or a
chmod below a folder. Parquet is written through files of Python, so that each of its writes is a step too; the first
write of any other file is halved, so that it can be torn.
"""

import builtins
import hashlib
import io
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

CHANGES = {
    "os.rename": "replace",
    "os.link": "link",
    "os.remove": "unlink",
    "os.mkdir": "mkdir",
    "os.rmdir": "rmdir",
    "os.symlink": "link",
    "os.truncate": "write",
    "os.utime": "utime",
    "os.chmod": "chmod",
}
"""The events of the interpreter that announce a change, by the name of its step."""
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Steps:
    """Counts the steps below `root`, and kills this process before the one of number `deadly`.

    `log`: a file that gets a line for each step: its kind, its path, and for a replace the digest of what comes there.
    """

    def __init__(self, root: Path, deadly: int | None, log: Path | None) -> None:
        self.root = str(root.resolve())
        self.left = deadly
        self.log = None if log is None else os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.write_to_log = os.write
        self.counting = True

    def take(self, kind: str, path: str, digest: str = "") -> None:
        """Count a step, or kill this process before it."""
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
        if self.log is not None:
            self.write_to_log(self.log, f"{kind}\t{path.removeprefix(self.root + '/')}\t{digest}\n".encode())

    def covers(self, path: object) -> bool:
        """Whether a path is below the root; a relative one is, as it comes from the removal of a tree there."""
        if not isinstance(path, str | bytes | os.PathLike):
            return False
        text = os.fsdecode(path)
        return not os.path.isabs(text) or os.path.realpath(os.path.dirname(text)).startswith(self.root)

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        """An audit hook of the interpreter."""
        if not self.counting or (event != "open" and event not in CHANGES):
            return
        self.counting = False  # what follows opens files of its own
        try:
            if event == "open":
                path, _, flags = arguments
                if flags & WRITING and self.covers(path):
                    self.take("open", os.fsdecode(path))
            elif self.covers(arguments[0]):
                target = os.fsdecode(arguments[1] if event in ("os.rename", "os.link") else arguments[0])
                source = os.fsdecode(arguments[0])
                is_file = event == "os.rename" and self.log is not None and os.path.isfile(source)
                self.take(CHANGES[event], target, _digest(source) if is_file else "")
        finally:
            self.counting = True


def arm(root: str, deadly: int | None, log: str | None = None) -> None:
    """Count the steps of this process from now on, and kill it before one of them."""
    steps = Steps(Path(root), deadly, None if log is None else Path(log))
    sync, write, open_file = os.fsync, os.write, io.open

    class CountedFile(io.FileIO):
        whole = False
        torn = False

        def write(self, data: Any) -> int:
            steps.take("write", os.fsdecode(self.name))
            view = memoryview(data).cast("B")
            if not self.whole and not self.torn and len(view) > 1:
                self.torn = True
                view = view[: len(view) // 2]
            return super().write(view) or 0

    def fsync(handle: Any) -> None:
        steps.take("fsync", "")
        sync(handle)

    def write_handle(handle: int, data: Any) -> int:
        if handle > 2:
            steps.take("write", "")
        return write(handle, data)

    def counted_open(file: Any, mode: str = "r", buffering: int = -1, *arguments: Any, **options: Any) -> Any:
        if not set(mode) & set("wxa+") or not steps.covers(file):
            return open_file(file, mode, buffering, *arguments, **options)
        raw = CountedFile(file, mode.replace("b", "").replace("t", ""))
        if buffering == 0:
            return raw
        buffer = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return buffer if "b" in mode else io.TextIOWrapper(buffer, *arguments, **options)

    class CountedParquet(pq.ParquetWriter):  # type: ignore[misc]
        def __init__(self, where: Any, *arguments: Any, **options: Any) -> None:
            self.counted = CountedFile(where, "w")
            self.counted.whole = True
            super().__init__(self.counted, *arguments, **options)

        def close(self) -> None:
            super().close()
            self.counted.close()

    os.fsync, os.write = fsync, write_handle
    io.open = builtins.open = counted_open  # type: ignore[assignment]
    pq.ParquetWriter = pq.core.ParquetWriter = CountedParquet
    sys.addaudithook(steps.hear)


def _digest(path: str) -> str:
    handle = os.open(path, os.O_RDONLY)
    try:
        return hashlib.sha256(os.read(handle, os.fstat(handle).st_size)).hexdigest()
    finally:
        os.close(handle)
