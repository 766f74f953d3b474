"""The seconds of the stages of every source, from the logs beside what they made, and what selection saves."""

from dataclasses import dataclass, replace
from pathlib import Path

from zoo_cli import config
from zoo_cli.config import Config
from zoo_cli.errors import ParameterError, UsageError
from zoo_cli.evaluation import costs, named_runs
from zoo_cli.evaluation.costs import PlanCost, SourceCost
from zoo_cli.label_sets import asked_labels, load_config
from zoo_cli.pipeline import leakage
from zoo_cli.pipeline.metric_specs import MetricSpec, parse_metric, size_metrics
from zoo_cli.store import replacement, stage_log
from zoo_cli.store.score_store import load_scores
from zoo_cli.store.stage_log import StageLog
from zoo_cli.training import run_record

TOP = 3


@dataclass(frozen=True)
class CostConfig:
    """`metric`: the one that selects, on its own representation or `on`, and `per_class` images of the probe set.

    `top`: how many sources selection may fine-tune. `labels`: the label set; None: the main one.
    """

    workspace: Path
    metric: str
    on: str | None = None
    per_class: int | None = None
    top: int = TOP
    labels: str | None = None

    def __post_init__(self) -> None:
        if self.top < 1:
            raise ParameterError(f"`top` is {self.top}", "expected a whole number from 1 up")


@dataclass(frozen=True)
class CostResult:
    """The cost of every source, and of each plan. `fine_tuning`: the seconds of one, None if no log tells.

    `together`: the metrics that the seconds of the scores made, if more than one.
    """

    metric: str
    top: int
    sources: tuple[SourceCost, ...]
    plans: tuple[PlanCost, ...]
    fine_tuning: float | None
    together: tuple[str, ...]


def evaluate_cost(options: CostConfig) -> CostResult:
    """The seconds of all stages of the sources that are not excluded, and of brute force and selection.

    Reads logs, scores and run.json only. Raises UsageError for a workspace without sources.
    """
    settings = load_config(options.workspace, options.labels)
    (spec,) = size_metrics([parse_metric(options.metric, options.on)], [options.per_class])
    excluded = leakage.excluded_sources(settings, [source.name for source in settings.sources])
    names = [source.name for source in settings.sources if source.name not in excluded]
    if not names:
        raise UsageError(f"no source in {settings.root / config.FILE}", "add a [[source]] table")
    runs = _list_fine_tunings(settings)
    replacement.settle(settings.scores(spec.slug))
    together: dict[str, None] = {}
    rows = []
    for name in names:
        row, metrics = _read_source(settings, spec, name, runs.get(name, []))
        together |= dict.fromkeys(metrics)
        rows.append(row)
    sources = tuple(rows)
    return CostResult(
        spec.method.spec if spec.per_class is None else f"{spec.method.spec}, {spec.per_class} a class",
        options.top,
        sources,
        costs.compare_plans(sources, options.top),
        costs.mean_fine_tuning(sources),
        tuple(together) if len(together) > 1 else (),
    )


def _read_source(settings: Config, spec: MetricSpec, name: str, runs: list[Path]) -> tuple[SourceCost, tuple[str, ...]]:
    """The logs of a source, and the metrics that were scored in the same seconds as its score."""
    missing = []
    path = settings.scores(spec.slug) / f"{name}.parquet"
    score = next((row.value for row in load_scores(path) if row.source == name), None) if path.exists() else None
    scored = stage_log.load_log(path) if path.exists() else None
    extraction, why = _read_parts(settings.features(name), "data=*/part-*.parquet", "extraction")
    missing += [why] if why else []
    if spec.on == "gradients":
        gradients, why = _read_parts(settings.gradients(name), "part-*.parquet", "gradients")
        extraction = costs.add_seconds([extraction, gradients])
        missing += [why] if why else []
    if scored is None:
        missing.append("score")
    pseudo = stage_log.load_log(settings.pseudo(name)) if settings.pseudo(name).is_dir() else None
    logs = [_read_run(run) for run in runs]
    seconds = [sum(log.seconds for log in whole) for whole in logs if whole and not any(log.from_step for log in whole)]
    if not seconds:
        missing.append("fine-tuning before it was resumed" if any(logs) else "fine-tuning")
    row = SourceCost(
        name,
        score,
        extraction,
        None if scored is None else scored.seconds,
        None if pseudo is None else pseudo.seconds,
        sum(seconds) / len(seconds) if seconds else None,
        len(seconds),
    )
    return replace(row, missing=tuple(missing)), () if scored is None else tuple(scored.together)


def _read_parts(folder: Path, pattern: str, stage: str) -> tuple[float | None, str]:
    """The seconds of the stored parts of a source; None, with what is missing, unless all of them are logged."""
    parts = {path.relative_to(folder).as_posix() for path in folder.glob(pattern)}
    log = stage_log.load_log(folder) if parts else None
    if log is None or log.parts is None:
        return None, stage
    logged = parts & log.parts.keys()
    if logged != parts:
        return None, f"{stage}: {len(logged)} of {len(parts)} parts logged"
    return sum(log.parts[part] for part in parts), ""


def _list_fine_tunings(settings: Config) -> dict[str, list[Path]]:
    """The finished fine-tunings of every source on this label set."""
    runs: dict[str, list[Path]] = {}
    for folder in named_runs.finished_beside(settings.root / "runs"):
        if not (folder / "run.json").exists():
            continue
        record = run_record.load_run_record(folder / "run.json")
        labels = (record.asked or {}).get("labels")
        if record.source is not None and labels == asked_labels(settings).get("labels"):
            runs.setdefault(record.source, []).append(folder)
    return runs


def _read_run(folder: Path) -> list[StageLog]:
    """The logs of a run, and of the learning rates that it tried; none unless all are there."""
    places = [folder, *sorted(path for path in (folder / "sweep").glob("lr-*") if path.is_dir())]
    logs = [log for place in places if (log := stage_log.load_log_file(run_record.log_file(place))) is not None]
    return logs if len(logs) == len(places) else []
