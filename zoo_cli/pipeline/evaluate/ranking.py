"""`zoo evaluate ranking`: how well metrics foretell the accuracy of transfer.

SCORES are read as `scores` says, ACCURACIES as `accuracies` says; the sources and targets that they share are judged.
--json and --out FILE.json hold two flat lists: `metrics`, a row for each metric and representation, with the mean of
every measure over targets and its interval (see `judgement.over_targets`), best Spearman correlation first; and
`targets`, a row for each of these and each target (see `judgement.judge`; `probes`: how many probe sets its measures
are the mean of). --out FILE.parquet holds the rows of `targets`.
"""

import glob
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zoo_cli import console
from zoo_cli.commands.options import HERE, Format, Json, Workspace
from zoo_cli.errors import UsageError
from zoo_cli.pipeline.evaluate import named_runs
from zoo_cli.pipeline.evaluate.accuracies import Accuracies
from zoo_cli.pipeline.evaluate.accuracies import load_accuracies as read_accuracies
from zoo_cli.pipeline.evaluate.score_tables import Scores
from zoo_cli.pipeline.evaluate.score_tables import load_scores as read_scores

if TYPE_CHECKING:
    from zoo_cli.evaluation import ranking_quality

Row = dict[str, Any]

SCHEMA = "zoo.evaluate-ranking/1"
KEYS = (console.Field("metric"), console.Field("representation", "on"), console.Field("targets", style="d"))
MEASURES = (
    console.Field("spearman", style=".2f"),
    console.Field("pearson", style=".2f"),
    console.Field("kendall", style=".2f"),
    console.Field("weighted_kendall", "weighted", ".2f"),
    console.Field("relative_accuracy", "rel. acc.", "percent"),
    console.Field("regret", style=".3f"),
    console.Field("trials", style=".1f"),
)


