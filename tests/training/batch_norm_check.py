"""What each process of a job computes of a batch norm, compared with the whole batch: it fails where they differ."""

import copy
import os

import torch
from torch import nn

from zoo_cli import collectives, ranks
from zoo_cli.models.global_batch_norm import normalising_globally

ROWS, CHANNELS = 12, 5


class Clipped(nn.BatchNorm2d):
    """A subclass with a forward of its own, such as timm's."""

    def forward(self, input):
        self.num_batches_tracked += 1
        args = (self.running_mean, self.running_var, self.weight, self.bias, self.training, self.momentum, self.eps)
        return nn.functional.batch_norm(input, *args).clamp_min(0)


LAYERS = {
    "images": (nn.BatchNorm2d(CHANNELS), (4, 4)),
    "subclass": (Clipped(CHANNELS), (4, 4)),
    "vectors": (nn.BatchNorm1d(CHANNELS, momentum=0.3), ()),
    "volumes": (nn.BatchNorm3d(CHANNELS), (2, 3, 2)),
    "no weights, mean of all steps": (nn.BatchNorm2d(CHANNELS, affine=False, momentum=None), (4, 4)),
    "no running statistics": (nn.BatchNorm2d(CHANNELS, track_running_stats=False), (4, 4)),
    "eval": (nn.BatchNorm2d(CHANNELS).eval(), (4, 4)),
}


def compare() -> None:
    """Three steps of every layer on the whole batch and on this process's share of it."""
    ranks.start(os.environ)
    collectives.connect(torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    for name, (layer, size) in LAYERS.items():
        whole, shared = copy.deepcopy(layer), copy.deepcopy(layer)
        for parameter in [*whole.parameters(), *shared.parameters()]:
            nn.init.constant_(parameter, 0.7)
        for _ in range(3):
            # Rows differ in mean and spread, so that no share has the statistics of the batch.
            offsets = torch.arange(ROWS).reshape(-1, 1, *(1 for _ in size)) / 4
            x = torch.randn((ROWS, CHANNELS, *size), generator=generator) * (1 + offsets) + offsets + 3
            factors = torch.randn(x.shape, generator=generator)
            _check_step(name, whole, shared, x, factors)
        close(name, shared.state_dict().values(), whole.state_dict().values())
    ranks.leave(0)


def _check_step(name, whole, shared, x, factors):
    first, length = ranks.share(ROWS)
    own = slice(first, first + length)
    x_whole, x_own = x.clone().requires_grad_(), x[own].clone().requires_grad_()
    for layer in (whole, shared):
        layer.zero_grad()
    result = whole(x_whole)
    (result * factors).mean().backward()
    with normalising_globally():
        own_result = shared(x_own)
    (own_result * factors[own]).mean().backward()
    collectives.average_gradients(shared.parameters())
    close(name, [own_result], [result[own]])
    # The mean loss of a share is W times its part of the mean over all.
    close(name, [x_own.grad / ranks.world_size()], [x_whole.grad[own]])
    close(name, [p.grad for p in shared.parameters()], [p.grad for p in whole.parameters()])


def close(name, values, expected):
    """Equal to 1e-6, relative for what is above 1."""
    for one, other in zip(values, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6, msg=lambda text: f"{name}: {text}")
