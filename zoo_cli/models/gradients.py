"""Per-sample gradients of a source's own outputs with respect to its last weight layer before the features.

The kernel of LGC (paper 001, arXiv 2102.00084, eq. 7) is Theta_ij = sum_k <dy_k(x_i)/dW, dy_k(x_j)/dW> over the outputs
k: logits, before any softmax. Here each sample gets a vector whose inner products are Theta.

The layer is the last Conv2d or Linear that is called on the way to the features: a residual network's last convolution
(the shortcut, where that is called after the branch), the last linear of a transformer's last block, the first of a
head of two linears. Its gradient is the sum over positions of b x', of what enters the layer there, x, and what comes
back to it from the outputs, b. torch.func differentiates the part of the network behind the layer, once for each of

- one number, where every channel that leaves the layer acts on one feature alone (through batch norm, activations,
  shortcuts, the mean over space) and the head is linear with weights V: gradients of two features then share no weight,
  and Theta is that of the one output sum_d f_d sqrt(sum_k V_kd^2) (metrics.md 3.3, for any such tail);
- the rows of V, or of its triangular factor where that has fewer, since Theta depends on V'V alone;
- the outputs themselves, where a linear head does not read the features.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vjp, vmap
from torch.nn import functional

from zoo_cli.errors import UsageError
from zoo_cli.models.capture import TOLERANCE, FeatureExtractor, Tap
from zoo_cli.models.loading import LoadedModel
from zoo_cli.models.projection import BLOCKS, FIRST, SECOND, Projection
from zoo_cli.models.third_party import guarded
from zoo_cli.models.weight_layer import InputHook, by_position, entering, is_plain, last, weights

ROOM = 2**26
"""Numbers that one piece of the work may hold at a time."""
FORMED = 2**22
"""Numbers up to which a sample's gradients are written out before they are projected."""
TRIALS = 16
"""Random signs of the features that tell whether a tail keeps channels apart: one that does not passes with 2^-16."""

Pull = Callable[[Tensor], tuple[Tensor, ...]]
Rows = Callable[[int, int], Tensor]


@dataclass(frozen=True)
class Layer:
    """The layer whose `weights` P the gradients are of.

    `outputs`: gradients a sample, which stand side by side in its vector. `closed`: one of them says it all.
    `factors`: a plain layer, whose gradient is the outer product of what enters and what comes back. `positions` of a
    sample at which it works, over all its calls.
    """

    name: str
    weights: int
    outputs: int
    closed: bool
    factors: bool
    positions: int


