"""Numbers and names as the report shows them."""

import math

from zoo_cli.text_escapes import printable

LONGEST = 80
"""The characters of a name that a table shows; a longer one is cut in its middle."""
LONGEST_TITLE = 48
"""The characters of a name beside thumbnails."""
MISSING = "–"
PERCENT = "\u00a0%"
"""The sign behind a number, never at the beginning of a line."""
LEVEL = f"90{PERCENT}"
"""That of every interval."""


def show_name(text: object, most: int = LONGEST) -> str:
    """A name of anybody's making: what does not show is escaped, and the middle of a long one is left out."""
    name = printable(str(text)[: 2 * most] if len(str(text)) <= 2 * most else f"{str(text)[:most]}{str(text)[-most:]}")
    return name if len(name) <= most else f"{name[: most - most // 3 - 1]}…{name[-(most // 3) :]}"


def quote_name(text: object, most: int = LONGEST) -> str:
    """A name in a sentence."""
    return f"“{show_name(text, most)}”"


def show_percent(share: float | None, digits: int = 1) -> str:
    """A share in percent."""
    return MISSING if share is None or not math.isfinite(share) else f"{100 * share:.{digits}f}{PERCENT}"


def show_points(difference: float | None, digits: int = 1) -> str:
    """A difference of two shares in percentage points, with its sign."""
    if difference is None or not math.isfinite(difference):
        return MISSING
    text = f"{100 * difference:+.{digits}f}"
    return f"{0:.{digits}f}" if float(text) == 0 else text.replace("-", "−")


def show_range(low: float | None, high: float | None, digits: int = 1) -> str:
    """The ends of an interval of a share, in percent."""
    if low is None or high is None:
        return MISSING
    return f"{100 * low:.{digits}f} to {100 * high:.{digits}f}"


def show_number(value: float | None, style: str = ".3f") -> str:
    """A number in a format of Python."""
    return MISSING if value is None or not math.isfinite(value) else format(value, style).replace("-", "−")


def show_count(count: int | None) -> str:
    """A count, with separators."""
    return MISSING if count is None else f"{count:,}"


def show_size(count: float | None) -> str:
    """A large number in thousands, millions or billions."""
    if count is None:
        return MISSING
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= limit:
            return f"{count / limit:.3g} {unit}"
    return f"{count:g}"


def show_seconds(seconds: float | None) -> str:
    """A time in seconds, minutes or hours."""
    if seconds is None:
        return MISSING
    if seconds >= 3600:
        return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60)} min"
    return f"{seconds / 60:.1f} min" if seconds >= 120 else f"{seconds:.3g} s"
