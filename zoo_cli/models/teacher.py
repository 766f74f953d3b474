"""A teacher: a network of the student's label space that is only asked, on the student's own images (paper 002)."""

import copy
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo_cli.config import Preprocessing
from zoo_cli.errors import UsageError
from zoo_cli.models.capture import FeatureExtractor
from zoo_cli.models.loading import LoadedModel

LUMA = (0.299, 0.587, 0.114)  # of ITU-R 601-2, as images are decoded


class Teacher(nn.Module):
    """Gives the logits (B, C), in the task's class order, of images (B, channels, H, W) prepared for the student.

    What it sees is the student's view in its own terms, so that augmentation is shared: the student's normalisation is
    undone, colours become gray or gray becomes colours, the side its own `input_size`, and its own normalisation
    follows; a step that changes nothing is left out. Resizing is bilinear whatever its own interpolation, averaging
    where it shrinks, as decoding does. A `resize` of its own before a centre crop plays no part: the student's view is
    cropped already. Gray is not rounded to 8 bits here, which decoding does.

    It stays in eval mode whatever `train` is told, and gives and keeps no gradient.
    """

    mean_seen: Tensor
    std_seen: Tensor
    mean: Tensor
    std: Tensor
    luma: Tensor
    columns: Tensor | None

    def __init__(
        self, network: FeatureExtractor, own: Preprocessing, seen: Preprocessing, order: tuple[int, ...] | None
    ):
        super().__init__()
        self.network = network.requires_grad_(False)
        self.size = own.input_size
        self.channels = own.channels
        self.converts = (own.channels, own.mean, own.std) != (seen.channels, seen.mean, seen.std)
        self._hold("mean_seen", seen.mean)
        self._hold("std_seen", seen.std)
        self._hold("mean", own.mean)
        self._hold("std", own.std)
        self._hold("luma", LUMA)
        moved = order is not None and order != tuple(range(len(order)))
        self.register_buffer("columns", torch.tensor(order) if moved else None, persistent=False)
        self.eval()

    @classmethod
    def of(cls, model: LoadedModel, seen: Preprocessing, order: tuple[int, ...] | None) -> Self:
        """A copy of a loaded model as teacher of a student that sees images as `seen` says.

        `order`: which of its outputs stands for each class of the task, as `label_space.order` says; None where they
        agree. Raises UsageError for a model without a head.
        """
        if not model.classes:
            raise UsageError(f"source {model.source.name} has no head, so it has no answer to teach", "name another")
        # A copy: the model may become the student too, and must then learn.
        return cls(FeatureExtractor(copy.deepcopy(model.module), model.tap), model.preprocessing, seen, order)

    def train(self, _mode: bool = True) -> Self:
        """Eval mode, always."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(self.view(images))[1]
        return logits if self.columns is None else logits[:, self.columns]

    def view(self, images: Tensor) -> Tensor:
        """What the network is shown (B, its channels, its input_size squared) of the student's images."""
        if self.converts:
            images = images * self.std_seen + self.mean_seen
            if images.shape[1] > self.channels:
                images = (images * self.luma).sum(1, keepdim=True)
            images = (images - self.mean) / self.std  # one channel becomes three here
        if images.shape[2:] != (self.size, self.size):
            images = functional.interpolate(images, (self.size, self.size), mode="bilinear", antialias=True)
        return images

    def _hold(self, name: str, values: tuple[float, ...]) -> None:
        """One number a channel, (1, channels, 1, 1), which moves with the module."""
        self.register_buffer(name, torch.tensor(values).view(1, -1, 1, 1), persistent=False)
