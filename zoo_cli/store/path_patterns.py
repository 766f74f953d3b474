"""Files that a typed path or pattern names. What exists is taken literally; only the rest is a pattern."""

import glob
import itertools
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from zoo_cli.errors import UsageError

MAX_BRACES = 100_000
"""Paths that the braces of a pattern may stand for."""
T = TypeVar("T")
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)(?:\.\.(\d+))?")


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


def expand_braces(pattern: Path) -> list[Path]:
    """The patterns that `shard-{000..009}.tar` or `{a,b}.tar` stands for, in this order; itself without such braces.

    Ranges are inclusive, may have a step (`{0..90..10}`), and are padded as bash pads them. Braces in a part that
    exists are not expanded. Raises UsageError for more than `MAX_BRACES` patterns.
    """
    parts: list[list[str]] = []
    folder = Path()
    for part in pattern.parts:
        folder /= part
        parts.append([part] if os.path.exists(folder) else _list_alternatives(part, pattern))
    return _take((Path(*names) for names in itertools.product(*parts)), pattern)


def _list_alternatives(part: str, pattern: Path) -> list[str]:
    return _take(_iterate_alternatives(part), pattern)


def _take(values: Iterator[T], pattern: Path) -> list[T]:
    """The distinct values, in their order."""
    first = list(itertools.islice(values, MAX_BRACES + 1))
    if len(first) > MAX_BRACES:
        raise UsageError(f"the braces of {pattern} stand for more than {MAX_BRACES:,} files", "use * for large ranges")
    return list(dict.fromkeys(first))


def _iterate_alternatives(text: str) -> Iterator[str]:
    """The texts for the innermost braces first, which may be nested."""
    for match in _BRACES.finditer(text):
        if "," in match[1]:
            choices: Iterator[str] = iter(match[1].split(","))
        elif (ends := _RANGE.fullmatch(match[1])) is not None:
            choices = _iterate_range(*ends.groups())
        else:
            continue
        for choice in choices:
            yield from _iterate_alternatives(text[: match.start()] + choice + text[match.end() :])
        return
    yield text


def _iterate_range(first: str, last: str, step: str | None) -> Iterator[str]:
    width = max(len(first), len(last)) if any(len(end) > 1 and end[0] == "0" for end in (first, last)) else 0
    start, stop, stride = int(first), int(last), max(1, int(step or 1))
    numbers = range(start, stop + 1, stride) if start <= stop else range(start, stop - 1, -stride)
    return (str(number).zfill(width) for number in numbers)
