"""`zoo tune`: the way to train the student that gains over labels only on held-out labels, and its run on all."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from zoo_cli import console
from zoo_cli.config import Config
from zoo_cli.errors import Paused
from zoo_cli.evaluation import tuning
from zoo_cli.evaluation.named_runs import LABELS_ONLY
from zoo_cli.evaluation.tuning import SearchResult, Trial
from zoo_cli.label_sets import asked_labels
from zoo_cli.pipeline import training_task, tune_plans, tune_record
from zoo_cli.pipeline.tune_config import TuneConfig, name_run
from zoo_cli.pipeline.tune_plans import CandidatePlan, SearchPlan
from zoo_cli.pipeline.tune_record import TuneRecord
from zoo_cli.quantities import duration
from zoo_cli.store import provenance
from zoo_cli.training.run_paths import RunPaths
from zoo_cli.training.run_record import RunResult, recorded_options
from zoo_cli.training.training_config import TrainingConfig, describe_length


@dataclass(frozen=True)
class TuneResult:
    """The result of a search, its file, and the run of what it chose on all labels. `student`: another than the
    task's."""

    record: TuneRecord
    path: Path
    run: RunResult
    student: str | None = None


def tune(
    settings: Config,
    config: TuneConfig | None = None,
    training: TrainingConfig | None = None,
    *,
    overwrite: bool = False,
    refresh: bool = False,
) -> TuneResult:
    """Search among candidates, write tune/tune.json, and train what it chose on all labels.

    `overwrite`: search again; trials made from the same inputs are used. Raises UsageError for wrong options, a budget
    that is too small, and labels that cannot be held out; Stale for a search with other inputs.
    """
    config, training = config or TuneConfig(), training or TrainingConfig()
    plan = tune_plans.plan_search(settings, config, training, refresh=refresh)
    paths = RunPaths(_name_run(plan), seeds=(plan.seed,), overwrite=overwrite)
    paths.resolve(settings, [LABELS_ONLY])
    asked = {**plan.asked, **asked_labels(settings)}
    plan, record, path = _search(plan, overwrite=overwrite, refresh=refresh)
    console.say(f"{record.chosen} trains on all {record.labels:,} labels")
    run = _train_chosen(settings, plan.candidates[record.chosen], asked, paths, refresh=refresh)
    return TuneResult(record, path, run, config.student)


def preview(settings: Config, config: TuneConfig, training: TrainingConfig) -> list[str]:
    """The candidates and the number of runs of a search, each as a phrase. Nothing is made."""
    plan = tune_plans.plan_search(settings, config, training)
    lines = [f"{each.candidate.name}: {each.candidate}" for each in plan.candidates.values()]
    length = "equal length"
    if training_task.can_load(settings, None):
        task = training_task.load_task(settings, plan.baseline.training)
        _, options = plan.baseline.plan.streams(task, plan.seed)
        length = describe_length(options, plan.baseline.training.batch_size)
    splits = plan.splits
    runs = f"as many runs as take {config.budget}"
    if splits is not None:
        runs = f"at most {tuning.count_runs(len(plan.tried), splits):,} runs, on {splits} splits"
    return [
        *lines,
        f"{runs}, of {length}, in {plan.folder}",
        f"{settings.run(_name_run(plan))}: the winner on all labels",
    ]


def _train_chosen(
    settings: Config, chosen: CandidatePlan, asked: Mapping[str, str], paths: RunPaths, *, refresh: bool
) -> RunResult:
    """The run of the chosen candidate on all labels. Raises Paused if no time is left for it."""
    from zoo_cli.pipeline.tune_trials import make_run_spec
    from zoo_cli.training import runner

    if chosen.training.deadline is not None and chosen.training.deadline <= time.monotonic():
        raise Paused("the time limit is over after the search", "run the same command to train on all labels")
    needs = chosen.plan.needs(refresh=refresh)
    task = training_task.load_task(settings, chosen.training, needs, refresh=refresh)
    spec = make_run_spec(chosen.plan, task, paths)
    # It belongs to the method "tuned", whatever the search has chosen on this task.
    spec = replace(spec, record={**spec.record, "asked": asked})
    (run,) = runner.train_runs([spec], chosen.training)
    return run


def _name_run(plan: SearchPlan) -> str:
    return plan.settings.default_run(name_run(plan.seed)).name


def _search(plan: SearchPlan, *, overwrite: bool, refresh: bool) -> tuple[SearchPlan, TuneRecord, Path]:
    """The result of a search, stored or new, its file, and the plan without candidates that no source can teach."""
    from zoo_cli.pipeline.tune_trials import Trials, draw_splits
    from zoo_cli.training import source_files

    task = training_task.load_task(plan.settings, plan.baseline.training, refresh=refresh)
    draw_splits(task.images, 1, plan.seed)  # too few labels are reported before anything is extracted
    plan, task = tune_plans.load_shared(plan, refresh=refresh)
    _, options = plan.baseline.plan.streams(task, plan.seed)
    digests = source_files.model_digests(plan.settings, plan.baseline.plan.student)
    recorded = recorded_options(plan.baseline.training, options, plan.seed)
    inputs = plan.describe_inputs(task.images, recorded, digests)
    path = plan.folder / tune_record.DOCUMENT
    if provenance.is_current(path, inputs, overwrite=overwrite):
        console.say(f"{path} is up to date")
        return plan, tune_record.load_record(path, plan.candidates), path
    splits = draw_splits(task.images, tuning.MOST_SPLITS, plan.seed)
    trials = Trials(task, plan, splits, options.steps, overwrite=overwrite)
    count = plan.splits or count_splits(plan, trials.evaluate, trials.measure_seconds)
    most = tuning.count_runs(len(plan.tried), count)
    console.say(f"trying {len(plan.tried)} candidates on {count} splits: at most {most} runs in {plan.folder}")
    used = splits[:count]
    result = tuning.run_search(plan.tried, [split.sizes for split in used], trials.evaluate, _say_round)
    record = tune_record.describe_search(
        result,
        [each.candidate for each in plan.candidates.values()],
        len(task.images.where(split=("labelled",))),
        [len(split.held_out) for split in used],
        options.steps,
    )
    tune_record.write_record(path, record, inputs)
    return plan, record, path


def count_splits(
    plan: SearchPlan,
    evaluate: Callable[[Sequence[Trial]], Mapping[Trial, np.ndarray | str]],
    measure_seconds: Callable[[Trial], float],
) -> int:
    """The number of splits whose training takes the time of the budget, by the median run of the first split."""
    seconds = plan.config.seconds
    assert seconds is not None, "the budget is a time"
    results = evaluate([Trial(0, name) for name in plan.candidates])
    finished = [trial for trial, right in results.items() if not isinstance(right, str)]
    one = max(statistics.median(map(measure_seconds, finished)), 1e-3)
    count = tuning.choose_splits(len(plan.tried), int(seconds / one))
    if count is None:
        what = f"a run takes {duration(one)}, so that {plan.config.budget} is enough for {int(seconds / one)} runs"
        raise tune_plans.too_small(what, len(plan.tried))
    return count


def _say_round(result: SearchResult) -> None:
    """Say which candidate leads after a round, and which were dropped in it."""
    after = max(map(len, result.accuracies.values()))
    leader = "no candidate is left"
    if result.best is not None:
        leader = f"{result.best} leads by {100 * result.gains[result.best].mean:+.1f} points"
    dropped = [f"{drop.candidate} ({drop.reason})" for drop in result.dropped if drop.splits == after]
    console.say(f"after {after} splits {leader}" + (f"; dropped: {', '.join(dropped)}" if dropped else ""))
