"""The plan of `zoo distill`: its specs parsed, its models chosen, the names and lengths of its runs."""

import inspect
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from zoo_cli import console, registry, specs
from zoo_cli.config import Config, Source
from zoo_cli.errors import ParameterError, UsageError
from zoo_cli.evaluation.named_runs import LABELS_ONLY
from zoo_cli.pipeline import head_labels, leakage, score, student_choice
from zoo_cli.pipeline.chosen_sources import name_with_sources
from zoo_cli.pipeline.distill_config import HEADS, TARGET_VIEWS, CrossTaskConfig, HeadsConfig, TransferConfig
from zoo_cli.pipeline.head_config import HeadLabelConfig, configure_heads
from zoo_cli.pipeline.metric_specs import ScoreConfig
from zoo_cli.pipeline.prepare import Needs
from zoo_cli.pipeline.ranking_spec import RankingSpec, parse_ranking
from zoo_cli.pipeline.training_task import TrainingTask
from zoo_cli.store import feature_store
from zoo_cli.store.view_set import ViewSet
from zoo_cli.training.run_paths import MAX_NAME_BYTES
from zoo_cli.training.streams import IndexStreams, make_streams
from zoo_cli.training.training_config import LoopOptions, ResolvedTraining

MOVING_VIEWS = ("crop", "rand")
"""Augmentations whose views show other parts or colours of an image than the plain view does."""
SEED_BYTES = 12
"""The longest end of a run's name: -s and a seed of ten digits."""


@dataclass(frozen=True)
class CrossTaskPlan:
    """Cross-task distillation in a workspace. `rankings`: one for each weighting of the config.

    `views`: the stored views that the students see, None for views drawn anew.
    """

    settings: Config
    config: CrossTaskConfig
    student: Source
    sources: tuple[Source, ...]
    rankings: tuple[RankingSpec, ...]
    views: ViewSet | None = None

    def names(self) -> list[str]:
        """The names of the students, without their seeds; one for each ranking unless there is `each_source`."""
        if self.config.labels_only:
            return [LABELS_ONLY]
        if self.config.each_source:
            return [each_source_name(source.name, self.views) for source in self.sources]
        names = [f"cross-task-{ranking.slug}-{ranking.weighting.slug}" for ranking in self.rankings]
        names = [name + _name_views(self.views) for name in names]
        return [_with_sources(name, self.sources) for name in names] if self.config.sources else names

    def needs(self, *, refresh: bool = False) -> Needs:
        """What must exist before the first student is trained. `refresh`: stale scores are made again."""
        if self.config.labels_only or self.config.pseudo:
            return Needs()
        if self.config.each_source:
            sources = [source for source in self.sources if source.name not in self.excluded]
            return Needs(features=sources, pseudo_labels=sources, **_view_needs(self.views, sources))
        scores = ScoreConfig(self.rankings[0].metrics, self.sources, refresh=refresh)
        needs = score.score_needs(self.settings, scores)
        return replace(needs, pseudo_labels=self.sources, **_view_needs(self.views, self.sources))

    @property
    def by_scores(self) -> bool:
        """Whether the scores of the workspace give the weights."""
        return not (self.config.labels_only or self.config.pseudo or self.config.each_source)

    @cached_property
    def excluded(self) -> dict[str, str]:
        """The sources that have seen the task, each with the reason."""
        return leakage.excluded_sources(self.settings, [source.name for source in self.sources])

    def streams(self, task: TrainingTask, seed: int) -> tuple[IndexStreams, LoopOptions]:
        """The streams of a run, and its options with the number of steps."""
        return _make_halves(task, seed, unlabelled=not self.config.labels_only)


@dataclass(frozen=True)
class HeadsPlan:
    """Distillation from heads in a workspace. `method`: the objective with its parameters.

    `labels`: the answers that the students learn from. `rankings`: one for each weighting of the cross-task term; none
    without that term. `views`: the stored views that the students see, None for views drawn anew.
    """

    settings: Config
    config: HeadsConfig
    student: Source
    sources: tuple[Source, ...]
    labels: HeadLabelConfig
    method: specs.Method
    rankings: tuple[RankingSpec, ...]
    views: ViewSet | None = None

    def names(self) -> list[str]:
        """The names of the students, without their seeds; one for each ranking, or a single one without rankings."""
        name = f"{HEADS}-{self.labels.spec_slug}{specs.slug(self.method.spec).removeprefix(HEADS)}"
        names = [f"{name}-{ranking.slug}-{ranking.weighting.slug}" for ranking in self.rankings] or [name]
        names = [name + _name_views(self.views) for name in names]
        return [_with_sources(name, self.sources) for name in names] if self.labels.chosen else names

    def needs(self, *, refresh: bool = False) -> Needs:
        """What must exist before the first student is trained. `refresh`: stale scores are made again."""
        if not self.rankings:
            features = head_labels.select_usable(self.settings, self.sources, quiet=True)
            return Needs(features=features, head_labels=self.labels, **_view_needs(self.views, features))
        scores = ScoreConfig(self.rankings[0].metrics, self.sources, refresh=refresh)
        needs = score.score_needs(self.settings, scores)
        views = _view_needs(self.views, self.sources)
        return replace(needs, pseudo_labels=self.sources, head_labels=self.labels, **views)

    def streams(self, task: TrainingTask, seed: int) -> tuple[IndexStreams, LoopOptions]:
        """The streams of a run, and its options with the number of steps."""
        return _make_halves(task, seed, unlabelled=True)


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

    def needs(self, *, refresh: bool = False) -> Needs:  # noqa: ARG002 - as of every plan
        """What must exist before the first student is trained: the outputs of teachers that cannot be run."""
        return Needs(features=[teacher for teacher in self.teachers if feature_store.is_outputs_only(teacher)])

    @property
    def labels(self) -> bool:
        """Whether it learns from the labelled images alone, with their labels."""
        labels = self.config.entry.labels
        return labels if isinstance(labels, bool) else bool(_arguments(self.method)[labels])

    def streams(self, task: TrainingTask, seed: int) -> tuple[IndexStreams, LoopOptions]:
        """The streams of a run, and its options with the number of steps. An epoch is a pass over its images."""
        streams = make_streams(task.images, task.training, seed, labelled=self.labels, unlabelled=not self.labels)
        return streams, task.training.loop_options(len(streams.rows), task.training.batch_size)


