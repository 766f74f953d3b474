"""What `zoo rank` prints: the table of sources, and the sentences below it."""

from collections.abc import Sequence
from dataclasses import asdict

from zoo_cli import console
from zoo_cli.config import STUDENT
from zoo_cli.pipeline.explanation import ClassRow
from zoo_cli.pipeline.rank import Ranking
from zoo_cli.pipeline.score_table import StudentPlace

FIELDS = (
    console.Field("rank", style="d"),
    console.Field("source"),
    console.Field("value", "score", "score"),
    console.Field("low", style="score"),
    console.Field("high", style="score"),
    console.Field("p_best", "P(best)", ".2f"),
    console.Field("ranks", style=">"),
    console.Field("weight", style=".4f"),
    console.Field("teaches"),
    console.Field("excluded"),
)
BORDA = console.Field("borda", style=".1f")
EXPLANATION = (
    console.Field("class"),
    console.Field("n", style="d"),
    console.Field("auc", "same class is nearer", "percent"),
    console.Field("student", "to the student", "percent"),
)


def answer_ranking(ranking: Ranking, form: str | None) -> None:
    """Print a ranking; below it the weighting, the student's own place, and the verdict."""
    spec, verdict = ranking.spec, ranking.verdict
    rows = [asdict(row) for row in ranking.rows]
    if spec.raw:
        for row in rows:
            del row["borda"]
    table = [
        row | {"ranks": None if row["rank_low"] is None else f"{row['rank_low']}-{row['rank_high']}"} for row in rows
    ]
    notes = [f"{spec.weighting.text}: {ranking.effective:.1f} effective sources of {len(rows)}"]
    if ranking.student is not None:
        ranked = sum(bool(row["rank"]) for row in rows)
        notes.append(f"{STUDENT}, the student before training: {_place(ranking.student, ranked)}")
    if ranking.headless_note:
        notes.append(ranking.headless_note)
    meta = {
        "metric": spec.metric,
        "representation": spec.representation,
        "weighting": spec.weighting.text,
        "effective_sources": ranking.effective,
        "student": None if ranking.student is None else asdict(ranking.student),
        "beats": ranking.beats,
        "verdict": {
            "kind": verdict.kind,
            "sources": verdict.names,
            "fits": verdict.fits,
            "sentence": verdict.sentence,
        },
    }
    fields = FIELDS if spec.raw else (*FIELDS[:3], BORDA, *FIELDS[3:])
    notes.append(verdict.sentence)
    console.answer("zoo.rank/1", rows, fields, form=form, meta=meta, notes=notes, table=table)


def answer_explanation(rows: Sequence[ClassRow], source: str, on: str, form: str | None) -> None:
    """Print how well each class is separated by a source."""
    table = [{"class": row.name, "n": row.n, "auc": row.auc, "student": row.student} for row in rows]
    console.answer("zoo.explain/1", table, EXPLANATION, form=form, meta={"source": source, "representation": on})


def _place(student: StudentPlace, ranked: int) -> str:
    if student.value is None:
        return student.reason or "not on this scale"
    interval = "" if student.low is None else f" [{student.low:.4f}, {student.high:.4f}]"
    return f"{student.value:.4f}{interval}, would rank {student.rank} of {ranked + 1}"
