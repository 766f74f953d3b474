"""Makes an export: traces the network, runs what was written, and commits it if it answers as the run does."""

import hashlib
import importlib.metadata
import time
from collections.abc import Iterator
from dataclasses import asdict

import numpy as np
import torch

from zoo_cli import __version__, console, devices, interruption
from zoo_cli.config import Config
from zoo_cli.errors import ContractError, ZooError
from zoo_cli.evaluation import flip_statistics
from zoo_cli.images.decoding import BadImage, view_geometry
from zoo_cli.images.view_batches import view_batches
from zoo_cli.models import exported, loading, onnx_quantize
from zoo_cli.models.exported_runner import ExportedRunner, open_runner
from zoo_cli.models.extraction import Normaliser
from zoo_cli.models.loading import LoadedModel
from zoo_cli.pipeline.export import ExportConfig, ExportPlan
from zoo_cli.store import commits, export_files, files, seals
from zoo_cli.store.checksums import PREDICTIONS
from zoo_cli.store.export_files import Comparison, ExportLog, ExportRecord, QuantizationCost
from zoo_cli.training import inference

TOLERANCE = 1e-4
"""The largest difference of a logit that rounding explains."""
BATCH = 64
NOISE = 64
"""Images of noise on which a network without test images is compared with itself."""
LIBRARIES = {"onnx": ("torch", "onnx", "onnxscript", "onnxruntime"), "pt2": ("torch",)}


def make_export(settings: Config, options: ExportConfig, plan: ExportPlan) -> None:
    """Make an export and the document beside it, see `pipeline.export`. Nothing is left of one that fails."""
    started = time.monotonic()
    model = loading.load_model(plan.source, settings.root)
    if model.class_names is None:
        raise ContractError(f"{plan.source.model} names no classes", "make the run again with --overwrite")
    description = exported.describe_export(model, model.class_names, raw=options.with_preprocessing)
    program = exported.trace_network(model, raw=options.with_preprocessing)
    write = exported.to_onnx if options.form == "onnx" else exported.to_pt2
    content = write(program, model.title, description)
    runner = open_runner(content, options.form, description)
    images = _TestImages(plan, model, options.workers)
    before, comparison = _compare(plan, model, runner, images)
    latency = runner.measure_latency(images.first())
    cost, float_latency = None, None
    if options.quantize:
        console.say(f"calibrating on {len(plan.calibration):,} images")
        batches = (runner.prepare(views) for views in images.decode(plan.calibration))
        quantized_content = onnx_quantize.quantize_onnx(content, batches, description)
        quantized = open_runner(quantized_content, options.form, description)
        after = np.concatenate([quantized.predict(views) for views in images.batches()])
        cost = _count_cost(plan, model.class_names, before, after, len(content))
        float_latency, latency = latency, quantized.measure_latency(images.first())
        content = quantized_content
    record = ExportRecord(
        plan.out.name,
        hashlib.sha256(content).hexdigest(),
        len(content),
        plan.inputs,
        description,
        comparison,
        cost,
        f"zoo {__version__}",
        {name: importlib.metadata.version(name) for name in LIBRARIES[options.form]},
    )
    with commits.replacing_together(plan.out, export_files.record_file(plan.out)) as (temporary, document):
        temporary.write_bytes(content)
        document.write_text(files.to_json_text(seals.seal_document(asdict(record))), encoding="utf-8")
    log = ExportLog(round(time.monotonic() - started, 3), latency, devices.threads(), float_latency)
    export_files.write_export_log(plan.out, log)