DistillPlan = CrossTaskPlan | HeadsPlan | TransferPlan
"""The plan of one command."""


def each_source_name(source: str, views: ViewSet | None = None) -> str:
    """The name of a student that learns from one source alone."""
    return f"cross-task-from-{source}{_name_views(views)}"


def _with_sources(name: str, sources: Sequence[Source]) -> str:
    """The name of a student of some sources alone."""
    return name_with_sources(name, sources, MAX_NAME_BYTES - SEED_BYTES)


def _name_views(views: ViewSet | None) -> str:
    """The end of the name of a student that sees stored views."""
    return "" if views is None else f"-views{views.count}"


def _view_needs(views: ViewSet | None, sources: Sequence[Source]) -> dict[str, Any]:
    return {} if views is None else {"views": views, "view_features": sources}


def plan_cross_task(settings: Config, config: CrossTaskConfig, views: ViewSet | None = None) -> CrossTaskPlan:
    """The plan of a config. Raises UsageError for unknown names, and for models that cannot be trained."""
    student = _select_student(settings, config.student, config.init)
    rankings = _parse_rankings(config, config.all_weightings)
    return CrossTaskPlan(settings, config, student, settings.select(config.sources), rankings, views)


def plan_heads(
    settings: Config, config: HeadsConfig, training: ResolvedTraining, views: ViewSet | None = None
) -> HeadsPlan:
    """The plan of a config. Raises UsageError for unknown names and values out of range, and for unsuitable models."""
    labels = configure_heads(settings, config.head, config.pool, config.sources, views=views)
    sources = labels.sources
    head_labels.select_usable(settings, sources, quiet=True)
    student = _select_student(settings, config.student, config.init)
    method = specs.resolve("objective", config.objective)
    parameters = _arguments(method)
    objective: Any = method.function
    objective.check(sys.maxsize, **parameters)
    rankings: tuple[RankingSpec, ...] = ()
    if parameters["cross_task"]:
        weightings = config.weightings or (registry.DEFAULT_WEIGHTING,)
        rankings = _parse_rankings(config, weightings)
    elif config.weighting_options:
        raise ParameterError(
            f"`{config.weighting_options[0]}` belongs to the cross-task term, which {method.spec} leaves out",
            "drop it, or set `objective` heads:cross_task=0.5",
        )
    if views is None and training.augment in MOVING_VIEWS:
        console.warn(f"the pool answered for the plain view; the student sees other views with {training.augment}")
    return HeadsPlan(settings, config, student, sources, labels, method, rankings, views)


def plan_transfer(settings: Config, config: TransferConfig, training: ResolvedTraining) -> TransferPlan:
    """The plan of a config. Raises UsageError for unknown names, values out of range and unsuitable models."""
    student = student_choice.select_student(settings, config.student)
    student_choice.say_untrained(student)
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


def _select_student(settings: Config, spec: str | None, init: str | None) -> Source:
    """The student, checked to be trainable, as is the source `init` whose weights its body starts from."""
    student = student_choice.select_student(settings, spec)
    if init is not None:
        (source,) = settings.select([init])
        student_choice.check_source(settings, source)
    else:
        student_choice.say_untrained(student)
    return student


def _parse_rankings(config: CrossTaskConfig | HeadsConfig, weightings: Sequence[str]) -> tuple[RankingSpec, ...]:
    """The rankings whose weights the students take, one for each weighting."""
    return tuple(
        parse_ranking([config.metric], config.on, weighting, min_weight=config.min_weight) for weighting in weightings
    )


def _make_halves(task: TrainingTask, seed: int, *, unlabelled: bool) -> tuple[IndexStreams, LoopOptions]:
    """The streams of a run from the labels and, in the other half of each batch, all images; and its options.

    All runs take equal steps: an epoch is a pass over the unlabelled images, half a batch per step, even with labels
    only.
    """
    streams = make_streams(task.images, task.training, seed, labelled=True, unlabelled=unlabelled)
    count = len(streams.unlabelled) or len(streams.labelled)
    return streams, task.training.loop_options(count, task.training.batch_size // 2)


def _check_teacher(config: TransferConfig, teacher: Source, training: ResolvedTraining) -> None:
    if teacher.output != "softmax":
        raise ParameterError(
            f"the outputs of {teacher.name} are not a probability distribution (sigmoid): it cannot be a teacher",
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
            "set `augment` none or flip, `targets` live, or `targets` stored-clean to use them anyway",
        )


def _arguments(method: specs.Method) -> dict[str, Any]:
    """The parameters of a method, with the defaults of those that are not set."""
    parameters = inspect.signature(method.function).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY} | method.params
