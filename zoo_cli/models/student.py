"""The student: a loaded network with a new head for the target classes."""

import copy
from typing import Any

from torch import Tensor, nn

from zoo_cli.config import Preprocessing
from zoo_cli.errors import UsageError
from zoo_cli.models import architecture, file
from zoo_cli.models.architecture import Architecture, Edit
from zoo_cli.models.capture import Tap, Tapped
from zoo_cli.models.foreign import seeded
from zoo_cli.models.loading import LoadedModel


class Student(Tapped):
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

    def config(self) -> dict[str, Any]:
        """What config.json must say, so that `file:FOLDER` builds this student again, bit for bit.

        For a timm architecture with its head in place also what `timm.create_model("local-dir:FOLDER")` reads.
        """
        config: dict[str, Any] = {"zoo": file.to_json(self.architecture, self.classes, self.preprocessing)}
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
    edit = Edit(model.tap, len(classes), wrap=not model.tap.in_head)
    module = copy.deepcopy(model.module)
    with seeded(seed):
        module = architecture.apply(module, edit)
    head = architecture.head_name(edit)
    pool = model.tap.pool and not edit.wrap
    tap = Tap(head, "input", pool, head, model.tap.dim, len(classes))
    if not edit.wrap:
        tap = Tap(**{**vars(model.tap), "classes": len(classes)})
    return Student(module, tap, model.architecture.edited(edit), classes, model.preprocessing)
