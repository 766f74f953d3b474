"""The flags that mean the same in every command, declared once."""

from pathlib import Path
from typing import Annotated

import typer

Workspace = Annotated[Path, typer.Option("-C", "--workspace", help="Folder of zoo.toml and of all that zoo writes.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Make the output again, whatever it was made from.")]
Refresh = Annotated[
    bool,
    typer.Option("--refresh", help="Make again whatever upstream is stale."),
]
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
Steps = Annotated[int | None, typer.Option("--steps", help="Length of training, in steps.")]
Epochs = Annotated[
    float | None,
    typer.Option(
        "--epochs",
        help="Or in passes over the images, the unlabelled ones where they take part. Default: the objective's.",
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option(
        "--batch-size", help="Images in a step, half of them labelled where others take part. Default: the objective's."
    ),
]
Momentum = Annotated[float, typer.Option("--momentum", help="Of SGD.")]
WeightDecay = Annotated[float, typer.Option("--weight-decay", help="Of SGD.")]
Schedule = Annotated[
    str | None, typer.Option("--schedule", help="constant, cosine or steps. Default: the objective's.")
]
Warmup = Annotated[int, typer.Option("--warmup", help="Steps of rising learning rate.")]
Augment = Annotated[
    str | None,
    typer.Option(
        "--augment",
        help="none, flip, shift, crop, affine (for glyphs and signs) or rand. Default: the objective's.",
    ),
]
UnlabelledFrom = Annotated[str, typer.Option("--unlabelled-from", help="all or unlabelled.")]
Recalibrate = Annotated[
    bool,
    typer.Option("--recalibrate", help="Estimate batch-norm statistics again at the end, from the images trained on."),
]
CheckpointEvery = Annotated[int, typer.Option("--checkpoint-every", help="Steps between checkpoints.")]
MaxTime = Annotated[str | None, typer.Option("--max-time", help="Stop with a checkpoint after, e.g. 3h50m; exit 75.")]

HERE = Path()
