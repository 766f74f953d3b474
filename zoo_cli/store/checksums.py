"""SHA256SUMS: the digests of the files of a run, in the format of coreutils. It is written last, and readers check it.

`cd runs/NAME && sha256sum -c SHA256SUMS` checks a run without zoo.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from zoo_cli import console
from zoo_cli.errors import ContractError
from zoo_cli.store.commits import replacing

SUMS = "SHA256SUMS"
RECORD = "run.json"
PREDICTIONS = "predictions.parquet"
IMAGES = "images.sha256"
"""The digests of the images that a student was trained on, see `image_lists`; runs of earlier versions lack it."""
DOMAINS = "domains"
"""The folder of what an expert of several domains has for each: predictions and class means."""
MEANS = "source_means.parquet"
"""The class means of an expert's training images, see `schemas.SOURCE_MEANS`."""
RUN_FILES = (PREDICTIONS, "model.safetensors", "config.json", "README.md", "metrics.jsonl", "sweep.json", IMAGES, MEANS)
"""The files of a run beside its record."""
WRITTEN_LAST = "written_last"
"""The key of run.json that names the file without which a run is not finished; runs of earlier versions lack it."""

_checked: dict[Path, tuple[int, ...]] = {}
_warned: console.Console | None = None


def hash_file(path: Path) -> str:
    """The sha256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_sums(folder: Path, names: Iterable[str]) -> None:
    """Write the digests of files of a folder, by their paths relative to it."""
    write_digests(folder, {name: hash_file(folder / name) for name in names})


def write_digests(folder: Path, digests: Mapping[str, str]) -> None:
    """Write digests by the paths of their files relative to a folder."""
    lines = []
    for name, digest in sorted(digests.items()):
        escaped = name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
        lines.append(f"{'' if escaped == name else chr(92)}{digest}  {escaped}\n")
    with replacing(folder / SUMS) as temporary:
        temporary.write_text("".join(lines), encoding="utf-8")


def read_sums(folder: Path) -> dict[str, str]:
    """The digests that a folder's SHA256SUMS lists, by file. Raises ContractError for another format."""
    sums = {}
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        lines = ["not text"]
    for line in lines:
        match = re.fullmatch(r"(\\?)([0-9a-f]{64}) [ *](.+)", line)
        if match is None:
            raise ContractError(f"{folder / SUMS} is damaged", "restore it, or make the run again with --overwrite")
        name = match[3]
        if match[1]:
            name = re.sub(r"\\(.)", lambda escape: {"n": "\n", "r": "\r"}.get(escape[1], escape[1]), name)
        sums[name] = match[2]
    return sums


def is_finished(folder: Path) -> bool:
    """Whether the folder of a run holds a whole student, or any folder predictions without a run."""
    if not (folder / PREDICTIONS).is_file() and not any(folder.glob(f"{DOMAINS}/*/{PREDICTIONS}")):
        return False
    return (folder / SUMS).is_file() or not needs_sums(folder)


def check_file(path: Path) -> None:
    """Raise ContractError if a file has another digest than the SHA256SUMS beside it lists.

    A run of an earlier version has none: one warning says so.
    """
    folder = path.parent
    try:
        stat = path.stat()
        listed = (folder / SUMS).is_file()
    except OSError:
        return  # the reader reports it
    if not listed:
        if path.name in (RECORD, *RUN_FILES) and (folder / RECORD).is_file() and (folder / PREDICTIONS).is_file():
            _warn_of_unchecked(folder)
        return
    state = (stat.st_ino, stat.st_size, stat.st_mtime_ns, (folder / SUMS).stat().st_mtime_ns)
    if _checked.get(path) == state:
        return
    expected = read_sums(folder).get(path.name)
    if expected is None and path.name in (RECORD, *RUN_FILES) and (folder / RECORD).is_file():
        raise ContractError(f"{folder / SUMS} does not list {path.name}", "make the run again with --overwrite")
    if expected is not None and hash_file(path) != expected:
        raise damage_error(path)
    _checked[path] = state


def check_listed(folder: Path, name: str) -> None:
    """Raise ContractError if a file that the SHA256SUMS of a folder lists is missing or has another digest.

    Unlike `check_file` for files in folders below, too.
    """
    path = folder / name
    if not path.is_file():
        raise ContractError(f"{path} is missing: {SUMS} lists it", "restore it, or make it again with --overwrite")
    if path.parent == folder:
        check_file(path)
    elif hash_file(path) != read_sums(folder)[name]:
        raise damage_error(path)


def damage_error(path: Path) -> ContractError:
    """The error for a file that differs from its digest."""
    return ContractError(
        f"{path} is damaged: it differs from its digest in {SUMS}", "restore it, or make it again with --overwrite"
    )


def needs_sums(folder: Path) -> bool:
    """Whether a run is of a version that writes SHA256SUMS."""
    try:
        return f'"{WRITTEN_LAST}"'.encode() in (folder / RECORD).read_bytes()
    except OSError:
        return False


def _warn_of_unchecked(folder: Path) -> None:
    global _warned
    if _warned is not console.current() and not needs_sums(folder):
        _warned = console.current()
        console.warn(f"{folder} has no {SUMS}, as runs of earlier versions: its files are not checked")
