"""Batch-norm statistics estimated again: after averaging weights, or after a training too short for them."""

from collections.abc import Iterable
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


@torch.no_grad()
def recalibrate(student: nn.Module, batches: Iterable[Tensor]) -> None:
    """Set every batch norm's mean and variance, in place, to those of batches of images (B, channels, H, W).

    The statistics are averages over batches, equally weighted, of what a training step would see: every layer gets the
    output of earlier ones normalised by the batch, and the variance is the unbiased one. All other modules stay in eval
    mode, so there is no dropout. Parameters, momentum and training flags are left as they were; a network without such
    statistics is not run. Batches need at least two images. Raises ValueError without a batch.
    """
    norms = [layer for layer in student.modules() if isinstance(layer, _BatchNorm) and layer.running_mean is not None]
    if not norms:
        return
    remaining = iter(batches)
    first = next(remaining, None)
    if first is None:
        raise ValueError("batch-norm statistics need at least one batch")
    training = {module: module.training for module in student.modules()}
    momenta = [layer.momentum for layer in norms]
    try:
        student.eval()
        for layer in norms:
            layer.reset_running_stats()
            layer.train()
            layer.momentum = None  # for torch: average over all batches
        for images in chain([first], remaining):
            student(images)
    finally:
        for layer, momentum in zip(norms, momenta, strict=True):
            layer.momentum = momentum
        for module, flag in training.items():
            module.training = flag