class _TestImages:
    """The images on which an export is compared: those that the run has predicted, else noise."""

    def __init__(self, plan: ExportPlan, model: LoadedModel, workers: int | None):
        self.plan = plan
        self.preprocessing = model.preprocessing
        self.workers = workers
        size, channels = model.preprocessing.input_size, model.preprocessing.channels
        self.noise = np.random.default_rng(0).integers(0, 256, (NOISE, size, size, channels), dtype=np.uint8)

    def batches(self) -> Iterator[np.ndarray]:
        """All of them, decoded (B, size, size, channels), batch by batch."""
        return iter([self.noise]) if self.plan.test is None else self.decode(self.plan.test)

    def first(self) -> np.ndarray:
        """One of them (1, size, size, channels)."""
        return self.noise[:1] if self.plan.test is None else next(self.decode(self.plan.test[:1]))

    def decode(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        """Images of rows of the manifest. Raises ContractError for one that cannot be read."""
        manifest = self.plan.images
        assert manifest is not None, "its rows are known"

        def on_bad(row: int, error: BadImage) -> None:
            raise ContractError(f"{manifest.ids[row]}: {error}", "make the manifest again")

        geometry = view_geometry(self.preprocessing)
        for batch in view_batches(manifest, rows.tolist(), [geometry], BATCH, devices.workers(self.workers), on_bad):
            interruption.check()
            yield batch.views[geometry]


def _compare(
    plan: ExportPlan, model: LoadedModel, runner: ExportedRunner, images: _TestImages
) -> tuple[np.ndarray, Comparison]:
    """The logits (M, C) of an export, and how far they are from those of the run.

    Raises ZooError if they differ by more than `TOLERANCE`, or if the first image alone has others than in its batch.
    """
    logits = np.concatenate([runner.predict(views) for views in images.batches()])
    expected = _run_network(model, images) if plan.logits is None else plan.logits
    comparison = Comparison(
        "the network on images of noise" if plan.logits is None else PREDICTIONS,
        len(logits),
        _largest_difference(logits, expected),
    )
    alone = _largest_difference(runner.predict(images.first()), logits[:1])
    if not comparison.largest_difference <= TOLERANCE:
        own = _largest_difference(_run_network(model, images), expected)
        cause = "nothing was written"
        if own > TOLERANCE / 2:
            cause = f"the network itself differs from them by {own:.2g} here: they are of another device or version"
        raise ZooError(
            f"the exported model answers otherwise than {plan.name}: its logits differ by up to "
            f"{comparison.largest_difference:.2g} on {len(logits):,} images, more than {TOLERANCE:g}",
            cause,
        )
    if not alone <= TOLERANCE:
        raise ZooError(
            f"the exported model of {plan.name} answers otherwise for one image than for a batch: by {alone:.2g}",
            "nothing was written",
        )
    return logits, comparison


def _run_network(model: LoadedModel, images: _TestImages) -> np.ndarray:
    """The logits (M, C) that torch computes on the CPU."""
    device = torch.device("cpu")
    normalise, network = Normaliser(model.preprocessing, device), model.extractor().eval()
    return np.concatenate(
        [inference.predict_batch(network, normalise(torch.from_numpy(views))) for views in images.batches()]
    )


def _largest_difference(logits: np.ndarray, expected: np.ndarray) -> float:
    """The largest absolute difference of two arrays; infinite for other shapes and for values that are not finite."""
    if logits.shape != expected.shape or not np.isfinite(logits).all():
        return float("inf")
    return float(np.abs(logits.astype(np.float64) - expected).max(initial=0.0))


def _count_cost(
    plan: ExportPlan, classes: tuple[str, ...], before: np.ndarray, after: np.ndarray, float32_bytes: int
) -> QuantizationCost:
    """What int8 costs on the test images whose labels are known; `before`, `after`: logits (M, C)."""
    difference = _largest_difference(after, before)
    if not np.isfinite(difference):
        raise ZooError(f"the quantized model of {plan.name} gives logits that are not finite", "nothing was written")
    labels = np.full(len(before), -1) if plan.labels is None else plan.labels
    known = labels >= 0
    if not known.any():
        return QuantizationCost(len(plan.calibration), 0, None, None, None, 0, 0, difference, float32_bytes)
    first, second = (flip_statistics.predicted_classes(values[known]) for values in (before, after))
    flips = flip_statistics.compare_predictions(labels[known], first, second, classes)
    return QuantizationCost(
        len(plan.calibration),
        flips.n,
        flips.accuracy_before,
        flips.accuracy_after,
        flips.delta,
        flips.positive,
        flips.negative,
        difference,
        float32_bytes,
    )