class Gradients:
    """Gives `(trace (B, W), total (B, W'))` of images (B, channels, size, size): vectors with Theta as inner products.

    trace: over all outputs; total: of the one output that is their sum. A vector is the gradients side by side, or
    their projection where that is shorter. Takes the module over: none of its parameters asks for gradients any more.
    """

    def __init__(
        self,
        module: nn.Module,
        tap: Tap,
        example: Tensor,
        gradient_layer: str = "",
        projection: Projection | None = None,
    ):
        """Decided on `example` (2, channels, size, size). Raises UsageError where there is no head or no such layer."""
        if tap.head is None:
            raise UsageError("it has no head, and LGC needs gradients of outputs", "leave it out of lgc")
        module.requires_grad_(False)
        self.projection = projection
        self.network = FeatureExtractor(module, tap)
        name, layer = last(self.network, example, gradient_layer)
        self.spy = InputHook(layer)
        with torch.no_grad(), self.spy.listening():
            features, logits = self.network(example)
        if any(len(z) % len(example) for z in self.spy.outputs):
            raise _mixing(name)
        self.shapes = [torch.Size((len(z) // len(example), *z.shape[1:])) for z in self.spy.outputs]
        self.matrix = _head_matrix(module, tap, features, logits)
        factors = is_plain(self.spy)
        apart, positions = self._examine(name, example)
        closed = self.matrix is not None and apart and factors
        self.rows = None if self.matrix is None else _rows(self.matrix, closed)
        outputs = tap.classes if self.rows is None else len(self.rows)
        size = sum(weight.numel() for weight in weights(layer).values())
        self.layer = Layer(name, size, outputs, closed, factors, positions)

    def to(self, device: torch.device) -> "Gradients":
        """The same on a device."""
        self.network.to(device)
        if self.matrix is not None and self.rows is not None:
            self.matrix, self.rows = self.matrix.to(device), self.rows.to(device)
        return self

    def width(self, outputs: int) -> int:
        """The length of a vector of so many gradients."""
        length = outputs * self.layer.weights
        return length if self.projection is None else min(length, self.projection.size)

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        layer = self.layer
        numbers = 4 * self._returning() + self.width(layer.outputs) + self.width(1)
        for count in {layer.outputs, 1}:
            if self._formed(count):
                numbers += 2 * layer.weights
            elif self.projection is not None:
                numbers += 4 * layer.positions * self.projection.size
        pieces = [self._piece(part) for part in torch.split(x, max(1, ROOM // numbers))]
        return torch.cat([first for first, _ in pieces]), torch.cat([second for _, second in pieces])

    def _piece(self, x: Tensor) -> tuple[Tensor, Tensor]:
        pull, entered, y = self._forward(x)
        trace, total = self.rows, y.new_ones(1, y.shape[1])
        if self.matrix is not None:
            total = self.matrix.sum(0, keepdim=True)

        def identity(start: int, stop: int) -> Tensor:
            # Not as one matrix: a head may have twenty thousand outputs.
            return functional.one_hot(torch.arange(start, stop, device=x.device), y.shape[1]).to(y.dtype)

        rows = identity if trace is None else _slices(trace)
        return (
            self._vectors(pull, entered, rows, self.layer.outputs, len(x)),
            self._vectors(pull, entered, _slices(total), 1, len(x)),
        )

    def _forward(self, x: Tensor) -> tuple[Pull, tuple[Tensor, ...], Tensor]:
        """The way back to the layer of cotangents (M, n, D) of y, what entered the layer, and y (n, D) itself: the
        features where a linear head reads them, else the outputs."""
        shifts = tuple(x.new_zeros(shape[0] * len(x), *shape[1:]) for shape in self.shapes)

        def tail(*shifts: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
            with self.spy.listening(shifts):
                # A clone, because a network may change its input, which torch.func forbids.
                features, logits = self.network(x.clone())
            return features if self.matrix is not None else logits, tuple(self.spy.inputs)

        with torch.enable_grad():
            found: tuple[Any, ...] = vjp(tail, *shifts, has_aux=True)
        y, pull, entered = found
        return vmap(pull), entered, y.detach()

    def _vectors(self, pull: Pull, entered: tuple[Tensor, ...], rows: Rows, count: int, n: int) -> Tensor:
        """The vectors (n, width) of `count` outputs, each a row of cotangents."""
        projection = self.projection
        if projection is None or count * self.layer.weights <= projection.size:
            return torch.cat([g.flatten(1) for _, g in self._gradients(pull, entered, rows, count, n)], 1)
        if self._formed(count):
            sums = entered[0].new_zeros(BLOCKS, projection.size // BLOCKS, n)
            for start, gradients in self._gradients(pull, entered, rows, count, n):
                projection.add(sums, gradients.flatten(1).T, FIRST, start * self.layer.weights)
            return projection.vectors(sums)
        x = self._entering(entered, n)
        first = x.new_zeros(BLOCKS, projection.size // BLOCKS, x.shape[2], n, x.shape[1])
        second = torch.zeros_like(first)
        projection.add(second.flatten(2), x.permute(3, 2, 0, 1).flatten(1), SECOND, 0)
        for start, back in self._returned(pull, rows, count, n, 0):
            for group, b in enumerate(back.permute(3, 0, 4, 1, 2)):
                place = (group * count + start) * b.shape[1]
                projection.add(first[:, :, group].flatten(2), b.flatten(2).flatten(0, 1), FIRST, place)
        return projection.vectors(projection.outer(first, second))

    def _gradients(
        self, pull: Pull, entered: tuple[Tensor, ...], rows: Rows, count: int, n: int
    ) -> Iterator[tuple[int, Tensor]]:
        """Gradients (n, M, P) of M outputs at a time, from the output of this number on."""
        if self.layer.factors:
            x = self._entering(entered, n)
            for start, back in self._returned(pull, rows, count, n, self.layer.weights):
                yield start, torch.einsum("mnlgo,nlgp->nmgop", back, x).flatten(2)
            return
        layer, parameters = self.spy.layer, weights(self.spy.layer)

        def gradient(x: Tensor, back: Tensor) -> Tensor:
            found: tuple[Any, ...] = vjp(lambda said: functional_call(layer, said, (x,)), parameters)
            return torch.cat([each.flatten(1) for each in vmap(found[1])(back)[0].values()], 1)

        step = self._step(n, self.layer.weights)
        for start in range(0, count, step):
            parts = pull(rows(start, min(start + step, count))[:, None].expand(-1, n, -1))
            each_call = [
                vmap(gradient, in_dims=(0, 1))(x.reshape(n, -1, *x.shape[1:]), b.reshape(len(b), n, -1, *b.shape[2:]))
                for x, b in zip(entered, parts, strict=True)
            ]
            yield start, torch.stack(each_call).sum(0)

    def _returned(self, pull: Pull, rows: Rows, count: int, n: int, further: int) -> Iterator[tuple[int, Tensor]]:
        """What comes back to the layer (M, n, L, G, O) from M outputs at a time; `further` numbers are made of each."""
        step = self._step(n, further)
        for start in range(0, count, step):
            parts = pull(rows(start, min(start + step, count))[:, None].expand(-1, n, -1))
            yield start, self._leaving(parts, n)

    def _step(self, n: int, further: int) -> int:
        return max(1, ROOM // (n * (4 * self._returning() + further)))

    def _formed(self, count: int) -> bool:
        """Whether gradients are written out, and not projected as outer products, whose projections vary more."""
        return self.projection is None or not self.layer.factors or count * self.layer.weights <= FORMED

    def _entering(self, entered: tuple[Tensor, ...], n: int) -> Tensor:
        """What entered the layer (n, L, G, I), positions of all calls side by side."""
        return _joined([entering(self.spy.layer, each, n) for each in entered], 1)

    def _leaving(self, parts: tuple[Tensor, ...], n: int) -> Tensor:
        return _joined([by_position(self.spy.layer, each, n) for each in parts], 2)

    def _examine(self, name: str, example: Tensor) -> tuple[bool, int]:
        """Whether the tail keeps the layer's channels apart, and the layer's positions a sample.

        Raises UsageError where the outputs of a sample reach back to the place of another.
        """
        n = len(example)
        pull, _, y = self._forward(example)
        signs = torch.randn(TRIALS, y.shape[1], generator=torch.Generator().manual_seed(0)).sign().to(y)
        single = self._leaving(pull(torch.eye(n).to(y)[:, :, None] * signs[0]), n).abs()
        across = single * (1 - torch.eye(n).to(y))[:, :, None, None, None]
        if across.max() > TOLERANCE * single.max():
            raise _mixing(name)
        plus = self._leaving(pull(torch.ones_like(y)[None]), n)
        varied = self._leaving(pull(signs[:, None].expand(-1, n, -1)), n)
        # A channel that acts on one feature alone takes on the sign of that feature, wherever it stands in the image.
        off = torch.minimum((varied - plus).abs().amax((1, 2)), (varied + plus).abs().amax((1, 2)))
        return bool(plus.any()) and bool(off.max() <= TOLERANCE * plus.abs().max()), plus.shape[2]

    def _returning(self) -> int:
        """The numbers that leave the layer, a sample."""
        return sum(shape.numel() for shape in self.shapes)


def find(model: LoadedModel, projection: Projection | None) -> Gradients:
    """The gradients of a loaded source, as its `gradient_layer` says or the rule finds.

    Raises UsageError where it has no head or no weight layer before its features, or cannot be differentiated.
    """
    said = model.preprocessing
    shape = (2, said.channels, said.input_size, said.input_size)
    example = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    with guarded(f"source {model.source.name}: its gradients cannot be taken", "set gradient_layer to another layer"):
        try:
            return Gradients(model.module, model.tap, example, model.source.gradient_layer, projection)
        except UsageError as error:
            raise UsageError(f"source {model.source.name}: {error.message}", error.hint) from None


def _head_matrix(module: nn.Module, tap: Tap, features: Tensor, logits: Tensor) -> Tensor | None:
    """The weights V (K, D) of the head, where logits are V f + b of the features; else None."""
    head = module.get_submodule(tap.head) if tap.head and tap.in_head else None
    if tap.relu or not isinstance(head, (nn.Conv2d, nn.Linear)):
        return None
    matrix = head.weight.detach().flatten(1).clone()
    again = functional.linear(features, matrix, head.bias)
    return matrix if (again - logits).abs().max() <= TOLERANCE * logits.std() else None


def _rows(matrix: Tensor, closed: bool) -> Tensor:
    """Rows (M, D) with as much to say as the head's weights (K, D), as few as can be."""
    if closed:
        lengths: Tensor = torch.linalg.vector_norm(matrix, dim=0, keepdim=True)
        return lengths
    if len(matrix) <= matrix.shape[1]:
        return matrix
    # Of all R with R'R = V'V the one with no negative diagonal: the same on every machine.
    upper: Tensor = torch.linalg.qr(matrix, mode="r").R
    signed: Tensor = upper * torch.where(upper.diagonal() < 0, -1.0, 1.0).to(upper)[:, None]
    return signed


def _mixing(name: str) -> UsageError:
    return UsageError(f'"{name}" or what follows mixes the samples of a batch', "set gradient_layer to another layer")


def _joined(parts: list[Tensor], dim: int) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim)


def _slices(rows: Tensor) -> Rows:
    return lambda start, stop: rows[start:stop]
