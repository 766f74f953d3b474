"""Text of others, such as names of classes, files and sources, made safe for the place that shows it."""

import re

MARKDOWN = re.compile(r"([\\`*\[<|]|(?<!\w)_|_(?!\w))")
"""What begins something else than text within a line; an underscore inside a word does not."""
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What begins a formula in a spreadsheet."""


def printable(text: str) -> str:
    """The text with control characters escaped: a terminal would obey them, and some turn the order of letters."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def markdown(text: str) -> str:
    """The text as Markdown shows it: no emphasis, link, table cell or HTML begins in it."""
    return MARKDOWN.sub(r"\\\1", printable(text))


def code(text: str) -> str:
    """The text as code in Markdown."""
    fence = "`" * (max(map(len, re.findall("`+", text)), default=0) + 1)
    space = " " if "`" in text else ""
    return f"{fence}{space}{printable(text)}{space}{fence}"


def spreadsheet_cell(text: str) -> str:
    """The text of a cell that no spreadsheet takes for a formula: a quote stands before one, as OWASP advises."""
    return f"'{text}" if text.startswith(FORMULA) else text
