"""Where a model's features and logits are taken: the rule that decides it, and the hooks that take them.

One batch of two runs in eval mode with hooks on every module; y is the model's output (a tensor, `.logits`, or the
first of a tuple). Going backwards through the calls: (1) a Linear whose 2-D output, or its softmax or log-softmax, is
y: features are its input; (2) else a 1x1 convolution whose spatial mean, possibly after ReLU, is y: features are its
input averaged over space; (3) else, where the source declares as many classes as y has columns, the user must say
`feature_layer`; (4) else y is the feature itself, averaged over space where it is 4-D.
"""

import difflib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from zoo_cli.errors import ContractError, UsageError

TOLERANCE = 1e-4
"""Two outputs are the same where max |a - b| is at most this times the standard deviation of y."""

Side = Literal["input", "output"]


@dataclass(frozen=True)
class Tap:
    """Where features (B, dim) and logits (B, classes) of a model are read.

    Features: what enters or leaves (`side`) the module of this dotted name ("": the model itself) at its call number
    `call`, averaged over space where `pool`. Logits: what leaves `head` at its call `head_call`; "" means the model's
    own output, None that there are none. `relu`: between a convolution as head and its spatial mean.
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

    @property
    def in_head(self) -> bool:
        """Whether the features are the very tensor that the head reads."""
        return self.side == "input" and self.module == self.head and self.call == self.head_call


@dataclass(frozen=True)
class _Call:
    """One call of a possible head: its logits for the batch of two, and the width of what it read."""

    name: str
    number: int
    logits: tuple[Tensor, ...]
    dim: int
    conv: bool


def find_tap(
    module: nn.Module, example: Tensor, classes: int | None, feature_layer: str = "", head: bool = True
) -> Tap:
    """Where the features of a model in eval mode are, decided on `example` (2, channels, size, size).

    `classes`: how many the source declares (None: it does not say, 0: no head). `feature_layer`: "NAME" for what
    leaves a module, "NAME:input" for what enters it. `head=False`: a last projection is part of the encoder.
    Raises UsageError where the user must say `feature_layer`, ContractError for outputs that are not finite.
    """
    wants_head = head and classes != 0
    y, calls, layer = _observe(module, example, feature_layer)
    if not torch.isfinite(y).all():
        raise ContractError("the model's output is not finite on a batch of normal noise", "check its weights")
    found = (_linear_head(y, calls) or _conv_head(y, calls)) if wants_head else None
    own = bool(wants_head and found is None and y.ndim == 2 and y.shape[1] == classes)
    if feature_layer:
        assert layer is not None
        if own:
            _check_logits(y)
            return replace(layer, head="", classes=y.shape[1])
        if found is not None:
            return replace(layer, head=found.head, classes=found.classes, head_call=found.head_call, relu=found.relu)
        return layer
    if found is not None:
        return found
    if own:
        heads = [call.name for call in calls if call.logits[0].shape == y.shape] or ["NAME"]
        raise UsageError(
            f"no layer of the model alone gives its {classes} outputs, so its features are not known",
            f'set feature_layer, e.g. "{heads[0]}:input", or head = false if the output is the feature',
        )
    return Tap("", "output", _is_map(y, "the model's output"), None, y.shape[1], 0)


class FeatureExtractor(nn.Module):
    """A model that gives `(features (B, D), logits (B, K) or None)` of images `(B, channels, size, size)`.

    In a model with softmax inside, logits are what enters that softmax. Dtypes follow autocast.
    """

    def __init__(self, module: nn.Module, tap: Tap):
        super().__init__()
        self.module = module
        self.tap = tap
        self.listener = OutputHook(module, tap)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        return self.listener.run(self.module, x)


class OutputHook:
    """Hooks on a model that keep what a tap names, while `run` runs.

    The hooks are bound methods and stay: a deep copy of the model listens with its own copy of this, and a compiled
    model sees the same hooks at every step.
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
                layer.register_forward_pre_hook(self._enters, with_kwargs=True)
            else:
                layer.register_forward_hook(self._leaves)
        if tap.head:
            module.get_submodule(tap.head).register_forward_hook(self._head_leaves)

    def run(self, module: nn.Module, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """The features and logits of images, as the tap says."""
        self.calls = self.head_calls = 0
        self.active = True
        try:
            y = module(x)
            features, logits = self.features, self.logits
        finally:
            self.active = False
            self.features = self.logits = None
        if not self.tap.module:
            features = self._pooled(_first(y))
        if self.tap.head == "":
            logits = _first(y)
        if features is None:
            raise ContractError(f'the layer "{self.tap.module}" was not called', "its features cannot be read")
        return features, logits

    def _enters(self, _layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self.active:
            if self.calls == self.tap.call:
                x = self._pooled(_entering(args, kwargs))
                # A student needs the very tensor, for its gradient; elsewhere a later in-place change must not reach.
                self.features = x if torch.is_grad_enabled() else x.clone()
            self.calls += 1

    def _leaves(self, _layer: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
        if self.active:
            if self.calls == self.tap.call:
                # An activation in place may follow.
                self.features = self._pooled(_first(output)).clone()
            self.calls += 1

    def _head_leaves(self, _layer: nn.Module, _args: tuple[Any, ...], output: Tensor) -> None:
        if self.active:
            if self.head_calls == self.tap.head_call:
                self.logits = _over_space(output, self.tap.relu) if output.ndim == 4 else output
            self.head_calls += 1

    def _pooled(self, x: Tensor) -> Tensor:
        return x.mean((2, 3)) if self.tap.pool else x


def _observe(module: nn.Module, example: Tensor, feature_layer: str) -> tuple[Tensor, list[_Call], Tap | None]:
    """One run: the output y, every call of a possible head in order, and the tap of `feature_layer` if it is said."""
    names = {submodule: name for name, submodule in module.named_modules()}
    calls: list[_Call] = []
    numbers: dict[str, int] = {}
    taps: list[Tap] = []
    wanted, _, suffix = feature_layer.partition(":")
    if feature_layer and (suffix not in ("", "input") or not wanted or wanted not in names.values()):
        raise _no_layer(feature_layer, wanted, [name for name in names.values() if name])

    def leaves(layer: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
        name = names[layer]
        number = numbers[name] = numbers.get(name, -1) + 1
        if not name:
            return
        if isinstance(layer, nn.Linear) and isinstance(output, Tensor) and output.ndim == 2:
            calls.append(_Call(name, number, (output.clone(),), layer.in_features, False))
        elif isinstance(layer, nn.Conv2d) and output.ndim == 4 and _is_pointwise(layer):
            means = (_over_space(output, False), _over_space(output, True))
            calls.append(_Call(name, number, means, layer.in_channels, True))
        if name == wanted and not suffix:
            taps.append(_layer_tap(wanted, "output", _first(output), number))

    def enters(_layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        taps.append(_layer_tap(wanted, "input", _entering(args, kwargs), len(taps)))

    hook: Callable[..., Any] = leaves
    handles = [layer.register_forward_hook(hook) for layer in names]
    if suffix:
        handles.append(module.get_submodule(wanted).register_forward_pre_hook(enters, with_kwargs=True))
    try:
        # Not inference_mode: what a network computes once and keeps would then be of no use for training a student.
        with torch.no_grad():
            y = _first(module(example))
    finally:
        for handle in handles:
            handle.remove()
    if feature_layer and not taps:
        raise UsageError(f'feature_layer = "{feature_layer}": the model never calls this layer', "name another")
    return y, calls, taps[-1] if taps else None


def _linear_head(y: Tensor, calls: list[_Call]) -> Tap | None:
    for call in reversed(calls):
        if not call.conv:
            z = call.logits[0]
            if any(_is(candidate, y) for candidate in (z, z.softmax(1), z.log_softmax(1))):
                return Tap(call.name, "input", False, call.name, call.dim, y.shape[1], call.number, call.number)
    return None


def _conv_head(y: Tensor, calls: list[_Call]) -> Tap | None:
    for call in reversed(calls):
        if call.conv:
            for relu, mean in enumerate(call.logits):
                if _is(mean, y):
                    tap = Tap(call.name, "input", True, call.name, call.dim, y.shape[1], call.number, call.number)
                    return replace(tap, relu=bool(relu))
    return None


def _is(a: Tensor, y: Tensor) -> bool:
    return a.shape == y.shape and bool((a - y).abs().max() <= TOLERANCE * y.std())


def _is_pointwise(layer: nn.Conv2d) -> bool:
    return (layer.kernel_size, layer.stride, layer.padding, layer.groups) == ((1, 1), (1, 1), (0, 0), 1)


def _over_space(x: Tensor, relu: bool) -> Tensor:
    return (x.relu() if relu else x).mean((2, 3))


def _layer_tap(name: str, side: Side, x: Tensor, number: int) -> Tap:
    text = f'what {"enters" if side == "input" else "leaves"} "{name}"'
    return Tap(name, side, _is_map(x, text), None, x.shape[1], 0, number)


def _is_map(x: Tensor, what: str) -> bool:
    """Whether a feature must be averaged over space. Raises UsageError for a tensor that can be no feature."""
    if x.ndim not in (2, 4):
        raise UsageError(
            f"{what} is {'x'.join(map(str, x.shape))} for two images, no feature",
            "set feature_layer to a layer with a (B, D) or (B, D, H, W) tensor",
        )
    return x.ndim == 4


def _first(output: Any) -> Tensor:
    """The tensor of an output: itself, its `.logits`, or the first of a tuple."""
    y = output if isinstance(output, Tensor) else getattr(output, "logits", None)
    if y is None and isinstance(output, (tuple, list)) and output:
        y = output[0]
    if not isinstance(y, Tensor):
        raise UsageError(f"the model gives {type(output).__name__}, not a tensor", "return logits or a feature")
    return y


def _entering(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    return _first((*args, *kwargs.values()))


def _check_logits(y: Tensor) -> None:
    if bool((y >= 0).all()) and bool(((y.sum(1) - 1).abs() < TOLERANCE).all()):
        raise UsageError("the model gives probabilities and no layer of it gives their logits", "return logits instead")


def _no_layer(said: str, wanted: str, names: list[str]) -> UsageError:
    close = difflib.get_close_matches(wanted, names, n=3, cutoff=0.4) or names[-3:]
    return UsageError(
        f'feature_layer = "{said}": no such layer', f'nearest: {", ".join(close)}; ":input" for its input'
    )
