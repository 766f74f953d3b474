"""The image files that a table names: relative to its root, never outside of it."""

import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from zoo_cli.data.samples import is_within
from zoo_cli.errors import ContractError
from zoo_cli.text_escapes import quote

LINKS_HINT = "to read it, set follow_links = true in [task] of zoo.toml, or use zoo split --follow-links"
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")


@dataclass(frozen=True)
class ImageRoot:
    """The folder to which the paths of a table are relative.

    `named`: whether the user named it by `?root=`, so that absolute paths inside it are allowed.
    `follow_links`: whether links may leave it. `provider`: of the table, for hints.
    """

    folder: Path
    named: bool = False
    follow_links: bool = False
    provider: str = "csv"

    def resolve(self, text: str, where: str) -> Path:
        """The file that a cell names. Outer spaces and backslashes count as written only if such a file exists.

        Raises ContractError for a path that is empty or outside the root, `..`, a NUL, or a link that leaves the root.
        """
        path = self._inside(text)
        plain = text.strip().replace("\\", "/")
        if plain != text and (path is None or not os.path.lexists(path)):
            path = self._inside(plain)
        if path is None:
            raise ContractError(f"path {quote(text)} leaves the folder of its table ({where})", self._hint(text))
        if not self.follow_links and not is_within(path, os.path.realpath(self.folder)):
            raise ContractError(
                f"path {quote(text)} is a link that leaves the folder of its table ({where})", LINKS_HINT
            )
        return path

    def _inside(self, text: str) -> Path | None:
        pure = PurePosixPath(text)
        if not text or "\0" in text or ".." in pure.parts or _DRIVE.match(text):
            return None
        if pure.is_absolute():
            folder = os.path.abspath(self.folder)
            return Path(text) if self.named and pure.is_relative_to(folder) else None
        return self.folder / pure

    def _hint(self, text: str) -> str:
        if _DRIVE.match(text):
            return "it names a drive of Windows: write paths relative to the table"
        if text.startswith("/"):
            root = self.folder if self.named else "FOLDER"
            return f"write paths relative to the table, or inside the root: {self.provider}:TABLE?root={root}"
        return "write paths relative to the table, without .."
