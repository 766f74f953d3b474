"""What `zoo export` prints."""

from dataclasses import asdict

from zoo_cli import console
from zoo_cli.answer_tables import Field, show_answer
from zoo_cli.counts import count_things
from zoo_cli.pipeline.export import ExportResult
from zoo_cli.store.export_files import QuantizationCost

FIELDS = (
    Field("out"),
    Field("bytes", style=","),
    Field("images", style=","),
    Field("largest_difference", "difference", ".2g"),
    Field("latency_ms", "ms/image", ".3g"),
)
INT8 = (
    Field("accuracy_before", "float32", "percent"),
    Field("accuracy_after", "int8", "percent"),
    Field("positive", "gained", "d"),
    Field("negative", "lost", "d"),
)


def print_export(result: ExportResult, form: str | None) -> None:
    """A row: the file, its size, how far its logits are from the run's, its latency, and what int8 costs."""
    shape = ", ".join(map(str, result.input.shape))
    console.say(f"input: {result.input.type} ({shape}); {'; '.join(result.steps)}")
    if result.log is not None:
        threads = count_things(result.log.threads, "thread")
        before = result.log.float32_latency_ms
        float32 = "" if before is None else f"; {before:.3g} ms in float32"
        console.say(f"latency: median of single images on this CPU, {threads}{float32}")
    if result.int8 is not None:
        float32 = f"{result.comparison.largest_difference:.2g} on {result.comparison.images:,} images"
        console.say(f"before quantization, its logits differed from {result.comparison.reference} by up to {float32}")
        _say_cost(result.int8)
    log = None if result.log is None else asdict(result.log)
    row = {
        "run": result.run,
        "out": str(result.out),
        "format": result.form,
        "bytes": result.bytes,
        **asdict(result.comparison),
        "latency_ms": None if result.log is None else result.log.latency_ms,
        "input": asdict(result.input),
        "steps": list(result.steps),
        "int8": None if result.int8 is None else asdict(result.int8),
        "log": log,
        "made": result.is_new,
    }
    fields = FIELDS if result.int8 is None else FIELDS + INT8
    table = [row if result.int8 is None else {**row, **asdict(result.int8)}]
    show_answer("zoo.export/1", row, fields, form=form, table=table)


def _say_cost(cost: QuantizationCost) -> None:
    size = f"{cost.float32_bytes:,} bytes in float32; calibrated on {cost.calibration:,} images"
    if cost.delta is None:
        console.say(f"int8: {size}; no test image has a label, so its accuracy is not known")
        return
    change = f"{100 * cost.delta:+.1f} points of accuracy on {cost.n:,} images"
    console.say(f"int8: {change}: {cost.positive:,} gained, {cost.negative:,} lost; {size}")
