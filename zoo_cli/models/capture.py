"""Where a model's features and logits are read: the rule that decides it, and the hooks that read them.

One batch of two images runs in eval mode with hooks on every module; y is the model's output (a tensor, `.logits`, or
the first of a tuple). Going backwards through the calls: (1) a Linear whose 2-D output, or its softmax or log-softmax,
is y: features are its input; (2) else a 1x1 convolution whose spatial mean, possibly after ReLU, is y: features are its
input averaged over space; (3) else, if the source declares as many classes as y has columns, the user must set
`feature_layer`; (4) else y itself is the feature, averaged over space if it is 4-D.
"""

import difflib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from zoo_cli.errors import ContractError, UsageError
from zoo_cli.guard import guarded
from zoo_cli.models.model_outputs import check_declaration, find_logits, select_tensor

TOLERANCE = 1e-4
"""Two outputs are the same if max |a - b| is at most this times the standard deviation of y."""

Side = Literal["input", "output"]


@dataclass(frozen=True)
class Tap:
    """Where features (B, dim) and logits (B, classes) of a model are read.

    Features: the input or output (`side`) of the module with this dotted name ("": the model itself) at its call number
    `call`, averaged over space if `pool`. Logits: the output of `head` at its call `head_call`; "" is the model's own
    output, None means no logits. `relu`: whether a ReLU follows a convolution as head, before its spatial mean.
    `output`: the part of what the module returns, see `model_outputs`.
    """

    module: str
    side: Side
    pool: bool
    head: str | None
    dim: int
    classes: int
    call: int = 0
    head_call: int = 0
    relu: bool = False
    output: str = ""

    @property
    def in_head(self) -> bool:
        """Whether the features are the tensor that the head reads."""
        return self.side == "input" and self.module == self.head and self.call == self.head_call


@dataclass(frozen=True)
class _Call:
    """One call of a possible head: its candidate logits for the batch of two, and the width of its input."""

    name: str
    number: int
    logits: tuple[Tensor, ...]
    dim: int
    conv: bool


def find_tap(
    module: nn.Module,
    example: Tensor,
    classes: int | None,
    feature_layer: str = "",
    head: bool = True,
    feature_output: str = "",
) -> Tap:
    """Find where the features and logits of a model in eval mode are, on `example` (2, channels, size, size).

    `classes`: the number that the source declares (None: undeclared, 0: no head). `feature_layer`: "NAME" for the
    output of a module, "NAME:input" for its input. `head=False`: a last projection is part of the encoder.
    `feature_output`: the part of that output, or of the model's own, that is the feature, see `model_outputs`.
    Raises UsageError if the user must set `feature_layer`, ContractError for outputs that are not finite.
    """
    has_head = head and classes != 0
    y, calls, layer = _observe(module, example, feature_layer, feature_output)
    if y is None:
        assert layer is not None
        return layer
    if not torch.isfinite(y).all():
        raise ContractError("the model's output is not finite on a batch of normal noise", "check its weights")
    head_tap = (_find_linear_head(y, calls) or _find_conv_head(y, calls)) if has_head else None
    output_is_logits = bool(has_head and head_tap is None and y.ndim == 2 and y.shape[1] == classes)
    if layer is not None:
        if output_is_logits:
            _check_logits(y)
            return replace(layer, head="", classes=y.shape[1])
        if head_tap is not None:
            return replace(
                layer,
                head=head_tap.head,
                classes=head_tap.classes,
                head_call=head_tap.head_call,
                relu=head_tap.relu,
            )
        return layer
    if head_tap is not None:
        return head_tap
    if output_is_logits:
        heads = [call.name for call in calls if call.logits[0].shape == y.shape] or ["NAME"]
        raise UsageError(
            f"no single layer of the model gives its {classes} outputs, so its features are unknown",
            f'set feature_layer, e.g. "{heads[0]}:input", or head = false if the output is the feature',
        )
    return Tap("", "output", _needs_pooling(y, "the model's output"), None, y.shape[1], 0)


