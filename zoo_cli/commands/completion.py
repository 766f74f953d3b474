"""`zoo completion`: the completion script of a shell, written from the commands' own signatures."""

from typing import Annotated

import typer

from zoo_cli import console, specs


def completion(
    shell: Annotated[str, typer.Argument(metavar="SHELL", help="bash, zsh or fish.")],
) -> None:
    """Print the completion script of a shell.

    zoo completion bash > ~/.local/share/bash-completion/completions/zoo
    """
    from zoo_cli.commands import command_line, completions

    if shell not in completions.SHELLS:
        raise specs.nearest("shell", shell, completions.SHELLS)
    console.current().answer(completions.script(shell, command_line.program()))
