"""What all runs of a training command share: the workspace, its images, and the training options."""

from dataclasses import dataclass
from pathlib import Path

from zoo_cli import console, devices, ranks
from zoo_cli.config import Config
from zoo_cli.errors import ContractError, ParameterError
from zoo_cli.pipeline import prepare
from zoo_cli.pipeline.prepare import Needs
from zoo_cli.store import failures
from zoo_cli.store.class_names import load_class_names
from zoo_cli.store.manifest import Images, load_manifest
from zoo_cli.training.training_config import ResolvedTraining


@dataclass(frozen=True)
class TrainingTask:
    """The images of a task, its classes (C,) in label order, and how to train on them."""

    settings: Config
    training: ResolvedTraining
    images: Images
    classes: tuple[str, ...]


def load_task(
    settings: Config,
    training: ResolvedTraining,
    needs: Needs | None = None,
    manifest: Path | None = None,
    *,
    refresh: bool = False,
) -> TrainingTask:
    """The task of the workspace, or of a manifest given by path; what the command needs is made if it is missing.

    `refresh`: also if it is stale. In a job of several processes rank 0 makes it and the others read it. Raises
    ContractError for labels outside the classes.
    """
    return ranks.in_turn(lambda: _load_task(settings, training, needs, manifest, refresh=refresh))


def _load_task(
    settings: Config, training: ResolvedTraining, needs: Needs | None, manifest: Path | None, *, refresh: bool
) -> TrainingTask:
    if manifest is None:
        images = prepare.prepare(settings, needs, workers=training.workers, refresh=refresh)
        listed = settings.classes
    else:
        if needs is not None and needs != Needs():
            prepare.prepare(settings, needs, workers=training.workers, refresh=refresh)
        images = load_manifest(manifest, manifest.parent)
        listed = manifest.with_name("classes.json")
    classes = load_class_names(listed, manifest)
    highest = int(images.labels.max(initial=-1))
    if highest >= len(classes):
        raise ContractError(f"{images.file}: label {highest} is outside the {len(classes)} classes of {listed}")
    failed = failures.failed_ids(settings, "extract") if manifest is None else frozenset()
    if failed:
        console.say(f"{len(failed):,} images that failed in zoo extract are left out")
    return TrainingTask(settings, training, images.without(failed), classes)


def can_load(settings: Config, manifest: Path | None) -> bool:
    """Whether there is a manifest, so that a dry run can count images."""
    return manifest is not None or settings.manifest.exists()


def check_device(training: ResolvedTraining) -> None:
    """Raise UsageError for a device that does not exist, unlike "auto" and "cpu", or that an option cannot use."""
    if training.device not in ("auto", "cpu"):
        devices.choose(training.device, purpose="training")
    option = training.needs_cuda
    if option and not training.device.startswith("cuda") and (training.device == "cpu" or not devices.has_cuda()):
        raise ParameterError(f"{option} needs a CUDA device", "drop it, or set `device` cuda")
