"""Fine-tuning: pretrained models with a new head, trained on the labels of the task."""

from pathlib import Path

from zoo_cli.config import Config
from zoo_cli.pipeline import best, finetune_plan, rank, training_task
from zoo_cli.pipeline.finetune_config import FinetuneConfig
from zoo_cli.training.run_paths import RunPaths
from zoo_cli.training.run_record import RunResult
from zoo_cli.training.training_config import TrainingConfig, describe_length


def finetune(
    settings: Config,
    config: FinetuneConfig,
    training: TrainingConfig | None = None,
    paths: RunPaths | None = None,
    manifest: Path | None = None,
    *,
    refresh: bool = False,
) -> list[RunResult]:
    """Train the models of a config on the labels of a workspace; one result per model and seed.

    Sources are scored first if a model is `best`. `manifest`: the task's, in place of that of the workspace. `refresh`:
    make stale inputs again. Raises UsageError for wrong options and stale inputs; Interrupted or Paused, after a
    checkpoint, on a signal or at the time limit.
    """
    training, paths = training or TrainingConfig(), paths or RunPaths()
    settings = best.limit_sources(settings, config.sources, config.among)
    resolved, ranking = finetune_plan.check_options(settings, config, training, paths)
    needs = None if ranking is None else best.best_needs(settings, ranking, refresh=refresh)
    task = training_task.load_task(settings, resolved, needs, manifest, refresh=refresh)
    ranked = None if ranking is None else rank.rank_sources(settings, ranking, settings.sources)
    sources = best.select_models(settings, config.sources, ranked)

    from zoo_cli.pipeline.finetune_runs import train_finetune

    return train_finetune(config, task, sources, paths)


def preview(
    settings: Config,
    config: FinetuneConfig,
    training: TrainingConfig,
    paths: RunPaths,
    manifest: Path | None = None,
) -> list[str]:
    """The runs that `finetune` would train, each as a phrase. Nothing is scored or trained."""
    settings = best.limit_sources(settings, config.sources, config.among)
    resolved, ranking = finetune_plan.check_options(settings, config, training, paths)
    ranked = None
    if ranking is not None:
        if not best.has_scores(settings, ranking):
            return ["the best source, after zoo rank"]
        ranked = rank.rank_sources(settings, ranking, settings.sources)
    sources = best.select_models(settings, config.sources, ranked)
    runs = paths.share.take(paths.resolve(settings, [config.run_name(source.name) for source in sources]))
    if not runs:
        return []
    if not training_task.can_load(settings, manifest):
        return [f"{', '.join(str(run.path) for run in runs)}, after zoo split"]
    task = training_task.load_task(settings, resolved, manifest=manifest)
    options = finetune_plan.count_steps(task, finetune_plan.load_streams(config, task, runs[0].seed))
    length = f"{describe_length(options, resolved.batch_size)}, {len(config.rates) or 1} learning rates"
    return [f"{run.path}: {length}" for run in runs]