def ranking(
    scores: Annotated[
        Path | None,
        typer.Argument(help="A workspace, a folder of them, a scores file, or a table. Default: the workspace."),
    ] = None,
    accuracies: Annotated[
        Path | None,
        typer.Argument(help="A table with source, target and accuracy, or folders of runs. Default: the workspace."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write the answer to .json, or its rows by target to .parquet.")
    ] = None,
    form: Format = None,
    json: Json = False,
    workspace: Workspace = HERE,
) -> None:
    """How well each metric foretells the accuracy of transfer: rank correlations, relative accuracy, regret, trials.

    zoo evaluate ranking
    zoo evaluate ranking scores/parc.parquet accuracies.csv
    zoo evaluate ranking . "runs/cross-task-from-*" --json
    """
    from zoo_cli.evaluation import ranking_quality

    found, reached = read_scores(_place(scores, workspace)), read_accuracies(_place(accuracies, workspace))
    _name_alike(found, reached)
    judged = _shared(found, reached)
    measured = _by_target(found, reached, judged)
    rows = [{**keys, **asdict(quality)} for keys, quality in measured]
    answer = {"metrics": _by_metric(measured), "targets": rows}
    named_runs.save_answer(out, SCHEMA, answer, rows)
    form = "json" if json else form
    chance = _random_order(reached, judged)
    console.answer(
        SCHEMA,
        answer,
        _fields(form, len(judged)),
        form=form,
        meta={"level": ranking_quality.LEVEL, "random_order": chance},
        notes=_notes(answer["metrics"], judged, chance),
        table=answer["metrics"],
    )


def _place(path: Path | None, workspace: Path) -> Path:
    """Where an argument points: also a pattern, relative to where the user stands or to the workspace."""
    if path is None:
        return workspace
    matching = (place for place in (path, workspace / path) if not path.exists() and glob.glob(str(place)))
    return next(matching, None) or named_runs.resolve_run(path, workspace)


def _name_alike(found: Scores, reached: Accuracies) -> None:
    """A side that names no target is of the one that the other side names. Raises UsageError where it names several."""
    sides = [found.targets, sorted(reached)]
    for one, other, told in zip(sides, reversed(sides), ("SCORES", "ACCURACIES"), strict=True):
        if one == [""] and len(other) > 1:
            raise UsageError(f"{told} name no target, the other side {len(other)}", "add a column target")
    if sides[0] == [""]:
        found.rename("", sides[1][0])
    elif sides[1] == [""]:
        reached[sides[0][0]] = reached.pop("")


def _shared(found: Scores, reached: Accuracies) -> dict[str, list[str]]:
    """The sources of every target that have an accuracy and of which some metric was asked; at least two of them.

    Says what only one side knows. Raises UsageError where nothing is left.
    """
    judged: dict[str, list[str]] = {}
    unscored, unknown, alone = [], [], []
    both = sorted(set(found.targets) & set(reached))
    for target in both:
        scored, known = found.sources(target), set(reached[target])
        seen = {source for source, other in found.barred if other == target}
        where = f" ({target})" if len(both) > 1 else ""
        unscored += [source + where for source in sorted(known - scored - seen)]
        unknown += [source + where for source in sorted(scored - known)]
        if len(scored & known) > 1:
            judged[target] = sorted(scored & known)
        else:
            alone.append(target)
    if not judged and not alone:
        raise UsageError(
            "SCORES and ACCURACIES share no target",
            f"SCORES are for {_some(found.targets) or 'none by name'}, "
            f"ACCURACIES for {_some(sorted(reached)) or 'none by name'}",
        )
    if not judged:
        raise UsageError(
            "SCORES and ACCURACIES share no two sources, as an order needs",
            f"without an accuracy: {_some(unknown) or 'none'}; without a score: {_some(unscored) or 'none'}",
        )
    for names, what in (
        (unscored, "sources have an accuracy and no score"),
        (unknown, "sources have a score and no accuracy"),
        (alone, "targets have less than two sources with both"),
        (sorted(set(found.targets) - set(reached)), "targets have scores and no accuracies"),
        (sorted(set(reached) - set(found.targets)), "targets have accuracies and no scores"),
    ):
        if names:
            console.warn(f"{len(names):,} {what}, and are left out: {_some(names)}")
    return judged


def _by_target(
    found: Scores, reached: Accuracies, judged: dict[str, list[str]]
) -> "list[tuple[Row, ranking_quality.RankingQuality]]":
    """What is measured, and the measures of every metric on every target, in the order of the metrics."""
    import numpy as np

    from zoo_cli.evaluation import ranking_quality

    rows = []
    for (metric, representation), of_targets in found.values.items():
        for target, names in judged.items():
            accuracies = np.array([reached[target][name] for name in names])
            probes = [
                np.array([scores.get(name, np.nan) for name in names]) for scores in of_targets.get(target, {}).values()
            ]
            if probes:
                measures = ranking_quality.mean_over_probes(
                    [ranking_quality.judge_ranking(values, accuracies) for values in probes]
                )
                keys: Row = {"metric": metric, "representation": representation, "target": target or None}
                rows.append(({**keys, "probes": len(probes)}, measures))
    return rows


def _by_metric(measured: "Sequence[tuple[Row, ranking_quality.RankingQuality]]") -> list[Row]:
    """The means over targets of every metric, best Spearman correlation first."""
    from zoo_cli.evaluation import ranking_quality

    groups: dict[tuple[str, str | None], list[ranking_quality.RankingQuality]] = {}
    for keys, quality in measured:
        groups.setdefault((keys["metric"], keys["representation"]), []).append(quality)
    found = [
        {"metric": metric, "representation": representation, **asdict(ranking_quality.mean_over_targets(group))}
        for (metric, representation), group in groups.items()
    ]
    return sorted(found, key=lambda row: (row["spearman"] is None, -(row["spearman"] or 0), row["metric"]))


def _random_order(reached: Accuracies, judged: dict[str, list[str]]) -> Row:
    """What a random order of the sources gives on average: that of a metric to which all are equal."""
    import numpy as np

    from zoo_cli.evaluation import ranking_quality

    rows = [
        ranking_quality.judge_ranking(np.zeros(len(names)), np.array([reached[target][name] for name in names]))
        for target, names in judged.items()
    ]
    mean = ranking_quality.mean_over_targets(rows)
    return {name: getattr(mean, name) for name in ("relative_accuracy", "regret", "trials")}


def _fields(form: str | None, targets: int) -> tuple[console.Field, ...]:
    """A person sees the means, with the interval of the first; a program the intervals of all."""
    if form in ("csv", "tsv") or (form is None and not console.current().out.isatty()):
        return (
            *KEYS,
            *(
                console.Field(f"{field.key}{ending}", style=field.style)
                for field in MEASURES
                for ending in ("", "_low", "_high")
            ),
        )
    ends = [console.Field(f"spearman_{end}", end, ".2f") for end in ("low", "high")] if targets > 1 else []
    return (*KEYS, MEASURES[0], *ends, *MEASURES[1:])


def _notes(metrics: Sequence[Row], judged: dict[str, list[str]], chance: Row) -> list[str]:
    sizes = sorted({len(names) for names in judged.values()})
    counts = f"{sizes[0]} to {sizes[-1]}" if len(sizes) > 1 else str(sizes[0])
    if len(judged) == 1:
        notes = [f"one target, {counts} sources: no interval over targets"]
    else:
        notes = [f"means over {len(judged)} targets of {counts} sources, intervals over targets at 90 %"]
    reasons = sorted({reason for row in metrics for reason in (row["reason"] or "").split(",") if reason})
    if reasons:
        notes.append(f"not every measure has a value: {', '.join(reasons).replace('_', ' ')}")
    if any(0 < row["correlated"] < len(judged) for row in metrics):
        notes.append("metrics without a value on some targets are not judged on the same ones: see targets, correlated")
    if chance["regret"] is not None:
        notes.append(
            f"a random order: relative accuracy {console.percent(chance['relative_accuracy'])}, "
            f"regret {chance['regret']:.3f}, trials {chance['trials']:.1f}"
        )
    return notes


def _some(names: Sequence[str], most: int = 5) -> str:
    shown = [name for name in names if name][:most]
    return ", ".join(shown) + (f" and {len(names) - most} more" if len(names) > most else "")
