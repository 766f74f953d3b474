"""Pillow's warnings and log lines, which must not reach stderr."""

import logging
import re
import warnings

_QUIET = ("ignore", None, Warning, re.compile(r"PIL(\.|$)"), 0)

logging.getLogger("PIL").addHandler(logging.NullHandler())


def hush_pillow() -> None:
    """Silence Pillow's warnings: `decoding.decode` decides what each of them means.

    One filter for the whole process, added again if it was removed. `warnings.catch_warnings` does not work here:
    threads share its state and would restore each other's.
    """
    if warnings.filters[:1] != [_QUIET]:
        warnings.filterwarnings("ignore", module=_QUIET[3].pattern)
