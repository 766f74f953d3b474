"""Statistics of batch norms, estimated anew: after weights were averaged, or where training was too short for them."""

from collections.abc import Iterable
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


@torch.no_grad()
def recalibrate(student: nn.Module, batches: Iterable[Tensor]) -> None:
    """Give every batch norm the mean and the variance of these images (B, channels, H, W), in place.

    The average over batches, each counting alike, of what a training step would see: every layer behind another works
    on what that one normalises by the batch, and the variance is the unbiased one. All else stays in eval mode, so
    nothing is dropped. Parameters, momentum and training flags are left as they were; a network without such
    statistics is not run. Batches of one image are of no use to it. Raises ValueError for no batch.
    """
    norms = [layer for layer in student.modules() if isinstance(layer, _BatchNorm) and layer.running_mean is not None]
    if not norms:
        return
    remaining = iter(batches)
    first = next(remaining, None)
    if first is None:
        raise ValueError("batch norms are estimated from at least one batch")
    training = {module: module.training for module in student.modules()}
    momenta = [layer.momentum for layer in norms]
    try:
        student.eval()
        for layer in norms:
            layer.reset_running_stats()
            layer.train()
            layer.momentum = None  # torch's word for the average over all batches
        for images in chain([first], remaining):
            student(images)
    finally:
        for layer, momentum in zip(norms, momenta, strict=True):
            layer.momentum = momentum
        for module, flag in training.items():
            module.training = flag
