"""Distillation: small students from many sources, by their pseudo-labels or heads, or from teachers."""

from pathlib import Path

from zoo_cli.config import Config
from zoo_cli.pipeline import distill_plans, training_task
from zoo_cli.pipeline.distill_config import DistillConfig, HeadsConfig, TransferConfig
from zoo_cli.pipeline.distill_plans import CrossTaskPlan, DistillPlan, HeadsPlan
from zoo_cli.pipeline.view_choice import adopt_augmentation, choose_views
from zoo_cli.training.run_paths import RunPaths
from zoo_cli.training.run_record import RunResult
from zoo_cli.training.training_config import ResolvedTraining, TrainingConfig, describe_length


def distill(
    settings: Config,
    config: DistillConfig,
    training: TrainingConfig | None = None,
    paths: RunPaths | None = None,
    manifest: Path | None = None,
    *,
    refresh: bool = False,
) -> list[RunResult]:
    """Train the students of a config in a workspace, making first what they need; one result per student.

    `manifest`: the task's, in place of that of the workspace. `refresh`: make stale inputs again. Raises UsageError for
    wrong options and stale inputs; Interrupted or Paused, after a checkpoint, on a signal or at the time limit.
    """
    training, paths = training or TrainingConfig(), paths or RunPaths()
    resolved = adopt_augmentation(settings, config, training).resolve(config.entry)
    plan = _plan(settings, config, resolved, refresh=refresh)
    training_task.check_device(resolved)
    paths.resolve(settings, plan.names())
    task = training_task.load_task(settings, resolved, plan.needs(refresh=refresh), manifest, refresh=refresh)
    if isinstance(plan, CrossTaskPlan):
        from zoo_cli.pipeline.cross_task_runs import train_cross_task

        return train_cross_task(plan, task, paths)
    if isinstance(plan, HeadsPlan):
        from zoo_cli.pipeline.heads_runs import train_heads

        return train_heads(plan, task, paths)
    from zoo_cli.pipeline.transfer_runs import train_transfer

    return train_transfer(plan, task, paths)


def preview(
    settings: Config,
    config: DistillConfig,
    training: TrainingConfig,
    paths: RunPaths,
    manifest: Path | None = None,
) -> list[str]:
    """The runs that `distill` would train, each as a phrase. Nothing is scored or trained."""
    resolved = adopt_augmentation(settings, config, training).resolve(config.entry)
    plan = _plan(settings, config, resolved)
    training_task.check_device(resolved)
    runs = paths.share.take(paths.resolve(settings, plan.names()))
    if not runs:
        return []
    if not training_task.can_load(settings, manifest):
        return [f"{', '.join(str(run.path) for run in runs)}, after zoo split and whatever else is missing"]
    task = training_task.load_task(settings, resolved, manifest=manifest)
    _, options = plan.streams(task, runs[0].seed)
    return [f"{run.path}: {describe_length(options, resolved.batch_size)}" for run in runs]


def _plan(settings: Config, config: DistillConfig, training: ResolvedTraining, *, refresh: bool = False) -> DistillPlan:
    if isinstance(config, TransferConfig):
        return distill_plans.plan_transfer(settings, config, training)
    views = choose_views(settings, config.views, training, refresh=refresh)
    if isinstance(config, HeadsConfig):
        return distill_plans.plan_heads(settings, config, training, views)
    return distill_plans.plan_cross_task(settings, config, views)
