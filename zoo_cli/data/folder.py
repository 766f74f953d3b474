"""`folder:PATH`: one sub-folder per class, or a flat folder of images without labels.

Classes are the sub-folders in code-point order of their names; files and nested folders follow the same order. A class
folder without images stays in the list, with a note: dropping it would shift the labels after it. Hidden names (leading
dot) are ignored. Links may only point inside PATH.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from zoo_cli.data.samples import Data, Sample, is_within, quote, resolve_path, sample_path
from zoo_cli.errors import ContractError, UsageError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".gif")
SPLITS = {"train", "training", "test", "testing", "val", "valid", "validation", "dev"}


def read_folder(rest: str, root: Path) -> Data:
    """The images of a folder. Ids are posix paths relative to it.

    Raises UsageError if the folder is missing, has no images, or has one folder per split; ContractError for a link
    that leaves it or a name that is not UTF-8.
    """
    top = resolve_path(rest, root)
    if not top.is_dir():
        raise UsageError(f"no folder {quote(str(top))}", "paths are relative to the workspace")
    real = os.path.realpath(top)
    entries = _list_entries(str(top), real)
    folders = [entry for entry in entries if entry.is_dir()]
    _refuse_splits(rest, folders, real)
    names = tuple(entry.name for entry in folders)
    empty = [entry.name for entry in folders if next(_images(entry.path, real, ()), None) is None]
    loose = [entry.name for entry in entries if _is_image(entry)]
    if len(empty) == len(folders) and (folders or not loose):
        raise UsageError(f"no image in {quote(str(top))}", f"images end in {' '.join(EXTENSIONS)}")

    def samples() -> Iterator[Sample]:
        if not names:
            yield from (_sample(path, top, root, None) for path in _images(str(top), real, ()))
        for label, name in enumerate(names):
            yield from (_sample(path, top, root, label) for path in _images(str(top / name), real, ()))

    notes = [f"class folder {quote(name)} of {rest} has no images; it keeps its number" for name in empty]
    if folders and loose:
        notes.append(f"{len(loose)} images of {rest} are outside class folders and left out, e.g. {quote(loose[0])}")
    return Data(names or None, samples, notes=tuple(notes))


def _sample(path: str, top: Path, root: Path, label: int | None) -> Sample:
    return Sample(Path(path).relative_to(top).as_posix(), sample_path(Path(path), root), None, label)


def _images(folder: str, real: str, above: tuple[str, ...]) -> Iterator[str]:
    """The image files below a folder, depth first, each folder sorted by name."""
    here = os.path.realpath(folder)
    if here in above:
        raise ContractError(f"a link inside {quote(folder)} leads back to a folder above it", "remove the link")
    for entry in _list_entries(folder, real):
        if entry.is_dir():
            yield from _images(entry.path, real, (*above, here))
        elif _is_image(entry):
            yield entry.path


def _list_entries(folder: str, real: str) -> list[os.DirEntry[str]]:
    """The entries of a folder sorted by name, without hidden ones; every link is checked."""
    try:
        with os.scandir(folder) as scan:
            entries = sorted((entry for entry in scan if not entry.name.startswith(".")), key=lambda entry: entry.name)
    except OSError as error:
        raise UsageError(f"cannot read folder {quote(folder)}: {error.strerror}") from None
    for entry in entries:
        if not _is_text(entry.name):
            raise ContractError(f"a name that is not UTF-8: {entry.name!a} (in {quote(folder)})", "rename it")
        if entry.is_symlink() and not is_within(entry.path, real):
            raise ContractError(
                f"link {quote(entry.path)} leaves the data folder", "copy the images, or name the folder it leads to"
            )
    return entries


def _is_image(entry: os.DirEntry[str]) -> bool:
    return entry.name.lower().endswith(EXTENSIONS) and not entry.is_dir()


def _is_text(name: str) -> bool:
    """Whether a name is UTF-8: other bytes come from the system as lone surrogates, which our files cannot store."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def _refuse_splits(rest: str, folders: list[os.DirEntry[str]], real: str) -> None:
    """Raise UsageError for split folders: `pets/train/cat`, `pets/test/cat` would give the classes test and train."""
    names = [entry.name for entry in folders]
    if folders and all(name.lower() in SPLITS for name in names):
        inner = [any(entry.is_dir() for entry in _list_entries(folder.path, real)) for folder in folders]
        if all(inner):
            raise UsageError(
                f"folder:{rest} contains splits ({', '.join(names)}), not classes",
                f"write folder:{Path(rest).as_posix()}/{names[-1]}",
            )
