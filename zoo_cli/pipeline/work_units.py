"""The units of work of a plan: one command each, which makes one artifact. `zoo plan` and `zoo status` share them."""

import io
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from zoo_cli import config, console, label_sets
from zoo_cli.config import STUDENT, Config, Source
from zoo_cli.errors import UsageError
from zoo_cli.pipeline import leakage, planned_search
from zoo_cli.pipeline.head_config import configure_heads
from zoo_cli.pipeline.plan_stages import SEARCH, TRAINING, Stage
from zoo_cli.pipeline.planned_runs import PlannedRun, plan_runs
from zoo_cli.pipeline.tune_config import TuneConfig, name_run

ALL = "all sources"
"""The item of a unit that is of all sources together."""


@dataclass(frozen=True)
class Unit:
    """One unit of work. `settings`: of its workspace and label set; `path`: of the artifact that it makes.

    `item`: the source it is of, or what else tells it from the others of its stage. `chosen`: the words of its command
    that do the same. `sources`: those that it reads. `run`, `seed`: of a run. `stored_command`: that of a run that no
    stage asks for, as its log names it.
    """

    stage: Stage
    settings: Config
    item: str
    path: Path
    chosen: tuple[str, ...] = ()
    sources: tuple[Source, ...] = ()
    run: PlannedRun | None = None
    seed: int | None = None
    stored_command: str = ""

    @property
    def command(self) -> str:
        """The command that does it, as a shell reads it."""
        if self.stored_command:
            return f"{self.stored_command} {shlex.join(['-C', str(self.settings.root)])}"
        labels = self.settings.labels
        words = ["zoo", self.stage.command, *self.chosen, *self.stage.words, "-C", str(self.settings.root)]
        return shlex.join([*words, *(["--labels", labels] if labels is not None else [])])


def list_units(stages: Sequence[Stage], workspaces: Sequence[Path], labels: Sequence[str] = ()) -> list[Unit]:
    """The units of stages in workspaces, in the order of the stages; of these label sets, by default the main one.

    Sources that have seen a task have no unit in it. Reads what zoo.toml declares and what is stored, and says nothing.
    Raises UsageError for a folder without a zoo.toml, for unknown names and label sets, and for a repeated workspace.
    """
    with silent():
        places = [_load_workspace(workspace) for workspace in workspaces]
        if len({place.root.resolve() for place in places}) < len(places):
            raise UsageError("a workspace is named twice", "name each once")
        if len(set(labels)) < len(labels):
            raise UsageError("--labels repeats a label set", "name each once")
        drawn = any(stage.command == "split" and stage.words for stage in stages)
        units = [
            unit
            for stage in stages
            for place in places
            for settings in _label_settings(place, labels if stage.by_labels else (), drawn=drawn)
            for unit in _list_stage(stage, settings)
        ]
    for unit in units:
        if not unit.command.isprintable():
            raise UsageError(f"{unit.settings.root} holds a character that cannot be printed", "rename the folder")
    if len({unit.command for unit in units}) < len(units):
        raise UsageError("two stages ask for the same work", "name each once")
    searches = [unit.settings.labels_root for unit in units if unit.stage.command == SEARCH]
    if len(set(searches)) < len(searches):
        raise UsageError("a workspace has one search for each label set", "plan one: --stage 'tune --seed 0'")
    return units


@contextmanager
def silent() -> Iterator[None]:
    """The context in which the functions of other stages print nothing."""
    with console.use(console.Console(console.current().out, io.StringIO())):
        yield


def _load_workspace(workspace: Path) -> Config:
    if not (workspace / config.FILE).is_file():
        raise UsageError(f"{workspace} is not a workspace: it has no {config.FILE}", "name folders with a zoo.toml")
    return config.load(workspace)


def _label_settings(place: Config, labels: Sequence[str], *, drawn: bool) -> list[Config]:
    """The settings of label sets, which exist unless a stage of the plan draws them."""
    for name in labels:
        label_sets.check_name(name)
        if not drawn and not place.with_labels(name).manifest.exists():
            label_sets.load_config(place.root, name)  # raises
    return [place.with_labels(name) for name in labels] or [place]


def _list_stage(stage: Stage, settings: Config) -> Iterator[Unit]:
    if stage.command in TRAINING:
        yield from _list_runs(stage, settings)
        return
    if stage.command == SEARCH:
        planned_search.check_search(settings, stage)
        for seed in stage.seeds or (settings.task.seed,):
            path = settings.default_run(name_run(seed))
            yield Unit(stage, settings, "search", path, ("--seed", str(seed)), seed=seed)
        return
    if stage.command == "split":
        yield Unit(stage, settings, settings.labels or "main", settings.manifest)
        return
    sources = _usable(settings, settings.select(stage.sources) if stage.sources else settings.sources)
    if stage.command == "extract":
        names = [source.name for source in settings.sources]
        students = () if stage.sources else settings.models[len(names) :]
        for source, typed in zip((*sources, *students), _typed(stage, settings, (*sources, *students)), strict=True):
            yield Unit(stage, settings, source.name, settings.features(source.name), ("--source", typed), (source,))
    elif not sources:
        return
    elif stage.pool is not None:
        pool = stage.pool
        labels = configure_heads(settings, pool.head, pool.pool, stage.sources, with_student=pool.with_student)
        path = settings.pseudo_head(labels.slug)
        yield Unit(stage, settings, labels.slug, path, _flags(stage.sources), labels.sources)
    elif stage.command == "pseudo-label":
        is_choice = bool(stage.sources) or len(sources) < len(settings.sources)
        chosen = _flags(_typed(stage, settings, sources)) if is_choice else ()
        yield Unit(stage, settings, ALL, settings.root / "pseudo", chosen, sources)
    elif any(metric.entry.joined for metric in stage.metrics):
        # What a source adds to an ensemble depends on the others.
        named = settings.select(stage.sources) if stage.sources else settings.sources
        path = settings.scores(stage.metrics[0].slug)
        yield Unit(stage, settings, ALL, path, _flags(stage.sources), named)
    else:
        for source, typed in zip(sources, _typed(stage, settings, sources), strict=True):
            path = settings.scores(stage.metrics[0].slug) / f"{source.name}.parquet"
            yield Unit(stage, settings, source.name, path, ("--source", typed), (source,))


def _list_runs(stage: Stage, settings: Config) -> Iterator[Unit]:
    assert stage.config is not None, "a training stage has its config"
    assert not isinstance(stage.config, TuneConfig), "a search is one unit"
    for run in plan_runs(settings, stage.config, stage.training):
        for seed in stage.seeds or (settings.task.seed,):
            path = settings.default_run(f"{run.name}-s{seed}")
            yield Unit(stage, settings, run.item, path, (*run.chosen, "--seed", str(seed)), run=run, seed=seed)


def _usable(settings: Config, sources: Sequence[Source]) -> tuple[Source, ...]:
    """The sources that have not seen the task."""
    leaks = leakage.find_leaks(settings, [source.name for source in sources if source.name != STUDENT])
    return tuple(source for source in sources if source.name not in leaks)


def _typed(stage: Stage, settings: Config, sources: Sequence[Source]) -> list[str]:
    """The sources as --source names them: as the stage does, else by name."""
    typed = {source.name: text for source, text in zip(settings.select(stage.sources), stage.sources, strict=False)}
    return [typed.get(source.name, source.name) for source in sources]


def _flags(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(word for name in names for word in ("--source", name))
