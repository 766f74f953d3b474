"""What `zoo evaluate cost` prints.

--json and --out FILE.json hold two lists: `sources`, see `costs.SourceCost`, and `plans`, see `costs.PlanCost`. csv,
tsv and --out FILE.parquet hold the rows of `plans`.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from zoo_cli.answer_tables import Field, Grid
from zoo_cli.commands.evaluate.answers import Row, print_answer
from zoo_cli.pipeline.evaluate.selection_cost import CostResult

SECONDS = ("extraction", "scoring", "pseudo_labels", "fine_tuning")
SOURCE_FIELDS = (
    Field("source"),
    Field("extraction", style=".1f"),
    Field("scoring", "score", ".1f"),
    Field("pseudo_labels", "pseudo-labels", ".1f"),
    Field("fine_tuning", "fine-tuning", ".1f"),
    Field("selection", style="percent"),
    Field("missing", "no log of", ">"),
)
PLAN_FIELDS = (
    Field("plan"),
    Field("fine_tuned", "fine-tuned", "d"),
    Field("selection", style=".1f"),
    Field("fine_tuning", "fine-tuning", ".1f"),
    Field("seconds", style=".1f"),
    Field("relative", style=".2f"),
    Field("speedup", "speed-up", ".1f"),
)
MISSING = Field("missing", "no log of", ">")
FILE_FIELDS = (
    *(Field(field.key) for field in PLAN_FIELDS),
    Field("sources"),
    Field("missing"),
)
TYPES = dict.fromkeys(("selection", "fine_tuning", "seconds", "relative", "speedup"), "double")


def print_cost(result: CostResult, out: Path | None, form: str | None) -> None:
    """A row for every source, and one for every plan."""
    plans = [
        asdict(plan) | {"fine_tuned": len(plan.fine_tuned), "sources": list(plan.fine_tuned)} for plan in result.plans
    ]
    sources = [asdict(row) | {"selection": row.selection} for row in result.sources]
    flat = [
        row | {"sources": ",".join(row["sources"]), "missing": _list_missing(row["missing"], len(row["missing"]))}
        for row in plans
    ]
    print_answer(
        "zoo.evaluate-cost/1",
        {"sources": sources, "plans": plans},
        FILE_FIELDS,
        rows=flat,
        out=out,
        form=form,
        meta={
            "metric": result.metric,
            "top": result.top,
            "fine_tuning": result.fine_tuning,
            "together": list(result.together),
        },
        notes=_notes(result),
        types=TYPES,
        grids=_grids(result, sources, plans),
    )


def _grids(result: CostResult, sources: Sequence[Row], plans: Sequence[Row]) -> list[Grid]:
    unit = result.fine_tuning
    lines = [
        row
        | {
            "selection": row["selection"] / unit if row["selection"] is not None and unit else None,
            "missing": _list_missing(row["missing"]),
        }
        for row in sources
    ]
    incomplete = any(row["missing"] for row in sources)
    ways = [row | {"missing": _list_missing(row["missing"])} for row in plans]
    return [
        Grid("seconds of each source", lines, SOURCE_FIELDS if incomplete else SOURCE_FIELDS[:-1]),
        Grid(
            f"seconds of brute force and of selection by {result.metric}",
            ways,
            (*PLAN_FIELDS, MISSING) if any(row["missing"] for row in plans) else PLAN_FIELDS,
        ),
    ]


def _list_missing(names: Sequence[str], most: int = 2) -> str:
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def _notes(result: CostResult) -> list[str]:
    notes = []
    if result.fine_tuning is None:
        notes.append("no fine-tuning with a whole log: zoo finetune makes one to compare with")
    else:
        tuned = [row for row in result.sources if row.fine_tuning is not None]
        runs = sum(row.runs for row in tuned)
        text = (
            f"one fine-tuning: {result.fine_tuning:,.1f} s, the mean over {len(tuned)} of {len(result.sources)} sources"
        )
        notes.append(text + (f" and {runs} runs" if runs > len(tuned) else ""))
        notes.append("selection of a source, in percent, and relative: to one fine-tuning")
    if result.together:
        notes.append(f"seconds of the scores are of all metrics of one call: {', '.join(result.together)}")
    notes.append("seconds by the clock; sources that are extracted together share the decoding evenly")
    return notes
