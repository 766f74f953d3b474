"""Networks of several domains: one body, of which each domain has some parts of its own (paper 001, section 5).

"shared": a head. "multi-bn": also every batch norm, with its statistics, scale and bias. "adapter": also a 1x1
convolution beside every 3x3 convolution without groups, y = BN_d(conv(x) + adapter_d(x)), of the same stride, without
bias, and zero at the start. A 1x1 convolution is the centre of a 3x3 one, so both are computed as one.

`fold_state` gives the part of a domain as the state of a plain network of the base architecture.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from zoo_cli.errors import UsageError

DOMAINS, SHARED, ADAPTERS = "domains", "shared", "adapters"
"""The names of the parts of a split layer in a state dict: `NAME.domains.0.…`, `NAME.shared.…`, `NAME.adapters.0`."""


class DomainPart(nn.Module):
    """A layer of which each domain has a part of its own. `domain`: the number of the one that is run and trained."""

    domain: int = 0


class DomainLayers(DomainPart):
    """A layer (a batch norm, a head) for each domain."""

    def __init__(self, layers: Sequence[nn.Module]):
        super().__init__()
        self.domains = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.domains[self.domain](x)
        return y


class AdaptedConv(DomainPart):
    """A 3x3 convolution that all domains share, and for each a 1x1 convolution beside it, which starts at zero."""

    def __init__(self, shared: nn.Conv2d, count: int):
        super().__init__()
        self.shared = shared
        shape = (*shared.weight.shape[:2], 1, 1)
        self.adapters = nn.ParameterList([nn.Parameter(shared.weight.new_zeros(shape)) for _ in range(count)])

    def forward(self, x: Tensor) -> Tensor:
        layer = self.shared
        weight = add_to_centre(layer.weight, self.adapters[self.domain])
        return functional.conv2d(x, weight, layer.bias, layer.stride, layer.padding, layer.dilation)


@dataclass(frozen=True)
class OwnParts:
    """The layers of a plain network, by dotted name, of which each domain has its own, or an adapter beside it."""

    own: tuple[str, ...]
    adapted: tuple[str, ...]


def find_own_parts(module: nn.Module, kind: str, head: str) -> OwnParts:
    """The layers that a domain of this kind has of its own. `head`: the dotted name of the head.

    A layer that stands at several places counts at each. Raises UsageError for a network without a batch norm that
    "multi-bn" could give to a domain, or without a 3x3 convolution that "adapter" could adapt.
    """
    layers = [(name, layer) for name, layer in module.named_modules(remove_duplicate=False) if name != head]
    norms = [name for name, layer in layers if isinstance(layer, _BatchNorm)]
    adapted = [name for name, layer in layers if _is_adaptable(layer)]
    if kind == "multi-bn" and not norms:
        raise UsageError("the network has no batch norm, so multi-bn has nothing to adapt", "--multi shared needs none")
    if kind == "adapter" and not adapted:
        raise UsageError(
            "the network has no 3x3 convolution without groups, so adapter has nothing to adapt",
            "--multi multi-bn adapts batch norms" if norms else "--multi shared needs none",
        )
    own = () if kind == "shared" else tuple(norms)
    return OwnParts((*own, head), tuple(adapted) if kind == "adapter" else ())


def split_network(module: nn.Module, parts: OwnParts, heads: Sequence[nn.Module]) -> None:
    """Replace the layers of a plain network, in place, by layers with a part for each domain.

    `heads` (D,): the last of `parts.own`, for each domain. Each domain starts with a copy of the other layers.
    """
    *own, head = parts.own
    split: dict[int, DomainPart] = {}
    for name in own:
        layer = module.get_submodule(name)
        if id(layer) not in split:
            split[id(layer)] = DomainLayers([layer, *(copy.deepcopy(layer) for _ in heads[1:])])
    for name in parts.adapted:
        layer = module.get_submodule(name)
        assert isinstance(layer, nn.Conv2d)
        if id(layer) not in split:
            split[id(layer)] = AdaptedConv(layer, len(heads))
    places = [(name, split[id(module.get_submodule(name))]) for name in (*own, *parts.adapted)]
    for name, part in [*places, (head, DomainLayers(heads))]:
        parent, _, leaf = name.rpartition(".")
        setattr(module.get_submodule(parent), leaf, part)


def select_domain(module: nn.Module, domain: int) -> None:
    """Let a split network run, and train, as this domain."""
    for layer in module.modules():
        if isinstance(layer, DomainPart):
            layer.domain = domain


def fold_state(state: Mapping[str, Tensor], parts: OwnParts, domain: int) -> dict[str, Tensor]:
    """The state dict of the plain network that a split network is for a domain, from the state dict of the latter."""
    folded = dict(state)
    for name in parts.own:
        for key in [key for key in folded if key.startswith(f"{name}.{DOMAINS}.")]:
            number, _, rest = key.removeprefix(f"{name}.{DOMAINS}.").partition(".")
            value = folded.pop(key)
            if number == str(domain):
                folded[f"{name}.{rest}"] = value
    for name in parts.adapted:
        adapter = folded[f"{name}.{ADAPTERS}.{domain}"]
        for key in [key for key in folded if key.startswith(f"{name}.{ADAPTERS}.")]:
            del folded[key]
        for key in [key for key in folded if key.startswith(f"{name}.{SHARED}.")]:
            folded[f"{name}.{key.removeprefix(f'{name}.{SHARED}.')}"] = folded.pop(key)
        folded[f"{name}.weight"] = add_to_centre(folded[f"{name}.weight"], adapter)
    return folded


def add_to_centre(weight: Tensor, adapter: Tensor) -> Tensor:
    """A kernel (O, I, 3, 3) with a 1x1 kernel (O, I, 1, 1) added to its centre."""
    return weight + functional.pad(adapter, (1, 1, 1, 1))


def new_head(head: nn.Module, outputs: int) -> nn.Module:
    """A head like this one, a linear layer or a 1x1 convolution, for another number of classes, drawn at random."""
    bias = getattr(head, "bias", None) is not None
    if isinstance(head, nn.Conv2d):
        return nn.Conv2d(head.in_channels, outputs, 1, bias=bias)
    assert isinstance(head, nn.Linear)
    return nn.Linear(head.in_features, outputs, bias=bias)


def _is_adaptable(layer: nn.Module) -> bool:
    """Whether an adapter can stand beside a layer: a plain 3x3 convolution, whatever its stride, padding and dilation.

    Layers with a forward pass or a weight of their own making, and those that pad with more than zeros, are not.
    """
    return (
        isinstance(layer, nn.Conv2d)
        and type(layer).forward is nn.Conv2d.forward
        and (layer.kernel_size, layer.groups, layer.padding_mode) == ((3, 3), 1, "zeros")
        and isinstance(layer.__dict__.get("_parameters", {}).get("weight"), torch.nn.Parameter)
    )
