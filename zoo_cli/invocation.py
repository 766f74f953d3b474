"""The command line of this process, which a run keeps in its log so that it can be made again."""

import shlex
from collections.abc import Sequence

PASSING = ("--max-time", "--wait", "--runs", "--format", "--workers", "-C", "--workspace", "--trust")
"""Flags with a value on which no output depends, or that say where the workspace is and whom the user trusts."""
SWITCHES = ("-q", "--quiet", "-v", "--verbose", "--json", "--overwrite", "--refresh", "--dry-run")

_words: tuple[str, ...] = ()


def remember(words: Sequence[str]) -> None:
    """Keep the words of the command line, without the program; none: what runs is not a command."""
    global _words
    _words = tuple(words)


def describe_command() -> str:
    """The command as a shell reads it, without flags on which no output depends; empty outside a command."""
    kept: list[str] = []
    words = iter(_words)
    for word in words:
        if word in PASSING:
            next(words, None)
        elif word not in SWITCHES and not word.startswith(("-C", *(f"{flag}=" for flag in PASSING if flag[1] == "-"))):
            kept.append(word)
    return shlex.join(["zoo", *kept]) if kept else ""
