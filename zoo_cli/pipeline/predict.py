"""`zoo predict`: the classes of new images, by a trained student or by the pool of heads. Nothing is kept of an image
but its row."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zoo_cli import config, console, devices, interruption, registry
from zoo_cli.config import Config
from zoo_cli.errors import ContractError, UsageError
from zoo_cli.images.decoding import BadImage
from zoo_cli.images.sample_batches import NewImage, SampleBatch, sample_batches
from zoo_cli.pipeline.new_samples import new_entries, open_new_data
from zoo_cli.pipeline.predictor import Predictor
from zoo_cli.progress import Progress
from zoo_cli.store import failures, prediction_files
from zoo_cli.store.failures import Failure
from zoo_cli.store.prediction_files import PredictedBatch

# By name, so that a wrong flag or an empty folder is reported without torch.
LOAD_RUN = "zoo_cli.pipeline.run_predictor:load_run_predictor"
LOAD_POOL = "zoo_cli.pipeline.pool_predictor:load_pool_predictor"


@dataclass(frozen=True)
class PredictConfig:
    """Which images are predicted, and how. `data`: specs, paths relative to the current folder.

    `run`: a run by folder or name, or a model as PROVIDER:NAME; None: the pool of heads, by the specs `head` and
    `pool`, by default those of `HeadLabelConfig`, of all sources or those named, and of the student `with_student`.
    `out`: a .parquet, .csv or .tsv file, None to keep the rows in memory. `batch_size`: images per forward pass, None
    for the default. `csv_safe`: no text of a .csv or .tsv file is a formula of a spreadsheet.
    """

    data: tuple[str, ...]
    run: str | None = None
    head: str | None = None
    pool: str | None = None
    sources: tuple[str, ...] = ()
    with_student: bool = False
    out: Path | None = None
    device: str = "auto"
    batch_size: int | None = None
    workers: int | None = None
    max_errors: str | None = None
    csv_safe: bool = False

    def check(self) -> None:
        """Raise UsageError for a value outside its range, before any work."""
        if not self.data:
            raise UsageError("no images to predict", "name them with --data PROVIDER:PATH")
        if self.run is not None and (self.head or self.pool or self.sources or self.with_student):
            raise UsageError(
                "--head, --pool, --source and --with-student name a pool, which answers in place of a run",
                "drop them, or the run",
            )
        if self.out is not None:
            prediction_files.check_suffix(self.out)
        if self.batch_size is not None and self.batch_size < 1:
            raise UsageError(f"--batch-size {self.batch_size}", "expected 1 or more")
        devices.check_device_name(self.device)
        devices.workers(self.workers)
        failures.parse_limit(self.max_errors or "0", 0)


@dataclass(frozen=True, eq=False)
class PredictedImage:
    """The prediction of one image: the class, its probability, and those of all classes (C,)."""

    id: str
    path: str | None
    label: str
    probability: float
    probs: np.ndarray


@dataclass(frozen=True)
class PredictResult:
    """Predictions of N images. `classes`: names (C,) in the order of the probabilities; `counts`: images by class.

    `rows`: one an image, in the order of the data; empty if they were written to `out`. `failed`: images that could
    not be decoded.
    """

    model: str
    classes: tuple[str, ...]
    images: int
    counts: dict[str, int]
    rows: tuple[PredictedImage, ...]
    failed: tuple[Failure, ...]
    out: Path | None


def predict(settings: Config, options: PredictConfig) -> PredictResult:
    """Predict new images, one batch in memory at a time; labels among them are not read.

    Images that cannot be decoded are named one by one and left out; `record_failures` counts them. Raises UsageError
    for a run that does not exist or is not finished, for data without images, for a pool that is not stored or has
    sources that cannot be run, ContractError for repeated ids and outputs that are not finite.
    """
    options.check()
    data = open_new_data(settings, [config.rebase_spec(spec, settings.root) for spec in options.data])
    load: Callable[[Config, PredictConfig], Predictor]
    load = registry.import_target(LOAD_POOL if options.run is None else LOAD_RUN)
    predictor = load(settings, options)
    inputs = {**predictor.inputs, "data": [new.spec for new in data]}
    failed: list[Failure] = []
    counts: Counter[int] = Counter()
    rows: list[PredictedImage] = []

    def on_bad(image: NewImage, error: BadImage) -> None:
        console.warn(f"{image.id}: {error}; left out")
        failed.append(Failure(image.id, image.path, str(error)))

    with (
        Progress("predict", None, "images") as progress,
        _writer(options, predictor, inputs, rows) as write,
    ):
        batches = sample_batches(
            new_entries(data),
            settings.root,
            predictor.geometries,
            predictor.batch_size,
            devices.workers(options.workers),
            on_bad,
            lambda: progress.advance(1),
        )
        for batch in batches:
            interruption.check()
            predicted = _predict_batch(predictor, batch)
            counts.update(predicted.best.tolist())
            write(predicted)
        if not failed and not counts:
            raise UsageError(f"no image in {' '.join(new.spec for new in data)}", "check --data")
    classes = predictor.classes
    by_class: Counter[str] = Counter()
    for c, count in counts.items():  # two classes may have one name
        by_class[classes[c]] += count
    return PredictResult(
        predictor.name, classes, counts.total(), dict(by_class.most_common()), tuple(rows), tuple(failed), options.out
    )


def record_failures(settings: Config, options: PredictConfig, result: PredictResult) -> None:
    """Write the images that failed to errors/predict.parquet. Raises TooManyErrors above the limit."""
    total = result.images + len(result.failed)
    failures.record_failures(settings, "predict", result.failed, total, options.max_errors or "0")
    failures.check_failures(settings, "predict", options.max_errors)


def _predict_batch(predictor: Predictor, batch: SampleBatch) -> PredictedBatch:
    answers = predictor.answer(batch.views)
    values = answers.probs if answers.logits is None else answers.logits
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(bad):
        raise ContractError(
            f"{predictor.name} gives outputs that are not finite for {len(bad):,} of {len(values):,} images, e.g. "
            f"{batch.images[bad[0]].id}"
        )
    return PredictedBatch(
        [image.id for image in batch.images],
        [image.path for image in batch.images],
        answers.probs.astype(np.float32),
        answers.logits,
    )


@contextmanager
def _writer(
    options: PredictConfig, predictor: Predictor, inputs: dict[str, object], rows: list[PredictedImage]
) -> Iterator[prediction_files.Write]:
    """Where batches go: to the file, or to `rows`."""
    classes = predictor.classes
    if options.out is not None:
        with prediction_files.prediction_writer(
            options.out, classes, inputs, logits=predictor.has_logits, csv_safe=options.csv_safe
        ) as write:
            yield write
        return

    def keep(batch: PredictedBatch) -> None:
        best, confidence = batch.best, batch.confidence
        for row, (name, path) in enumerate(zip(batch.ids, batch.paths, strict=True)):
            label = classes[best[row]]
            # str of a float32 is the shortest text that reads back as the same number.
            rows.append(PredictedImage(name, path, label, float(str(confidence[row])), batch.probs[row]))

    yield keep
