"""A sweep over learning rates: each is judged on labelled images held out, and the best is taken with all of them."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo_cli import console
from zoo_cli.errors import UsageError
from zoo_cli.evaluation import predictions
from zoo_cli.pipeline import runner
from zoo_cli.pipeline.image_cache import ImageCache
from zoo_cli.pipeline.runner import RunSpec
from zoo_cli.pipeline.streams import IndexStreams
from zoo_cli.pipeline.training_options import TrainingOptions
from zoo_cli.store import files, schemas

if TYPE_CHECKING:
    import numpy as np

    from zoo_cli.store.manifest import Images

Make = Callable[["Path", IndexStreams, "np.ndarray | None", float, dict[str, Any]], RunSpec]
"""The lesson of a path, streams, the rows that judge it (None: the test images), a rate, and options for run.json."""
HELD_OUT = 0.2
"""The share of the labelled images that judges (paper 001 judges by the test images: we do not)."""


def parse_rates(text: str | None) -> list[float]:
    """`0.01,0.005` as numbers; none where nothing is said. Raises UsageError."""
    if text is None:
        return []
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f'--lr "{text}"', "a number, or several with commas between them") from None
    if len(set(found)) < len(found):
        raise UsageError(f'--lr "{text}" names a rate twice', "once is enough")
    return found


def hold_out(streams: IndexStreams) -> "tuple[IndexStreams, np.ndarray]":
    """The streams without a share of the labelled images, and the rows of that share.

    The images that judge are not in the unlabelled stream either: they would be learnt from there.
    """
    import numpy as np

    from zoo_cli.data.hold_out import hold_out_positions

    images, rows = streams.images, streams.labelled
    groups = _groups(images)[rows]
    ids, labels = [str(name) for name in images.ids[rows]], [int(label) for label in images.labels[rows]]
    places = hold_out_positions(ids, labels, list(groups), HELD_OUT, streams.seed)
    if not places:
        raise UsageError("no class has two labelled images: none can be held out", "give one --lr")
    judged = rows[places]
    kept = replace(streams, labelled=np.setdiff1d(rows, judged), unlabelled=np.setdiff1d(streams.unlabelled, judged))
    return kept, judged


def recorded_sweep(given: Sequence[float]) -> dict[str, Any]:
    """What run.json says of a sweep under "options"."""
    return {"lr": list(given), "held_out": HELD_OUT}


def run_sweep(
    whole: RunSpec, given: Sequence[float], lesson: Make, task: str, course: TrainingOptions, shared: ImageCache
) -> dict[str, Any]:
    """Train at every rate on what is not held out, then at the best one on all; the row of that run.

    `whole`: the lesson of that run at any rate, its folder made. Of equally good rates the first named is taken.
    """
    from zoo_cli.evaluation import flip_statistics
    from zoo_cli.training import loop

    path, streams = whole.path, whole.streams
    said = recorded_sweep(given)
    if runner.open_run(whole, course, task, shared.device).finished:
        console.say(f"{path} is up to date")
        return runner.load_result(path)
    fitting, judged = hold_out(streams)
    folders = [path / "sweep" / f"lr-{rate:.12g}" for rate in given]
    trials = [lesson(folder, fitting, judged, rate, {}) for folder, rate in zip(folders, given, strict=True)]
    rows = []
    for trial, rate in zip(trials, given, strict=True):
        try:
            runner.train_runs([trial], course, task, shared)
        except loop.NonFinite as error:
            console.warn(f"{rate:g} is out: {error.message}")
            continue
        told = predictions.load_predictions(trial.path)
        right = float((flip_statistics.predicted_classes(told.logits) == told.labels).mean())
        rows.append({"lr": rate, "accuracy": right, "n": len(told.labels)})
    if not rows:
        raise UsageError(f"every rate of --lr {','.join(f'{rate:g}' for rate in given)} is too high", "lower ones")
    best = max(rows, key=lambda row: row["accuracy"])
    files.write_json(path / "sweep.json", {"lr": best["lr"], "rows": rows})
    named = ", ".join(f"{row['lr']:g} {console.percent(row['accuracy'])}" for row in rows)
    console.say(f"on {len(judged):,} labelled images held out: {named}; {best['lr']:g} is taken with all of them")
    return runner.train_runs([lesson(path, streams, None, best["lr"], said)], course, task, shared)[0]


def _groups(images: "Images") -> "np.ndarray":
    """The group (N,) of every sample, None where it has none."""
    import numpy as np

    table = files.read_table(images.file, schemas.MANIFEST, ["group"])
    return np.array(table.column("group").to_pylist(), dtype=object)
