"""The sections on what scores and training are worth: scores against accuracies, and accuracies against cost."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from zoo_cli.errors import ContractError, UsageError
from zoo_cli.pipeline.evaluate.accuracy import AccuracyRow
from zoo_cli.pipeline.evaluate.ranking import RankingEvaluationConfig, TargetQuality, evaluate_ranking
from zoo_cli.pipeline.report_sections.report_inputs import ReportInputs, StoredRun
from zoo_cli.report.blocks import Block, Column, Missing, Paragraph, Plot, Table
from zoo_cli.report.scatter_plot import Point, ScatterPanel, plot_scatter
from zoo_cli.report.wording import LEVEL, MISSING, show_name, show_number, show_percent, show_seconds, show_size
from zoo_cli.store import stage_log
from zoo_cli.training import run_record

MOST_METRICS = 4


def score_section(inputs: ReportInputs) -> Iterator[Block]:
    """The blocks of the section on scores and accuracies."""
    if not inputs.settings.scores("x").parent.is_dir():
        raise UsageError("no scores of the sources", "zoo score makes them")
    try:
        result = evaluate_ranking(RankingEvaluationConfig(inputs.settings.root))
    except UsageError:
        yield Missing(
            "fewer than two students that each learned from one scored source, to compare scores with accuracies",
            "zoo distill --each-source trains them",
        )
        return
    metrics = [row for row in result.metrics if not row.control]
    by_key = {row.key: row for row in result.targets}
    first = metrics[0]
    yield Paragraph(
        f"{first.key} orders the sources most like their accuracies: Spearman's correlation "
        f"{show_number(first.quality.spearman, '.2f')}.",
        "lead",
    )
    panels = [_panel(by_key[row.key]) for row in metrics if any(p.score is not None for p in by_key[row.key].points)]
    yield Plot(
        "scores-and-accuracies",
        f"Scores by {len(panels[:MOST_METRICS])} metrics against the accuracies of students of one source each",
        "Each point is a source: its score, and the accuracy of the student that learned from it alone. "
        "A good metric puts them on a rising line.",
        partial(plot_scatter, panels[:MOST_METRICS]),
    )
    columns = ("metric", "Spearman", "Pearson", "Kendall", "relative accuracy", "regret")
    yield Table(
        "How well each metric orders the sources",
        (Column(columns[0], False), *map(Column, columns[1:])),
        tuple(
            (
                show_name(row.key) + (" (control)" if row.control else ""),
                *(
                    show_number(value, ".2f")
                    for value in (row.quality.spearman, row.quality.pearson, row.quality.kendall)
                ),
                show_percent(row.quality.relative_accuracy),
                show_percent(row.quality.regret),
            )
            for row in result.metrics
        ),
    )


def _panel(row: TargetQuality) -> ScatterPanel:
    points = [point for point in row.points if point.score is not None]
    best = max(points, key=lambda point: point.score or 0.0)
    return ScatterPanel(
        f"{row.key}: {show_number(row.quality.spearman, '.2f')}",
        "score",
        [Point(point.source, point.score or 0.0, point.accuracy, strong=point is best) for point in points],
    )


@dataclass(frozen=True)
class RunCost:
    """A run with what it took: seconds of training by its log, parameters and multiply-accumulates of the student."""

    row: AccuracyRow
    seconds: float | None
    parameters: int | None
    macs: int | None


def cost_section(inputs: ReportInputs) -> Iterator[Block]:
    """The blocks of the section on cost."""
    run_set = inputs.need_runs()
    runs = {run.name: run for run in run_set.runs}
    costs = [_read_cost(row, runs[row.run]) for row in run_set.accuracy.rows]
    timed = [cost for cost in costs if cost.seconds]
    sizes = {cost.macs for cost in costs if cost.macs}
    panels = []
    if timed:
        points = [_point(cost, cost.seconds or 0.0, run_set.best) for cost in timed]
        panels.append(ScatterPanel("by training time", "seconds of training", points, _is_wide(points)))
    if len(sizes) > 1:
        points = [_point(cost, cost.macs / 1e6, run_set.best) for cost in costs if cost.macs]
        panels.append(ScatterPanel("by size", "million multiply-accumulates an image", points, _is_wide(points)))
    if not panels:
        yield Missing("no run has a log of how long it took, and all students are of one size")
    else:
        yield Plot(
            "cost",
            f"Accuracy against cost of {len(costs)} runs",
            f"Accuracy with its {LEVEL} interval against what the student costs. Times are those of the logs beside "
            "the runs; a run that was resumed has none.",
            partial(plot_scatter, panels),
        )
    yield Table(
        "What each run took",
        (Column("run", False), *map(Column, ("accuracy", "training", "parameters", "multiply-accumulates"))),
        tuple(
            (
                show_name(cost.row.run),
                show_percent(cost.row.accuracy),
                show_seconds(cost.seconds) if cost.seconds else MISSING,
                show_size(cost.parameters),
                show_size(cost.macs),
            )
            for cost in sorted(costs, key=lambda cost: -cost.row.accuracy)
        ),
        folded=len(costs) > 8,
    )


def _read_cost(row: AccuracyRow, run: StoredRun) -> RunCost:
    try:
        log = stage_log.load_log_file(run_record.log_file(run.folder))
    except (ContractError, UsageError):
        log = None
    size = None if run.record is None else run.record.size
    seconds = None if log is None or log.from_step else log.seconds
    if size is None:
        return RunCost(row, seconds, None, None)
    return RunCost(row, seconds, size.parameters, size.macs)


def _point(cost: RunCost, x: float, best: AccuracyRow) -> Point:
    row = cost.row
    return Point(row.run, x, row.accuracy, row.accuracy_low, row.accuracy_high, row is best)


def _is_wide(points: list[Point]) -> bool:
    """Whether the points need a logarithmic axis."""
    places = [point.x for point in points]
    return min(places) > 0 and max(places) > 20 * min(places)
