"""Names of anybody's making as text that a terminal, Markdown, TOML or a spreadsheet shows and does not interpret."""

import re

MARKDOWN = re.compile(r"[\\`*\[\]|<]|~(?=~)|(?<=~)~|(?<![^\W_])_|_(?![^\W_])|&(?=#?\w+;)")
"""What begins or ends something in the middle of a line of Markdown. Underscores inside words do not."""
ENTITIES = {"<": "&lt;", "&": "&amp;"}
FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a cell begins with that spreadsheets calculate; the last four are the first four in full width."""


def printable(text: str) -> str:
    """The text with control characters, and others that do not show, escaped as Python writes them."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def quote(name: str) -> str:
    """A name in quotes, safe for one line of a terminal: unprintable characters are escaped."""
    return f'"{name}"' if name.isprintable() else ascii(name)


def markdown(text: str) -> str:
    """The text as Markdown shows it, on one line: no markup, no HTML, no link."""
    return MARKDOWN.sub(lambda match: ENTITIES.get(match[0], f"\\{match[0]}"), printable(text))


def code_span(text: str) -> str:
    """The text as code in Markdown, in more backquotes than there are in it."""
    text = printable(text)
    longest = max(map(len, re.findall("`+", text)), default=0)
    if not longest:
        return f"`{text}`"
    fence = "`" * (longest + 1)
    return f"{fence} {text} {fence}"


def toml_string(text: str) -> str:
    """The text as a basic string of TOML."""
    escaped = text.replace("\\", r"\\").replace('"', r"\"")
    return '"' + "".join(c if c.isprintable() else _toml_escape(c) for c in escaped) + '"'


def spreadsheet_text(text: str) -> str:
    """The text of a cell that no spreadsheet takes for a formula: behind an apostrophe where it could. Not a number."""
    return f"'{text}" if text.startswith(FORMULAS) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _toml_escape(character: str) -> str:
    short = {"\b": r"\b", "\t": r"\t", "\n": r"\n", "\f": r"\f", "\r": r"\r"}
    return short.get(character) or (
        f"\\u{ord(character):04x}" if ord(character) < 0x10000 else f"\\U{ord(character):08x}"
    )
