"""`zoo distill`: one small student from a few labels and the weighted pseudo-labels of many sources."""

import math
import re
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zoo_cli import config, console, files, registry, specs
from zoo_cli.config import Config, Source
from zoo_cli.errors import ContractError, UsageError
from zoo_cli.options import (
    HERE,
    Device,
    DryRun,
    Format,
    Json,
    Manifest,
    Metric,
    On,
    Overwrite,
    Precision,
    Seed,
    Sources,
    Weighting,
    Workers,
    Workspace,
)
from zoo_cli.stages import (
    devices,
    failures,
    outputs,
    pseudo_label,
    rank,
    ranking,
    split,
    students,
    teaching,
    weights,
)
from zoo_cli.stages.runs import Run, versions
from zoo_cli.stages.teaching import Target

if TYPE_CHECKING:
    from zoo_cli.data.images import Images

EPOCHS = 30.0
FIELDS = (
    console.Field("run"),
    console.Field("steps", style=","),
    console.Field("loss", style=".4f"),
    console.Field("labelled_accuracy", "labelled", "percent"),
    console.Field("path"),
)


def distill(
    objective: Annotated[str, typer.Option("--objective", help="What is minimised.")] = "cross-task",
    weighting: Weighting = rank.DEFAULT_WEIGHTING,
    metric: Metric = rank.DEFAULT_METRIC,
    on: On = None,
    source: Sources = None,
    student: Annotated[
        str | None, typer.Option("--student", help="PROVIDER:NAME. Default: [student] of zoo.toml.")
    ] = None,
    init: Annotated[
        str | None, typer.Option("--init", help="A source whose weights the student's body starts from.")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Name of the run. Default: objective-metric-weighting-sSEED.")
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="Length of training, in steps.")] = None,
    epochs: Annotated[
        float | None, typer.Option("--epochs", help="Or in passes over the unlabelled stream. Default: 30.")
    ] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", help="Half labelled, half unlabelled.")] = 128,
    lam: Annotated[float, typer.Option("--lam", help="Share of the labels in the loss; 1 is labels only.")] = 0.8,
    lr: Annotated[float, typer.Option("--lr", help="Learning rate.")] = 0.01,
    momentum: Annotated[float, typer.Option("--momentum", help="Of SGD.")] = 0.9,
    weight_decay: Annotated[float, typer.Option("--weight-decay", help="Of SGD.")] = 1e-4,
    schedule: Annotated[str, typer.Option("--schedule", help="constant, cosine or steps.")] = "cosine",
    warmup: Annotated[int, typer.Option("--warmup", help="Steps of rising learning rate.")] = 0,
    augment: Annotated[
        str, typer.Option("--augment", help="none, flip, crop, affine (for glyphs and signs) or rand.")
    ] = "crop",
    kd_temperature: Annotated[
        float, typer.Option("--kd-temperature", help="Softens both sides of distillation.")
    ] = 1.0,
    min_weight: Annotated[float, typer.Option("--min-weight", help="Sources below it are left out.")] = 1e-4,
    unlabelled_from: Annotated[str, typer.Option("--unlabelled-from", help="all or unlabelled.")] = "all",
    checkpoint_every: Annotated[int, typer.Option("--checkpoint-every", help="Steps between checkpoints.")] = 500,
    max_time: Annotated[
        str | None, typer.Option("--max-time", help="Stop with a checkpoint after, e.g. 3h50m; exit 75.")
    ] = None,
    manifest: Manifest = None,
    pseudo: Annotated[
        list[Path] | None, typer.Option("--pseudo", help="Pseudo-labels, without a zoo.toml. Repeats.")
    ] = None,
    scores: Annotated[Path | None, typer.Option("--scores", help="Scores of the sources of --pseudo.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="The run's folder, used as given. Default: runs/NAME.")
    ] = None,
    seed: Seed = None,
    device: Device = "auto",
    precision: Precision = "fp32",
    workers: Workers = None,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    form: Format = None,
    json: Json = False,
    workspace: Workspace = HERE,
) -> None:
    """Train a student from labels and from the sources' weighted pseudo-labels.

    zoo distill --weighting p=2
    zoo distill --lam 1 --steps 1000
    """
    from zoo_cli import training

    started = time.monotonic()
    settings = config.load(workspace)
    seed = settings.task.seed if seed is None else seed
    limit = _seconds(max_time)
    if objective not in registry.OBJECTIVES:
        raise specs.nearest("objective", objective, registry.OBJECTIVES)
    _check(lam, batch_size, min_weight, unlabelled_from, augment, steps, epochs)
    learner = students.choose(settings, student)
    _check_names(settings, learner, init, name, device, workers)
    options = training.Options(
        steps=steps or 1,
        lr=lr,
        momentum=momentum,
        weight_decay=weight_decay,
        schedule=schedule,  # type: ignore[arg-type]
        warmup=warmup,
        precision=precision,  # type: ignore[arg-type]
        checkpoint_every=checkpoint_every,
    )
    name = _name(objective, metric, on, weighting, lam, seed) if name is None else name
    path = out or settings.run(name)
    if dry_run and manifest is None and not settings.manifest.exists():
        console.say(f"would train {path}, after zoo split and whatever else is missing")
        return
    images, classes = _images(settings, manifest, workers)
    streams = teaching.Streams.of(images, batch_size, lam, unlabelled_from, seed)
    if steps is None:
        options = replace(options, steps=streams.steps(EPOCHS if epochs is None else epochs, batch_size))
    length = f"{options.steps:,} steps of {batch_size} images"
    if dry_run:
        console.say(f"would train {path}: {length}")
        return
    if lam == 1:
        targets: list[Target] = []
    elif pseudo:
        targets = _bare(pseudo, scores, weighting, min_weight)
    else:
        targets = _weighted(settings, settings.select(source or []), metric, on, weighting, min_weight)
    where = devices.choose(device, purpose="training")
    free = ("checkpoint_every", "log_every")
    said = {
        "objective": objective,
        "student": {"student": settings.declared(learner), "init": init or ""},
        "options": {
            **{key: value for key, value in asdict(options).items() if key not in free},
            "batch_size": batch_size,
            "lam": lam,
            "augment": augment,
            "kd_temperature": kd_temperature,
            "unlabelled_from": unlabelled_from,
            "seed": seed,
        },
        "weights": [{"source": target.name, "weight": target.weight} for target in targets],
        "inputs": {**streams.inputs(), **{f"pseudo-labels of {target.name}": target.digest for target in targets}},
        "device": where.type,
        "threads": devices.threads(),
        "versions": versions(),
    }
    run = Run(path, outputs.plain(said))
    run.begin(overwrite=overwrite)
    if run.finished:
        console.say(f"{path} is up to date")
    else:
        console.say(f"training {path}: {length}, {teaching.told(targets)}")
        module = students.build(settings, learner, init, classes, seed)
        lesson = teaching.Lesson(run, streams, targets, options, lam, kd_temperature, augment)
        teaching.train(lesson, module, where, workers, None if limit is None else started + limit)
        files.write_json(path.with_name(f"{path.name}.log.json"), {"seconds": round(time.monotonic() - started, 1)})
    last = files.read_lines(path / "metrics.jsonl")[-1]
    row = {"run": path.name, "steps": options.steps, "path": str(path)}
    console.answer("zoo.distill/1", [{**last, **row}], FIELDS, form="json" if json else form)


