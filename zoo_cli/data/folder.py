"""`folder:PATH`: one sub-folder a class, or a flat folder of images without labels.

Classes are the sub-folders in code-point order of their names; files and nested folders follow in the same order. A
class folder without images stays in the list, with a note: dropping it would shift the labels after it. Hidden names
(leading dot) are ignored. A link may point anywhere inside PATH and nowhere else.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from zoo_cli.data.samples import Data, Sample, located, resolve_path, shown, within
from zoo_cli.errors import ContractError, UsageError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".gif")
SPLITS = {"train", "training", "test", "testing", "val", "valid", "validation", "dev"}


def read(rest: str, root: Path) -> Data:
    """The images of a folder. Ids are paths relative to it, posix.

    Raises UsageError where the folder is missing, holds no image, or holds split folders; ContractError for a link
    that leaves it or a name that is not UTF-8.
    """
    top = resolve_path(rest, root)
    if not top.is_dir():
        raise UsageError(f"no folder {shown(str(top))}", "paths are relative to the workspace")
    real = os.path.realpath(top)
    entries = _entries(str(top), real)
    folders = [entry for entry in entries if entry.is_dir()]
    _refuse_splits(rest, folders, real)
    names = tuple(entry.name for entry in folders)
    empty = [entry.name for entry in folders if next(_images(entry.path, real, ()), None) is None]
    loose = [entry.name for entry in entries if _is_image(entry)]
    if len(empty) == len(folders) and (folders or not loose):
        raise UsageError(f"no image in {shown(str(top))}", f"it takes {' '.join(EXTENSIONS)}")

    def samples() -> Iterator[Sample]:
        if not names:
            yield from (_sample(path, top, root, None) for path in _images(str(top), real, ()))
        for label, name in enumerate(names):
            yield from (_sample(path, top, root, label) for path in _images(str(top / name), real, ()))

    notes = [f"class folder {shown(name)} of {rest} holds no image; it keeps its number" for name in empty]
    if folders and loose:
        notes.append(f"{len(loose)} images of {rest} lie in no class folder and are left out, e.g. {shown(loose[0])}")
    return Data(names or None, samples, notes=tuple(notes))


def _sample(path: str, top: Path, root: Path, label: int | None) -> Sample:
    return Sample(Path(path).relative_to(top).as_posix(), located(Path(path), root), None, label, None)


def _images(folder: str, real: str, above: tuple[str, ...]) -> Iterator[str]:
    """The image files below a folder, depth first, each folder sorted by name."""
    here = os.path.realpath(folder)
    if here in above:
        raise ContractError(f"a link inside {shown(folder)} leads back to a folder above it", "remove the link")
    for entry in _entries(folder, real):
        if entry.is_dir():
            yield from _images(entry.path, real, (*above, here))
        elif _is_image(entry):
            yield entry.path


def _entries(folder: str, real: str) -> list[os.DirEntry[str]]:
    """What a folder holds, sorted by name, hidden names left out, every link checked."""
    try:
        with os.scandir(folder) as scan:
            entries = sorted((entry for entry in scan if not entry.name.startswith(".")), key=lambda entry: entry.name)
    except OSError as error:
        raise UsageError(f"cannot read folder {shown(folder)}: {error.strerror}") from None
    for entry in entries:
        if not _is_text(entry.name):
            raise ContractError(f"a name that is not UTF-8: {entry.name!a} (in {shown(folder)})", "rename it")
        if entry.is_symlink() and not within(entry.path, real):
            raise ContractError(
                f"link {shown(entry.path)} leaves the data folder", "copy the images, or name the folder it leads to"
            )
    return entries


def _is_image(entry: os.DirEntry[str]) -> bool:
    return entry.name.lower().endswith(EXTENSIONS) and not entry.is_dir()


def _is_text(name: str) -> bool:
    """Bytes that are not UTF-8 come from the system as lone surrogates, which no file of ours can hold."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def _refuse_splits(rest: str, folders: list[os.DirEntry[str]], real: str) -> None:
    """`pets/` with `train/cat` and `test/cat` would become the classes "test" and "train"."""
    names = [entry.name for entry in folders]
    if folders and all(name.lower() in SPLITS for name in names):
        inner = [any(entry.is_dir() for entry in _entries(folder.path, real)) for folder in folders]
        if all(inner):
            raise UsageError(
                f"folder:{rest} holds splits ({', '.join(names)}), not classes",
                f"write folder:{Path(rest).as_posix()}/{names[-1]}",
            )
