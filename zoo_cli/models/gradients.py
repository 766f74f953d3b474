"""Per-sample gradients of a source's own outputs with respect to its last weight layer before the features.

The kernel of LGC (paper 001, arXiv 2102.00084, eq. 7) is Theta_ij = sum_k <dy_k(x_i)/dW, dy_k(x_j)/dW> over the outputs
k: logits, before any softmax. This module gives each sample a vector such that inner products of vectors are Theta.

The layer is the last Conv2d or Linear called on the way to the features: a residual network's last convolution (the
shortcut, if that is called after the branch), the last linear of a transformer's last block, the first of a head of two
linears. Its gradient is the sum over positions of b x', where x is the layer's input there and b the gradient of the
outputs with respect to the layer's output. torch.func differentiates the part of the network behind the layer, once for
each of

- a single number, if every output channel of the layer acts on one feature alone (through batch norm, activations,
  shortcuts, the mean over space) and the head is linear with weights V: gradients of two features then share no weight,
  and Theta is that of the one output sum_d f_d sqrt(sum_k V_kd^2) (metrics.md 3.3, for any such tail);
- the rows of V, or of its triangular factor if that has fewer, since Theta depends on V'V alone;
- the outputs themselves, if no linear head reads the features.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.func import functional_call, vjp, vmap
from torch.nn import functional

from zoo_cli.errors import UsageError
from zoo_cli.guard import guarded
from zoo_cli.models.capture import TOLERANCE, FeatureExtractor, Tap
from zoo_cli.models.loading import LoadedModel, make_example
from zoo_cli.models.projection import BLOCKS, FIRST, SECOND, Projection
from zoo_cli.models.weight_layer import (
    InputHook,
    find_weight_layer,
    input_patches,
    is_plain,
    output_positions,
    weight_parameters,
)

ROOM = 2**26
"""Numbers that one piece of the work may hold in memory."""
FORMED = 2**22
"""Up to this many numbers, a sample's gradients are formed before they are projected."""
TRIALS = 16
"""Random signs of the features that test whether a tail keeps channels apart; a wrong yes has probability 2^-16."""

Pull = Callable[[Tensor], tuple[Tensor, ...]]
Rows = Callable[[int, int], Tensor]


@dataclass(frozen=True)
class Layer:
    """The layer whose gradients are taken.

    `weights`: its number of weights P. `outputs`: gradients per sample, concatenated in its vector. `closed`: whether a
    single gradient in closed form is enough. `factors`: whether the gradient is the outer product of the layer's input
    and the gradient at its output. `positions` per sample at which the layer is applied, over all its calls.
    """

    name: str
    weights: int
    outputs: int
    closed: bool
    factors: bool
    positions: int


