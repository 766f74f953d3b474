"""How the runs of a training command go: what the flags that they share say, checked before any work."""

import math
import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from zoo_cli import console, devices, registry, specs
from zoo_cli.config import Config
from zoo_cli.errors import ContractError, UsageError
from zoo_cli.pipeline import split
from zoo_cli.store import failures

if TYPE_CHECKING:
    import torch

    from zoo_cli.store.manifest import Images
    from zoo_cli.training.loop import LoopOptions


LONGEST = 150
"""Bytes in the name of a run: file systems take 255, and a file beside it needs some for its temporary name."""


@dataclass(frozen=True)
class TrainingOptions:
    """`epochs`: the length, where it is not said in steps. `deadline`: of time.monotonic, where --max-time says one."""

    options: "LoopOptions"
    epochs: float | None
    batch_size: int
    augment: str
    unlabelled_from: str
    recalibrate: bool
    device: "Callable[[], torch.device]"
    workers: int | None
    deadline: float | None
    overwrite: bool

    def lasting(self, rows: int, a_step: int) -> "LoopOptions":
        """The options with the number of steps, where an epoch is `rows` images and a step takes `a_step` of them."""
        if self.epochs is None:
            return self.options
        return replace(self.options, steps=max(1, round(self.epochs * rows / max(1, a_step))))


def resolve_training(
    facts: registry.Objective,
    *,
    steps: int | None,
    epochs: float | None,
    batch_size: int | None,
    lr: float | None,
    momentum: float,
    weight_decay: float,
    schedule: str | None,
    warmup: int,
    augment: str | None,
    unlabelled_from: str,
    recalibrate: bool,
    precision: str,
    checkpoint_every: int,
    max_time: str | None,
    device: str,
    workers: int | None,
    overwrite: bool,
) -> TrainingOptions:
    """The course that flags describe; what they leave open is the objective's. Raises UsageError."""
    from zoo_cli.images import augmentation
    from zoo_cli.training import loop

    started = time.monotonic()
    limit = _seconds(max_time)
    batch_size = facts.batch_size if batch_size is None else batch_size
    augment = facts.augment if augment is None else augment
    if batch_size < 2:
        raise UsageError(f"--batch-size {batch_size}", "at least 2")
    if unlabelled_from not in ("all", "unlabelled"):
        raise UsageError(f'--unlabelled-from "{unlabelled_from}"', "all or unlabelled")
    if augment not in augmentation.KINDS:
        raise specs.nearest("augmentation", augment, augmentation.KINDS)
    if steps is not None and epochs is not None:
        raise UsageError("--steps and --epochs are two ways to say one thing", "leave one out")
    if (steps is not None and steps < 1) or (epochs is not None and not 0 < epochs < math.inf):
        raise UsageError("a run has at least one step", "--steps N or --epochs N above 0")
    devices.workers(workers)
    if device != "auto":
        devices.choose(device, purpose="training")
    if lr is None:
        lr = facts.lr * (batch_size / 256 if facts.needs_teacher else 1)
    options = loop.LoopOptions(
        steps=steps or 1,
        lr=lr,
        momentum=momentum,
        weight_decay=weight_decay,
        schedule=schedule or facts.schedule,  # type: ignore[arg-type]
        warmup=warmup,
        precision=precision,  # type: ignore[arg-type]
        checkpoint_every=checkpoint_every,
        nesterov=facts.nesterov and momentum > 0,
    )
    length = None if steps is not None else facts.epochs if epochs is None else epochs
    return TrainingOptions(
        options,
        length,
        batch_size,
        augment,
        unlabelled_from,
        recalibrate,
        lambda: devices.choose(device, purpose="training"),
        workers,
        None if limit is None else started + limit,
        overwrite,
    )


def load_task(settings: Config, manifest: Path | None, workers: int | None) -> "tuple[Images, tuple[str, ...]]":
    """The task's images and class names, of the workspace or beside a manifest given by path."""
    from zoo_cli.store.manifest import load_manifest

    found = (
        split.ensure_manifest(settings, workers=workers)
        if manifest is None
        else load_manifest(manifest, manifest.parent)
    )
    listed = settings.classes if manifest is None else manifest.with_name("classes.json")
    names = split.load_class_names(listed)
    most = int(found.labels.max(initial=-1))
    if most >= len(names):
        raise ContractError(f"{found.file}: label {most} is outside the {len(names)} classes of {listed}")
    failed = failures.failed_ids(settings, "extract") if manifest is None else frozenset()
    if failed:
        console.say(f"{len(failed):,} images that failed in zoo extract are left out")
    return found.without(failed), names


@dataclass(frozen=True)
class RunPaths:
    """Where the runs of a command go: `name` and `out` as flags say them, and a run for each of `seeds`."""

    settings: Config
    seeds: tuple[int, ...]
    name: str | None
    out: Path | None

    def check(self) -> None:
        """Raise UsageError for a --name that cannot be a folder of runs, or a seed that stands twice."""
        name = self.name
        if name is not None and (
            not name or name.startswith(".") or any(c in "/\\" or not c.isprintable() for c in name)
        ):
            hint = "it names a folder of runs: no / or \\, no leading dot; --out takes a path"
            raise UsageError(f'--name "{name}"', hint)
        if len(set(self.seeds)) < len(self.seeds):
            raise UsageError("a --seed is given twice", "once is enough")

    def of(self, kinds: Sequence[str]) -> list[tuple[Path, int]]:
        """The folder and the seed of every run: of each kind one a seed, in that order."""
        if len(set(kinds)) < len(kinds):
            raise UsageError("two of the runs asked for are the same", "name each once")
        if (self.name or self.out) and len(kinds) * len(self.seeds) > 1:
            raise UsageError("--name and --out are of one run", "leave them out where several are asked for")
        found = [
            (self.out or self.settings.run(self.name or f"{kind}-s{seed}"), seed)
            for kind in kinds
            for seed in self.seeds
        ]
        for path, _ in found:
            if (size := len(os.fsencode(path.name))) > LONGEST:
                raise UsageError(f"{path.name[:20]}… of {size} bytes is too long for the name of a run", "--name SHORT")
        return found


def _seconds(text: str | None) -> float | None:
    """`3h50m`, `90m`, `45s` or seconds."""
    if text is None:
        return None
    found = re.fullmatch(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s?)?", text)
    if not found or not any(found.groups()):
        raise UsageError(f'--max-time "{text}"', "write e.g. 3h50m, 90m or 45s")
    days, hours, minutes, seconds = (float(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds
