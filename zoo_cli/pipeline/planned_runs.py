"""The runs of a training command in a workspace, one by one: their names, and what their run.json must hold."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from zoo_cli import specs
from zoo_cli.config import Config, Source
from zoo_cli.errors import UsageError
from zoo_cli.pipeline import distill_plans, leakage, student_choice
from zoo_cli.pipeline.best import is_best
from zoo_cli.pipeline.distill_config import CrossTaskConfig, DistillConfig, HeadsConfig, TransferConfig
from zoo_cli.pipeline.distill_plans import DistillPlan, HeadsPlan, TransferPlan
from zoo_cli.pipeline.finetune_config import FinetuneConfig
from zoo_cli.pipeline.finetune_plan import count_steps, load_streams
from zoo_cli.pipeline.head_config import configure_heads
from zoo_cli.pipeline.training_task import TrainingTask
from zoo_cli.pipeline.view_choice import adopt_augmentation, choose_views
from zoo_cli.specs import Method
from zoo_cli.store import failures, feature_store, provenance
from zoo_cli.store.checksums import RECORD
from zoo_cli.store.feature_store import to_json_values
from zoo_cli.store.manifest import Images
from zoo_cli.store.source_record import has_source_record, load_source_record
from zoo_cli.store.view_set import ViewSet
from zoo_cli.training.run_record import load_run_record, recorded_options
from zoo_cli.training.training_config import ResolvedTraining, TrainingConfig


@dataclass(frozen=True)
class PlannedRun:
    """One run of a command for each seed. `name`: without the seed; `item`: the source it is of, or what it learns by.

    `chosen`: the words of the command that make it this run and no other. `plan`: None for fine-tuning.
    """

    name: str
    item: str
    chosen: tuple[str, ...]
    config: DistillConfig | FinetuneConfig
    training: ResolvedTraining
    plan: DistillPlan | None = None

    def describe(self, settings: Config, images: Images, seed: int) -> dict[str, Any]:
        """Options and inputs that its run.json must hold, as far as no model has to be read for them.

        Raises UsageError without labelled images.
        """
        task = TrainingTask(settings, self.training, images.without(failures.failed_ids(settings, "extract")), ())
        expected: dict[str, Any] = {"seed": seed}
        if isinstance(self.plan, TransferPlan):
            options = self.training.loop  # which images it reads is known to its objective alone
        elif self.plan is not None:
            streams, options = self.plan.streams(task, seed)
            expected |= streams.inputs(task.images.where(split=("test",)))
        else:
            assert isinstance(self.config, FinetuneConfig), "other runs have a plan"
            streams = load_streams(self.config, task, seed)
            options = count_steps(task, streams)
            expected |= streams.inputs(task.images.where(split=("test",)))
        expected |= {**recorded_options(self.training, options, seed), **_own_options(self.config)}
        if isinstance(self.plan, TransferPlan) and self.training.epochs is not None:
            del expected["steps"]
        return dict(to_json_values(expected))


def list_run_differences(run: PlannedRun, path: Path, settings: Config, images: Images, seed: int) -> list[str]:
    """What a finished run was made from, where that is not what its command would make it from now."""
    if not (path / RECORD).is_file():
        return []
    record = load_run_record(path / RECORD)
    expected = run.describe(settings, images, seed)
    recorded = {key: value for key, value in {**record.options, **record.inputs}.items() if key in expected}
    return provenance.differences(recorded, {key: expected[key] for key in recorded})


def plan_runs(settings: Config, config: DistillConfig | FinetuneConfig, training: TrainingConfig) -> list[PlannedRun]:
    """The runs of a config, in the order in which the command trains them; none of sources that have seen the task.

    Raises UsageError for unknown names, for models that cannot be trained, and for the best source: it has no name
    before the sources are scored.
    """
    if isinstance(config, FinetuneConfig):
        return list(_plan_finetune(settings, config, training))
    names = [source.name for source in settings.select(config.sources)]
    leaks = leakage.find_leaks(settings, names)
    uses_none = isinstance(config, TransferConfig) or (isinstance(config, CrossTaskConfig) and config.labels_only)
    if names and len(leaks) == len(names) and not uses_none:
        return []
    runs = []
    for item, chosen, single in _single_runs(settings, config):
        resolved = adopt_augmentation(settings, single, training).resolve(single.entry)
        plan = _plan(settings, single, resolved)
        (name,) = plan.names()
        runs.append(PlannedRun(name, item or name, chosen, single, resolved, plan))
    return runs


def _single_runs(settings: Config, config: DistillConfig) -> Iterator[tuple[str, tuple[str, ...], DistillConfig]]:
    """The source, the words that choose the run, and the config of each run of a config."""
    if isinstance(config, CrossTaskConfig) and config.each_source:
        sources = settings.select(config.sources)
        leaks = leakage.find_leaks(settings, [source.name for source in sources])
        for source, typed in zip(sources, config.sources or [source.name for source in sources], strict=True):
            if source.name not in leaks and not _lacks_head(settings, source):
                yield source.name, ("--each-source", "--source", typed), replace(config, sources=(typed,))
    elif isinstance(config, CrossTaskConfig) and (config.weightings or config.draws) and not config.labels_only:
        for weighting in config.all_weightings:
            yield "", ("--weighting", weighting), replace(config, weightings=(weighting,), draws=0)
    elif isinstance(config, HeadsConfig) and config.weightings:
        for weighting in config.weightings:
            yield "", ("--weighting", weighting), replace(config, weightings=(weighting,))
    else:
        yield "", (), config


def _lacks_head(settings: Config, source: Source) -> bool:
    """Whether a source is known to have no head that can teach."""
    if has_source_record(settings, source.name):
        return not load_source_record(settings, source.name).can_teach
    return source.classes == 0


def _plan(settings: Config, config: DistillConfig, training: ResolvedTraining) -> DistillPlan:
    """The plan of a run, as `zoo distill` makes it. Only an objective with parameters has to load its module."""
    if isinstance(config, TransferConfig):
        if ":" in config.objective:
            return distill_plans.plan_transfer(settings, config, training)
        student = student_choice.select_student(settings, config.student)
        return TransferPlan(settings, config, student, settings.select(config.sources), _method(config.objective))
    views = choose_views(settings, config.views, training)
    if isinstance(config, CrossTaskConfig):
        return distill_plans.plan_cross_task(settings, config, views)
    if ":" in config.objective or config.weighting_options:
        return distill_plans.plan_heads(settings, config, training, views)
    return _plan_heads(settings, config, views)


def _plan_heads(settings: Config, config: HeadsConfig, views: ViewSet | None) -> HeadsPlan:
    labels = configure_heads(settings, config.head, config.pool, config.sources, views=views)
    student = student_choice.select_student(settings, config.student)
    return HeadsPlan(settings, config, student, labels.sources, labels, _method(config.objective), (), views)


def _method(objective: str) -> Method:
    """An objective without parameters, for the name of its run."""

    def not_loaded() -> None: ...

    return Method(specs.split_spec(objective)[0], {}, not_loaded)


def _plan_finetune(settings: Config, config: FinetuneConfig, training: TrainingConfig) -> Iterator[PlannedRun]:
    """The runs of the models of a config, of all sources if it names none."""
    if config.rates:
        training = replace(training, lr=config.rates[0])
    resolved = training.resolve(config.entry)
    typed = config.sources or tuple(each.name for each in settings.sources if not feature_store.is_outputs_only(each))
    for model in typed:
        if is_best(model):
            raise UsageError(f"{model} has no name before the sources are scored", "name the source itself")
        own = settings.student if model == "student" else None
        source = own if own is not None else settings.select([model])[0]
        if leakage.find_leaks(settings, [source.name]):
            continue
        student_choice.check_trainable(settings, source, f"the source {source.name}")
        single = replace(config, sources=(model,))
        yield PlannedRun(config.run_name(source.name), source.name, (model,), single, resolved)


def _own_options(config: DistillConfig | FinetuneConfig) -> Mapping[str, Any]:
    """The options in run.json that are not of training alone."""
    if isinstance(config, FinetuneConfig):
        return {**config.parameters, **({"lr": list(config.rates)} if len(config.rates) > 1 else {})}
    if isinstance(config, CrossTaskConfig):
        return {"lam": config.lam, "kd_temperature": config.kd_temperature}
    if isinstance(config, HeadsConfig):
        return {"lam": config.lam, "head": config.head, "pool": config.pool}
    return {"kd_temperature": config.kd_temperature, "targets": config.targets}
