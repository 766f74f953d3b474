"""Teachers: frozen networks of the student's label space, run on the student's own views (paper 002)."""

import copy
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo_cli.config import Preprocessing
from zoo_cli.errors import UsageError
from zoo_cli.guard import guarded
from zoo_cli.images.colours import LUMA
from zoo_cli.models.capture import FeatureExtractor
from zoo_cli.models.float32_head import compute_head_in_float32
from zoo_cli.models.loading import LoadedModel


class Teacher(nn.Module):
    """Returns the logits (B, C), in the task's class order, of images (B, channels, H, W) prepared for the student.

    The teacher sees the student's view, converted to its own preprocessing, so that augmentation is shared: the
    student's normalisation is undone, colour is converted to gray or gray to colour, the view is resized to the
    teacher's `input_size`, and its normalisation is applied; steps that change nothing are skipped. Resizing is
    bilinear whatever the teacher's interpolation, and averages when it shrinks, as decoding does. The teacher's own
    `resize` before a centre crop is not used: the student's view is already cropped. Gray is not rounded to 8 bits, as
    it is in decoding.

    It always stays in eval mode, and neither passes on nor accumulates gradients. Its head is computed in float32, as
    stored logits are, whatever the precision of the rest.
    """

    student_mean: Tensor
    student_std: Tensor
    mean: Tensor
    std: Tensor
    luma: Tensor
    columns: Tensor | None

    def __init__(
        self, network: FeatureExtractor, own: Preprocessing, student: Preprocessing, order: tuple[int, ...] | None
    ):
        super().__init__()
        self.network = network.requires_grad_(False)
        compute_head_in_float32(network)
        self.size = own.input_size
        self.channels = own.channels
        self.converts = (own.channels, own.mean, own.std) != (student.channels, student.mean, student.std)
        self._register("student_mean", student.mean)
        self._register("student_std", student.std)
        self._register("mean", own.mean)
        self._register("std", own.std)
        self._register("luma", LUMA)
        reordered = order is not None and order != tuple(range(len(order)))
        self.register_buffer("columns", torch.tensor(order) if reordered else None, persistent=False)
        self.eval()

    @classmethod
    def from_model(cls, model: LoadedModel, student: Preprocessing, order: tuple[int, ...] | None) -> Self:
        """A copy of a loaded model as the teacher of a student with the preprocessing `student`.

        `order`: the model's output for each class of the task, as `label_space.match_classes` returns it; None if they
        agree. Raises UsageError for a model without a head.
        """
        if not model.classes:
            raise UsageError(f"source {model.source.name} has no head, so it cannot teach", "use --objective heads")
        # A copy: the same model may also become the student, which is trained.
        with guarded(f"{model.title} cannot be copied", "fix its deepcopy"):
            module = copy.deepcopy(model.module)
        return cls(FeatureExtractor(module, model.tap, model.title), model.preprocessing, student, order)

    def train(self, _mode: bool = True) -> Self:
        """Stay in eval mode, whatever the mode."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(self.view(images))[1]
        return logits if self.columns is None else logits[:, self.columns]

    def view(self, images: Tensor) -> Tensor:
        """The network's input (B, its channels, input_size squared) from the student's images (B, channels, H, W)."""
        if self.converts:
            images = images * self.student_std + self.student_mean
            if images.shape[1] > self.channels:
                images = (images * self.luma).sum(1, keepdim=True)
            images = (images - self.mean) / self.std  # one channel broadcasts to three here
        if images.shape[2:] != (self.size, self.size):
            images = functional.interpolate(images, (self.size, self.size), mode="bilinear", antialias=True)
        return images

    def _register(self, name: str, values: tuple[float, ...]) -> None:
        """Register one number per channel as a buffer (1, channels, 1, 1)."""
        self.register_buffer(name, torch.tensor(values).view(1, -1, 1, 1), persistent=False)
