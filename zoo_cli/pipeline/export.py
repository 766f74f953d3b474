"""`zoo export`: the student of a run as one file for other runtimes, compared with the run's own predictions."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zoo_cli import console, devices, registry, specs
from zoo_cli.config import Config, Source
from zoo_cli.errors import UsageError
from zoo_cli.evaluation import named_runs
from zoo_cli.store import export_files, failures, feature_files, files, model_folders, provenance
from zoo_cli.store.checksums import MEANS, PREDICTIONS, is_finished
from zoo_cli.store.export_files import Comparison, ExportInput, ExportLog, QuantizationCost
from zoo_cli.store.feature_files import StoredOutputs
from zoo_cli.store.manifest import Images, load_manifest

MAKE = "zoo_cli.pipeline.export_network:make_export"
FORMATS = ("onnx", "pt2")
INT8 = "int8"
CALIBRATION = 256
"""Images from which the ranges of the activations are taken."""


@dataclass(frozen=True)
class ExportConfig:
    """What is exported, and how. `run`: a run by folder or name, or a domain of an expert as FOLDER#NAME.

    `with_preprocessing`: the graph takes decoded pixels and normalises them. `quantize`: "int8" or None. `out`: its
    file, by default in the folder of the run. `overwrite`: make it again, also if it is up to date.
    """

    run: str
    form: str = "onnx"
    with_preprocessing: bool = False
    quantize: str | None = None
    out: Path | None = None
    overwrite: bool = False
    workers: int | None = None

    def check(self) -> None:
        """Raise UsageError for unknown values, and for those that exclude one another."""
        if self.form not in FORMATS:
            raise specs.nearest("export format", self.form, FORMATS)
        if self.quantize is not None and self.quantize != INT8:
            raise specs.nearest("quantization", self.quantize, (INT8,))
        if self.quantize and self.form != "onnx":
            raise UsageError(f"--quantize {self.quantize} belongs to --format onnx", "drop one of them")
        if self.out is not None and self.out.suffix != f".{self.form}":
            raise UsageError(f"--out {self.out} does not end in .{self.form}", "name a file with this ending")
        devices.workers(self.workers)


@dataclass(frozen=True, eq=False)
class ExportPlan:
    """An export that is to be made. `name`: what messages call the run; `source`: its student; `out`: the file.

    `test`: the rows (M,) of the manifest whose logits (M, C) the run has stored, and labels (M,), -1 if unknown; None
    if they belong to no image of the workspace. `calibration`: rows of images for int8. `inputs`: what it is made from.
    """

    name: str
    source: Source
    out: Path
    inputs: provenance.Inputs
    images: Images | None
    test: np.ndarray | None
    logits: np.ndarray | None
    labels: np.ndarray | None
    calibration: np.ndarray


@dataclass(frozen=True)
class ExportResult:
    """An exported model. `bytes`: its size; `comparison`: with what the run answers; `int8`: None for float32.

    `log`: seconds and latency, None where the log is lost; `is_new`: it was made now, and not up to date already.
    """

    run: str
    out: Path
    form: str
    bytes: int
    input: ExportInput
    steps: tuple[str, ...]
    comparison: Comparison
    int8: QuantizationCost | None
    log: ExportLog | None
    is_new: bool


def export_run(settings: Config, options: ExportConfig) -> ExportResult:
    """Export the student of a run, unless that is up to date.

    Raises UsageError for a run that does not exist or is not finished, for a network that cannot be exported and for
    an export of something else; ContractError for damaged files; ZooError, and nothing is written, if the exported
    model answers otherwise than the run.
    """
    options.check()
    plan = _plan(settings, options)
    document = export_files.record_file(plan.out)
    if plan.out.is_dir():
        raise UsageError(f"--out {plan.out} is a folder", "name a file in it")
    if plan.out.exists() and not document.exists() and not options.overwrite:
        raise UsageError(f"{plan.out} exists, and zoo has not written it", "use --overwrite to replace it")
    is_there = document.exists() and plan.out.exists()
    if is_there and provenance.is_current(document, plan.inputs, overwrite=options.overwrite, name=str(plan.out)):
        export_files.load_checked_record(plan.out)
        console.say(f"{plan.out} is up to date")
    else:
        make: Callable[[Config, ExportConfig, ExportPlan], None] = registry.import_target(MAKE)
        make(settings, options, plan)
        is_there = False
    record = export_files.load_checked_record(plan.out)
    return ExportResult(
        plan.name,
        plan.out,
        options.form,
        record.bytes,
        record.model.input,
        tuple(record.model.steps),
        record.comparison,
        record.int8,
        export_files.load_export_log(plan.out),
        not is_there,
    )


def _plan(settings: Config, options: ExportConfig) -> ExportPlan:
    folder, domain = _find_run(settings, options.run)
    spec = f"file:{folder.resolve()}" + (f"#{domain}" if domain else "")
    stored = model_folders.find_domain_files(spec, Path())
    assert stored is not None, "it is a folder"
    endings = f"{f'-{domain}' if domain else ''}{f'-{options.quantize}' if options.quantize else ''}"
    out = options.out or folder / f"model{endings}.{options.form}"
    images = None
    if settings.manifest.exists():
        images = load_manifest(settings.manifest, settings.root).without(failures.failed_ids(settings, "extract"))
    outputs = _load_test_outputs(stored, images)
    test, logits, labels = (None, None, None) if outputs is None else (outputs[0], outputs[1].logits, outputs[1].labels)
    calibration = _choose_calibration(settings, images) if options.quantize else np.zeros(0, np.int64)
    inputs = {
        **export_files.model_digests(folder),
        "predictions": files.digest(stored / PREDICTIONS),
        "format": options.form,
        "preprocessing": "inside" if options.with_preprocessing else "described",
        "quantize": options.quantize,
    }
    if images is not None and options.quantize:
        inputs["calibration images"] = images.fingerprint(calibration, "ids", "sha256")
    name = folder.name + (f"#{domain}" if domain else "")
    return ExportPlan(name, Source(folder.resolve().name, spec), out, inputs, images, test, logits, labels, calibration)


def _find_run(settings: Config, text: str) -> tuple[Path, str]:
    """The folder of a finished run and the domain of an expert, empty for any other run."""
    name, domain = model_folders.split_domain(text.removeprefix("file:"), Path())
    path = named_runs.resolve_run(Path(name), settings.root)
    if not path.is_dir():
        runs = [run.name for run in named_runs.finished_beside(settings.root / "runs")]
        raise specs.nearest("run", text, runs)
    if not is_finished(path) or not (path / "config.json").is_file():
        raise UsageError(f"no trained student at {path}", "a run that was stopped has none yet: call it again")
    domains = [each.name for each in model_folders.list_domains(path)]
    if domains and not domain:
        raise UsageError(f"{path} has {len(domains)} domains", f"name one: {path}#{domains[0]}")
    if domain:
        model_folders.find_domain(path, domain)
    return path, domain


def _load_test_outputs(stored: Path, images: Images | None) -> tuple[np.ndarray, StoredOutputs] | None:
    """The rows of the images that a run has predicted, and its outputs; None if it has none, as without test images.

    Raises UsageError for a run whose test images are in another workspace.
    """
    outputs = feature_files.load_outputs(stored / PREDICTIONS, columns=("logits",), needed=("logits",))
    if not len(outputs.ids):
        return None
    positions = {} if images is None else {str(name): row for row, name in enumerate(images.ids)}
    missing = [name for name in outputs.ids if name not in positions]
    if not missing:
        return np.array([positions[name] for name in outputs.ids], dtype=np.int64), outputs
    if (stored / MEANS).exists():  # the images of an expert are in no manifest
        return None
    raise UsageError(
        f"the test images of {stored} are not those of this workspace: it has no {missing[0]}",
        "name the workspace of the run with -C",
    )


def _choose_calibration(settings: Config, images: Images | None) -> np.ndarray:
    """Rows of unlabelled images, evenly spaced, or of labelled ones if there are no others."""
    if images is None:
        raise UsageError(f"no file {settings.manifest}: int8 needs images of the task", "zoo split makes it")
    rows = images.where(split=("unlabelled",))
    if not len(rows):
        rows = images.where(split=("labelled",))
    if not len(rows):
        raise UsageError(f"{settings.manifest} has no training image", "int8 needs some for the ranges of activations")
    return rows[np.unique(np.linspace(0, len(rows) - 1, CALIBRATION).round().astype(np.int64))]
