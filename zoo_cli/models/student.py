"""The student: a loaded network, with a new head for the target classes, or with its own where it has learnt them."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from zoo_cli.config import Preprocessing
from zoo_cli.errors import UsageError
from zoo_cli.models import architecture, file
from zoo_cli.models.architecture import Architecture, HeadSpec
from zoo_cli.models.capture import TOLERANCE, FeatureExtractor, Tap
from zoo_cli.models.loading import LoadedModel
from zoo_cli.models.third_party import seeded


class Student(FeatureExtractor):
    """Gives `(features (B, D), logits (B, C))` of images; features are the very tensor that the target head reads.

    Both carry gradients; in training mode features are those after the dropout before the head.
    """

    def __init__(
        self,
        module: nn.Module,
        tap: Tap,
        built: Architecture,
        classes: tuple[str, ...],
        preprocessing: Preprocessing,
    ):
        super().__init__(module, tap)
        self.architecture = built
        self.classes = classes
        self.preprocessing = preprocessing
        self.frozen = False

    def freeze_body(self) -> None:
        """Leave nothing but the head to learn. The rest stays as it is and in eval mode, its batch norms too."""
        assert self.tap.head, "a student has a head"
        self.module.requires_grad_(False)
        self.module.get_submodule(self.tap.head).requires_grad_(True)
        self.frozen = True
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Training mode; a frozen body is not trained."""
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
        """Width D of the features."""
        return self.tap.dim

    def plain_state_dict(self) -> dict[str, Tensor]:
        """The weights, on the CPU, each in memory of its own: what model.safetensors holds.

        Where the head stands in the place of the architecture's own, it is the plain state dict of that architecture
        with C classes; behind an encoder the keys are `encoder.…` and `head.…`.
        """
        state = self.module.state_dict()
        for key, value in state.items():
            state[key] = value.detach().cpu().contiguous().clone()
        return state

    def config(self, folder: Path | None = None) -> dict[str, Any]:
        """What the config.json of a folder must say, so that `file:FOLDER` builds this student again, bit for bit.

        For a timm architecture with its head in place also what `timm.create_model("local-dir:FOLDER")` reads.
        """
        config: dict[str, Any] = {"zoo": file.to_json(self.architecture, self.classes, self.preprocessing, folder)}
        if self.architecture.model.startswith("timm:") and not any(edit.wrap for edit in self.architecture.edits):
            config |= self._timm_config()
        return config

    def _timm_config(self) -> dict[str, Any]:
        own = getattr(self.module, "pretrained_cfg", {})
        said = self.preprocessing
        whole = said.resize is None
        return {
            "architecture": self.architecture.model.removeprefix("timm:"),
            "num_classes": len(self.classes),
            "num_features": self.tap.dim,
            "model_args": dict(self.architecture.args),
            "label_names": list(self.classes),
            "pretrained_cfg": {
                **{key: own[key] for key in ("first_conv", "classifier", "pool_size") if key in own},
                "fixed_input_size": bool(own.get("fixed_input_size", False)),
                "input_size": [said.channels, said.input_size, said.input_size],
                "interpolation": said.interpolation,
                "crop_pct": 1.0 if said.resize is None else said.input_size / said.resize,
                "crop_mode": "squash" if whole else "center",
                "mean": list(said.mean),
                "std": list(said.std),
                "num_classes": len(self.classes),
            },
        }


def build(model: LoadedModel, classes: tuple[str, ...], seed: int) -> Student:
    """A student of a loaded model with a new linear head for `classes` (C >= 2 names), drawn from `seed`.

    The model itself is not touched. Where its features are what its head reads, the new head takes that head's place;
    behind an encoder without a head, or another feature layer, it follows the features.
    """
    if len(classes) < 2:
        raise UsageError(f"a student for {len(classes)} classes", "a task has at least two")
    edit = HeadSpec(model.tap, len(classes), wrap=not model.tap.in_head)
    module = copy.deepcopy(model.module)
    with seeded(seed):
        module = architecture.apply(module, edit)
    head = architecture.head_name(edit)
    pool = model.tap.pool and not edit.wrap
    tap = Tap(head, "input", pool, head, model.tap.dim, len(classes))
    if not edit.wrap:
        tap = Tap(**{**vars(model.tap), "classes": len(classes)})
    return Student(module, tap, model.architecture.edited(edit), classes, model.preprocessing)


def trained(model: LoadedModel, classes: tuple[str, ...], order: tuple[int, ...] | None) -> Student:
    """A student that keeps the head it has: a loaded model already trained on the task of these `classes` (C,).

    `order`: which of its outputs stands for each class, as `label_space.order` says; None where they agree. In another
    order the rows of its last layer are put into the task's, so that its folder needs no note of it; the columns of
    the logits then are the original's up to rounding, since a matrix product may round differently by position. Its
    features are what its head reads, whatever `feature_layer` says. The model itself is not touched.
    Raises UsageError where no one layer of the model is its head, or where that layer's rows cannot be moved.
    """
    name, tap = model.source.name, model.tap
    if not tap.head:
        raise UsageError(
            f"source {name}: no layer of it is its head, so it cannot be a student that is trained already",
            "leave feature_layer and head = false out, or let it learn a new head: zoo finetune",
        )
    module = copy.deepcopy(model.module)
    head = module.get_submodule(tap.head)
    conv = isinstance(head, nn.Conv2d)
    width = head.in_channels if conv else head.in_features
    tap = replace(tap, module=tap.head, side="input", pool=conv, dim=int(width), call=tap.head_call)  # type: ignore[arg-type]
    student = Student(module, tap, model.architecture, classes, model.preprocessing)
    if order is not None and order != tuple(range(len(classes))):
        _reorder(student, head, order, name)
    return student


def _reorder(student: Student, head: nn.Module, order: tuple[int, ...], name: str) -> None:
    """Put the rows of the head into this order, and see on a batch of two that the logits (2, C) follow."""
    said = student.preprocessing
    shape = (2, said.channels, said.input_size, said.input_size)
    example = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    rows = torch.tensor(order)
    with torch.no_grad():
        wanted = student(example)[1][:, rows]
        for values in head.parameters(recurse=False):
            values.copy_(values[rows])
        logits = student(example)[1]
    # A head that is called twice, or that shares its weights with another layer, gives something else now.
    if not torch.allclose(logits, wanted, rtol=0, atol=TOLERANCE * float(wanted.std())):
        raise UsageError(
            f"source {name}: its classes are in another order, and its head cannot be put into the task's",
            "give its classes and the task's one order",
        )
