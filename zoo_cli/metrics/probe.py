"""What a metric reads: one source on the probe set."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from zoo_cli.errors import ContractError, Undefined
from zoo_cli.metrics.labels import Classes
from zoo_cli.metrics.matrix import Matrix, Spectrum

Array = NDArray[Any]

PER_SAMPLE = ("logits", "probs", "gradients_sum", "reference")
"""The further arrays with one row per sample."""


@dataclass(frozen=True, eq=False)
class Probe:
    """One source on the probe set: its inputs, the labels, and the further arrays that some metrics need.

    `matrix`: the inputs (N, D), features, probabilities or gradients, and the products of them that metrics share;
    `target`: the label side, shared by all sources. `logits`, `probs` (N, K); `gradients_sum` (N, P);
    `projected_gradients`: for which outputs, "trace" or "sum", the gradients are projected; `reference` (N, D'):
    features of a network trained on the target; `source_means` (K, D), `source_counts` (K,): the source's own classes.
    `name`: the source's. A metric adds to `notes` what a reader must know about the value, machine readable.
    """

    matrix: Matrix
    target: Classes
    name: str = ""
    logits: Array | None = None
    probs: Array | None = None
    gradients_sum: Array | None = None
    projected_gradients: tuple[str, ...] = ()
    reference: Array | None = None
    source_means: Array | None = None
    source_counts: Array | None = None
    notes: list[str] = field(default_factory=list)
    further_matrices: dict[str, Matrix] = field(default_factory=dict)

    @classmethod
    def of(cls, inputs: Array, labels: Array | Classes, *, name: str = "", **further: Any) -> Self:
        """A checked probe of inputs (N, D) and labels (N,), or of an existing label side.

        Raises ContractError for arrays that no metric can read, with row and column of a value that is not finite.
        """
        target = labels if isinstance(labels, Classes) else Classes.of(labels)
        matrix = Matrix.of(inputs)
        for kind, array in {"inputs": inputs, **{key: further.get(key) for key in PER_SAMPLE}}.items():
            if array is not None and (array.ndim != 2 or len(array) != len(target)):
                raise ContractError(
                    f"{kind} of shape {array.shape} do not match {len(target)} labels",
                    f"a score takes {kind} (N, D) and labels (N,)",
                )
        return cls(matrix, target, name, **further)

    @property
    def inputs(self) -> Array:
        """Features, probabilities or gradients (N, D)."""
        return self.matrix.inputs

    @property
    def size(self) -> int:
        """N."""
        return len(self.target)

    def take(self, rows: Array, target: Classes | None = None) -> Self:
        """The sub-probe of the samples at rows (M,), indices. `target`: its label side, where it exists already."""
        arrays = {key: value[rows] for key in PER_SAMPLE if (value := getattr(self, key)) is not None}
        target = self.target.take(rows) if target is None else target
        further = {key: matrix.take(rows) for key, matrix in self.further_matrices.items()}
        matrix = self.matrix.take(rows)
        return replace(self, matrix=matrix, target=target, notes=[], further_matrices=further, **arrays)

    def with_labels(self, target: Classes) -> Self:
        """The same samples with other labels. Whatever is computed without labels is shared."""
        return replace(self, target=target, notes=[])

    def further_matrix(self, name: str) -> Matrix:
        """A further array with one row per sample as a matrix, whose products are shared as those of the inputs are."""
        if name not in self.further_matrices:
            self.further_matrices[name] = Matrix(getattr(self, name))
        return self.further_matrices[name]

    def require_classes(self) -> Classes:
        """The label side, for a metric that compares inputs with labels.

        Raises Undefined: `too_few_examples` below three samples, `single_class`, and `constant_features` where all
        rows are equal.
        """
        if self.size < 3:
            raise Undefined("too_few_examples")
        if len(self.target.counts) == 1:
            raise Undefined("single_class")
        if self.matrix.constant:
            raise Undefined("constant_features")
        return self.target

    def require_pairs(self) -> Classes:
        """As `require_classes`, and Undefined `no_same_class_pair` where no two samples share a class."""
        target = self.require_classes()
        if target.same_pairs == 0:
            raise Undefined("no_same_class_pair")
        return target

    @cached_property
    def sums(self) -> Array:
        """The sums of the centred inputs of each class (C, D)."""
        if self.matrix.streamed:
            return self.target.sums_of_blocks(self.matrix.centred_blocks())
        return self.target.sums(self.matrix.centred)

    @cached_property
    def class_gram(self) -> Array:
        """The products of those sums with the centred inputs (C, N). Where the inputs have at least as many columns as
        rows, they come from the Gram matrix."""
        if self.matrix.tall:
            return np.asarray(self.sums @ self.matrix.centred.T)
        return self.target.sums(self.matrix.gram)

    def projected(self, spectrum: Spectrum) -> Array:
        """The one-hot columns of the labels on the left singular vectors of the centred inputs (R, C)."""
        if spectrum.left is not None:
            return np.asarray(self.target.sums(spectrum.left).T)
        return np.asarray((self.sums @ spectrum.right).T / np.sqrt(spectrum.values)[:, None])

    @property
    def squared_gram(self) -> float:
        """See `Matrix.squared_gram`."""
        return self.matrix.squared_gram

    @property
    def lengths(self) -> Array:
        """See `Matrix.lengths`."""
        return self.matrix.lengths

    @property
    def tilt(self) -> Array:
        """See `Matrix.tilt`."""
        return self.matrix.tilt

    @cached_property
    def squared_sums(self) -> float:
        """The squared lengths of the class sums of the centred inputs, added up."""
        if self.matrix.tall:
            return float(np.vdot(self.sums, self.sums))
        return float(self.class_gram[self.target.codes, np.arange(self.size)].sum())
