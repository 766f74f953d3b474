"""What `zoo pseudo-label --head` prints: the heads, or the images to label next, and the estimate below."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from zoo_cli.answer_tables import Field, show_answer
from zoo_cli.commands.note_column import add_notes
from zoo_cli.pipeline.label_next import ImageToLabel
from zoo_cli.quantities import percent
from zoo_cli.store.head_store import HeadRecord

FIELDS = (
    Field("source"),
    Field("weight", style=".4f"),
    Field("accuracy", "leave one out", "percent"),
    Field("nll", style=".4f"),
    Field("lam", style=".3g"),
    Field("temperature", "T", ".2f"),
)
NEXT_FIELDS = (
    Field("id"),
    Field("path"),
    Field("disagreement", "disagreement (nats)", ".2f"),
    Field("leaning", "the heads lean to", free=True),
)
SHARES = 10
"""The number of classes whose shares are printed."""


def answer_heads(record: HeadRecord, source_notes: Mapping[str, str], form: str | None) -> None:
    """Print the heads and their weights; below them the estimate, the class shares, and what qualifies them."""
    rows, fields = add_notes([asdict(source) for source in record.sources], FIELDS, source_notes)
    show_answer("zoo.pseudo-label-heads/1", rows, fields, form=form, meta=_describe(record), notes=_notes(record))


def answer_label_next(record: HeadRecord, images: Sequence[ImageToLabel], form: str | None) -> None:
    """Print the images to label next instead of the heads."""
    rows = [asdict(image) for image in images]
    table = [{**row, "leaning": _list_shares(row["leaning"]) or None} for row in rows]
    meta = {"sources": [asdict(source) for source in record.sources], **_describe(record)}
    notes = [*_notes(record), "the heads agree least on these images: label them next"]
    show_answer("zoo.label-next/1", rows, NEXT_FIELDS, form=form, meta=meta, notes=notes, table=table)


def _describe(record: HeadRecord) -> dict[str, object]:
    """The record without its lists."""
    lists = ("sources", "disagreement", "leaning")
    return {key: value for key, value in asdict(record).items() if key not in lists}


def _notes(record: HeadRecord) -> list[str]:
    estimate, notes = record.estimate, []
    name = f"{record.pool} of {len(record.sources)} {record.head} heads"
    if estimate.accuracy is None:
        reason = (estimate.reason or "").replace("_", " ")
        notes.append(f"{name}, {record.labels:,} labels: its accuracy cannot be estimated ({reason})")
    else:
        interval = f"[{percent(estimate.low)}, {percent(estimate.high)}]"
        notes.append(
            f"{name}, {record.labels:,} labels: about {percent(estimate.accuracy)} {interval} of the answers "
            "for the unlabelled images are right"
        )
    notes.append(f"class shares of these answers: {_list_shares(record.class_shares)}")
    if record.missing:
        notes.append(f"never answered, without a labelled image: {', '.join(record.missing)}")
    return notes + [note.replace("_", " ") for note in record.notes]


def _list_shares(shares: Mapping[str, float]) -> str:
    """Classes with their shares, the largest first."""
    ordered = sorted(shares.items(), key=lambda item: -item[1])
    listed = ", ".join(f"{name} {percent(share, 0)}" for name, share in ordered[:SHARES])
    return listed + (f" and {len(ordered) - SHARES:,} more classes" if len(ordered) > SHARES else "")
