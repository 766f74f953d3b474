"""The flags that mean the same in every command, declared once."""

from pathlib import Path
from typing import Annotated

import typer

Workspace = Annotated[Path, typer.Option("-C", "--workspace", help="Folder of zoo.toml and of all that zoo writes.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Make the output again, whatever it was made from.")]
Seed = Annotated[int | None, typer.Option("--seed", help="Seed of everything drawn. Default: the task's.")]
Device = Annotated[
    str, typer.Option("--device", envvar="ZOO_DEVICE", help="auto, cpu, cuda or cuda:N; auto takes CUDA where it is.")
]
Precision = Annotated[str, typer.Option("--precision", envvar="ZOO_PRECISION", help="fp32 or bf16.")]
Workers = Annotated[
    int | None, typer.Option("--workers", envvar="ZOO_WORKERS", help="Threads that decode images. Default: all cores.")
]
Format = Annotated[
    str | None,
    typer.Option("--format", help="table, json, csv, tsv or md. Default: table on a terminal, tsv in a pipe."),
]
Json = Annotated[bool, typer.Option("--json", help="Short for --format json.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Say nothing but warnings and errors.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Say more.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done; write nothing.")]
MaxErrors = Annotated[
    str | None, typer.Option("--max-errors", help="Samples that may fail, a number or N%, before exit 4.")
]

Sources = Annotated[list[str] | None, typer.Option("--source", help="A source by name. Repeats. Default: all.")]
On = Annotated[str | None, typer.Option("--on", help="features or probs. Default: the metric's own.")]
Metric = Annotated[str, typer.Option("--metric", help="NAME or NAME:key=value.")]
Weighting = Annotated[str, typer.Option("--weighting", help="p=2, equal, nearest, softmax:T=0.1, …")]
Features = Annotated[list[Path] | None, typer.Option("--features", help="Stored outputs, without a zoo.toml. Repeats.")]
Manifest = Annotated[Path | None, typer.Option("--manifest", help="The task's manifest, without a zoo.toml.")]

Seeds = Annotated[
    list[int] | None, typer.Option("--seed", help="Seed of everything drawn. Repeats: a run each. Default: the task's.")
]
Weightings = Annotated[
    list[str] | None, typer.Option("--weighting", help="p=2, equal, nearest, … Repeats: a run each. Default: p=12.")
]

# Of the commands that train.
Student = Annotated[str | None, typer.Option("--student", help="PROVIDER:NAME. Default: [student] of zoo.toml.")]
RunName = Annotated[str | None, typer.Option("--name", help="Name of the run. Default: made from what is asked.")]
RunFolder = Annotated[Path | None, typer.Option("--out", help="The run's folder, used as given. Default: runs/NAME.")]
HERE = Path()
