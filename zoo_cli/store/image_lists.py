"""Lists of the images that a model was trained on: the sha256 of each, one a line, sorted, as `images.sha256` of a run.

A list that the user gives may have the format of `sha256sum`: what follows the digest in a line is ignored.
"""

import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from zoo_cli.errors import ContractError, UsageError
from zoo_cli.store import files
from zoo_cli.store.checksums import IMAGES, RECORD, SUMS, read_sums
from zoo_cli.store.model_folders import find_folder

_LINE = re.compile(r"\\?([0-9a-f]{64})([ \t].*)?", re.IGNORECASE)


def write_image_list(path: Path, digests: Iterable[str]) -> None:
    """Write digests, sorted and each once."""
    files.write_text(path, "".join(f"{digest}\n" for digest in sorted(set(digests))))


def read_image_list(path: Path) -> Iterator[str]:
    """The digests of a list in its order. Raises UsageError for a missing file, ContractError for another kind."""
    is_empty = True
    for number, line in enumerate(files.read_text(path).splitlines(), 1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise ContractError(f"{path}: line {number} is not a sha256", "one a line, as sha256sum prints them")
        is_empty = False
        yield match[1].lower()
    if is_empty:
        raise ContractError(f"{path} lists no image", "one sha256 a line, as sha256sum prints them")


def find_listed(paths: Iterable[Path], digests: Collection[str]) -> set[str]:
    """Those of the digests that any of the lists holds."""
    wanted = frozenset(digests)
    return {digest for path in paths for digest in read_image_list(path) if digest in wanted}


def find_image_lists(root: Path, name: str, model: str, trained_images: str) -> list[Path]:
    """The lists of a source's training images: that which it declares, and that of its folder; none if unknown.

    `trained_images`: as declared, relative to `root`, or empty. Raises UsageError for a declared list that is missing,
    ContractError for a run that has lost its own.
    """
    paths = [root / trained_images] if trained_images else []
    if paths and not paths[0].is_file():
        raise UsageError(
            f'source {name}: no file "{trained_images}", its trained_images', "paths are relative to zoo.toml"
        )
    folder = run_folder(root, model)
    own = None if folder is None else folder / IMAGES
    if own is not None and own.is_file():
        paths.append(own)
    elif own is not None and (own.parent / SUMS).is_file() and IMAGES in read_sums(own.parent):
        raise ContractError(f"{own} is missing: {SUMS} lists it", "restore it, or make the run again with --overwrite")
    return paths


def run_folder(root: Path, model: str) -> Path | None:
    """The folder of the run that a model spec names, or an export in it; None for any other model."""
    folder = find_folder(model, root)
    if folder is None and model.startswith("onnx:"):
        folder = (root / model.removeprefix("onnx:")).parent
    is_run = folder is not None and any((folder / name).is_file() for name in (RECORD, IMAGES))
    return folder if is_run else None
