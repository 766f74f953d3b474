"""The plan of `zoo tune`: its candidates, each with the plan of its run, and the images of the task."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from zoo_cli import console
from zoo_cli.config import Config, Source
from zoo_cli.errors import ParameterError
from zoo_cli.evaluation import tuning
from zoo_cli.evaluation.named_runs import LABELS_ONLY
from zoo_cli.pipeline import best, distill_plans, finetune_plan, leakage, training_task, tune_record
from zoo_cli.pipeline.distill_config import CROSS_TASK, HeadsConfig
from zoo_cli.pipeline.distill_plans import CrossTaskPlan, HeadsPlan
from zoo_cli.pipeline.finetune_config import FinetuneConfig
from zoo_cli.pipeline.prepare import Needs
from zoo_cli.pipeline.training_task import TrainingTask
from zoo_cli.pipeline.tune_candidates import BASELINE, CANDIDATES, Candidate, load_candidates
from zoo_cli.pipeline.tune_config import TuneConfig
from zoo_cli.pipeline.view_choice import adopt_augmentation, choose_views
from zoo_cli.store import provenance
from zoo_cli.store.manifest import Images
from zoo_cli.store.provenance import Inputs
from zoo_cli.store.source_record import load_source_record
from zoo_cli.store.view_set import ViewSet
from zoo_cli.training.streams import IndexStreams
from zoo_cli.training.training_config import LoopOptions, ResolvedTraining, TrainingConfig


@dataclass(frozen=True)
class FixMatchPlan:
    """FixMatch in a workspace: the student teaches itself, without sources."""

    settings: Config
    config: FinetuneConfig
    student: Source
    sources: tuple[Source, ...] = ()
    views: ViewSet | None = None

    def needs(self, *, refresh: bool = False) -> Needs:  # noqa: ARG002 - as of every plan
        """What must exist before the student is trained: nothing."""
        return Needs()

    def streams(self, task: TrainingTask, seed: int) -> tuple[IndexStreams, LoopOptions]:
        """The streams of a run, and its options with the number of steps."""
        streams = finetune_plan.load_streams(self.config, task, seed)
        return streams, finetune_plan.count_steps(task, streams)


@dataclass(frozen=True)
class CandidatePlan:
    """A candidate, the plan of its runs, and how they train."""

    candidate: Candidate
    plan: CrossTaskPlan | HeadsPlan | FixMatchPlan
    training: ResolvedTraining


@dataclass(frozen=True)
class SearchPlan:
    """A search: its candidates by name, labels only first. `folder`: of its trials and result."""

    settings: Config
    config: TuneConfig
    seed: int
    candidates: Mapping[str, CandidatePlan]

    @property
    def folder(self) -> Path:
        """The folder of the trials and of the result."""
        return tune_record.search_folder(self.settings)

    @property
    def tried(self) -> tuple[str, ...]:
        """The names of the candidates beside labels only."""
        return tuple(name for name in self.candidates if name != LABELS_ONLY)

    @property
    def baseline(self) -> CandidatePlan:
        """Labels only."""
        return self.candidates[LABELS_ONLY]

    @property
    def splits(self) -> int | None:
        """The number of splits; None if it follows from the time of a run. Raises ParameterError for too few runs."""
        if self.config.seconds is not None:
            return None
        if self.config.runs is None:
            return tuning.MOST_SPLITS
        count = tuning.choose_splits(len(self.tried), self.config.runs)
        if count is None:
            raise too_small(f"`budget` is {self.config.budget} runs", len(self.tried))
        return count

    @property
    def asked(self) -> dict[str, str]:
        """What the user asked for, in the same words for every task."""
        settings = [each.candidate.settings for each in self.candidates.values()]
        candidates = f"{len(settings) - 1} candidates {provenance.fingerprint(settings)[:6]}"
        return {"candidates": candidates, **({"budget": self.config.budget} if self.config.budget else {})}

    def describe_inputs(self, images: Images, options: Mapping[str, Any], digests: Mapping[str, str]) -> Inputs:
        """What the result is made from. `options`: of the training; `digests`: of the files of the student."""
        plans = [each.plan for each in self.candidates.values() if each.candidate.objective != LABELS_ONLY]
        names = sorted({source.name for plan in plans for source in plan.sources})
        rows, others = images.where(split=("labelled",)), images.where(split=("unlabelled",))
        views = {name: str(each.plan.views) for name, each in self.candidates.items() if each.plan.views is not None}
        return {
            "candidates": {name: each.candidate.settings for name, each in self.candidates.items()},
            "budget": self.config.budget or "",
            "sources": {name: load_source_record(self.settings, name).fingerprint for name in names},
            "labelled images": images.fingerprint(rows, "ids", "sha256", "labels"),
            "unlabelled images": images.fingerprint(others, "ids", "sha256"),
            "student": provenance.fingerprint(self.settings.declared(self.baseline.plan.student), dict(digests)),
            **({"views": views} if views else {}),
            **options,
        }


def plan_search(settings: Config, config: TuneConfig, training: TrainingConfig, *, refresh: bool = False) -> SearchPlan:
    """The plan of a search. Raises UsageError for unknown names and values out of range; ParameterError for a budget
    that is too small."""
    listed = CANDIDATES if config.candidates is None else load_candidates(config.candidates)
    candidates = {
        each.name: _plan_candidate(settings, config, each, training, refresh=refresh) for each in (BASELINE, *listed)
    }
    training_task.check_device(candidates[LABELS_ONLY].training)
    plan = SearchPlan(settings, config, settings.task.seed if config.seed is None else config.seed, candidates)
    assert plan.splits is None or plan.splits >= tuning.LEAST_SPLITS
    return plan


def _plan_candidate(
    settings: Config, config: TuneConfig, candidate: Candidate, training: TrainingConfig, *, refresh: bool
) -> CandidatePlan:
    options = candidate.config(config.sources, config.student)
    if isinstance(options, FinetuneConfig):
        (student,) = best.select_models(settings, options.sources, None)
        plan = FixMatchPlan(settings, options, student)
        return CandidatePlan(candidate, plan, candidate.training(training).resolve(options.entry))
    resolved = adopt_augmentation(settings, options, candidate.training(training)).resolve(options.entry)
    views = choose_views(settings, options.views, resolved, refresh=refresh)
    if isinstance(options, HeadsConfig):
        return CandidatePlan(candidate, distill_plans.plan_heads(settings, options, resolved, views), resolved)
    return CandidatePlan(candidate, distill_plans.plan_cross_task(settings, options, views), resolved)


def load_shared(plan: SearchPlan, *, refresh: bool) -> tuple[SearchPlan, TrainingTask]:
    """The task of a search, with the features and pseudo-labels that all its trials read, made if they are missing.

    Candidates of the built-in list that no source can teach are left out of the plan. Raises ParameterError if one of a
    file is such a candidate.
    """
    training = plan.baseline.training
    task = training_task.load_task(plan.settings, training, refresh=refresh)
    for needs in _list_needs(plan, refresh=refresh):
        task = training_task.load_task(plan.settings, training, needs, refresh=refresh)
    taught = {name: each for name, each in plan.candidates.items() if _can_be_taught(each)}
    if names := [name for name in plan.candidates if name not in taught]:
        if plan.config.candidates is not None:
            raise ParameterError(
                f"no source has a head that can teach {', '.join(names)}",
                f"leave candidates with objective {CROSS_TASK} out; heads learn from features",
            )
        console.say(f"no source has a head that can teach: {', '.join(names)} is left out")
    return replace(plan, candidates=taught), task


def _list_needs(plan: SearchPlan, *, refresh: bool) -> Sequence[Needs]:
    """What the candidates read that does not depend on labels, each once."""
    unique: list[Needs] = []
    for each in plan.candidates.values():
        needs = each.plan.needs(refresh=refresh)
        needs = replace(needs, scores=None, head_labels=None, two_classes=needs.head_labels is not None)
        if needs not in unique:
            unique.append(needs)
    return unique


def _can_be_taught(candidate: CandidatePlan) -> bool:
    if candidate.candidate.objective != CROSS_TASK:
        return True
    settings, names = candidate.plan.settings, [source.name for source in candidate.plan.sources]
    excluded = leakage.find_leaks(settings, names)
    return any(load_source_record(settings, name).can_teach for name in names if name not in excluded)


def too_small(what: str, candidates: int) -> ParameterError:
    """The error for a budget that is less than the least number of splits."""
    least = tuning.count_runs(candidates, tuning.LEAST_SPLITS)
    return ParameterError(f"{what}: {candidates} candidates need {least}", "raise `budget`, or list fewer candidates")
