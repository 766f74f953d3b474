"""Training options: as the user sets them, with the defaults of an objective, and as the loop reads them."""

import math
import re
import time
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, get_args

import typer

from zoo_cli import specs
from zoo_cli.devices import Precision
from zoo_cli.entries import Objective
from zoo_cli.errors import ParameterError
from zoo_cli.training.schedules import check_schedule

Augmentation = Literal["none", "flip", "shift", "crop", "affine", "rand"]
UnlabelledFrom = Literal["all", "unlabelled"]
Compile = Literal["auto", "off", "graph"]
ImagePlace = Literal["auto", "gpu", "memory", "stream"]
TEACHER_BATCH = 256
"""The batch size for which the objectives that need a teacher give their learning rate."""


@dataclass(frozen=True)
class LoopOptions:
    """What the loop reads. `warmup`, `checkpoint_every` and `log_every` count steps; 0 is never.

    The run always ends with a checkpoint and a row of the log. Raises ParameterError for values out of
    range.
    """

    steps: int
    lr: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 1e-4
    schedule: str = "cosine"
    warmup: int = 0
    precision: Precision = "fp32"
    checkpoint_every: int = 500
    log_every: int = 50
    nesterov: bool = False

    def __post_init__(self) -> None:
        check_schedule(self.schedule)
        _check_choice("precision", self.precision, Precision)
        _check_at_least("steps", self.steps, 1)
        for name in ("lr", "momentum", "weight_decay", "warmup", "checkpoint_every", "log_every"):
            _check_at_least(name, getattr(self, name), 0)
        if self.nesterov and not self.momentum:
            raise ParameterError("`nesterov` needs `momentum` above 0")


@dataclass(frozen=True)
class ResolvedTraining:
    """Training options with the defaults of an objective filled in.

    `epochs`: the length, unless it is set in steps; `loop.steps` is 1 until `loop_options` counts them. `deadline`: in
    the seconds of time.monotonic, None without a time limit.
    """

    loop: LoopOptions
    epochs: float | None
    batch_size: int
    augment: str
    unlabelled_from: str
    recalibrate: bool
    device: str
    workers: int | None
    deadline: float | None
    images: ImagePlace = "auto"
    deterministic: bool = False
    compile: Compile = "auto"
    wait: float | None = None

    @property
    def needs_cuda(self) -> str:
        """The option that only a CUDA device has; empty without one."""
        if self.loop.precision == "tf32":
            return "`precision` tf32"
        return "`compile` graph" if self.compile == "graph" else ""

    def loop_options(self, epoch_images: int, step_images: int) -> LoopOptions:
        """The options with their number of steps: an epoch is `epoch_images`, of which a step uses `step_images`."""
        if self.epochs is None:
            return self.loop
        return replace(self.loop, steps=max(1, round(self.epochs * epoch_images / max(1, step_images))))

    def past_deadline(self) -> bool:
        """Whether the time limit is over."""
        return self.deadline is not None and time.monotonic() >= self.deadline


def _option(flag: str, help_text: str, metavar: str | None = None, envvar: str | None = None) -> Any:
    return typer.Option(flag, help=help_text, metavar=metavar, envvar=envvar, rich_help_panel="Training")


