"""The feature side of a score: one matrix and its products, each computed once for all metrics that share it."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from zoo_cli.errors import ContractError
from zoo_cli.metrics import pairs
from zoo_cli.metrics.caching import Cached
from zoo_cli.metrics.counted_pairs import CountedPairs
from zoo_cli.metrics.kept_pairs import KeptPairs
from zoo_cli.metrics.leading import find_leading

Array = NDArray[Any]

BLOCK = 1024
# Inputs of more numbers are centred a block at a time by products that do not need all of them at once.
STREAMED = 1 << 25
# Eigenvalues of a Gram matrix are exact to about 1e-16 of the largest one. Where one below this share of it matters,
# singular values are computed from the rows themselves.
PRECISE = 1e-9


@dataclass(frozen=True)
class Spectrum:
    """The eigenvalues of the centred Gram matrix and their eigenvectors.

    `values` (R,) above zero, descending; `left` (N, R) or `right` (D, R), orthonormal columns, whichever belongs to the
    smaller Gram matrix. Centred rows are left @ diag(sqrt(values)) @ right'.
    """

    values: Array
    left: Array | None = None
    right: Array | None = None


@dataclass(frozen=True, eq=False)
class Matrix(Cached):
    """Inputs (N, D) of any precision and what follows from them without labels. All products are float64.

    `whole`: the matrix that these rows were taken from, and their indices (N,), so that its Gram matrix is reused here.
    `all_inputs`: the inputs, those of the whole if there is one: rows are copied when they are read.
    """

    all_inputs: Array
    whole: "tuple[Matrix, Array] | None" = None

    @classmethod
    def of(cls, inputs: Array) -> Self:
        """A matrix of checked inputs. Raises ContractError unless they are (N, D), real and finite."""
        if inputs.ndim != 2:
            raise ContractError(f"inputs have shape {inputs.shape}", "a score takes inputs of shape (N, D)")
        if inputs.dtype.kind not in "fiu":
            raise ContractError(f"inputs are {inputs.dtype}, not real numbers")
        _check_finite(inputs)
        return cls(inputs)

    def take(self, rows: Array) -> Self:
        """The rows at indices rows (M,)."""
        return type(self)(self.inputs, (self, rows))

    @cached_property
    def inputs(self) -> Array:
        """The rows (N, D)."""
        return self.all_inputs if self.whole is None else self.all_inputs[self.whole[1]]

    def __len__(self) -> int:
        return len(self.all_inputs if self.whole is None else self.whole[1])

    @property
    def width(self) -> int:
        """D."""
        return int(self.all_inputs.shape[1])

    @property
    def tall(self) -> bool:
        """Whether there are more rows than columns: the Gram matrix is then that of the columns (D, D)."""
        return len(self) > self.width

    @cached_property
    def constant(self) -> bool:
        """Whether all rows are equal. Stops at the first row that differs, so that it usually costs nothing."""
        rows = range(len(self)) if self.whole is None else self.whole[1]
        return all((self.all_inputs[rows[0]] == self.all_inputs[row]).all() for row in rows[1:])

    @cached_property
    def mean(self) -> Array:
        """The mean row (D,)."""
        mean: Array = self.inputs.mean(axis=0, dtype=np.float64)
        return mean

    @cached_property
    def centred(self) -> Array:
        """Rows less their mean (N, D)."""
        centred: Array = self.inputs - self.mean
        return centred

    @property
    def streamed(self) -> bool:
        """Whether the inputs, or those they were taken from, are too large to keep them centred in float64 too."""
        return self.tall and (self.inputs.size > STREAMED or (self.whole is not None and self.whole[0].streamed))

    def centred_blocks(self) -> Iterator[Array]:
        """The centred rows, BLOCK of them at a time."""
        for start in range(0, len(self), BLOCK):
            rows = slice(start, start + BLOCK)
            yield self.centred[rows] if "centred" in self.__dict__ else self.inputs[rows] - self.mean

    @property
    def gram(self) -> Array:
        """The Gram matrix of the centred rows: of columns (D, D) if `tall`, else of rows (N, N)."""
        return self.cached("gram", self._compute_gram)

    def _compute_gram(self) -> Array:
        if self.tall:
            return np.asarray(self.centred.T @ self.centred)
        block = self._block
        if block is None:
            return np.asarray(self.centred @ self.centred.T)
        means = block.mean(axis=0)
        return np.asarray(block - means - means[:, None] + means.mean())

    @cached_property
    def squared_gram(self) -> float:
        """The squared Frobenius norm of the Gram matrix. Large products are float32, summed in float64."""
        if self.is_cached("gram") or pairs.small(self.inputs):
            return float(np.vdot(self.gram, self.gram))
        if self.tall:
            gram = np.zeros((self.width, self.width))
            for block in self.centred_blocks():
                single = block.astype(np.float32)
                gram += single.T @ single
            return float(np.vdot(gram, gram))
        single = self.centred.astype(np.float32)
        products = single @ single.T
        rows = (products[start : start + BLOCK].astype(np.float64) for start in range(0, len(single), BLOCK))
        return float(sum(np.vdot(block, block) for block in rows))

    @cached_property
    def lengths(self) -> Array:
        """Squared lengths of the centred rows (N,)."""
        if not self.tall:
            return np.asarray(self.gram.diagonal())
        if self.streamed:
            return np.concatenate([np.einsum("ij,ij->i", centred, centred) for centred in self.centred_blocks()])
        lengths: Array = np.einsum("ij,ij->i", self.centred, self.centred)
        return lengths

    @cached_property
    def tilt(self) -> Array:
        """The products of the centred rows with the mean row (N,). They sum to 0."""
        block = self._block
        if self.streamed:
            return np.concatenate([centred @ self.mean for centred in self.centred_blocks()])
        if self.whole is None or block is None:
            return np.asarray(self.centred @ self.mean)
        # In terms of the whole: its centred rows less their mean m here, times its mean row plus m.
        tilt, within = self.whole[0].tilt[self.whole[1]], block.mean(axis=0)
        return np.asarray(tilt - tilt.mean() + within - within.mean())

    @cached_property
    def spectrum(self) -> Spectrum:
        """The eigendecomposition of the Gram matrix. Values below PRECISE of the largest one are imprecise."""
        values, vectors = linalg.eigh(self.gram.T, driver="evd", check_finite=False)
        kept = np.flatnonzero(values > values[-1] * len(values) * np.finfo(np.float64).eps)[::-1]
        directions = np.ascontiguousarray(vectors[:, kept])
        return Spectrum(values[kept], right=directions) if self.tall else Spectrum(values[kept], left=directions)

    @cached_property
    def exact_spectrum(self) -> Spectrum:
        """The same from the rows themselves: slower, but exact down to singular values of 8 max(N, D) eps of the
        largest."""
        left, values, right = linalg.svd(self.centred, full_matrices=False, check_finite=False)
        kept = values > values[0] * 8 * max(self.inputs.shape) * np.finfo(np.float64).eps
        if self.tall:
            return Spectrum(values[kept] ** 2, right=np.ascontiguousarray(right[kept].T))
        return Spectrum(values[kept] ** 2, left=np.ascontiguousarray(left[:, kept]))

    def scores(self, count: int | None = None) -> Array:
        """The centred rows in the basis of their largest principal components (N, count), by default all R of the
        `spectrum`, each of either sign."""
        if count is None or self.is_cached("scores") or self.spectrum.right is None:
            return self.cached("scores", self._compute_scores)[:, :count]
        return np.asarray(self.centred @ self.spectrum.right[:, :count])

    def leading_scores(self, count: int) -> Array:
        """The same without the other components, if they are not known, for less than the whole `spectrum` costs."""
        if "spectrum" in self.__dict__:
            return self.scores(count)
        return self.cached(f"leading scores {count}", lambda: self._compute_leading(count))

    def _compute_leading(self, count: int) -> Array:
        leading = find_leading(self.gram, count)
        if leading is None:
            return self.scores(count)
        values, vectors = leading
        kept = int((values[:count] > values[0] * len(values) * np.finfo(np.float64).eps).sum())
        vectors = vectors[:, :kept]
        return np.asarray(self.centred @ vectors if self.tall else vectors * np.sqrt(values[:kept]))

    def _compute_scores(self) -> Array:
        spectrum = self.spectrum
        if spectrum.right is not None:
            return np.asarray(self.centred @ spectrum.right)
        assert spectrum.left is not None
        return np.asarray(spectrum.left * np.sqrt(spectrum.values))

    def components(self, count: int) -> Array:
        """Scores (N, min(count, N, D)) of the largest principal components, each signed so that its largest loading is
        positive: Pearson over components is not invariant to their signs. Components beyond the rank are 0."""
        count = min(count, *self.inputs.shape)
        return self.cached(f"components {count}", lambda: self._compute_components(count))

    def pairs(self, *, pca: int = 0, cosine: bool = False) -> KeptPairs | CountedPairs:
        """Similarities of standardised rows, see `pairs.unit_rows`: of the inputs or their first `pca` components.
        Where they are too many to keep, they are counted."""
        return self.cached(f"pairs {pca} {cosine}", lambda: self._compute_pairs(pca, cosine))

    @cached_property
    def _block(self) -> Array | None:
        """The products of these rows in the whole, centred by its mean; None where there is no whole or it has none."""
        if self.whole is None or self.whole[0].tall:
            return None
        whole, rows = self.whole
        return whole.gram[rows][:, rows]

    def _compute_pairs(self, pca: int, cosine: bool) -> KeptPairs | CountedPairs:
        rows = pairs.unit_rows(self.components(pca) if pca else self.inputs, cosine=cosine)
        return KeptPairs(pairs.similarities(rows)) if pairs.fit_in_memory(*self.inputs.shape) else CountedPairs(rows)

    def _compute_components(self, count: int) -> Array:
        left, lengths, loadings = np.linalg.svd(self.centred, full_matrices=False)
        sign = np.sign(loadings[np.arange(count), np.abs(loadings[:count]).argmax(axis=1)])
        # Components beyond the rank hold only rounding, which standardising would magnify.
        kept = lengths[:count] > lengths[0] * max(self.inputs.shape) * np.finfo(np.float64).eps
        return np.asarray(left[:, :count] * (lengths[:count] * sign * kept))


def well_conditioned(gram: Array) -> Array | None:
    """The lower Cholesky factor of gram (M, M); None where its reciprocal condition is below PRECISE."""
    factor, share = condition(gram)
    return factor if share > PRECISE else None


def condition(gram: Array) -> tuple[Array | None, float]:
    """The lower Cholesky factor of gram (M, M) and its reciprocal condition; None and 0 where it is singular."""
    try:
        # The transpose is the same matrix, in the memory order of LAPACK.
        factor = linalg.cholesky(gram.T, lower=True, check_finite=False)
    except linalg.LinAlgError:
        return None, 0.0
    share, _ = linalg.lapack.dpocon(factor, np.abs(gram).sum(axis=0).max(), uplo="L")
    return factor, float(share)


def _check_finite(inputs: Array) -> None:
    with np.errstate(invalid="ignore", over="ignore"):
        # A sum is not finite if an entry is not. It may also overflow, so suspects are checked entry by entry.
        suspect = np.flatnonzero(~np.isfinite(inputs.sum(axis=1, dtype=np.float64)))
    for row in suspect:
        columns = np.flatnonzero(~np.isfinite(inputs[row]))
        if len(columns):
            raise ContractError(
                f"inputs hold {inputs[row, columns[0]]} (row {row}, column {columns[0]})",
                "extract this sample again, or leave it out",
            )
