"""The teachers of general transfer: networks, or stored outputs, in the classes of the task."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from zoo_cli.config import Config, Preprocessing, Source
from zoo_cli.errors import ContractError, ParameterError
from zoo_cli.models import label_space, loading
from zoo_cli.models.forward_passes import ForwardPasses
from zoo_cli.models.loading import LoadedModel
from zoo_cli.models.recorded_weights import confirm_weights
from zoo_cli.models.student import Student
from zoo_cli.models.teacher import Teacher
from zoo_cli.pipeline import class_orders
from zoo_cli.progress import Progress
from zoo_cli.store import feature_files, feature_store, provenance
from zoo_cli.store.manifest import Images
from zoo_cli.store.source_record import load_source_record
from zoo_cli.training import inference
from zoo_cli.training.image_cache import ImageCache


@dataclass(frozen=True)
class TeacherSpec:
    """A teacher: a loaded network, or the folder `stored` of outputs if there is no network.

    `class_order`: the output of each class of the task, None if the order agrees. `digest`: of its weights, or of its
    stored outputs; `build_digest`: of everything else on which its outputs depend.
    """

    name: str
    model: LoadedModel | None
    stored: Path | None
    class_order: tuple[int, ...] | None
    digest: str
    build_digest: str

    def build(self, student: Student, device: torch.device) -> Teacher:
        """The network as a teacher that reads the images of a student."""
        assert self.model is not None, "plans refuse teachers that cannot be run"
        teacher = Teacher.from_model(self.model, student.preprocessing, self.class_order).to(device)
        # The memory order of the images, see `Batch.to`.
        return teacher.to(memory_format=torch.channels_last) if device.type == "cuda" else teacher


def load_teachers(
    settings: Config, sources: Sequence[Source], classes: tuple[str, ...], seed: int
) -> list[TeacherSpec]:
    """The teachers of a transfer. The outputs of those without a network must exist.

    Raises UsageError for one with other classes than the task's.
    """
    loaded = []
    for source in sources:
        if feature_store.is_outputs_only(source):
            path = settings.features(source.name)
            record = load_source_record(settings, source.name)
            order = label_space.match_classes(source.name, record.class_names, record.classes, classes)
            digest = feature_files.content_digest(path)
            loaded.append(TeacherSpec(source.name, None, path, order, digest, provenance.fingerprint(order)))
            continue
        model = loading.load_model(source, settings.root, seed=seed)
        confirm_weights(settings, model)
        order = label_space.match_classes(source.name, model.class_names, model.classes, classes)
        loaded.append(TeacherSpec(source.name, model, None, order, model.weights_sha256, digest_build(model)))
    return loaded


def check_class_orders(
    teachers: Sequence[TeacherSpec],
    classes: tuple[str, ...],
    images: Images,
    device: torch.device,
    workers: int | None,
) -> None:
    """Try the teachers whose class names are not known on labelled images.

    Raises ContractError for one whose order they refute.
    """
    for teacher in teachers:
        if teacher.class_order is None:
            predict = partial(_predict, teacher, images, device, workers)
            class_orders.assume_order(teacher.name, classes, images, predict)


def digest_build(model: LoadedModel) -> str:
    """A digest of what a network depends on besides its weights: how it is built, its preprocessing, its classes."""
    return provenance.fingerprint(model.architecture.to_json(), vars(model.preprocessing), model.class_names)


def order_by_accuracy(
    teachers: Sequence[TeacherSpec], images: Images, device: torch.device, workers: int | None
) -> list[tuple[TeacherSpec, float]]:
    """The teachers by rising accuracy on the labelled images of the task; equal ones in their given order."""
    rows = images.where(split=("labelled",))
    if not len(rows):
        raise ParameterError("no labelled image to order the teachers by", "set `teachers` sequential:order=given")
    accuracies = []
    for teacher in teachers:
        logits = _predict(teacher, images, device, workers, rows)
        accuracies.append((teacher, float((logits.argmax(1) == images.labels[rows]).mean())))
    return sorted(accuracies, key=lambda pair: pair[1])


def _predict(
    teacher: TeacherSpec, images: Images, device: torch.device, workers: int | None, rows: np.ndarray
) -> np.ndarray:
    """The logits (M, C) of a teacher on rows (M,) of the manifest, in the order of the task's classes."""
    if teacher.model is None:
        return _load_logits(teacher, images, rows)
    network = teacher.model.extractor()
    preprocessing = teacher.model.preprocessing
    return inference.predict_rows(network, preprocessing, images, rows, device, workers, teacher.class_order)


def compute_logits(
    teachers: Sequence[TeacherSpec], rows: np.ndarray, mirrored: bool, cache: ImageCache, student: Student
) -> Tensor:
    """The logits (V, M, N, C) of M teachers on the student's evaluation views of rows (N,) of the manifest.

    V is 1, or 2 with the mirrored views, for which there are no stored outputs.
    """
    logits = []
    for teacher in teachers:
        if teacher.model is None:
            assert not mirrored, "plans refuse stored outputs for mirrored views"
            logits.append(torch.from_numpy(_load_logits(teacher, cache.images, rows))[None])
            continue
        network = teacher.build(student, cache.device)
        passes = ForwardPasses(cache.device, None, inference.BATCH)
        with Progress(f"run {teacher.name}", len(rows), "images") as progress:
            answer = partial(_answer, network, student.preprocessing, mirrored, cache, progress)
            logits.append(torch.cat(passes.run(teacher.name, network, answer, torch.from_numpy(rows)), 1))
    return torch.stack(logits, 1)


def _answer(
    network: Teacher,
    preprocessing: Preprocessing,
    mirrored: bool,
    cache: ImageCache,
    progress: Progress,
    rows: Tensor,
) -> Tensor:
    """The logits (V, B, C) of a teacher on rows (B,) of the manifest, on the CPU."""
    (images,) = cache.evaluation_views(preprocessing, rows.numpy(), len(rows))
    views = (images, images.flip(3)) if mirrored else (images,)
    logits = torch.stack([network(view).float().cpu() for view in views])
    progress.advance(len(rows))
    return logits


def _load_logits(teacher: TeacherSpec, images: Images, rows: np.ndarray) -> np.ndarray:
    """The stored logits (M, C) of a teacher on rows (M,) of the manifest, float32; of probabilities the logarithm."""
    assert teacher.stored is not None
    logits = feature_files.load_outputs(
        teacher.stored, ids=images.ids[rows], columns=("logits", "probs"), images=images
    ).to_logits()
    if logits is None:
        raise ContractError(f"{teacher.stored} has neither logits nor probs", "a teacher needs one of them")
    logits = logits.astype(np.float32)
    return logits if teacher.class_order is None else logits[:, list(teacher.class_order)]