def _images(settings: Config, manifest: Path | None, workers: int | None) -> "tuple[Images, tuple[str, ...]]":
    """The task's images and class names, of the workspace or beside a manifest given by path."""
    from zoo_cli.data import images

    found = split.ensure(settings, workers=workers) if manifest is None else images.read(manifest, manifest.parent)
    listed = settings.classes if manifest is None else manifest.with_name("classes.json")
    names = files.read_json(listed).get("names")
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise ContractError(f"{listed} has no list of names", "zoo split writes it beside the manifest")
    most = int(found.labels.max(initial=-1))
    if most >= len(names):
        raise ContractError(f"{found.file}: label {most} is outside the {len(names)} classes of {listed}")
    failed = failures.ids(settings, "extract") if manifest is None else frozenset()
    if failed:
        console.say(f"{len(failed):,} images that failed in zoo extract are left out")
    return found.without(failed), tuple(names)


def _weighted(
    settings: Config, chosen: Sequence[Source], metric: str, on: str | None, weighting: str, least: float
) -> list[Target]:
    """The weighted sources of the workspace, ranked and with pseudo-labels made first where they are missing."""
    from zoo_cli.data import stored

    found = ranking.make(settings, ranking.ask([metric], on, weighting), chosen)
    pseudo_label.make(settings, chosen)
    given = {}
    for name, weight in found.weights.items():
        if weight and not outputs.about(settings, name)["classes"]:
            console.warn(f"{name} has no head and cannot teach: its weight {weight:.2g} goes to the others")
            continue
        given[name] = weight
    return [
        Target(
            name,
            settings.pseudo(name),
            weight,
            outputs.about(settings, name)["output"],
            stored.identity(settings.pseudo(name)),
        )
        for name, weight in teaching.pick(given, least).items()
    ]


