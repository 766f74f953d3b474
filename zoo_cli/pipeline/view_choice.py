"""The stored augmented views that a command uses."""

from dataclasses import replace

from zoo_cli import console
from zoo_cli.config import Config
from zoo_cli.errors import ParameterError
from zoo_cli.pipeline.distill_config import DistillConfig, TransferConfig
from zoo_cli.store import view_store
from zoo_cli.store.view_set import DEFAULT_KIND, VIEW_KINDS, ViewSet
from zoo_cli.training.training_config import ResolvedTraining, TrainingConfig


def stored_views(settings: Config, count: int, *, refresh: bool = False) -> ViewSet | None:
    """The views of a request for a number of them, with the augmentation of the stored ones; None for 0.

    Raises Stale where another number is stored, unless `refresh` makes them again.
    """
    if not count:
        return None
    stored = view_store.load_view_set(settings)
    views = ViewSet(count, DEFAULT_KIND if stored is None else stored.augment, settings.task.seed)
    if not refresh:
        view_store.check_view_set(settings, views)
    return views


def adopt_augmentation(settings: Config, config: DistillConfig, training: TrainingConfig) -> TrainingConfig:
    """Training options with the augmentation of the stored views that the config uses, unless the options have one."""
    if isinstance(config, TransferConfig) or config.views == 0 or training.augment is not None:
        return training
    stored = view_store.load_view_set(settings)
    if stored is not None:
        return replace(training, augment=stored.augment)
    return training if config.views is None else replace(training, augment=DEFAULT_KIND)


def choose_views(
    settings: Config, requested: int | None, training: ResolvedTraining, *, refresh: bool = False
) -> ViewSet | None:
    """The stored views that a student sees, None for views drawn anew.

    `requested`: their number, made first if none are stored; None: all that are stored, if they have the augmentation
    of the run. Raises Stale where others are stored than requested, unless `refresh` makes them again.
    """
    if requested == 0:
        return None
    if requested is None:
        stored = view_store.load_view_set(settings)
        if stored is None or stored.seed != settings.task.seed:
            return None
        if stored.augment != training.augment:
            console.say(f"the stored views are not used: they are of {stored.augment}, not of {training.augment}")
            return None
        return stored
    if training.augment not in VIEW_KINDS:
        raise ParameterError(
            f"`views` of `augment` {training.augment} would be {requested} times the plain one",
            f"set `augment` to one of: {', '.join(VIEW_KINDS)}",
        )
    views = ViewSet(requested, training.augment, settings.task.seed)
    if not refresh:
        view_store.check_view_set(settings, views)
    return views
