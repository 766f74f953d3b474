"""The command line as data, from which the three scripts are generated.

The possible values of a flag are a kind, a key of `Program.words`. Kinds nest, a level for each `:` and `=`:

    "weighting"            the names: "equal", "softmax:", "p="
    "weighting softmax"    what follows "softmax:" and each comma after it: "T="
    "weighting softmax T"  what follows "softmax:T="
    "weighting = p"        what follows "p=" without a name before it

A word that begins with @ is looked up when TAB is pressed: @file, @folder, @source (stored or named in zoo.toml), @run,
@labels (a label set). A kind without words has no completions.
"""

from collections.abc import Mapping
from dataclasses import dataclass

Words = Mapping[str, str]
"""Words to offer, each with a description, which may be empty."""


@dataclass(frozen=True)
class Flag:
    """A flag in all its spellings; `kind` of its value, empty if it takes none."""

    names: tuple[str, ...]
    help: str
    kind: str = ""


HELP = Flag(("-h", "--help"), "Show this message and exit.")


@dataclass(frozen=True)
class Command:
    """A command of one word or two; `argument`: the kind of its arguments, empty if it takes none."""

    name: str
    summary: str
    flags: tuple[Flag, ...]
    argument: str = ""


@dataclass(frozen=True)
class Program:
    """The whole command line; `flags` stand before the command, `groups` are the first words of two."""

    flags: tuple[Flag, ...]
    commands: tuple[Command, ...]
    groups: Mapping[str, str]
    words: Mapping[str, Words]

    def first_words(self) -> dict[str, str]:
        """The first words with their summaries, in the order of the commands."""
        words: dict[str, str] = {}
        for command in self.commands:
            group, _, _ = command.name.rpartition(" ")
            words.setdefault(group or command.name, self.groups[group] if group else command.summary)
        return words

    def second_words(self, group: str) -> dict[str, str]:
        """The commands of a group, each with its summary."""
        return {
            command.name.removeprefix(group + " "): command.summary
            for command in self.commands
            if command.name.startswith(group + " ")
        }

    def tables(self) -> list[tuple[tuple[str, ...], Words]]:
        """The lists of words, each once, with all kinds that share it."""
        kinds: dict[tuple[tuple[str, str], ...], list[str]] = {}
        for kind, words in self.words.items():
            kinds.setdefault(tuple(words.items()), []).append(kind)
        return [(tuple(names), dict(words)) for words, names in kinds.items()]
