"""Students: a loaded network with a new head for the target classes, or with its own if it was trained on them."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from zoo_cli.config import Preprocessing
from zoo_cli.errors import UsageError
from zoo_cli.guard import guarded
from zoo_cli.models import architecture, file
from zoo_cli.models.architecture import Architecture, HeadSpec
from zoo_cli.models.capture import TOLERANCE, FeatureExtractor, Tap
from zoo_cli.models.inference_only import refuse_training
from zoo_cli.models.loading import LoadedModel, make_example
from zoo_cli.models.third_party import seeded


class Student(FeatureExtractor):
    """Returns `(features (B, D), logits (B, C))` of images (B, channels, size, size).

    The features are the tensor that the target head reads: in training mode, after the dropout before the head. Both
    carry gradients. `architecture` builds the module again; `preprocessing` is that of its evaluation view;
    `trained_on`: the data sets that its folder names as seen.
    """

    def __init__(
        self,
        module: nn.Module,
        tap: Tap,
        recipe: Architecture,
        classes: tuple[str, ...],
        preprocessing: Preprocessing,
        name: str = "the student",
    ):
        super().__init__(module, tap, name)
        self.architecture = recipe
        self.classes = classes
        self.preprocessing = preprocessing
        self.trained_on: tuple[str, ...] = ()
        self.frozen = False

    def freeze_body(self) -> None:
        """Train only the head. The body stays as it is, in eval mode, including its batch norms."""
        assert self.tap.head, "a student has a head"
        self.module.requires_grad_(False)
        self.module.get_submodule(self.tap.head).requires_grad_(True)
        self.frozen = True
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Set training mode; a frozen body stays in eval mode."""
        super().train(mode)
        if self.frozen:
            self.module.eval()
        return self

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features, logits = super().forward(x)
        assert logits is not None
        return features, logits

    @property
    def features_dim(self) -> int:
        """The width D of the features."""
        return self.tap.dim

    def plain_state_dict(self) -> dict[str, Tensor]:
        """The content of model.safetensors: the weights on the CPU, each in memory of its own.

        If the head replaces the architecture's own, this is the plain state dict of that architecture with C classes;
        for a head behind an encoder the keys are `encoder.…` and `head.…`.
        """
        state = self.module.state_dict()
        for key, value in state.items():
            state[key] = value.detach().cpu().contiguous().clone()
        return state

    def config(self, folder: Path | None = None) -> dict[str, Any]:
        """The config.json of a folder from which `file:FOLDER` builds this student again, bit for bit.

        For a timm architecture whose head is replaced, it is also what `timm.create_model("local-dir:FOLDER")` reads.
        """
        record = file.to_json(self.architecture, self.classes, self.preprocessing, folder, self.trained_on)
        config: dict[str, Any] = {"zoo": record}
        if self.architecture.model.startswith("timm:") and not any(head.wrap for head in self.architecture.heads):
            config |= self._timm_config()
        return config

    def _timm_config(self) -> dict[str, Any]:
        original = getattr(self.module, "pretrained_cfg", {})
        preprocessing = self.preprocessing
        size, resize = preprocessing.input_size, preprocessing.resize
        return {
            "architecture": self.architecture.model.removeprefix("timm:"),
            "num_classes": len(self.classes),
            "num_features": self.tap.dim,
            "model_args": dict(self.architecture.args),
            "label_names": list(self.classes),
            "pretrained_cfg": {
                **{key: original[key] for key in ("first_conv", "classifier", "pool_size") if key in original},
                "fixed_input_size": bool(original.get("fixed_input_size", False)),
                "input_size": [preprocessing.channels, size, size],
                "interpolation": preprocessing.interpolation,
                "crop_pct": 1.0 if resize is None else size / resize,
                "crop_mode": "squash" if resize is None else "center",
                "mean": list(preprocessing.mean),
                "std": list(preprocessing.std),
                "num_classes": len(self.classes),
            },
        }


def build_student(model: LoadedModel, classes: tuple[str, ...], seed: int) -> Student:
    """A student: a copy of a loaded model with a new linear head for `classes` (C >= 2 names), drawn from `seed`.

    If the model's features are what its head reads, the new head replaces that head; for an encoder without a head, or
    another feature layer, it is put on the features. Raises UsageError for fewer than two classes.
    """
    if len(classes) < 2:
        raise UsageError(f"a student for {len(classes)} classes", "a task needs at least two")
    tap = model.tap
    head = HeadSpec(tap, len(classes), wrap=not tap.in_head)
    module = _copy_module(model)
    with seeded(seed), guarded(f"{model.title} takes no head for {len(classes)} classes", "fix its factory"):
        module = architecture.attach_head(module, head)
    if head.wrap:
        name = architecture.head_name(head)
        tap = Tap(name, "input", False, name, tap.dim, len(classes))
    else:
        tap = replace(tap, classes=len(classes))
    return Student(module, tap, model.architecture.with_head(head), classes, model.preprocessing, model.title)


def build_trained_student(model: LoadedModel, classes: tuple[str, ...], order: tuple[int, ...] | None) -> Student:
    """A student that keeps its head: a copy of a loaded model already trained on the task of `classes` (C,).

    `order`: the model's output for each class, as `label_space.match_classes` returns it; None if they agree. If the
    order differs, the rows of the last layer are permuted to the task's, so that the student's folder need not record
    it; the logits are then the original's up to rounding, since a matrix product may round differently by position. The
    features are what the head reads, whatever `feature_layer` is.
    Raises UsageError if no single layer of the model is its head, or if that layer's rows cannot be permuted.
    """
    name, tap = model.source.name, model.tap
    if not tap.head:
        raise UsageError(
            f"source {name}: no layer of it is its head, so it cannot start as a trained student",
            "drop feature_layer and head = false, or train a new head: zoo finetune",
        )
    module = _copy_module(model)
    head = module.get_submodule(tap.head)
    conv = isinstance(head, nn.Conv2d)
    width = head.in_channels if conv else head.in_features
    tap = replace(tap, module=tap.head, side="input", pool=conv, dim=int(width), call=tap.head_call)  # type: ignore[arg-type]
    student = Student(module, tap, model.architecture, classes, model.preprocessing, model.title)
    if order is not None and order != tuple(range(len(classes))):
        _permute_head(student, head, order, name)
    return student


def _copy_module(model: LoadedModel) -> nn.Module:
    refuse_training(model.module, model.title)
    with guarded(f"{model.title} cannot be copied", "fix its deepcopy"):
        return copy.deepcopy(model.module)


def _permute_head(student: Student, head: nn.Module, order: tuple[int, ...], name: str) -> None:
    """Put the rows of the head into this order, and check on two images that the logits (2, C) follow."""
    example = make_example(student.preprocessing)
    rows = torch.tensor(order)
    with torch.no_grad():
        expected = student(example)[1][:, rows]
        for values in head.parameters(recurse=False):
            values.copy_(values[rows])
        logits = student(example)[1]
    # A head that is called twice, or that shares its weights with another layer, now gives other values.
    if not torch.allclose(logits, expected, rtol=0, atol=TOLERANCE * float(expected.std())):
        raise UsageError(
            f"source {name}: its classes are in another order, and its head cannot be reordered to the task's",
            "use the same order for its classes and the task's",
        )
