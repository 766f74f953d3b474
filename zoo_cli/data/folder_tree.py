"""The files below a folder in a fixed order, links checked."""

import os
from collections.abc import Iterator
from pathlib import Path

from zoo_cli.data.image_root import LINKS_HINT
from zoo_cli.data.samples import is_within
from zoo_cli.errors import ContractError, UsageError
from zoo_cli.images import signatures
from zoo_cli.text_escapes import quote

SYSTEM = {
    "__macosx",
    "@eadir",
    "lost+found",
    "$recycle.bin",
    "system volume information",
    "#recycle",
    "#snapshot",
    "@recycle",
    "@recently-snapshot",
    "__pycache__",
}
"""Folders that systems make, in small letters: archives of macOS, network disks, Windows."""


class FolderTree:
    """A folder that a user named. Hidden names and the folders of systems are left out.

    `follow_links`: whether links may leave it. Its methods raise UsageError for a folder that cannot be read,
    ContractError for a link that leaves the folder or leads back, and for a name that is not UTF-8.
    """

    def __init__(self, top: Path, follow_links: bool):
        self.top = str(top)
        self.real = None if follow_links else os.path.realpath(top)

    def entries(self, folder: str) -> list[os.DirEntry[str]]:
        """The entries of a folder sorted by name."""
        try:
            with os.scandir(folder) as scan:
                entries = sorted((entry for entry in scan if not _is_ignored(entry)), key=lambda entry: entry.name)
        except OSError as error:
            raise UsageError(f"cannot read folder {quote(folder)}: {error.strerror}") from None
        for entry in entries:
            if not _is_text(entry.name):
                raise ContractError(f"a name that is not UTF-8: {entry.name!a} (in {quote(folder)})", "rename it")
            if self.real is not None and entry.is_symlink() and not is_within(entry.path, self.real):
                raise ContractError(f"link {quote(entry.path)} leaves the data folder", LINKS_HINT)
        return entries

    def images(self, folder: str) -> Iterator[str]:
        """The image files below a folder, depth first, each folder sorted by name."""
        return (entry.path for entry in self._walk(folder, ()) if self.is_image(entry))

    def files(self, *, images: bool = True) -> Iterator[str]:
        """All files below the folder, or all that are not images."""
        return (entry.path for entry in self._walk(self.top, ()) if images or not self.is_image(entry))

    def has_class_folders(self) -> bool:
        """Whether two folders at the top hold images."""
        folders = [entry for entry in self.entries(self.top) if entry.is_dir()]
        return sum(next(self.images(entry.path), None) is not None for entry in folders) > 1

    def is_image(self, entry: os.DirEntry[str]) -> bool:
        """Whether a file is an image: by its ending, or else by its first bytes."""
        if signatures.has_image_ending(entry.name):
            return True
        if signatures.is_raw(entry.name) or not entry.is_file():
            return False
        try:
            with open(entry.path, "rb") as file:
                return signatures.has_signature(file.read(signatures.HEAD))
        except OSError:
            return False

    def _walk(self, folder: str, above: tuple[str, ...]) -> Iterator[os.DirEntry[str]]:
        resolved = os.path.realpath(folder)
        if resolved in above:
            raise ContractError(f"a link inside {quote(folder)} leads back to a folder above it", "remove the link")
        for entry in self.entries(folder):
            if entry.is_dir():
                yield from self._walk(entry.path, (*above, resolved))
            else:
                yield entry


def _is_ignored(entry: os.DirEntry[str]) -> bool:
    return entry.name.startswith(".") or entry.name.lower() in SYSTEM


def _is_text(name: str) -> bool:
    """Whether a name is UTF-8: other bytes come from the system as lone surrogates, which our files cannot store."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)
