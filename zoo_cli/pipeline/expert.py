"""Experts: networks trained on the labels of one or several domains, as sources for other tasks."""

from zoo_cli.config import Config
from zoo_cli.pipeline.expert_config import ExpertConfig
from zoo_cli.pipeline.expert_plan import plan_expert
from zoo_cli.training.run_record import RunResult
from zoo_cli.training.training_config import TrainingConfig, describe_length


def expert(settings: Config, config: ExpertConfig, training: TrainingConfig | None = None) -> RunResult:
    """Train the expert of a config in its folder.

    Raises UsageError for wrong options, and for a folder that holds something else; Interrupted or Paused, after a
    checkpoint, on a signal or at the time limit.
    """
    plan = plan_expert(settings, config, training or TrainingConfig())

    from zoo_cli.pipeline.expert_runs import train_expert

    return train_expert(plan)


def preview(settings: Config, config: ExpertConfig, training: TrainingConfig) -> str:
    """The expert that would be trained, as a phrase. Nothing is written."""
    plan = plan_expert(settings, config, training)
    names = ", ".join(plan.domains.names)
    return f"{plan.run.path}: {describe_length(plan.options, plan.training.batch_size)} of {names}"
