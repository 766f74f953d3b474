"""The flags that mean the same in every command, declared once."""

from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any

import typer

from zoo_cli.command_table import WITHOUT_NETWORKS

Workspace = Annotated[
    Path,
    typer.Option(
        "-C", "--workspace", metavar="DIR", help="Folder of zoo.toml and of the output.", rich_help_panel="Files"
    ),
]
Labels = Annotated[
    str | None,
    typer.Option(
        "--labels",
        metavar="NAME",
        help="A label set of zoo split --labels. [default: the main one]",
        rich_help_panel="Files",
    ),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace the output, even if it is up to date.", rich_help_panel="Files")
]
Refresh = Annotated[bool, typer.Option("--refresh", help="Make stale inputs again.", rich_help_panel="Files")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Show what would be done; write nothing.", rich_help_panel="Files")
]
MaxErrors = Annotated[
    str | None,
    typer.Option("--max-errors", metavar="N", help="Samples that may fail before exit code 4: a number or N%."),
]

Strict = Annotated[bool, typer.Option("--strict", help="Exit code 3 if a source was trained on test images.")]
Seed = Annotated[int | None, typer.Option("--seed", metavar="N", help="Random seed. [default: the task's]")]
Seeds = Annotated[
    list[int] | None,
    typer.Option(
        "--seed",
        metavar="N",
        help="Random seed. Repeatable: one run each. [default: the task's]",
        rich_help_panel="Training",
    ),
]
Device = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="NAME",
        envvar="ZOO_DEVICE",
        help="auto (CUDA if there is any), cpu, cuda or cuda:N.",
        rich_help_panel="Training",
    ),
]
Precision = Annotated[
    str,
    typer.Option(
        "--precision",
        metavar="NAME",
        envvar="ZOO_PRECISION",
        help="fp32, tf32 (on a CUDA device) or bf16.",
        rich_help_panel="Training",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        metavar="N",
        envvar="ZOO_WORKERS",
        help="Threads that decode images. [default: one per core]",
        rich_help_panel="Training",
    ),
]

Format = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="NAME",
        help="table, json, csv, tsv or md. [default: table on a terminal, tsv in a pipe]",
        rich_help_panel="Output",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Short for --format json.", rich_help_panel="Output")]
CsvSafe = Annotated[
    bool,
    typer.Option(
        "--csv-safe",
        help="In csv and tsv, begin texts that a spreadsheet would calculate with '.",
        rich_help_panel="Output",
    ),
]
FollowLinks = Annotated[
    bool, typer.Option("--follow-links", help="Read images behind links that leave the folders of the data.")
]
Quiet = Annotated[
    bool, typer.Option("-q", "--quiet", help="Print only warnings and errors on stderr.", rich_help_panel="Output")
]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Print details on stderr.", rich_help_panel="Output")]

Trust = Annotated[
    list[Path] | None,
    typer.Option(
        "--trust",
        metavar="FOLDER",
        help="Run the code that the model in FOLDER names. Repeatable.",
        rich_help_panel="Files",
    ),
]

Sources = Annotated[
    list[str] | None,
    typer.Option(
        "--source",
        metavar="NAME",
        help="A source by name. Repeatable. [default: all]",
        rich_help_panel="What to learn from",
    ),
]
Views = Annotated[
    int | None,
    typer.Option(
        "--views",
        metavar="N",
        min=0,
        help="Learn on N stored augmented views, each with answers of its own. [default: heads: the stored ones]",
        rich_help_panel="What to learn from",
    ),
]
ProbeSizes = Annotated[
    list[str] | None,
    typer.Option(
        "--probe-per-class",
        metavar="N",
        help="Use at most N images of each class of the probe set, or all. Repeatable. [default: all]",
    ),
]
On = Annotated[
    str | None,
    typer.Option(
        "--on",
        metavar="NAME",
        help="Representation: features or probs. [default: the metric's own]",
        rich_help_panel="What to learn from",
    ),
]
Metric = Annotated[
    str,
    typer.Option("--metric", metavar="SPEC", help="NAME or NAME:key=value,…", rich_help_panel="What to learn from"),
]
Weighting = Annotated[
    str,
    typer.Option(
        "--weighting",
        metavar="SPEC",
        help="p=2, equal, nearest, softmax:T=0.1, …",
        rich_help_panel="What to learn from",
    ),
]
Weightings = Annotated[
    list[str] | None,
    typer.Option(
        "--weighting",
        metavar="SPEC",
        help="p=2, equal, nearest, … Repeatable: one run each. [default: p=12]",
        rich_help_panel="What to learn from",
    ),
]
Features = Annotated[
    list[Path] | None,
    typer.Option("--features", metavar="FILE", help="Stored outputs of a source, instead of zoo.toml. Repeatable."),
]
Manifest = Annotated[
    Path | None,
    typer.Option(
        "--manifest", metavar="FILE", help="Manifest of the task, instead of zoo.toml.", rich_help_panel="Files"
    ),
]


def shared_flags(command: str, parameters: Collection[str]) -> dict[str, tuple[Any, Any]]:
    """The flags that a command shares with others by its kind, with their defaults: `name: (annotation, default)`."""
    flags: dict[str, tuple[Any, Any]] = {"quiet": (Quiet, False), "verbose": (Verbose, False)}
    if "form" in parameters:
        flags["csv_safe"] = (CsvSafe, False)
    if command not in WITHOUT_NETWORKS:
        flags["trust"] = (Trust, None)
    return flags


# For the commands that train.
Student = Annotated[
    str | None,
    typer.Option(
        "--student",
        metavar="SPEC",
        help="PROVIDER:NAME, or a run. [default: the student of zoo.toml]",
        rich_help_panel="Student",
    ),
]
RunName = Annotated[
    str | None,
    typer.Option(
        "--name", metavar="NAME", help="Run name. [default: derived from the options]", rich_help_panel="Files"
    ),
]
RunFolder = Annotated[
    Path | None,
    typer.Option(
        "--out", metavar="DIR", help="Folder of the run, used as given. [default: runs/NAME]", rich_help_panel="Files"
    ),
]
RunsShare = Annotated[
    str | None,
    typer.Option(
        "--runs",
        metavar="I/N",
        help="Train part I of N of the runs, I from 1 to N: one job each. [default: all]",
        rich_help_panel="Training",
    ),
]
Shard = Annotated[
    str | None,
    typer.Option(
        "--shard",
        metavar="I/N",
        help="Make the parts of job I of N, I from 1 to N; auto: torchrun's or Slurm's numbers. [default: all parts]",
        rich_help_panel="Files",
    ),
]
HERE = Path()
