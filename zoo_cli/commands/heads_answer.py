"""What `zoo pseudo-label --head` prints: the heads, the estimate, and the images to label next."""

from dataclasses import asdict

from zoo_cli import console
from zoo_cli.store.head_store import HeadRecord

FIELDS = (
    console.Field("source"),
    console.Field("weight", style=".4f"),
    console.Field("accuracy", "leave one out", "percent"),
    console.Field("nll", style=".4f"),
    console.Field("lam", style=".3g"),
    console.Field("temperature", "T", ".2f"),
)


def answer_heads(record: HeadRecord, show: int, form: str | None) -> None:
    """Print the heads and their weights; below them the estimate, what qualifies it, and the least certain images."""
    estimate, notes = record.estimate, []
    name = f"{record.pool} of {len(record.sources)} {record.head} heads"
    if estimate.accuracy is None:
        reason = (estimate.reason or "").replace("_", " ")
        notes.append(f"{name}, {record.labels:,} labels: its accuracy cannot be estimated ({reason})")
    else:
        interval = f"[{console.percent(estimate.low)}, {console.percent(estimate.high)}]"
        notes.append(
            f"{name}, {record.labels:,} labels: about {console.percent(estimate.accuracy)} {interval} of the answers "
            "for the unlabelled images are right"
        )
    if record.missing:
        notes.append(f"never answered, without a labelled image: {', '.join(record.missing)}")
    notes += [note.replace("_", " ") for note in record.notes]
    notes += [f"label next: {sample}, heads disagree by {nats:.2f} nats" for sample, nats in record.disagreement[:show]]
    content = asdict(record)
    rows = content.pop("sources")
    meta = {**content, "disagreement": content["disagreement"][:show]}
    console.answer("zoo.pseudo-label-heads/1", rows, FIELDS, form=form, meta=meta, notes=notes)
