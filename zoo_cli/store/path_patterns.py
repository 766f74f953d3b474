"""Files that a typed path or pattern names. What exists is taken literally; only the rest is a pattern."""

import glob
import os
from pathlib import Path


def match_paths(pattern: Path) -> list[Path]:
    """The paths that match, sorted; the path itself if it exists. `**` crosses folders.

    A part that names something that exists, such as the folder `set[v2]` or the workspace itself, is not a pattern.
    """
    parts = pattern.parts[1:] if pattern.anchor else pattern.parts
    matches = {Path(pattern.anchor)}
    for position, part in enumerate(parts, 1):
        matches = {match for folder in matches for match in _match_part(folder, part, last=position == len(parts))}
    return sorted(matches, key=str)


def _match_part(folder: Path, part: str, *, last: bool) -> list[Path]:
    if part == ".." or os.path.exists(folder / part):
        return [folder / part]
    matches = [folder / name for name in glob.glob(part, root_dir=folder, recursive=True)]
    if last:
        return matches
    folders = [match for match in matches if match.is_dir()]
    return [folder, *folders] if part == "**" else folders
