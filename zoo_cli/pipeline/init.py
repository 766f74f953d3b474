"""`zoo init`: write a commented zoo.toml."""

import json
from typing import Annotated

import typer

from zoo_cli import config, console, specs
from zoo_cli.commands.options import HERE, Workspace
from zoo_cli.errors import UsageError
from zoo_cli.store import files

TEMPLATE = """\
# What zoo knows of this task. Paths are relative to this file. Every key that is commented out shows its default.

[task]
name = {name}
train = {train}
{test}
{unlabelled}
labelled = {labelled}                    # of train: "10%", "5/class", "1000" (in all), "all"
# probe = 500                        # labelled images on which the sources are scored, or "all"
# probe_per_class = 0                # at most this many a class; 0: no limit
# seed = 0
# aliases = []                       # other names of this data set: a source trained on it is excluded

[student]                            # the small model that you ship
{student}

# One table a source, a model that you can run. A source that only others can run is a parquet file with id and
# embedding, logits or probs: model = "features:their-outputs.parquet"
{sources}"""

SOURCE = """
[[source]]
name = {name}
model = {model}
# weights = "zoo/weights.safetensors"  # a file, or a name the provider knows
# input_size = 224                   # what the provider does not know by itself: input_size, mean, std, channels
# mean = [0.485, 0.456, 0.406]
# std = [0.229, 0.224, 0.225]
# classes = 1000                     # or a list of names; 0: no head
# trained_on = []                    # data sets it has seen
"""


def init(
    train: Annotated[list[str], typer.Option("--train", help="Training images, e.g. folder:pets/train. Repeats.")],
    test: Annotated[list[str] | None, typer.Option("--test", help="Test images. Without: 20 % of train.")] = None,
    unlabelled: Annotated[list[str] | None, typer.Option("--unlabelled", help="More images, no labels.")] = None,
    labelled: Annotated[str, typer.Option("--labelled", help='"10%", "5/class", "1000" or "all".')] = "all",
    name: Annotated[str | None, typer.Option("--name", help="Name of the task. Default: the folder's.")] = None,
    student: Annotated[str, typer.Option("--student", help="Model to distil into.")] = "torchvision:mobilenet_v3_small",
    source: Annotated[
        list[str] | None, typer.Option("--source", help="A source model, PROVIDER:NAME. Repeats.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a zoo.toml that is there.")] = False,
    workspace: Workspace = HERE,
) -> None:
    """Write a commented zoo.toml.

    zoo init --train folder:pets/train --test folder:pets/test --labelled 20%
    """
    path = workspace / config.FILE
    train, test, unlabelled, source = (
        [config.typed(spec, workspace) for spec in said or []] for said in (train, test, unlabelled, source)
    )
    student = config.typed(student, workspace)
    for spec in [*train, *test, *unlabelled]:
        specs.provider("data provider", spec)
    for spec in [student, *source]:
        specs.provider("model provider", spec)
    text = TEMPLATE.format(
        name=_quoted(name or workspace.resolve().name or "task"),
        train=_specs(train),
        test=f"test = {_specs(test)}" if test else '# test = "folder:test"              # without it, 20 % of train',
        unlabelled=f"unlabelled = {_specs(unlabelled)}" if unlabelled else '# unlabelled = "folder:pool"',
        labelled=_quoted(labelled),
        student=_student(student),
        sources="".join(SOURCE.format(name=_quoted(config.source_name(spec)), model=_quoted(spec)) for spec in source)
        or SOURCE.replace("\n", "\n# ").format(name='"…"', model='"torchvision:resnet18.IMAGENET1K_V1"')[:-2],
    )
    if path.exists() and not overwrite:
        if files.read_text(path) == text:
            console.say(f"{path} is up to date")
            return
        raise UsageError(f"{path} exists", "edit it, or use --overwrite to replace it")
    files.write_text(path, text)
    console.say(f"wrote {path}; next: name the sources in it, then zoo split")


def _student(spec: str) -> str:
    lines = [f"model = {_quoted(spec)}"]
    if spec.startswith("torchvision:") and "." not in spec:
        lines += ['weights = "DEFAULT"                  # torchvision\'s own; "" starts from scratch and needs']
        lines += ["# input_size = 64                    # these three", "# mean = [0.485, 0.456, 0.406]"]
        lines += ["# std = [0.229, 0.224, 0.225]"]
    return "\n".join(lines)


def _specs(specs: list[str]) -> str:
    return _quoted(specs[0]) if len(specs) == 1 else "[" + ", ".join(map(_quoted, specs)) + "]"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
