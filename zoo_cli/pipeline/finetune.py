"""`zoo finetune`: a pretrained model, with a new head, trained on the labels of the task."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zoo_cli import config, console, registry, specs
from zoo_cli.commands.options import (
    HERE,
    Augment,
    BatchSize,
    CheckpointEvery,
    Device,
    DryRun,
    Epochs,
    Format,
    Json,
    Manifest,
    MaxTime,
    Momentum,
    Overwrite,
    Precision,
    Recalibrate,
    RunFolder,
    RunName,
    Schedule,
    Seeds,
    Steps,
    UnlabelledFrom,
    Warmup,
    WeightDecay,
    Workers,
    Workspace,
)
from zoo_cli.config import Config, Source
from zoo_cli.errors import UsageError
from zoo_cli.pipeline import best, runner, students, sweep, training_options
from zoo_cli.pipeline.runner import RunSpec
from zoo_cli.pipeline.streams import IndexStreams
from zoo_cli.pipeline.training_options import RunPaths, TrainingOptions

if TYPE_CHECKING:
    import numpy as np

    from zoo_cli.models.student import Student
    from zoo_cli.objectives.supervised import Objective
    from zoo_cli.store.manifest import Images
    from zoo_cli.training.loop import LoopOptions

THRESHOLD, TEMPERATURE, UNLABELLED_WEIGHT = 0.95, 1.0, 1.0


def finetune(
    source: Annotated[
        list[str], typer.Argument(help="A source by name, PROVIDER:NAME, student, or best[:ARCHITECTURE].")
    ],
    objective: Annotated[
        str, typer.Option("--objective", help="supervised, or fixmatch, which learns from unlabelled images too.")
    ] = "supervised",
    freeze: Annotated[
        str | None, typer.Option("--freeze", help="With body only the new head learns. Default: all layers.")
    ] = None,
    metric: Annotated[str | None, typer.Option("--metric", help="By which best is the best. Default: parc.")] = None,
    name: RunName = None,
    steps: Steps = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    lr: Annotated[
        str | None,
        typer.Option("--lr", help="Learning rate. Of several, 0.01,0.005, the best on held-out labels is taken."),
    ] = None,
    threshold: Annotated[
        float | None, typer.Option("--threshold", help="Of fixmatch: confidence that counts. Default: 0.95.")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option("--temperature", help="Of fixmatch: softens its own answers. Default: 1.")
    ] = None,
    lam: Annotated[
        float | None,
        typer.Option("--lam", help="Of fixmatch: share of the labels in the loss, in place of --unlabelled-weight."),
    ] = None,
    unlabelled_weight: Annotated[
        float | None,
        typer.Option(
            "--unlabelled-weight", help="Of fixmatch: so much of the loss without labels is added. Default: 1."
        ),
    ] = None,
    momentum: Momentum = 0.9,
    weight_decay: WeightDecay = 1e-4,
    schedule: Schedule = None,
    warmup: Warmup = 0,
    augment: Augment = None,
    unlabelled_from: UnlabelledFrom = "all",
    recalibrate: Recalibrate = False,
    checkpoint_every: CheckpointEvery = 500,
    max_time: MaxTime = None,
    manifest: Manifest = None,
    out: RunFolder = None,
    seed: Seeds = None,
    device: Device = "auto",
    precision: Precision = "fp32",
    workers: Workers = None,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    form: Format = None,
    json: Json = False,
    workspace: Workspace = HERE,
) -> None:
    """Train a pretrained model on the labels of the task, with a new head.

    zoo finetune best --lr 0.01,0.005,0.001
    zoo finetune torchvision:resnet50 --freeze body
    zoo finetune student --objective fixmatch
    """
    settings = config.load(workspace)
    method = specs.resolve("objective", objective)
    facts = registry.OBJECTIVES[method.name]
    if facts.command != "finetune":
        raise UsageError(f"{method.name} learns from sources", f"zoo distill --objective {method.name}")
    own = {
        "--threshold": threshold,
        "--temperature": temperature,
        "--lam": lam,
        "--unlabelled-weight": unlabelled_weight,
        "--unlabelled-from": None if unlabelled_from == "all" else unlabelled_from,
    }
    for flag, value in own.items():
        if value is not None and method.name != "fixmatch":
            raise UsageError(f"{flag} belongs to --objective fixmatch", "leave it out")
    if lam is not None and unlabelled_weight is not None:
        raise UsageError("--lam and --unlabelled-weight are two ways to say one thing", "leave one out")
    if freeze not in (None, "body"):
        raise UsageError(f'--freeze "{freeze}"', "body, or nothing")
    if freeze and recalibrate:
        raise UsageError("--recalibrate would change the body, which --freeze body keeps", "leave one out")
    rates = sweep.parse_rates(lr)
    going = training_options.resolve_training(
        facts,
        steps=steps,
        epochs=epochs,
        batch_size=batch_size,
        lr=rates[0] if rates else None,
        momentum=momentum,
        weight_decay=weight_decay,
        schedule=schedule,
        warmup=warmup,
        augment=augment,
        unlabelled_from=unlabelled_from,
        recalibrate=recalibrate,
        precision=precision,
        checkpoint_every=checkpoint_every,
        max_time=max_time,
        device=device,
        workers=workers,
        overwrite=overwrite,
    )
    for rate in rates:
        replace(going.options, lr=rate)
    fixmatch = {
        "threshold": THRESHOLD if threshold is None else threshold,
        "temperature": TEMPERATURE if temperature is None else temperature,
        "lam": lam,
        "unlabelled_weight": UNLABELLED_WEIGHT if lam is None and unlabelled_weight is None else unlabelled_weight,
    }
    asked = FinetuneConfig(method, fixmatch if method.name == "fixmatch" else {}, freeze == "body", tuple(rates))
    asked.objective()
    places = RunPaths(settings, tuple([settings.task.seed] if seed is None else seed), name, out)
    places.check()
    places.of(source)  # a run for each, told before the sources are ranked
    if dry_run and best.needs_ranking(settings, source, metric):
        console.say("would train the best source, after zoo rank")
        return
    chosen = best.select_models(settings, source, metric, stored=dry_run)
    paths = [path for path, _ in places.of([asked.name(one) for one in chosen])]
    if dry_run and manifest is None and not settings.manifest.exists():
        console.say(f"would train {', '.join(map(str, paths))}, after zoo split")
        return
    images, classes = training_options.load_task(settings, manifest, workers)
    if dry_run:
        _, options = asked.length(going, images, places.seeds[0])
        for path in paths:
            console.say(
                f"would train {path}: {runner.describe_length(options, going)}, {len(rates) or 1} learning rates"
            )
        return
    rows = _run(settings, asked, going, places, images, classes, chosen)
    console.answer("zoo.finetune/1", rows, runner.FIELDS, form="json" if json else form)


@dataclass(frozen=True)
class FinetuneConfig:
    """What the flags of finetune say. `params`: of fixmatch. `rates`: of a sweep, where there are several."""

    method: specs.Method
    params: dict[str, float | None]
    frozen: bool
    rates: tuple[float, ...]

    def name(self, source: Source) -> str:
        """How the student of a source is called, without its seed."""
        first = "finetune" if self.method.name == "supervised" else self.method.name
        return "-".join([first, *(["head"] if self.frozen else []), source.name])

    def objective(self) -> "Objective":
        """What is minimised. Raises UsageError for values outside their range."""
        given = {key: value for key, value in self.params.items() if value is not None}
        objective: Objective = self.method.function(**given)
        return objective

    def length(self, going: TrainingOptions, images: "Images", seed: int) -> "tuple[IndexStreams, LoopOptions]":
        """The streams of a run, and its options with the number of steps.

        An epoch is one of the labelled images, or of the unlabelled ones where they take part.
        """
        streams = IndexStreams.of(images, going, seed, labels=True, others=bool(self.params))
        return streams, self.lasting(going, streams)

    def lasting(self, going: TrainingOptions, streams: IndexStreams) -> "LoopOptions":
        """The options of a run on these streams."""
        rows = streams.unlabelled if streams.batch[1] else streams.labelled
        return going.lasting(len(rows), streams.batch[1] or streams.batch[0])


def _run(
    settings: Config,
    asked: FinetuneConfig,
    going: TrainingOptions,
    places: RunPaths,
    images: "Images",
    classes: tuple[str, ...],
    chosen: Sequence[Source],
) -> list[dict[str, Any]]:
    kinds = [asked.name(one) for one in chosen]
    sources = [one for one in chosen for _ in places.seeds]
    test = images.where(split=("test",))

    def lesson(
        source: Source,
        path: Path,
        streams: IndexStreams,
        judged: "np.ndarray | None",
        lr: float,
        more: dict[str, Any],
    ) -> RunSpec:
        said = {
            "objective": asked.method.spec,
            "source": source.name,
            "student": {"student": settings.declared(source), "freeze": "body" if asked.frozen else ""},
            "options": {**asked.params, **more},
            "inputs": students.model_digests(settings, source),
        }
        return RunSpec(
            path,
            streams,
            replace(asked.lasting(going, streams), lr=lr),
            said,
            f"{source.name} by {len(streams.labelled):,} labels",
            student=partial(_student, settings, source, classes, streams.seed, asked.frozen),
            objective=lambda _student, _device: asked.objective(),
            judged=test if judged is None else judged,
            strong=bool(asked.params),
        )

    swept = len(asked.rates) > 1
    made: list[RunSpec] = []
    for (path, seed), source in zip(places.of(kinds), sources, strict=True):
        streams, options = asked.length(going, images, seed)
        made.append(lesson(source, path, streams, None, options.lr, sweep.recorded_sweep(asked.rates) if swept else {}))
    task = settings.task.name
    if not swept:
        return runner.train_runs(made, going, task)
    device = going.device()
    for one in made:
        runner.open_run(one, going, task, device)
    shared, again = runner.share_images(made, device, going.workers), replace(going, overwrite=False)
    return [
        sweep.run_sweep(one, asked.rates, partial(lesson, source), task, again, shared)
        for one, source in zip(made, sources, strict=True)
    ]


def _student(settings: Config, source: Source, classes: tuple[str, ...], seed: int, frozen: bool) -> "Student":
    student = students.build_student(settings, source, None, classes, seed)
    if frozen:
        student.freeze_body()
    return student
