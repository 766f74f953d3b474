"""What `zoo rank` prints: the table of sources, and the sentences below it."""

from collections.abc import Sequence
from dataclasses import asdict

from zoo_cli import console
from zoo_cli.answer_tables import Field, show_answer
from zoo_cli.commands.note_column import add_notes
from zoo_cli.config import STUDENT
from zoo_cli.metrics.collapse import COLLAPSED
from zoo_cli.pipeline.explanation import ClassRow
from zoo_cli.pipeline.rank import Ranking
from zoo_cli.pipeline.score_table import StudentPlace
from zoo_cli.quantities import percent
from zoo_cli.store.head_store import HeadRecord

FIELDS = (
    Field("rank", style="d"),
    Field("source"),
    Field("value", "score", "score"),
    Field("low", style="score"),
    Field("high", style="score"),
    Field("p_best", "P(best)", ".2f"),
    Field("ranks", style=">"),
    Field("weight", style=".4f"),
    Field("teaches"),
    Field("fit"),
    Field("labels_needed", "labels needed", ","),
    Field("head", style="percent"),
    Field("head_interval", "90 %", ">"),
    Field("excluded", free=True),
)
COMPACT = (
    Field("rank", style="d"),
    Field("source"),
    Field("value", "score", "score"),
    Field("interval", "90 %", ">"),
    Field("share", "weight", ">"),
    Field("fit", style=">"),
    Field("labels_needed", "labels", ","),
    Field("head", style="percent"),
)
"""On a terminal, for 80 columns. The weight of a source that cannot teach is "no head"."""
EXCLUDED = Field("excluded", free=True)
UNDEFINED = f"undefined: {COLLAPSED}"
BORDA = Field("borda", style=".1f")
EXPLANATION = (
    Field("class"),
    Field("n", style="d"),
    Field("auc", "same class is nearer", "percent"),
    Field("student", "to the student", "percent"),
)


def answer_ranking(ranking: Ranking, form: str | None) -> None:
    """Print a ranking; below it the weighting, the student's own place, and the verdict."""
    spec, verdict = ranking.spec, ranking.verdict
    rows = [asdict(row) for row in ranking.rows]
    if spec.raw:
        for row in rows:
            del row["borda"]
    table = [
        row
        | {"ranks": None if row["rank_low"] is None else f"{row['rank_low']}-{row['rank_high']}"}
        | {"interval": None if row["low"] is None else f"{row['low']:.2f}..{row['high']:.2f}"}
        | {"share": "no head" if row["teaches"] == "no" and row["excluded"] != UNDEFINED else f"{row['weight']:.4f}"}
        | {"head_interval": None if row["head"] is None else _interval(row["head_low"], row["head_high"])}
        for row in rows
    ]
    notes = [f"{spec.weighting.text}: {ranking.effective:.1f} effective sources of {len(rows)}"]
    if ranking.student is not None:
        ranked = sum(bool(row["rank"]) for row in rows)
        notes.append(f"{STUDENT}, the student before training: {_place(ranking.student, ranked)}{_head(ranking)}")
    if ranking.headless_note:
        notes.append(ranking.headless_note)
    meta = {
        "metric": spec.metric,
        "representation": spec.representation,
        "weighting": spec.weighting.text,
        "effective_sources": ranking.effective,
        "student": None if ranking.student is None else asdict(ranking.student),
        "student_head": None if ranking.student_head is None else asdict(ranking.student_head),
        "pool": None if ranking.pool is None else _describe_pool(ranking.pool),
        "beats": ranking.beats,
        "verdict": {
            "kind": verdict.kind,
            "sources": verdict.names,
            "fits": verdict.fits,
            "sentence": verdict.sentence,
        },
        "next": next_command(ranking),
    }
    if seen := {overlap.source: overlap.seen for overlap in ranking.overlaps if overlap.seen is not None}:
        meta["test_images_seen"] = seen
    fields = _fields(form, excluded=any(row["excluded"] for row in rows))
    fields = fields if spec.raw else (*fields[:3], BORDA, *fields[3:])
    rows, _ = add_notes(rows, fields)
    table, fields = add_notes(table, fields)
    notes.append(verdict.sentence)
    if ranking.pool is not None and ranking.pool.estimate.accuracy is not None:
        notes.append(_pool_sentence(ranking.pool))
    if (step := _next_step(ranking)) is not None:
        notes.append(f"next: {next_command(ranking)}{_PURPOSES[step]}")
    show_answer("zoo.rank/1", rows, fields, form=form, meta=meta, notes=notes, table=table)


def answer_explanation(rows: Sequence[ClassRow], source: str, on: str, form: str | None) -> None:
    """Print how well each class is separated by a source."""
    table = [{"class": row.name, "n": row.n, "auc": row.auc, "student": row.student} for row in rows]
    show_answer("zoo.explain/1", table, EXPLANATION, form=form, meta={"source": source, "representation": on})


def _fields(form: str | None, *, excluded: bool) -> tuple[Field, ...]:
    """Every value in a file; on a terminal those that decide."""
    if form == "table" or (form is None and console.current().out.isatty()):
        return (*COMPACT, *((EXCLUDED,) if excluded else ()))
    return FIELDS


LABEL_NEXT = "zoo pseudo-label --head ridge --show 20"
DISTIL_NEXT = "zoo distill --objective heads"
_PURPOSES = {
    LABEL_NEXT: " (estimates what the sources know together, and lists the images to label next)",
    DISTIL_NEXT: " (the student learns from the answers of that pool)",
}


def next_command(ranking: Ranking) -> str | None:
    """The command to run after a ranking; None outside a workspace, where there is no head to go on with."""
    step = _next_step(ranking)
    return step if step is None or ranking.labels is None else f"{step} --labels {ranking.labels}"


def _next_step(ranking: Ranking) -> str | None:
    if all(row.head is None for row in ranking.rows):
        return None
    estimated = ranking.pool is not None and ranking.pool.estimate.accuracy is not None
    return DISTIL_NEXT if estimated else LABEL_NEXT


def _pool_sentence(pool: HeadRecord) -> str:
    estimate = pool.estimate
    interval = f"[{percent(estimate.low)}, {percent(estimate.high)}]"
    return (
        f"{pool.pool} of {len(pool.sources)} {pool.head} heads: about {percent(estimate.accuracy)} {interval} "
        "of the answers for the unlabelled images are right"
    )


def _describe_pool(pool: HeadRecord) -> dict[str, object]:
    return {"head": pool.head, "pool": pool.pool, "labels": pool.labels, "estimate": asdict(pool.estimate)}


def _head(ranking: Ranking) -> str:
    head = ranking.student_head
    return "" if head is None else f"; head {percent(head.accuracy)} [{_interval(head.low, head.high)}]"


def _interval(low: float, high: float) -> str:
    """The ends of an interval of a share, in percent."""
    return f"{100 * low:.0f}-{100 * high:.0f}"


def _place(student: StudentPlace, ranked: int) -> str:
    if student.value is None:
        return student.reason or "not on this scale"
    interval = "" if student.low is None else f" [{student.low:.4f}, {student.high:.4f}]"
    return f"{student.value:.4f}{interval}, would rank {student.rank} of {ranked + 1}"
