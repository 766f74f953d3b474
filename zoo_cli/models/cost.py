"""What one image costs a model."""

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def macs(module: nn.Module, channels: int, size: int) -> int:
    """Multiply-accumulates of one image (1, channels, size, size), of a module in eval mode.

    Counted in the operators and not by hooks on layers: torchvision's transformers multiply by a Linear's weights
    without calling it. Fused attention kernels, which no counter sees, are kept out of this one run.
    """
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    counter = FlopCounterMode(display=False)
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        # A gradient is asked for, since without one torch takes its fused path; a clone may be changed in place.
        image = torch.zeros(1, channels, size, size, device=device).requires_grad_().clone()
        module(image)
    return int(counter.get_total_flops()) // 2


def parameters(module: nn.Module) -> int:
    """How many numbers training may change, frozen ones included."""
    return sum(p.numel() for p in module.parameters())
