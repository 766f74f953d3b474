"""`zoo completion`: the completion script of a shell, generated from the signatures of the commands."""

from typing import Annotated

import typer

from zoo_cli import console


def completion(
    shell: Annotated[str, typer.Argument(metavar="SHELL", help="bash, zsh or fish.")],
) -> None:
    """Print the completion script of a shell.

    zoo completion bash > ~/.local/share/bash-completion/completions/zoo
    """
    from zoo_cli.commands.command_line import completion_script

    console.current().answer(completion_script(shell))
