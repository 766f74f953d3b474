"""The teachers of general transfer: networks, or stored answers, in the label space of the task."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from zoo_cli import console
from zoo_cli.config import Config, Source
from zoo_cli.errors import ContractError, UsageError
from zoo_cli.pipeline import prediction, prepare
from zoo_cli.pipeline.image_cache import ImageCache
from zoo_cli.pipeline.prepare import Needs
from zoo_cli.store import provenance
from zoo_cli.store.source_record import load_source_record

if TYPE_CHECKING:
    import numpy as np
    import torch

    from zoo_cli.models.loading import LoadedModel
    from zoo_cli.models.student import Student
    from zoo_cli.models.teacher import Teacher
    from zoo_cli.store.manifest import Images


@dataclass(frozen=True)
class TeacherSpec:
    """A teacher: a loaded network, or the folder `stored` of one of which only outputs are known.

    `order`: which of its outputs stands for each class of the task, None where they agree. `digest`: of its weights, or
    of what is stored; `built`: of all else that it answers by.
    """

    name: str
    model: "LoadedModel | None"
    stored: Path | None
    order: tuple[int, ...] | None
    digest: str
    built: str

    def asked(self, student: "Student", device: "torch.device") -> "Teacher":
        """The network, to be asked on the images of a student. Raises UsageError where there is none."""
        import torch

        from zoo_cli.models.teacher import Teacher

        if self.model is None:
            raise UsageError(f"of {self.name} only stored outputs are known", "--targets stored --augment none")
        teacher = Teacher.from_model(self.model, student.preprocessing, self.order).to(device)
        # In the memory order of the images, see `Batch.to`.
        return teacher.to(memory_format=torch.channels_last) if device.type == "cuda" else teacher


def load_teachers(settings: Config, chosen: Sequence[Source], classes: tuple[str, ...], seed: int) -> list[TeacherSpec]:
    """The teachers that --source names. Raises UsageError for one of another label space or without probabilities."""
    from zoo_cli.models import label_space, loading
    from zoo_cli.store import feature_files

    found = []
    for source in chosen:
        if source.output != "softmax":
            raise UsageError(
                f"{source.name} gives every class a probability of its own: it has no one answer to teach",
                "--objective cross-task learns from such sources",
            )
        if loading.is_stored(source):
            prepare.prepare(settings, Needs(features=[source]))
            path = settings.features(source.name)
            known = load_source_record(settings, source.name)
            order = label_space.match_classes(source.name, known.class_names, known.classes, classes)
            found.append(
                TeacherSpec(
                    source.name, None, path, order, feature_files.content_digest(path), provenance.fingerprint(order)
                )
            )
            continue
        model = loading.load_model(source, settings.root, seed=seed)
        order = label_space.match_classes(source.name, model.class_names, model.classes, classes)
        if model.class_names is None:
            console.warn(f"the class names of {source.name} are not known: they are taken to be the task's, in order")
        found.append(TeacherSpec(source.name, model, None, order, model.weights_sha256, build_digest(model)))
    return found


def build_digest(model: "LoadedModel") -> str:
    """A digest of what a network answers by beside its weights: architecture, code, its view of an image, classes."""
    return provenance.fingerprint(model.architecture.to_json(), vars(model.preprocessing), model.class_names)


def order_by_accuracy(
    teachers: Sequence[TeacherSpec], images: "Images", device: "torch.device", workers: int | None
) -> list[tuple[TeacherSpec, float]]:
    """The teachers by rising accuracy on the labelled images of the task; equal ones as they were named."""
    from zoo_cli.models.capture import FeatureExtractor

    rows = images.where(split=("labelled",))
    if not len(rows):
        raise UsageError("no labelled image to order the teachers by", "--teachers sequential:order=given")
    found = []
    for teacher in teachers:
        if teacher.model is None:
            logits = _stored(teacher, images, rows)
        else:
            network = FeatureExtractor(teacher.model.module, teacher.model.tap)
            said = teacher.model.preprocessing
            logits = prediction.predict_rows(network, said, images, rows, device, workers, teacher.order)
        found.append((teacher, float((logits.argmax(1) == images.labels[rows]).mean())))
    return sorted(found, key=lambda pair: pair[1])


def stored_logits(
    teachers: Sequence[TeacherSpec], rows: "np.ndarray", mirrored: bool, pictures: ImageCache, student: "Student"
) -> "torch.Tensor":
    """The logits (V, M, N, C) of M teachers on the student's evaluation views of rows (N,) of the manifest.

    V is 1, or 2 where the mirrored views are asked too, of which there are no stored outputs.
    """
    import torch

    found = []
    said = student.preprocessing
    for teacher in teachers:
        if teacher.model is None:
            assert not mirrored, "stored outputs are of the plain view"
            values = torch.from_numpy(_stored(teacher, pictures.images, rows))
            found.append(values[None])
            continue
        network = teacher.asked(student, pictures.device)
        sides: list[list[torch.Tensor]] = [[], []] if mirrored else [[]]
        with console.Progress(f"ask {teacher.name}", len(rows), "img") as progress:
            for views in pictures.clean(said, rows, prediction.BATCH):
                for side, parts in enumerate(sides):
                    parts.append(network(views.flip(3) if side else views).float().cpu())
                progress.advance(len(views))
        found.append(torch.stack([torch.cat(parts) for parts in sides]))
    return torch.stack(found, 1)


def _stored(teacher: TeacherSpec, images: "Images", rows: "np.ndarray") -> "np.ndarray":
    """The stored logits (M, C) of a teacher on rows of the manifest, float32; of probabilities their logarithms."""
    import numpy as np

    from zoo_cli.store import feature_files

    assert teacher.stored is not None
    values = feature_files.load_outputs(teacher.stored, ids=images.ids[rows], columns=("logits", "probs")).to_logits()
    if values is None:
        raise ContractError(f"{teacher.stored} has neither logits nor probs", "a teacher answers with one of them")
    values = values.astype(np.float32)
    return values if teacher.order is None else values[:, list(teacher.order)]
