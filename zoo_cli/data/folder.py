"""`folder:PATH`: one sub-folder per class, a flat folder of images without labels, or Hugging Face's imagefolder.

Classes are the sub-folders in code-point order of their names; files and nested folders follow the same order. A class
folder without images stays in the list, with a note: dropping it would shift the labels after it. Hidden names (leading
dot) and the folders of systems (`__MACOSX`) are ignored. A file is an image by its ending, or else by its content.
Links may only point inside PATH, unless the user lets them leave it.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from zoo_cli.data.class_labels import KEYS, choose_column, tidy_classes
from zoo_cli.data.folder_metadata import find_metadata
from zoo_cli.data.folder_tree import FolderTree
from zoo_cli.data.image_root import ImageRoot
from zoo_cli.data.image_table import ImageTable, read_image_table
from zoo_cli.data.samples import Data, Sample, resolve_path, sample_path, split_options
from zoo_cli.errors import UsageError
from zoo_cli.text_escapes import quote

_TRAIN = re.compile(r"(train|training)([ _-]?(set|images|data|split))?", re.IGNORECASE)
_OTHER = re.compile(r"(test|testing|val|valid|validation|dev|eval)([ _-]?(set|images|data|split))?", re.IGNORECASE)


def read_folder(rest: str, root: Path, follow_links: bool = False) -> Data:
    """The images of a folder. Ids are posix paths relative to it.

    Raises UsageError if the folder is missing, has no images, or has one folder per split; ContractError for a link
    that leaves it, a name that is not UTF-8, or metadata that breaks its contract.
    """
    path, options = split_options("folder", rest, root)
    top = resolve_path(path, root)
    if not top.is_dir():
        kind = (
            {".parquet": "parquet", ".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl"}.get(top.suffix)
            if top.is_file()
            else None
        )
        hint = f"write {kind}:{path}" if kind else "paths are relative to the workspace"
        raise UsageError(f"no folder {quote(str(top))}", hint)
    table = find_metadata(top, f"folder:{path}")
    if table is not None:
        data = _read_listed(table, top, root, options.get("label"), follow_links)
        if data is not None:
            return data
    elif "label" in options:
        raise UsageError(
            f"folder:{path} has no metadata with a column file_name", "?label= chooses a column of it; drop it"
        )
    return _read_classes(path, top, root, follow_links, table)


def _read_listed(table: ImageTable, top: Path, root: Path, label: str | None, follow_links: bool) -> Data | None:
    """The images that the metadata lists; None if it has no labels and the folder has class folders."""
    if choose_column(label, table.columns, table.spec) is None and FolderTree(top, follow_links).has_class_folders():
        return None
    data = read_image_table(table, ImageRoot(top, follow_links=follow_links), root, label)

    def passed_over() -> Iterator[str]:
        listed = {os.path.abspath(root / (sample.path or "")) for sample in data.samples()}
        for file in FolderTree(top, follow_links).files():
            if os.path.abspath(file) not in listed and Path(file) != table.file:
                yield Path(file).relative_to(top).as_posix()

    return replace(data, passed_over=passed_over)


def _read_classes(path: str, top: Path, root: Path, follow_links: bool, table: ImageTable | None) -> Data:
    tree = FolderTree(top, follow_links)
    entries = tree.entries(str(top))
    folders = [entry for entry in entries if entry.is_dir()]
    _refuse_splits(path, folders, tree)
    names = tuple(entry.name for entry in folders)
    empty = [entry.name for entry in folders if next(tree.images(entry.path), None) is None]
    loose = [entry.name for entry in entries if not entry.is_dir() and tree.is_image(entry)]
    if len(empty) == len(folders) and (folders or not loose):
        raise UsageError(f"no image in {quote(str(top))}", "zoo reads jpeg, png, webp, bmp, tiff, ppm and gif")

    def samples() -> Iterator[Sample]:
        if not names:
            yield from (_sample(file, top, root, None) for file in tree.images(str(top)))
        for label, name in enumerate(names):
            yield from (_sample(file, top, root, label) for file in tree.images(str(top / name)))

    def passed_over() -> Iterator[str]:
        for file in tree.files(images=False):
            if table is None or Path(file) != table.file:
                yield Path(file).relative_to(top).as_posix()

    notes = [f"class folder {quote(name)} of {path} has no images; it keeps its number" for name in empty]
    if folders and loose:
        notes.append(f"{len(loose)} images of {path} are outside class folders and left out, e.g. {quote(loose[0])}")
    if table is not None:
        others = [name for name in table.columns if name not in (*KEYS, table.path)]
        chosen = f"folder:{path}?label={others[0]}" if others else "a column label"
        notes.append(f"{table.file.name} of {path} has no column label, so classes are the folders; or {chosen}")
    data = Data(
        names or None,
        samples,
        notes=tuple(notes),
        label_hint=lambda: f"folder:{path} needs one folder per class, or a metadata.csv with file_name and label",
        passed_over=passed_over,
    )
    return tidy_classes(data, sort=True)


def _sample(file: str, top: Path, root: Path, label: int | None) -> Sample:
    return Sample(Path(file).relative_to(top).as_posix(), sample_path(Path(file), root), None, label)


def _refuse_splits(path: str, folders: list[os.DirEntry[str]], tree: FolderTree) -> None:
    """Raise UsageError for split folders: `pets/train/cat`, `pets/test/cat` would give the classes test and train."""
    train = [entry for entry in folders if _TRAIN.fullmatch(entry.name.strip())]
    splits = train + [entry for entry in folders if _OTHER.fullmatch(entry.name.strip())]
    holding = [entry for entry in splits if any(inner.is_dir() for inner in tree.entries(entry.path))]
    # One name may be a class (vehicles: car, train). Two are splits, as is one alone that holds folders.
    if len(splits) > 1 or (len(folders) == 1 and holding):
        names = ", ".join(sorted(entry.name for entry in splits))
        raise UsageError(
            f"folder:{path} contains splits ({names}), not classes",
            f"write folder:{(Path(path) / splits[0].name).as_posix()}",
        )
