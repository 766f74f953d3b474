"""`zoo init`: write a commented zoo.toml from flags."""

from typing import Annotated

import typer

from zoo_cli import config
from zoo_cli.commands.options import HERE, Workspace
from zoo_cli.config import Config, Source, Task


def init(
    train: Annotated[
        list[str], typer.Option("--train", metavar="SPEC", help="Training images, e.g. folder:pets/train. Repeatable.")
    ],
    test: Annotated[
        list[str] | None,
        typer.Option("--test", metavar="SPEC", help="Test images. Repeatable. [default: 20% of train]"),
    ] = None,
    unlabelled: Annotated[
        list[str] | None,
        typer.Option("--unlabelled", metavar="SPEC", help="More images, without labels. Repeatable."),
    ] = None,
    labelled: Annotated[
        str, typer.Option("--labelled", metavar="SHARE", help='Labels to use: "10%", "5/class", "1000" or "all".')
    ] = Task.labelled,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="Name of the task. [default: the folder's]")
    ] = None,
    student: Annotated[str, typer.Option("--student", metavar="SPEC", help="Model to train.")] = config.STUDENT_MODEL,
    source: Annotated[
        list[str] | None,
        typer.Option("--source", metavar="SPEC", help="Source model, as PROVIDER:NAME. Repeatable."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing zoo.toml.")] = False,
    workspace: Workspace = HERE,
) -> None:
    """Write a commented zoo.toml.

    zoo init --train folder:pets/train --test folder:pets/test --labelled 20%
    """
    from zoo_cli.pipeline.init import write_config

    def rebase(specs: list[str] | None) -> tuple[str, ...]:
        return tuple(config.rebase_spec(spec, workspace) for spec in specs or [])

    task = Task(
        name=name or workspace.resolve().name or Task.name,
        train=rebase(train),
        test=rebase(test),
        unlabelled=rebase(unlabelled),
        labelled=labelled,
    )
    models = tuple(Source(config.source_name(spec), spec) for spec in rebase(source))
    (student_model,) = rebase([student])
    write_config(Config(workspace, task, Source("student", student_model), models), overwrite=overwrite)
