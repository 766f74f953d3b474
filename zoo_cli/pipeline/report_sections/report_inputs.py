"""What the sections of a report share: the images and the runs of a workspace that can be read."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from zoo_cli.config import Config
from zoo_cli.errors import ContractError, ZooError
from zoo_cli.evaluation import named_runs, predictions
from zoo_cli.evaluation.predictions import Predictions
from zoo_cli.pipeline.evaluate.accuracy import AccuracyConfig, AccuracyResult, AccuracyRow, evaluate_accuracy
from zoo_cli.store.class_names import load_class_names
from zoo_cli.store.manifest import Images, load_manifest
from zoo_cli.training.run_record import RunRecord, load_run_record

Array = np.ndarray


@dataclass(frozen=True)
class StoredRun:
    """A finished run whose predictions can be read; `record` is None if its run.json cannot."""

    name: str
    folder: Path
    record: RunRecord | None


@dataclass(frozen=True, eq=False)
class TestSamples:
    """The samples of the first run: ids (N,), labels (N,), and the class names."""

    ids: Array
    labels: Array
    classes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class RunSet:
    """The finished runs, their accuracies, and the classes that those on the samples of the first predict.

    `predicted`: classes (N,) by the name of a run; `broken`: why others cannot be read; `unfinished`: names.
    """

    runs: tuple[StoredRun, ...]
    accuracy: AccuracyResult
    samples: TestSamples
    predicted: Mapping[str, Array]
    broken: tuple[str, ...] = ()
    unfinished: tuple[str, ...] = ()

    @property
    def first(self) -> AccuracyRow:
        """The run that the others are compared with: of labels only, if there is one."""
        return self.accuracy.rows[0]

    @property
    def best(self) -> AccuracyRow:
        """The most accurate run on the test images of the first, the earliest among equals."""
        return max((row for row in self.accuracy.rows if row.run in self.predicted), key=lambda row: row.accuracy)

    def folder(self, name: str) -> Path:
        """The folder of a run."""
        return next(run.folder for run in self.runs if run.name == name)


@dataclass(frozen=True, eq=False)
class ReportInputs:
    """A workspace as far as it can be read. `truth`: the known labels (N,) of all images, -1 if unknown.

    `problems`: by what is missing, "images", "classes" or "runs", why it is.
    """

    settings: Config
    images: Images | None = None
    truth: Array | None = None
    classes: tuple[str, ...] = ()
    run_set: RunSet | None = None
    problems: Mapping[str, ZooError] = field(default_factory=dict)

    def need_images(self) -> Images:
        """The images. Raises the error for which there are none."""
        if self.images is None:
            raise self.problems["images"]
        return self.images

    def need_runs(self) -> RunSet:
        """The finished runs. Raises the error for which there are none."""
        if self.run_set is None:
            raise self.problems["runs"]
        return self.run_set


def load_inputs(settings: Config) -> ReportInputs:
    """What can be read of a workspace; nothing is made, and nothing is raised for what is missing or damaged."""
    problems: dict[str, ZooError] = {}
    images, truth, run_set = None, None, None
    classes: tuple[str, ...] = ()
    try:
        images = _load_images(settings)
        truth = images.truth()
    except ZooError as error:
        images, problems["images"] = None, error
    try:
        classes = load_class_names(settings.classes)
    except ZooError as error:
        problems["classes"] = error
    try:
        run_set = _load_runs(settings.root)
    except ZooError as error:
        problems["runs"] = error
    return ReportInputs(settings, images, truth, classes or _class_names(run_set), run_set, problems)


def _load_images(settings: Config) -> Images:
    if not settings.manifest.exists():
        raise ZooError("no manifest of the images", "zoo split makes it")
    return load_manifest(settings.manifest, settings.root)


def _class_names(run_set: RunSet | None) -> tuple[str, ...]:
    return run_set.samples.classes if run_set is not None else ()


def _load_runs(root: Path) -> RunSet:
    runs: list[StoredRun] = []
    broken: list[str] = []
    predicted: dict[str, Array] = {}
    reference: Predictions | None = None
    for text in named_runs.finished_runs(root):
        folder = Path(text)
        try:
            stored = predictions.load_predictions(folder)
        except ZooError as error:
            broken.append(f"{folder.name}: {error}")
            continue
        runs.append(StoredRun(folder.name, folder, _read_record(folder)))
        reference = reference or stored
        try:
            predicted[folder.name] = stored.align_classes(reference).astype(np.int32)
        except ContractError:
            continue  # on other samples: the accuracies say so
    if reference is None:
        raise ContractError(f"no run can be read: {broken[0]}", "zoo verify names what is damaged")
    return RunSet(
        tuple(runs),
        evaluate_accuracy(AccuracyConfig(root, tuple(str(run.folder) for run in runs))),
        TestSamples(reference.ids, reference.labels, reference.classes),
        predicted,
        tuple(broken),
        _list_unfinished(root, {run.name for run in runs} | {line.partition(":")[0] for line in broken}),
    )


def _read_record(folder: Path) -> RunRecord | None:
    try:
        return load_run_record(folder / "run.json")
    except ZooError:
        return None


def _list_unfinished(root: Path, finished: set[str]) -> tuple[str, ...]:
    folders = (path.parent for path in (root / "runs").glob("[!.]*/run.json"))
    return tuple(sorted(folder.name for folder in folders if folder.name not in finished))
