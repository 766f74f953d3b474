"""What `zoo predict` prints."""

from zoo_cli import console
from zoo_cli.answer_tables import Field, show_answer
from zoo_cli.pipeline.predict import PredictResult

FIELDS = (Field("image"), Field("class"), Field("probability", style="percent"))
SUMMARY = (
    Field("out"),
    Field("images", style=","),
    Field("failed", style=","),
    Field("classes", style="d"),
)
SHOWN = 5


def print_predictions(result: PredictResult, form: str | None) -> None:
    """A row an image, or where they are if they went to a file; the most frequent classes on stderr."""
    shares = [f"{name} {count:,}" for name, count in list(result.counts.items())[:SHOWN]]
    more = ", …" if len(result.counts) > SHOWN else ""
    console.say(f"{result.model} predicted {result.images:,} images: {', '.join(shares)}{more}")
    if result.out is not None:
        row = {
            "out": str(result.out),
            "images": result.images,
            "failed": len(result.failed),
            "classes": len(result.classes),
        }
        show_answer("zoo.predict-file/1", [row], SUMMARY, form=form)
        return
    rows = [
        {"id": row.id, "path": row.path, "class": row.label, "probability": row.probability, "probs": row.probs}
        for row in result.rows
    ]
    table = [{**row, "image": row["path"] or row["id"]} for row in rows]
    meta = {"classes": result.classes, "failed": [failure.id for failure in result.failed]}
    show_answer("zoo.predict/1", rows, FIELDS, form=form, meta=meta, table=table)
