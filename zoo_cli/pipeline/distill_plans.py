"""What a command of distillation will do: its specs parsed, its models chosen, the names and lengths of its runs."""

import inspect
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from zoo_cli import specs
from zoo_cli.config import Config, Source
from zoo_cli.errors import ParameterError, UsageError
from zoo_cli.pipeline import leakage, rank, score, student_choice
from zoo_cli.pipeline.distill_config import TARGET_VIEWS, CrossTaskConfig, TransferConfig
from zoo_cli.pipeline.metric_specs import ScoreConfig
from zoo_cli.pipeline.prepare import Needs
from zoo_cli.pipeline.rank import RankingSpec
from zoo_cli.pipeline.training_task import TrainingTask
from zoo_cli.store import feature_store, provenance
from zoo_cli.training.run_paths import MAX_NAME_BYTES
from zoo_cli.training.streams import IndexStreams, make_streams
from zoo_cli.training.training_config import LoopOptions, ResolvedTraining

LABELS_ONLY = "labels-only"
SEED_BYTES = 12
"""The longest end of a run's name: -s and a seed of ten digits."""


@dataclass(frozen=True)
class CrossTaskPlan:
    """Cross-task distillation in a workspace. `rankings`: one for each weighting of the config."""

    settings: Config
    config: CrossTaskConfig
    student: Source
    sources: tuple[Source, ...]
    rankings: tuple[RankingSpec, ...]

    def names(self) -> list[str]:
        """The names of the students, without their seeds; one for each ranking unless there is `each_source`."""
        if self.config.labels_only:
            return [LABELS_ONLY]
        if self.config.each_source:
            return [each_source_name(source.name) for source in self.sources]
        names = [f"cross-task-{ranking.slug}-{specs.slug(ranking.weighting)}" for ranking in self.rankings]
        return [_with_sources(name, self.sources) for name in names] if self.config.sources else names

    def needs(self) -> Needs:
        """What has to be there before the first student is trained."""
        if self.config.labels_only or self.config.pseudo:
            return Needs()
        if self.config.each_source:
            sources = [source for source in self.sources if source.name not in self.excluded]
            return Needs(features=sources, pseudo_labels=sources)
        scores = ScoreConfig(self.rankings[0].metrics, self.sources)
        return replace(score.score_needs(self.settings, scores), pseudo_labels=self.sources)

    @cached_property
    def excluded(self) -> dict[str, str]:
        """The sources that have seen the task, each with the reason."""
        return leakage.excluded_sources(self.settings, [source.name for source in self.sources])

    def streams(self, task: TrainingTask, seed: int) -> tuple[IndexStreams, LoopOptions]:
        """The streams of a run, and its options with the number of steps.

        Equal steps for all runs: an epoch is one of the unlabelled images, half a batch a step, with labels only too.
        """
        streams = make_streams(task.images, task.training, seed, labelled=True, unlabelled=not self.config.labels_only)
        count = len(streams.unlabelled) or len(streams.labelled)
        return streams, task.training.loop_options(count, task.training.batch_size // 2)


@dataclass(frozen=True)
class TransferPlan:
    """General transfer in a workspace. `method`: the objective with its parameters."""

    settings: Config
    config: TransferConfig
    student: Source
    teachers: tuple[Source, ...]
    method: specs.Method

    def names(self) -> list[str]:
        """The name of the student, without its seed."""
        parts = [specs.slug(self.method.spec), "+".join(teacher.name for teacher in self.teachers)]
        return ["-".join([*parts, self.config.combination] if len(self.teachers) > 1 else parts)]

    def needs(self) -> Needs:
        """What has to be there before the first student is trained: the outputs of teachers that cannot be run."""
        return Needs(features=[teacher for teacher in self.teachers if feature_store.is_outputs_only(teacher)])

    @property
    def labels(self) -> bool:
        """Whether it learns from the labelled images alone, with their labels."""
        labels = self.config.entry.labels
        return labels if isinstance(labels, bool) else bool(_arguments(self.method)[labels])

    def streams(self, task: TrainingTask, seed: int) -> tuple[IndexStreams, LoopOptions]:
        """The streams of a run, and its options with the number of steps. An epoch is one of the images it uses."""
        streams = make_streams(task.images, task.training, seed, labelled=self.labels, unlabelled=not self.labels)
        return streams, task.training.loop_options(len(streams.rows), task.training.batch_size)


def each_source_name(source: str) -> str:
    """The name of a student that learns from one source alone."""
    return f"cross-task-from-{source}"


def _with_sources(name: str, sources: Sequence[Source]) -> str:
    """The name of a student of some sources alone: with their names, sorted, or a digest if that is too long."""
    names = sorted({source.name for source in sources})
    full = f"{name}-of-{'+'.join(names)}"
    if len(os.fsencode(full)) <= MAX_NAME_BYTES - SEED_BYTES:
        return full
    return f"{name}-of-{provenance.fingerprint(names)[:8]}"


def plan_cross_task(settings: Config, config: CrossTaskConfig) -> CrossTaskPlan:
    """The plan of a config. Raises UsageError for unknown names, and for models that cannot be trained."""
    student = student_choice.select_student(settings, config.student)
    if config.init is not None:
        (init,) = settings.select([config.init])
        student_choice.check_trainable(settings, init, f"the source {init.name}")
    rankings = tuple(rank.parse_ranking([config.metric], config.on, weighting) for weighting in config.all_weightings)
    return CrossTaskPlan(settings, config, student, settings.select(config.sources), rankings)


def plan_transfer(settings: Config, config: TransferConfig, training: ResolvedTraining) -> TransferPlan:
    """The plan of a config. Raises UsageError for unknown names and values out of range, and for unfit models."""
    student = student_choice.select_student(settings, config.student)
    teachers = settings.select(config.sources)
    if not teachers:
        raise ParameterError("no teacher: zoo.toml has no [[source]]", "add one, or give `sources` SPEC")
    if len({teacher.name for teacher in teachers}) < len(teachers):
        raise UsageError("two teachers have the same name", "name each teacher once")
    for teacher in teachers:
        _check_teacher(config, teacher, training)
    plan = TransferPlan(settings, config, student, teachers, specs.resolve("objective", config.objective))
    _check_objective(plan, training)
    return plan


def _check_teacher(config: TransferConfig, teacher: Source, training: ResolvedTraining) -> None:
    if teacher.output != "softmax":
        raise ParameterError(
            f"{teacher.name} has a probability for each class on its own (sigmoid): it has no single answer to teach",
            "`objective` cross-task learns from such sources",
        )
    if not feature_store.is_outputs_only(teacher):
        return
    if not config.stored:
        raise ParameterError(
            f"{teacher.name} has stored outputs only: it cannot run on every batch",
            "set `targets` stored and `augment` none",
        )
    if config.mirrored(training.augment):
        raise ParameterError(
            f"{teacher.name} has stored outputs of the plain view only, not of the mirrored one",
            "set `augment` none, or `targets` stored-clean",
        )


def _check_objective(plan: TransferPlan, training: ResolvedTraining) -> None:
    if plan.labels and training.unlabelled_from != "all":
        raise ParameterError(f"{plan.method.spec} learns from labelled images alone", "drop `unlabelled_from`")
    # The number of steps may not be known before the images are counted.
    steps = training.loop.steps if training.epochs is None else sys.maxsize
    objective: Any = plan.method.function
    objective.check(steps, **_arguments(plan.method))
    views = TARGET_VIEWS[plan.config.targets]
    if views is not None and training.augment not in views:
        raise ParameterError(
            f"stored targets are of the plain or the mirrored view, not of `augment` {training.augment}",
            "set `augment` none or flip, `targets` live, or `targets` stored-clean to use them all the same",
        )


def _arguments(method: specs.Method) -> dict[str, Any]:
    """The parameters of a method, with the defaults of those that are not set."""
    parameters = inspect.signature(method.function).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY} | method.params
