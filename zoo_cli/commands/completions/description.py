"""The command line as data: what the three scripts are written from.

What a value can be is a kind, a key of `Program.words`. Kinds may nest, one step for each `:` and `=` in the value:

    "weighting"            the names: "equal", "softmax:", "p="
    "weighting softmax"    what follows "softmax:" and each comma after it: "T="
    "weighting softmax T"  what follows "softmax:T="
    "weighting = p"        what follows "p=", where no name stands before it

A word that begins with @ is looked up when TAB is pressed: @file, @folder, @source (stored or named in zoo.toml), @run.
A kind without words offers nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass

Words = Mapping[str, str]
"""Words to offer, each with a line about it, which may be empty."""


@dataclass(frozen=True)
class Flag:
    """A flag in all its spellings; `kind` of its value, empty where it takes none."""

    names: tuple[str, ...]
    help: str
    kind: str = ""


HELP = Flag(("-h", "--help"), "Show what it does and its flags.")


@dataclass(frozen=True)
class Command:
    """A command of one word or two; `argument` is the kind of what stands without a flag, empty where nothing may."""

    name: str
    summary: str
    flags: tuple[Flag, ...]
    argument: str = ""


@dataclass(frozen=True)
class Program:
    """The whole command line; `flags` stand before the command, `groups` are the first of two words."""

    flags: tuple[Flag, ...]
    commands: tuple[Command, ...]
    groups: Mapping[str, str]
    words: Mapping[str, Words]

    def first_words(self) -> dict[str, str]:
        """What can stand first, each with its summary, in the order of the commands."""
        found: dict[str, str] = {}
        for command in self.commands:
            group, _, _ = command.name.rpartition(" ")
            found.setdefault(group or command.name, self.groups[group] if group else command.summary)
        return found

    def second_words(self, group: str) -> dict[str, str]:
        """The commands of a group, each with its summary."""
        return {
            command.name.removeprefix(group + " "): command.summary
            for command in self.commands
            if command.name.startswith(group + " ")
        }

    def tables(self) -> list[tuple[tuple[str, ...], Words]]:
        """The words, each list once, with all the kinds that it is for."""
        kinds: dict[tuple[tuple[str, str], ...], list[str]] = {}
        for kind, words in self.words.items():
            kinds.setdefault(tuple(words.items()), []).append(kind)
        return [(tuple(names), dict(words)) for words, names in kinds.items()]
