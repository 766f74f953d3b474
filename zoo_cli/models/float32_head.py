"""The head of a network in float32, also where the rest of it is computed in bfloat16."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from zoo_cli.models.capture import FeatureExtractor


def compute_head_in_float32(network: FeatureExtractor) -> None:
    """Let autocast leave out the layer that computes the logits, if there is a single one.

    bfloat16 has 8 bits: logits in it are full of ties, and those of teachers are compared with each other. Stored ones
    are float32 too.
    """
    if network.tap.head:
        layer = network.module.get_submodule(network.tap.head)
        guard = _Float32()
        layer.register_forward_pre_hook(guard.enter, with_kwargs=True)
        layer.register_forward_hook(guard.leave, always_call=True, prepend=True)


class _Float32:
    """Hooks between which autocast is off."""

    def __init__(self) -> None:
        self.contexts: list[AbstractContextManager[object]] = []

    def enter(
        self, _layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        args = tuple(_upcast(value) for value in args)
        kwargs = {name: _upcast(value) for name, value in kwargs.items()}
        device = next(value.device.type for value in (*args, *kwargs.values()) if isinstance(value, Tensor))
        available = torch.amp.is_autocast_available(device)
        context = torch.autocast(device, enabled=False) if available else nullcontext()
        context.__enter__()
        self.contexts.append(context)
        return args, kwargs

    def leave(self, _layer: nn.Module, _args: tuple[Any, ...], _output: Any) -> None:
        if self.contexts:
            self.contexts.pop().__exit__(None, None, None)


def _upcast(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.dtype in (torch.bfloat16, torch.float16) else value
