"""The cost of a model: multiply-accumulates per image, and parameters."""

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def count_macs(module: nn.Module, channels: int, size: int) -> int:
    """Multiply-accumulates of a module in eval mode for one image (1, channels, size, size).

    Operators are counted, not layers by hooks: torchvision's transformers multiply by a Linear's weights without
    calling it. Fused attention kernels, which the counter does not see, are disabled for this run.
    """
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    counter = FlopCounterMode(display=False)
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        # Without requires_grad torch would take its fused path; the clone may be changed in place.
        image = torch.zeros(1, channels, size, size, device=device).requires_grad_().clone()
        module(image)
    return int(counter.get_total_flops()) // 2


def count_parameters(module: nn.Module) -> int:
    """The number of parameters, frozen ones included."""
    return sum(p.numel() for p in module.parameters())