class FeatureExtractor(nn.Module):
    """A model that returns `(features (B, D), logits (B, K) or None)` of images `(B, channels, size, size)`.

    If the model ends in a softmax, the logits are its input. Dtypes follow autocast. `name`: what errors call it.
    Raises UsageError for whatever the model raises, except for errors of a GPU.
    """

    def __init__(self, module: nn.Module, tap: Tap, name: str = "the network"):
        super().__init__()
        self.module = module
        self.tap = tap
        self.name = name
        self.hook = OutputHook(module, tap)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        with guarded(f"{self.name} cannot run", "fix its forward"):
            return self.hook.run(self.module, x)


class OutputHook:
    """Hooks on a model that record the features and logits of a tap during `run`.

    The hooks are bound methods and stay registered: a deep copy of the model gets its own copy of this object, and a
    compiled model sees the same hooks at every step.
    """

    def __init__(self, module: nn.Module, tap: Tap):
        self.tap = tap
        self.active = False
        self.calls = 0
        self.head_calls = 0
        self.features: Tensor | None = None
        self.logits: Tensor | None = None
        if tap.module:
            layer = module.get_submodule(tap.module)
            if tap.side == "input":
                layer.register_forward_pre_hook(self._record_input, with_kwargs=True)
            else:
                layer.register_forward_hook(self._record_output)
        if tap.head:
            module.get_submodule(tap.head).register_forward_hook(self._record_logits)

    def run(self, module: nn.Module, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """The features (B, D) and logits (B, K), or None, of images (B, channels, size, size)."""
        self.calls = self.head_calls = 0
        self.active = True
        try:
            y = module(x)
            features, logits = self.features, self.logits
        finally:
            self.active = False
            self.features = self.logits = None
        if not self.tap.module:
            features = self._pool(select_tensor(y, self.tap.output))
        if self.tap.head == "":
            logits = select_tensor(y, "")
        if features is None:
            raise ContractError(f'the layer "{self.tap.module}" was not called', "its features cannot be read")
        return features, logits

    def _record_input(self, _layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self.active:
            if self.calls == self.tap.call:
                x = self._pool(_input_tensor(args, kwargs, self.tap.output))
                # A student needs this tensor itself, for its gradient; elsewhere later in-place changes must not show.
                self.features = x if torch.is_grad_enabled() else x.clone()
            self.calls += 1

    def _record_output(self, _layer: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
        if self.active:
            if self.calls == self.tap.call:
                # An in-place activation may follow.
                self.features = self._pool(select_tensor(output, self.tap.output)).clone()
            self.calls += 1

    def _record_logits(self, _layer: nn.Module, _args: tuple[Any, ...], output: Tensor) -> None:
        if self.active:
            if self.head_calls == self.tap.head_call:
                self.logits = _spatial_mean(output, self.tap.relu) if output.ndim == 4 else output
            self.head_calls += 1

    def _pool(self, x: Tensor) -> Tensor:
        return x.mean((2, 3)) if self.tap.pool else x


def _observe(
    module: nn.Module, example: Tensor, feature_layer: str, feature_output: str
) -> tuple[Tensor | None, list[_Call], Tap | None]:
    """One run: the output y, every call of a possible head in order, and the tap of what is declared as the feature.

    y is None where only a part of the output is declared, and none of it can be logits.
    """
    check_declaration(feature_output)
    names = {submodule: name for name, submodule in module.named_modules()}
    calls: list[_Call] = []
    numbers: dict[str, int] = {}
    taps: list[Tap] = []
    layer_name, _, suffix = feature_layer.partition(":")
    if feature_layer and (suffix not in ("", "input") or not layer_name or layer_name not in names.values()):
        raise _unknown_layer(feature_layer, layer_name, [name for name in names.values() if name])

    def record_output(layer: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
        name = names[layer]
        number = numbers[name] = numbers.get(name, -1) + 1
        if not name:
            return
        if isinstance(layer, nn.Linear) and isinstance(output, Tensor) and output.ndim == 2:
            calls.append(_Call(name, number, (output.clone(),), layer.in_features, False))
        elif isinstance(layer, nn.Conv2d) and output.ndim == 4 and _is_pointwise(layer):
            means = (_spatial_mean(output, relu=False), _spatial_mean(output, relu=True))
            calls.append(_Call(name, number, means, layer.in_channels, True))
        if name == layer_name and not suffix:
            features = select_tensor(output, feature_output, f'the layer "{name}"')
            taps.append(_layer_tap(layer_name, "output", features, number, feature_output))

    def record_input(_layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        features = _input_tensor(args, kwargs, feature_output)
        taps.append(_layer_tap(layer_name, "input", features, len(taps), feature_output))

    hook: Callable[..., Any] = record_output
    handles = [layer.register_forward_hook(hook) for layer in names]
    if suffix:
        handles.append(module.get_submodule(layer_name).register_forward_pre_hook(record_input, with_kwargs=True))
    try:
        # Not inference_mode: tensors that a network computes once and keeps could then not be used in training.
        with torch.no_grad():
            output = module(example)
    finally:
        for handle in handles:
            handle.remove()
    if feature_layer and not taps:
        raise UsageError(f'feature_layer = "{feature_layer}": the model never calls this layer', "name another layer")
    if not feature_output:
        return select_tensor(output, ""), calls, taps[-1] if taps else None
    if not feature_layer:
        taps.append(_layer_tap("", "output", select_tensor(output, feature_output), 0, feature_output))
    return find_logits(output), calls, taps[-1]


def _find_linear_head(y: Tensor, calls: list[_Call]) -> Tap | None:
    for call in reversed(calls):
        if not call.conv:
            z = call.logits[0]
            if any(_is_same(candidate, y) for candidate in (z, z.softmax(1), z.log_softmax(1))):
                return Tap(call.name, "input", False, call.name, call.dim, y.shape[1], call.number, call.number)
    return None


def _find_conv_head(y: Tensor, calls: list[_Call]) -> Tap | None:
    for call in reversed(calls):
        if call.conv:
            for relu, mean in enumerate(call.logits):
                if _is_same(mean, y):
                    tap = Tap(call.name, "input", True, call.name, call.dim, y.shape[1], call.number, call.number)
                    return replace(tap, relu=bool(relu))
    return None


def _is_same(a: Tensor, y: Tensor) -> bool:
    return a.shape == y.shape and bool((a - y).abs().max() <= TOLERANCE * y.std())


def _is_pointwise(layer: nn.Conv2d) -> bool:
    return (layer.kernel_size, layer.stride, layer.padding, layer.groups) == ((1, 1), (1, 1), (0, 0), 1)


def _spatial_mean(x: Tensor, relu: bool) -> Tensor:
    return (x.relu() if relu else x).mean((2, 3))


def _layer_tap(name: str, side: Side, x: Tensor, number: int, output: str) -> Tap:
    what = f'the {side} of "{name}"' if name else "the model's output"
    if not torch.isfinite(x).all():
        raise ContractError(f"{what} is not finite on a batch of normal noise", "check its weights")
    return Tap(name, side, _needs_pooling(x, what), None, x.shape[1], 0, number, output=output)


def _needs_pooling(x: Tensor, what: str) -> bool:
    """Whether a feature must be averaged over space. Raises UsageError for a tensor that cannot be a feature."""
    if x.ndim not in (2, 4):
        raise UsageError(
            f"{what} has shape {'x'.join(map(str, x.shape))} for two images and cannot be a feature",
            'set feature_output to ":cls" or ":mean" for tokens, or feature_layer to a (B, D) or (B, D, H, W) tensor',
        )
    return x.ndim == 4


def _input_tensor(args: tuple[Any, ...], kwargs: dict[str, Any], output: str) -> Tensor:
    return select_tensor(select_tensor((*args, *kwargs.values()), ""), output)


def _check_logits(y: Tensor) -> None:
    if bool((y >= 0).all()) and bool(((y.sum(1) - 1).abs() < TOLERANCE).all()):
        raise UsageError("the model returns probabilities, and no layer gives their logits", "return logits instead")


def _unknown_layer(feature_layer: str, name: str, names: list[str]) -> UsageError:
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.4) or names[-3:]
    return UsageError(
        f'feature_layer = "{feature_layer}": no such layer', f'nearest: {", ".join(close)}; add ":input" for its input'
    )