class Gradients:
    """Returns `(trace (B, W), total (B, W'))` of images (B, channels, size, size): their inner products are Theta.

    trace: over all outputs; total: of the sum of the outputs. A vector is the concatenated gradients, or their
    projection if that is shorter. Takes ownership of the module: its parameters no longer require gradients.
    """

    def __init__(
        self,
        module: nn.Module,
        tap: Tap,
        example: Tensor,
        gradient_layer: str = "",
        projection: Projection | None = None,
    ):
        """Find the layer on `example` (2, channels, size, size). Raises UsageError without a head or such a layer."""
        if tap.head is None:
            raise UsageError("it has no head, and LGC needs gradients of outputs", "leave it out of lgc")
        module.requires_grad_(False)
        self.projection = projection
        self.network = FeatureExtractor(module, tap)
        name, layer = find_weight_layer(self.network, example, gradient_layer)
        self.hook = InputHook(layer)
        with torch.no_grad(), self.hook.recording():
            features, logits = self.network(example)
        if any(len(z) % len(example) for z in self.hook.outputs):
            raise _mixing_error(name)
        self.shapes = [torch.Size((len(z) // len(example), *z.shape[1:])) for z in self.hook.outputs]
        self.matrix = _head_matrix(module, tap, features, logits)
        factors = is_plain(self.hook)
        apart, positions = self._examine(name, example)
        closed = self.matrix is not None and apart and factors
        self.rows = None if self.matrix is None else _reduce_rows(self.matrix, closed)
        outputs = tap.classes if self.rows is None else len(self.rows)
        size = sum(weight.numel() for weight in weight_parameters(layer).values())
        self.layer = Layer(name, size, outputs, closed, factors, positions)

    def to(self, device: torch.device) -> Self:
        """Move to a device, in place."""
        self.network.to(device)
        if self.matrix is not None and self.rows is not None:
            self.matrix, self.rows = self.matrix.to(device), self.rows.to(device)
        return self

    def width(self, outputs: int) -> int:
        """The length of the vector of this many gradients."""
        length = outputs * self.layer.weights
        return length if self.projection is None else min(length, self.projection.size)

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        layer = self.layer
        numbers = 4 * self._layer_outputs() + self.width(layer.outputs) + self.width(1)
        for count in {layer.outputs, 1}:
            if self._is_formed(count):
                numbers += 2 * layer.weights
            elif self.projection is not None:
                numbers += 4 * layer.positions * self.projection.size
        pieces = [self._compute(part) for part in torch.split(x, max(1, ROOM // numbers))]
        return torch.cat([first for first, _ in pieces]), torch.cat([second for _, second in pieces])

    def _compute(self, x: Tensor) -> tuple[Tensor, Tensor]:
        pull, inputs, y = self._forward(x)
        trace, total = self.rows, y.new_ones(1, y.shape[1])
        if self.matrix is not None:
            total = self.matrix.sum(0, keepdim=True)

        def identity(start: int, stop: int) -> Tensor:
            # In slices, not as one matrix: a head may have twenty thousand outputs.
            return functional.one_hot(torch.arange(start, stop, device=x.device), y.shape[1]).to(y.dtype)

        rows = identity if trace is None else _slices(trace)
        return (
            self._vectors(pull, inputs, rows, self.layer.outputs, len(x)),
            self._vectors(pull, inputs, _slices(total), 1, len(x)),
        )

    def _forward(self, x: Tensor) -> tuple[Pull, tuple[Tensor, ...], Tensor]:
        """The pullback of cotangents (M, n, D) of y to the layer's outputs, the layer's inputs, and y (n, D).

        y is the features if a linear head reads them, else the outputs.
        """
        shifts = tuple(x.new_zeros(shape[0] * len(x), *shape[1:]) for shape in self.shapes)

        def tail(*shifts: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
            with self.hook.recording(shifts):
                # A clone, because a network may change its input, which torch.func forbids.
                features, logits = self.network(x.clone())
            return features if self.matrix is not None else logits, tuple(self.hook.inputs)

        with torch.enable_grad():
            result: tuple[Any, ...] = vjp(tail, *shifts, has_aux=True)
        y, pull, inputs = result
        return vmap(pull), inputs, y.detach()

    def _vectors(self, pull: Pull, inputs: tuple[Tensor, ...], rows: Rows, count: int, n: int) -> Tensor:
        """The vectors (n, width) of `count` outputs, each a row of cotangents."""
        projection = self.projection
        if projection is None or count * self.layer.weights <= projection.size:
            return torch.cat([g.flatten(1) for _, g in self._gradients(pull, inputs, rows, count, n)], 1)
        if self._is_formed(count):
            sums = inputs[0].new_zeros(BLOCKS, projection.size // BLOCKS, n)
            for start, gradients in self._gradients(pull, inputs, rows, count, n):
                projection.add(sums, gradients.flatten(1).T, FIRST, start * self.layer.weights)
            return projection.to_vectors(sums)
        x = self._input_patches(inputs, n)
        first = x.new_zeros(BLOCKS, projection.size // BLOCKS, x.shape[2], n, x.shape[1])
        second = torch.zeros_like(first)
        projection.add(second.flatten(2), x.permute(3, 2, 0, 1).flatten(1), SECOND, 0)
        for start, returned in self._returned_gradients(pull, rows, count, n, 0):
            for group, b in enumerate(returned.permute(3, 0, 4, 1, 2)):
                offset = (group * count + start) * b.shape[1]
                projection.add(first[:, :, group].flatten(2), b.flatten(2).flatten(0, 1), FIRST, offset)
        return projection.to_vectors(projection.combine(first, second))

    def _gradients(
        self, pull: Pull, inputs: tuple[Tensor, ...], rows: Rows, count: int, n: int
    ) -> Iterator[tuple[int, Tensor]]:
        """Gradients (n, M, P) of M outputs at a time, with the number of the first of them."""
        if self.layer.factors:
            x = self._input_patches(inputs, n)
            for start, returned in self._returned_gradients(pull, rows, count, n, self.layer.weights):
                yield start, torch.einsum("mnlgo,nlgp->nmgop", returned, x).flatten(2)
            return
        layer, parameters = self.hook.layer, weight_parameters(self.hook.layer)

        def gradient(x: Tensor, returned: Tensor) -> Tensor:
            result: tuple[Any, ...] = vjp(lambda weights: functional_call(layer, weights, (x,)), parameters)
            return torch.cat([part.flatten(1) for part in vmap(result[1])(returned)[0].values()], 1)

        step = self._step(n, self.layer.weights)
        for start in range(0, count, step):
            parts = pull(rows(start, min(start + step, count))[:, None].expand(-1, n, -1))
            per_call = [
                vmap(gradient, in_dims=(0, 1))(x.reshape(n, -1, *x.shape[1:]), b.reshape(len(b), n, -1, *b.shape[2:]))
                for x, b in zip(inputs, parts, strict=True)
            ]
            yield start, torch.stack(per_call).sum(0)

    def _returned_gradients(
        self, pull: Pull, rows: Rows, count: int, n: int, further: int
    ) -> Iterator[tuple[int, Tensor]]:
        """Gradients at the layer's output (M, n, L, G, O) of M outputs at a time, with the number of the first of them.

        `further`: numbers per sample that the caller derives from each of the M.
        """
        step = self._step(n, further)
        for start in range(0, count, step):
            parts = pull(rows(start, min(start + step, count))[:, None].expand(-1, n, -1))
            yield start, self._output_positions(parts, n)

    def _step(self, n: int, further: int) -> int:
        return max(1, ROOM // (n * (4 * self._layer_outputs() + further)))

    def _is_formed(self, count: int) -> bool:
        """Whether gradients are formed, instead of projected as outer products, whose projections vary more."""
        return self.projection is None or not self.layer.factors or count * self.layer.weights <= FORMED

    def _input_patches(self, inputs: tuple[Tensor, ...], n: int) -> Tensor:
        """The layer's inputs (n, L, G, I), with the positions of all calls concatenated."""
        return _concatenate([input_patches(self.hook.layer, x, n) for x in inputs], 1)

    def _output_positions(self, parts: tuple[Tensor, ...], n: int) -> Tensor:
        return _concatenate([output_positions(self.hook.layer, part, n) for part in parts], 2)

    def _examine(self, name: str, example: Tensor) -> tuple[bool, int]:
        """Whether the tail keeps the layer's channels apart, and the layer's positions per sample.

        Raises UsageError if the outputs of one sample depend on the layer's outputs for another.
        """
        n = len(example)
        pull, _, y = self._forward(example)
        signs = torch.randn(TRIALS, y.shape[1], generator=torch.Generator().manual_seed(0)).sign().to(y)
        single = self._output_positions(pull(torch.eye(n).to(y)[:, :, None] * signs[0]), n).abs()
        across = single * (1 - torch.eye(n).to(y))[:, :, None, None, None]
        if across.max() > TOLERANCE * single.max():
            raise _mixing_error(name)
        plus = self._output_positions(pull(torch.ones_like(y)[None]), n)
        varied = self._output_positions(pull(signs[:, None].expand(-1, n, -1)), n)
        # A channel that acts on one feature alone takes the sign of that feature, at every position.
        off = torch.minimum((varied - plus).abs().amax((1, 2)), (varied + plus).abs().amax((1, 2)))
        return bool(plus.any()) and bool(off.max() <= TOLERANCE * plus.abs().max()), plus.shape[2]

    def _layer_outputs(self) -> int:
        """The size of the layer's output per sample, over all calls."""
        return sum(shape.numel() for shape in self.shapes)


def build_gradients(model: LoadedModel, projection: Projection | None) -> Gradients:
    """The gradients of a loaded source, at its `gradient_layer` or the layer that the rule finds.

    Raises UsageError if it has no head or no weight layer before its features, or cannot be differentiated.
    """
    example = make_example(model.preprocessing)
    with guarded(f"source {model.source.name}: its gradients cannot be taken", "set gradient_layer to another layer"):
        try:
            return Gradients(model.module, model.tap, example, model.source.gradient_layer, projection)
        except UsageError as error:
            raise UsageError(f"source {model.source.name}: {error.message}", error.hint) from None


def _head_matrix(module: nn.Module, tap: Tap, features: Tensor, logits: Tensor) -> Tensor | None:
    """The weights V (K, D) of the head if the logits are V f + b of the features f, else None."""
    head = module.get_submodule(tap.head) if tap.head and tap.in_head else None
    if tap.relu or not isinstance(head, (nn.Conv2d, nn.Linear)):
        return None
    matrix = head.weight.detach().flatten(1).clone()
    product = functional.linear(features, matrix, head.bias)
    return matrix if (product - logits).abs().max() <= TOLERANCE * logits.std() else None


def _reduce_rows(matrix: Tensor, closed: bool) -> Tensor:
    """The fewest rows (M, D) that give the same kernel as the head's weights (K, D)."""
    if closed:
        lengths: Tensor = torch.linalg.vector_norm(matrix, dim=0, keepdim=True)
        return lengths
    if len(matrix) <= matrix.shape[1]:
        return matrix
    # Of all R with R'R = V'V, the one without a negative diagonal entry: the same on every machine.
    upper: Tensor = torch.linalg.qr(matrix, mode="r").R
    signed: Tensor = upper * torch.where(upper.diagonal() < 0, -1.0, 1.0).to(upper)[:, None]
    return signed


def _mixing_error(name: str) -> UsageError:
    return UsageError(f'"{name}" or a later layer mixes the samples of a batch', "set gradient_layer to another layer")


def _concatenate(parts: list[Tensor], dim: int) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim)


def _slices(rows: Tensor) -> Rows:
    return lambda start, stop: rows[start:stop]