@dataclass(frozen=True)
class TrainingConfig:
    """The training options of `distill` and `finetune`; None is the default of the objective.

    Each field is the flag of its annotation, see `commands.training_flags`. Raises ParameterError for values out of
    range, and for a length in both steps and epochs.
    """

    steps: Annotated[int | None, _option("--steps", "Training length in steps.", "N")] = None
    epochs: Annotated[
        float | None,
        _option(
            "--epochs",
            "Training length in passes over the images, the unlabelled ones if they are used. "
            "[default: the objective's]",
            "N",
        ),
    ] = None
    batch_size: Annotated[
        int | None,
        _option(
            "--batch-size",
            "Batch size; half labelled, half unlabelled when both are used. [default: the objective's]",
            "N",
        ),
    ] = None
    lr: Annotated[float | None, _option("--lr", "Learning rate. [default: the objective's]", "RATE")] = None
    momentum: Annotated[float, _option("--momentum", "SGD momentum.", "X")] = LoopOptions.momentum
    weight_decay: Annotated[float, _option("--weight-decay", "SGD weight decay.", "X")] = LoopOptions.weight_decay
    schedule: Annotated[
        str | None,
        _option(
            "--schedule",
            "Learning rate schedule: constant, cosine or steps; steps:at=1/3,2/3 sets where it falls. "
            "[default: the objective's]",
            "NAME",
        ),
    ] = None
    warmup: Annotated[int, _option("--warmup", "Linear warm-up steps.", "N")] = LoopOptions.warmup
    augment: Annotated[
        str | None,
        _option(
            "--augment",
            "Augmentation: none, flip, shift, crop, affine (turned, moved, scaled) or rand. [default: the objective's]",
            "NAME",
        ),
    ] = None
    unlabelled_from: Annotated[
        str, _option("--unlabelled-from", "Images of the unlabelled half: all, or unlabelled alone.", "NAME")
    ] = "all"
    recalibrate: Annotated[
        bool, _option("--recalibrate", "Re-estimate the batch-norm statistics on the training images at the end.")
    ] = False
    checkpoint_every: Annotated[int, _option("--checkpoint-every", "Steps between checkpoints.", "N")] = (
        LoopOptions.checkpoint_every
    )
    max_time: Annotated[
        str | None,
        _option("--max-time", "Time limit, e.g. 3h50m: stop with a checkpoint and exit code 75.", "TIME"),
    ] = None
    wait: Annotated[
        float | None,
        _option(
            "--wait",
            "Wait so long for another process that trains the same run; 0: do not wait. [default: until it ends]",
            "SECONDS",
        ),
    ] = None
    device: Annotated[
        str, _option("--device", "auto (CUDA if there is any), cpu, cuda or cuda:N.", "NAME", "ZOO_DEVICE")
    ] = "auto"
    precision: Annotated[
        str, _option("--precision", "fp32, tf32 (on a CUDA device) or bf16.", "NAME", "ZOO_PRECISION")
    ] = LoopOptions.precision
    deterministic: Annotated[
        bool, _option("--deterministic", "Equal bits in every run on the same CUDA device; slower there.")
    ] = False
    compile: Annotated[
        str,
        _option(
            "--compile", "On a CUDA device, run a step as one CUDA graph: auto (if possible), graph or off.", "NAME"
        ),
    ] = "auto"
    workers: Annotated[
        int | None,
        _option("--workers", "Threads that decode images. [default: one per core]", "N", "ZOO_WORKERS"),
    ] = None
    images: Annotated[
        str,
        _option(
            "--images", "Where to keep the training images: auto, gpu, memory, or stream (decode every batch).", "PLACE"
        ),
    ] = "auto"

    def __post_init__(self) -> None:
        if self.steps is not None and self.epochs is not None:
            raise ParameterError("`steps` and `epochs` cannot be combined", "set one of them")
        if self.steps is not None:
            _check_at_least("steps", self.steps, 1)
        if self.epochs is not None and not 0 < self.epochs < math.inf:
            raise ParameterError(f"`epochs` is {self.epochs:g}", "expected a number above 0")
        if self.batch_size is not None:
            _check_at_least("batch_size", self.batch_size, 2)
        for name in ("lr", "momentum", "weight_decay", "warmup", "checkpoint_every", "workers", "wait"):
            value = getattr(self, name)
            if value is not None:
                _check_at_least(name, value, 0)
        if self.schedule is not None:
            check_schedule(self.schedule)
        for name, choices in (
            ("augment", Augmentation),
            ("unlabelled_from", UnlabelledFrom),
            ("precision", Precision),
            ("compile", Compile),
            ("images", ImagePlace),
        ):
            value = getattr(self, name)
            if value is not None:
                _check_choice(name, value, choices)
        if self.images == "gpu" and self.device.startswith("cpu"):
            raise ParameterError(f"`images` gpu: `device` is {self.device}", "set `images` auto")
        if self.max_time is not None:
            parse_duration(self.max_time)

    def resolve(self, objective: Objective) -> ResolvedTraining:
        """These options with the defaults of an objective; the time limit starts now."""
        batch_size = objective.batch_size if self.batch_size is None else self.batch_size
        default_lr = objective.lr * (batch_size / TEACHER_BATCH if objective.needs_teacher else 1)
        loop = LoopOptions(
            steps=self.steps or 1,
            lr=default_lr if self.lr is None else self.lr,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            schedule=self.schedule or objective.schedule,
            warmup=self.warmup,
            precision=self.precision,  # type: ignore[arg-type]
            checkpoint_every=self.checkpoint_every,
            nesterov=objective.nesterov and self.momentum > 0,
        )
        epochs = objective.epochs if self.epochs is None else self.epochs
        return ResolvedTraining(
            loop,
            epochs if self.steps is None else None,
            batch_size,
            objective.augment if self.augment is None else self.augment,
            self.unlabelled_from,
            self.recalibrate,
            self.device,
            self.workers,
            None if self.max_time is None else time.monotonic() + parse_duration(self.max_time),
            self.images,  # type: ignore[arg-type]
            self.deterministic,
            self.compile,  # type: ignore[arg-type]
            self.wait,
        )


def describe_length(options: LoopOptions, batch_size: int) -> str:
    """The length of a run as a phrase."""
    return f"{options.steps:,} steps of {batch_size} images"


def parse_duration(text: str) -> float:
    """The seconds of `3h50m`, `90m`, `45s` or a bare number of seconds."""
    parts = re.fullmatch(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s?)?", text)
    if not parts or not any(parts.groups()):
        raise ParameterError(f'`max_time` is "{text}"', "write e.g. 3h50m, 90m or 45s")
    days, hours, minutes, seconds = (float(part or 0) for part in parts.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def _check_choice(name: str, value: str, choices: Any) -> None:
    if value not in get_args(choices):
        unknown = specs.nearest(name, value, get_args(choices))
        raise ParameterError(f'`{name}` is "{value}"', unknown.hint)


def _check_at_least(name: str, value: float, least: int) -> None:
    if not least <= value < math.inf:
        raise ParameterError(f"`{name}` is {value:g}", f"expected a finite number from {least} up")
