"""What a report is made of: targets, their sections, and the blocks of a section."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Draw = Callable[[float], Any]
"""Draws a plot that is so many CSS pixels wide, and returns its matplotlib Figure."""


@dataclass(frozen=True)
class Paragraph:
    """A paragraph of text. `kind`: text, lead (the conclusion of a section) or note (a remark in small print)."""

    text: str
    kind: str = "text"


@dataclass(frozen=True)
class Listing:
    """A list of short sentences."""

    lines: tuple[str, ...]


@dataclass(frozen=True)
class Missing:
    """Something that the report cannot show, why, and what to do about it."""

    text: str
    hint: str = ""


@dataclass(frozen=True)
class Fact:
    """A number to see at once: what it is, its value, and a remark below it."""

    label: str
    value: str
    remark: str = ""


@dataclass(frozen=True)
class Facts:
    """Numbers side by side."""

    rows: tuple[Fact, ...]


@dataclass(frozen=True)
class Column:
    """A column of a table. `numeric`: right-aligned."""

    title: str
    numeric: bool = True


@dataclass(frozen=True)
class Table:
    """A table whose first column names its rows. `marked`: rows to look at; `folded`: behind its title."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    marked: frozenset[int] = frozenset()
    folded: bool = False


@dataclass(frozen=True)
class Plot:
    """A plot. `name`: that of its files; `alt`: what it shows, for who does not see it; `caption`: how to read it."""

    name: str
    alt: str
    caption: str
    draw: Draw


@dataclass(frozen=True)
class Picture:
    """A thumbnail as a data URI, None where the image is gone; what it shows, and how its frame is marked.

    `mark`: "", gained, lost. `small`: to be enlarged without smoothing.
    """

    source: str | None
    alt: str
    mark: str = ""
    small: bool = False


@dataclass(frozen=True)
class PictureRow:
    """Thumbnails under one title, and a remark beside it."""

    title: str
    remark: str
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class Gallery:
    """Rows of thumbnails. `rest`: how many more there are, in words.

    `dense`: two rows beside each other; `listed`: one thumbnail a row, before its title.
    """

    rows: tuple[PictureRow, ...]
    rest: str = ""
    dense: bool = False
    listed: bool = False


Block = Paragraph | Listing | Missing | Facts | Table | Plot | Gallery


@dataclass(frozen=True)
class Section:
    """A section. `key`: its anchor and the start of the names of its plots."""

    key: str
    title: str
    blocks: tuple[Block, ...]

    @property
    def missing(self) -> list[str]:
        """What the section cannot show."""
        return [block.text for block in self.blocks if isinstance(block, Missing)]


@dataclass(frozen=True)
class Target:
    """The report on one workspace. `summary`: its row in the table of several targets, by the titles of its columns."""

    name: str
    place: str
    facts: Facts
    sections: tuple[Section, ...]
    summary: dict[str, str] = field(default_factory=dict)

    @property
    def missing(self) -> list[str]:
        """What its sections cannot show, once each."""
        return list(dict.fromkeys(text for section in self.sections for text in section.missing))
