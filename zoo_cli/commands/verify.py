"""`zoo verify`: the faults of a workspace, each with the command that makes the file again."""

from pathlib import Path
from typing import Annotated

import typer

from zoo_cli import console
from zoo_cli.answer_tables import Field, show_answer
from zoo_cli.commands.options import HERE, Format, Json, Workspace
from zoo_cli.errors import ContractError

FIELDS = (Field("state"), Field("problem", free=True), Field("command", free=True))


def verify(
    folder: Annotated[
        Path | None, typer.Argument(metavar="WORKSPACE", help="A workspace. [default: that of -C]")
    ] = None,
    form: Format = None,
    json: Json = False,
    workspace: Workspace = HERE,
) -> None:
    """Check every file that zoo has written.

    Each is read as the commands read it: checksums, digests, values, and that files belong together. Damage is exit
    code 3; files made from other inputs, and runs that are not finished, are listed too. Nothing is written.

    zoo verify
    zoo verify work --json
    """
    from zoo_cli.pipeline.verify import verify as verify_workspace
    from zoo_cli.pipeline.verify import with_workspace

    place = workspace if folder is None else folder
    result = verify_workspace(place)
    rows = [
        {
            "state": finding.state,
            "path": str(finding.path),
            "problem": finding.problem,
            "command": with_workspace(finding.command, place),
        }
        for finding in result.findings
    ]
    answer = {"sound": not result.damaged, "files": result.files, "findings": rows}
    form = "json" if json else form
    summary = f"{result.files:,} files of {place} checked: "
    if rows or form is not None:
        show_answer("zoo.verify/1", answer, FIELDS, form=form, table=rows)
    if result.damaged:
        damaged = f"{result.damaged} {'is' if result.damaged == 1 else 'are'} damaged"
        raise ContractError(summary + damaged, "run the commands above, in their order")
    console.say(summary + "sound")
