"""Durations and shares as people read them."""

import math


def duration(seconds: float) -> str:
    """`3 h 12 min`, `4 min 10 s`, `8 s`; `?` where unknown."""
    if not math.isfinite(seconds):
        return "?"
    whole = max(0, round(seconds))
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 60} min {whole % 60} s" if whole >= 60 else f"{whole} s"


def percent(fraction: float | None, digits: int = 1) -> str:
    """A fraction as a terminal shows it."""
    return "-" if fraction is None or not math.isfinite(fraction) else f"{100 * fraction:.{digits}f} %"
