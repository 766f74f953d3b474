"""The last weight layer before the features: finding it, and recording its inputs and outputs."""

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
    """A hook that records the inputs and outputs of a layer's calls, and adds a shift to each output."""

    def __init__(self, layer: WeightLayer):
        self.layer = layer
        self.active = False
        self.shifts: tuple[Tensor, ...] = ()
        self.inputs: list[Tensor] = []
        self.outputs: list[Tensor] = []
        # Before all other hooks, so that a hook that reads features from this layer reads them shifted.
        layer.register_forward_hook(self._record, prepend=True)

    @contextmanager
    def recording(self, shifts: tuple[Tensor, ...] = ()) -> Iterator[None]:
        """A context in which every call is recorded and, if there are shifts (one per call), shifted."""
        self.inputs, self.outputs, self.shifts, self.active = [], [], shifts, True
        try:
            yield
        finally:
            self.shifts, self.active = (), False

    def _record(self, _layer: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor | None:
        if not self.active:
            return None
        # Clones, because later operations may change either in place.
        self.inputs.append(args[0].clone())
        self.outputs.append(output.clone())
        return output + self.shifts[len(self.outputs) - 1] if self.shifts else None


def find_weight_layer(network: FeatureExtractor, example: Tensor, gradient_layer: str = "") -> tuple[str, WeightLayer]:
    """The name and module of the last Conv2d or Linear called, the head excepted, on which the features depend.

    Decided on `example` (2, channels, size, size). `gradient_layer`: the name of a layer to use instead, on which the
    outputs must depend. Raises UsageError if there is none.
    """
    layers: dict[str, WeightLayer] = {
        name: layer for name, layer in network.module.named_modules() if isinstance(layer, (nn.Conv2d, nn.Linear))
    }
    if gradient_layer and gradient_layer not in layers:
        hint = f"name one, such as {list(layers)[-1]}" if layers else "the model has none"
        raise UsageError(f'gradient_layer = "{gradient_layer}": no Conv2d or Linear of that name', hint)
    names = [gradient_layer] if gradient_layer else [name for name in layers if name != network.tap.head]
    # A zero added to each output: the zeros that the features have a gradient to mark the layers on their way.
    marks: list[tuple[str, Tensor]] = []

    def make_hook(name: str) -> Callable[..., Tensor]:
        def mark(_layer: nn.Module, _args: tuple[Any, ...], output: Tensor) -> Tensor:
            marks.append((name, output.new_zeros((), requires_grad=True)))
            return output + marks[-1][1]

        return mark

    handles = [layers[name].register_forward_hook(make_hook(name), prepend=True) for name in names]
    try:
        with torch.enable_grad():
            features, logits = network(example)
            y = logits if gradient_layer else features
            gradients = torch.autograd.grad(y.sum(), [mark for _, mark in marks], allow_unused=True) if marks else ()
    finally:
        for handle in handles:
            handle.remove()
    reached = [name for (name, _), gradient in zip(marks, gradients, strict=True) if gradient is not None]
    if not reached:
        what = "no Conv2d or Linear comes before the features"
        if gradient_layer:
            what = f'the outputs do not depend on "{gradient_layer}"'
        raise UsageError(what, "set gradient_layer to a layer on which the outputs depend")
    return reached[-1], layers[reached[-1]]


def weight_parameters(layer: WeightLayer) -> dict[str, Tensor]:
    """The trained parameters of a layer without its bias; of a parametrised weight, its underlying parameters."""
    return {name: value for name, value in layer.named_parameters() if "bias" not in name.split(".")}


def is_plain(hook: InputHook) -> bool:
    """Whether every recorded output is the product of the layer's `weight` with the patches of the input, plus bias."""
    layer = hook.layer
    if list(weight_parameters(layer)) != ["weight"]:
        return False
    for x, z in zip(hook.inputs, hook.outputs, strict=True):
        patches, outputs = input_patches(layer, x, len(x)), output_positions(layer, z[None], len(z))[0]
        groups, channels = outputs.shape[2:]
        weight = layer.weight.reshape(groups, channels, -1)
        if patches.shape[:3] != outputs.shape[:3] or patches.shape[3] != weight.shape[2]:
            return False
        product = torch.einsum("nlgp,gop->nlgo", patches, weight)
        if layer.bias is not None:
            product = product + layer.bias.reshape(groups, channels)
        if (product - outputs).abs().max() > TOLERANCE * outputs.std():
            return False
    return True


def input_patches(layer: WeightLayer, x: Tensor, n: int) -> Tensor:
    """A layer's input for n samples as (n, L, G, I): at L positions, a patch of I numbers for each of G groups."""
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


def output_positions(layer: WeightLayer, z: Tensor, n: int) -> Tensor:
    """A layer's outputs, or gradients of them, (M, ...) for n samples as (M, n, L, G, O), with O channels per group."""
    if isinstance(layer, nn.Linear):
        return z.reshape(len(z), n, -1, 1, z.shape[-1])
    return z.reshape(len(z), n, layer.groups, z.shape[2] // layer.groups, -1).permute(0, 1, 4, 2, 3)
