"""Completion scripts, generated from a description of the command line. Completing runs no Python."""

from zoo_cli.commands.completions import bash, fish, zsh
from zoo_cli.commands.completions.description import HELP, Command, Flag, Program, Words

__all__ = ["HELP", "SHELLS", "Command", "Flag", "Program", "Words", "render_script"]

SHELLS = {"bash": "zoo.bash", "zsh": "_zoo", "fish": "zoo.fish"}
"""The shells, each with the file name of its script."""

_WRITERS = {"bash": bash.render_script, "zsh": zsh.render_script, "fish": fish.render_script}


def render_script(shell: str, program: Program) -> str:
    """The script of one of SHELLS."""
    return _WRITERS[shell](program)
