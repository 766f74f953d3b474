"""A sweep over learning rates: each is evaluated on held-out labelled images; the best one trains on all of them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from zoo_cli import console, ranks
from zoo_cli.data.hold_out import hold_out_positions
from zoo_cli.errors import ParameterError, UsageError
from zoo_cli.evaluation import flip_statistics
from zoo_cli.quantities import percent
from zoo_cli.store import feature_files, files, parquet_files, schemas
from zoo_cli.store.manifest import Images
from zoo_cli.training import loop, runner
from zoo_cli.training.image_cache import ImageCache
from zoo_cli.training.run_record import RunResult, load_result
from zoo_cli.training.run_spec import RunSpec
from zoo_cli.training.streams import IndexStreams
from zoo_cli.training.training_config import ResolvedTraining

HELD_OUT = 0.2
"""The share of the labelled images that is held out (paper 001 evaluates on the test images: we do not)."""


class SpecMaker(Protocol):
    """Makes the run of a folder, streams and learning rate.

    `predicted` (M,): the rows of its predictions, None for the test images. `rates`: those of the sweep whose result
    the run is.
    """

    def __call__(
        self,
        path: Path,
        streams: IndexStreams,
        lr: float,
        *,
        predicted: np.ndarray | None = None,
        rates: Sequence[float] = (),
    ) -> RunSpec: ...


@dataclass(frozen=True)
class RateAccuracy:
    """The accuracy of a learning rate on n held-out images."""

    lr: float
    accuracy: float
    n: int


def hold_out(streams: IndexStreams) -> tuple[IndexStreams, np.ndarray]:
    """The streams without a share of the labelled images, and the rows (M,) of that share.

    Held-out images are removed from the unlabelled stream too.
    """
    images, rows = streams.images, streams.labelled
    groups = load_groups(images)[rows]
    ids, labels = [str(name) for name in images.ids[rows]], [int(label) for label in images.labels[rows]]
    positions = hold_out_positions(ids, labels, list(groups), HELD_OUT, streams.seed)
    if not positions:
        raise ParameterError("no class has two labelled images: none can be held out", "give one `lr`")
    held_out = rows[positions]
    rest = replace(
        streams, labelled=np.setdiff1d(rows, held_out), unlabelled=np.setdiff1d(streams.unlabelled, held_out)
    )
    return rest, held_out


def recorded_sweep(rates: Sequence[float]) -> dict[str, Any]:
    """A sweep as run.json holds it under "options"."""
    return {"lr": list(rates), "held_out": HELD_OUT}


def run_sweep(
    whole: RunSpec, rates: Sequence[float], make_spec: SpecMaker, training: ResolvedTraining, cache: ImageCache
) -> RunResult:
    """Train with every rate without the held-out images, then with the best rate on all; the result of that run.

    `whole`: that run, with any of the rates. Of equally good rates the first is used.
    """
    with runner.open_run(whole, training, cache.device) as run:
        if run.finished:
            console.say(f"{run.place} is up to date")
            return load_result(run.place)
        return _run_trials(whole, rates, make_spec, training, cache)


def _run_trials(
    whole: RunSpec, rates: Sequence[float], make_spec: SpecMaker, training: ResolvedTraining, cache: ImageCache
) -> RunResult:
    path, streams = whole.path, whole.streams
    rest, held_out = hold_out(streams)
    accuracies = []
    for rate in rates:
        trial = make_spec(path / "sweep" / f"lr-{rate:.12g}", rest, rate, predicted=held_out)
        try:
            runner.train_runs([trial], training, cache=cache)
        except loop.NonFinite as error:
            console.warn(f"dropped the learning rate {rate:g}: {error.message}")
            continue
        accuracies.append(_evaluate(trial, rate))
    if not accuracies:
        raise UsageError(f"every learning rate of {','.join(f'{rate:g}' for rate in rates)} is too high", "lower them")
    best = max(accuracies, key=lambda row: row.accuracy)
    if ranks.is_first():
        files.write_json(path / "sweep.json", {"lr": best.lr, "rows": [asdict(row) for row in accuracies]})
    listed = ", ".join(f"{row.lr:g} {percent(row.accuracy)}" for row in accuracies)
    console.say(f"on {len(held_out):,} held-out labelled images: {listed}; {best.lr:g} trains on all of them")
    return runner.train_runs([make_spec(path, streams, best.lr, rates=rates)], training, cache=cache)[0]


def _evaluate(trial: RunSpec, rate: float) -> RateAccuracy:
    outputs = feature_files.load_outputs(trial.path / "predictions.parquet", columns=("logits",))
    assert outputs.logits is not None, "a run predicts logits"
    correct = flip_statistics.predicted_classes(outputs.logits) == outputs.labels
    return RateAccuracy(rate, float(correct.mean()), len(correct))


def load_groups(images: Images) -> np.ndarray:
    """The group (N,) of each sample, or None."""
    table = parquet_files.read_table(images.file, schemas.MANIFEST, ["group"])
    return np.array(table.column("group").to_pylist(), dtype=object)