def _bare(folders: Sequence[Path], scores: Path | None, weighting: str, least: float) -> list[Target]:
    """Pseudo-labels given by path, weighted by a scores file, or alike."""
    from zoo_cli.data import stored

    names = [folder.stem.removeprefix("source=") for folder in folders]
    if len(set(names)) < len(names):
        raise UsageError("two --pseudo have the same name", "rename a folder: it is the source's name")
    method = specs.resolve("weighting", weighting)
    if scores is not None:
        given = ranking.of_file(scores, weighting, Config(Path()), names).weights
    elif method.name in ("equal", "file", "random") or method.params == {"p": 0}:
        given = weights.alike(method, names)
    else:
        raise UsageError(f"--weighting {weighting} needs scores", "--scores FILE, or --weighting equal")
    kept = teaching.pick(given, least)
    heads = {name: files.read_header(stored.parts(folder)[0]) for name, folder in zip(names, folders, strict=True)}
    return [
        Target(
            name, folder, kept[name], heads[name].get("inputs", {}).get("output", "softmax"), stored.identity(folder)
        )
        for name, folder in zip(names, folders, strict=True)
        if name in kept
    ]


def _check(
    lam: float,
    batch_size: int,
    min_weight: float,
    unlabelled_from: str,
    augment: str,
    steps: int | None,
    epochs: float | None,
) -> None:
    from zoo_cli.data import augmentation

    if not 0 <= lam <= 1:
        raise UsageError(f"--lam {lam:g}", "0 is pseudo-labels only, 1 labels only")
    if batch_size < 2:
        raise UsageError(f"--batch-size {batch_size}", "at least one labelled and one unlabelled image")
    if not 0 <= min_weight < 1:
        raise UsageError(f"--min-weight {min_weight:g}", "from 0 to below 1")
    if unlabelled_from not in ("all", "unlabelled"):
        raise UsageError(f'--unlabelled-from "{unlabelled_from}"', "all or unlabelled")
    if augment not in augmentation.KINDS:
        raise specs.nearest("augmentation", augment, augmentation.KINDS)
    if steps is not None and epochs is not None:
        raise UsageError("--steps and --epochs are two ways to say one thing", "leave one out")
    if (steps is not None and steps < 1) or (epochs is not None and not 0 < epochs < math.inf):
        raise UsageError("a run has at least one step", "--steps N or --epochs N above 0")


def _check_names(
    settings: Config, learner: Source, init: str | None, name: str | None, device: str, workers: int | None
) -> None:
    """Names that cannot be, said before the sources are run."""
    specs.provider("model provider", learner.model)
    if init is not None:
        specs.provider("model provider", settings.select([init])[0].model)
    if name is not None and (not name or name.startswith(".") or any(c in "/\\" or not c.isprintable() for c in name)):
        raise UsageError(
            f'--name "{name}"', "it names a folder of runs: no / or \\, no leading dot; --out takes a path"
        )
    devices.workers(workers)
    if device != "auto":
        devices.choose(device, purpose="training")


def _name(objective: str, metric: str, on: str | None, weighting: str, lam: float, seed: int) -> str:
    """`cross-task-parc-p2-s0`; labels-only-s0 where no source takes part."""
    if lam == 1:
        return f"labels-only-s{seed}"
    asked = ranking.ask([metric], on, weighting)
    return "-".join([objective, asked.name, weights.slug(weighting), f"s{seed}"])


def _seconds(text: str | None) -> float | None:
    """`3h50m`, `90m`, `45s` or seconds."""
    if text is None:
        return None
    found = re.fullmatch(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s?)?", text)
    if not found or not any(found.groups()):
        raise UsageError(f'--max-time "{text}"', "write e.g. 3h50m, 90m or 45s")
    days, hours, minutes, seconds = (float(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds
