"""The last weight layer before the features: which one it is, and what enters and leaves it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo_cli.errors import UsageError
from zoo_cli.models.capture import TOLERANCE, FeatureExtractor

WeightLayer: TypeAlias = nn.Conv2d | nn.Linear


class InputHook:
    """A hook on a layer that keeps what enters and leaves it, and adds a shift to what leaves each of its calls."""

    def __init__(self, layer: WeightLayer):
        self.layer = layer
        self.active = False
        self.shifts: tuple[Tensor, ...] = ()
        self.inputs: list[Tensor] = []
        self.outputs: list[Tensor] = []
        # First of all hooks, so that one that takes features from this layer takes them shifted.
        layer.register_forward_hook(self._leaves, prepend=True)

    @contextmanager
    def listening(self, shifts: tuple[Tensor, ...] = ()) -> Iterator[None]:
        """Inside it every call is kept, and shifted by its shift where there are any."""
        self.inputs, self.outputs, self.shifts, self.active = [], [], shifts, True
        try:
            yield
        finally:
            self.shifts, self.active = (), False

    def _leaves(self, _layer: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor | None:
        if not self.active:
            return None
        # Clones: what follows may change either in place.
        self.inputs.append(args[0].clone())
        self.outputs.append(output.clone())
        return output + self.shifts[len(self.outputs) - 1] if self.shifts else None


def last(network: FeatureExtractor, example: Tensor, wanted: str = "") -> tuple[str, WeightLayer]:
    """The last Conv2d or Linear called on whose output the features of `example` depend; the head is none.

    `wanted`: the name of a layer to be taken, on which the outputs must depend. Raises UsageError where there is none.
    """
    layers: dict[str, WeightLayer] = {
        name: layer for name, layer in network.module.named_modules() if isinstance(layer, (nn.Conv2d, nn.Linear))
    }
    if wanted and wanted not in layers:
        nearest = f"such as {list(layers)[-1]}" if layers else "it has none"
        raise UsageError(f'gradient_layer = "{wanted}": no Conv2d or Linear of that name', f"name one, {nearest}")
    names = [wanted] if wanted else [name for name in layers if name != network.tap.head]
    marks: list[tuple[str, Tensor]] = []

    def marking(name: str) -> Callable[..., Tensor]:
        def mark(_layer: nn.Module, _args: tuple[Any, ...], output: Tensor) -> Tensor:
            marks.append((name, output.new_zeros((), requires_grad=True)))
            return output + marks[-1][1]

        return mark

    handles = [layers[name].register_forward_hook(marking(name), prepend=True) for name in names]
    try:
        with torch.enable_grad():
            features, logits = network(example)
            y = logits if wanted else features
            found = torch.autograd.grad(y.sum(), [mark for _, mark in marks], allow_unused=True) if marks else ()
    finally:
        for handle in handles:
            handle.remove()
    reached = [name for (name, _), gradient in zip(marks, found, strict=True) if gradient is not None]
    if not reached:
        what = f'the outputs do not depend on "{wanted}"' if wanted else "no Conv2d or Linear comes before the features"
        raise UsageError(what, "set gradient_layer to a layer on which the outputs depend")
    return reached[-1], layers[reached[-1]]


def weights(layer: WeightLayer) -> dict[str, Tensor]:
    """The parameters of a layer but its bias, as they are trained: those of a parametrised weight are its own."""
    return {name: value for name, value in layer.named_parameters() if "bias" not in name.split(".")}


def is_plain(spy: InputHook) -> bool:
    """Whether every call that was kept is the product of the layer's `weight` with the patches of what entered it."""
    layer = spy.layer
    if list(weights(layer)) != ["weight"]:
        return False
    for x, z in zip(spy.inputs, spy.outputs, strict=True):
        patches, leaving = entering(layer, x, len(x)), by_position(layer, z[None], len(z))[0]
        groups, channels = leaving.shape[2:]
        weight = layer.weight.reshape(groups, channels, -1)
        if patches.shape[:3] != leaving.shape[:3] or patches.shape[3] != weight.shape[2]:
            return False
        again = torch.einsum("nlgp,gop->nlgo", patches, weight)
        if layer.bias is not None:
            again = again + layer.bias.reshape(groups, channels)
        if (again - leaving).abs().max() > TOLERANCE * leaving.std():
            return False
    return True


def entering(layer: WeightLayer, x: Tensor, n: int) -> Tensor:
    """What enters a layer, (n, L, G, I): at each of its L positions a patch of I numbers for each of its G groups."""
    if isinstance(layer, nn.Linear):
        return x.reshape(n, -1, 1, x.shape[-1])
    sides = [(size - 1) * step for size, step in zip(layer.kernel_size, layer.dilation, strict=True)]
    if layer.padding == "same":
        height, width = ((side // 2, side - side // 2) for side in sides)
    elif layer.padding == "valid":
        height = width = (0, 0)
    else:
        height, width = ((int(side), int(side)) for side in layer.padding)
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    padded = functional.pad(x, (*width, *height), mode=mode)
    patches = functional.unfold(padded, layer.kernel_size, layer.dilation, 0, layer.stride)
    return patches.reshape(n, layer.groups, -1, patches.shape[2]).permute(0, 3, 1, 2)


def by_position(layer: WeightLayer, z: Tensor, n: int) -> Tensor:
    """What leaves a layer, or comes back to it, (M, ...) in the form (M, n, L, G, O): O channels in each group."""
    if isinstance(layer, nn.Linear):
        return z.reshape(len(z), n, -1, 1, z.shape[-1])
    return z.reshape(len(z), n, layer.groups, z.shape[2] // layer.groups, -1).permute(0, 1, 4, 2, 3)
