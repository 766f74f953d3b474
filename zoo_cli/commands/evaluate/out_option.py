"""`--out` of the evaluate commands."""

from pathlib import Path
from typing import Annotated

import typer

from zoo_cli.errors import UsageError

Out = Annotated[
    Path | None,
    typer.Option("--out", metavar="FILE", help="Write the answer to a .json file, or its rows to a .parquet file."),
]


def check_out(out: Path | None) -> None:
    """Raise UsageError for an --out with another suffix, before any work."""
    if out is not None and out.suffix not in (".json", ".parquet"):
        raise UsageError(f"--out {out}", "its name must end in .parquet or .json")
