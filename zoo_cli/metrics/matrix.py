"""The feature side of a score: one matrix, and the products of it that several metrics share, each computed once."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from zoo_cli.errors import ContractError
from zoo_cli.metrics import pairs

Array = NDArray[Any]

BLOCK = 1024
# An eigenvalue of a Gram matrix is known to about 1e-16 of the largest one: below this share of it, singular values
# are found from the rows themselves.
KNOWN = 1e-9


@dataclass(frozen=True)
class Spectrum:
    """The eigenvalues of the centred Gram matrix, and the directions that go with them.

    `values` (R,) above zero, descending; `left` (N, R) or `right` (D, R), orthonormal columns: the side on which the
    Gram matrix is the smaller one. Centred rows are left @ diag(sqrt(values)) @ right'.
    """

    values: Array
    left: Array | None = None
    right: Array | None = None


@dataclass(frozen=True, eq=False)
class Pairs:
    """The similarities of all pairs i < j of standardised rows, row by row (N(N-1)/2,)."""

    values: Array

    @cached_property
    def ordered(self) -> Array:
        """The same, ascending."""
        return np.sort(self.values)

    @cached_property
    def variance(self) -> float:
        """The sum of squared deviations of their mid-ranks; 0 where all are equal."""
        return pairs.rank_variance(self.ordered)


@dataclass(frozen=True, eq=False)
class Matrix:
    """Inputs (N, D) of any precision, and what is known of them without labels. All products are float64.

    `whole`: the matrix of which these are rows, and which of them (N,), so that its Gram matrix serves here too.
    """

    inputs: Array
    whole: "tuple[Matrix, Array] | None" = None

    @classmethod
    def of(cls, inputs: Array) -> "Matrix":
        """Checked inputs. Raises ContractError for arrays that are no matrix, and names a value that is not finite."""
        if inputs.ndim != 2:
            raise ContractError(f"inputs of shape {inputs.shape} are no matrix", "a score takes inputs (N, D)")
        if inputs.dtype.kind not in "fiu":
            raise ContractError(f"inputs are {inputs.dtype}, not real numbers")
        _check_finite(inputs)
        return cls(inputs)

    def take(self, rows: Array) -> "Matrix":
        """Some of its rows (M,): indices."""
        return Matrix(self.inputs[rows], (self, rows))

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def width(self) -> int:
        """D."""
        return int(self.inputs.shape[1])

    @property
    def tall(self) -> bool:
        """Whether the Gram matrix is that of the columns (D, D): more rows than columns."""
        return len(self) > self.width

    @cached_property
    def constant(self) -> bool:
        """Whether all rows are equal. Stops at the first row that differs: no pass over the array in the usual case."""
        return all(np.array_equal(self.inputs[0], row) for row in self.inputs[1:])

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

    @cached_property
    def gram(self) -> Array:
        """The Gram matrix of the centred rows: of columns (D, D) where it is `tall`, else of rows (N, N)."""
        if self.tall:
            return np.asarray(self.centred.T @ self.centred)
        block = self._block
        if block is None:
            return np.asarray(self.centred @ self.centred.T)
        means = block.mean(axis=0)
        return np.asarray(block - means - means[:, None] + means.mean())

    @cached_property
    def squared_gram(self) -> float:
        """The squared Frobenius norm of the Gram matrix. Large products are float32, added up in float64."""
        if "gram" in self.__dict__ or pairs.small(self.inputs):
            return float(np.vdot(self.gram, self.gram))
        single = self.centred.astype(np.float32)
        if self.tall:
            blocks = (single[start : start + BLOCK] for start in range(0, len(single), BLOCK))
            gram = np.zeros((self.width, self.width))
            for block in blocks:
                gram += block.T @ block
            return float(np.vdot(gram, gram))
        products = single @ single.T
        rows = (products[start : start + BLOCK].astype(np.float64) for start in range(0, len(single), BLOCK))
        return float(sum(np.vdot(block, block) for block in rows))

    @cached_property
    def lengths(self) -> Array:
        """Squared lengths of the centred rows (N,)."""
        if not self.tall:
            return np.asarray(self.gram.diagonal())
        lengths: Array = np.einsum("ij,ij->i", self.centred, self.centred)
        return lengths

    @cached_property
    def tilt(self) -> Array:
        """The products of the centred rows with the mean row (N,). They sum to 0."""
        block = self._block
        if self.whole is None or block is None:
            return np.asarray(self.centred @ self.mean)
        # Of the whole: centred rows less their mean m here, times its mean row plus m.
        tilt, within = self.whole[0].tilt[self.whole[1]], block.mean(axis=0)
        return np.asarray(tilt - tilt.mean() + within - within.mean())

    @cached_property
    def spectrum(self) -> Spectrum:
        """The eigendecomposition of the Gram matrix. Values below KNOWN of the largest one are not known well."""
        values, vectors = linalg.eigh(self.gram.T, driver="evd", check_finite=False)
        kept = np.flatnonzero(values > values[-1] * len(values) * np.finfo(np.float64).eps)[::-1]
        found = np.ascontiguousarray(vectors[:, kept])
        return Spectrum(values[kept], right=found) if self.tall else Spectrum(values[kept], left=found)

    @cached_property
    def exact_spectrum(self) -> Spectrum:
        """The same from the rows themselves: slower, and exact down to singular values of 8 max(N, D) eps of the
        largest."""
        left, values, right = linalg.svd(self.centred, full_matrices=False, check_finite=False)
        kept = values > values[0] * 8 * max(self.inputs.shape) * np.finfo(np.float64).eps
        if self.tall:
            return Spectrum(values[kept] ** 2, right=np.ascontiguousarray(right[kept].T))
        return Spectrum(values[kept] ** 2, left=np.ascontiguousarray(left[:, kept]))

    @cached_property
    def _all_scores(self) -> Array:
        found = self.spectrum
        if found.right is not None:
            return np.asarray(self.centred @ found.right)
        assert found.left is not None
        return np.asarray(found.left * np.sqrt(found.values))

    def scores(self, count: int | None = None) -> Array:
        """The centred rows in the basis of their largest principal components (N, count), all R of them by default, of
        any sign, by the `spectrum`."""
        if count is None or "_all_scores" in self.__dict__ or self.spectrum.right is None:
            return self._all_scores[:, :count]
        return np.asarray(self.centred @ self.spectrum.right[:, :count])

    def components(self, count: int) -> Array:
        """Scores (N, min(count, N, D)) of the largest principal components, each signed so that its largest loading is
        positive: Pearson over components is not invariant to their signs. Components beyond the rank are 0."""
        count = min(count, *self.inputs.shape)
        key = f"components {count}"
        if key not in self.__dict__:
            self.__dict__[key] = self._components(count)
        scores: Array = self.__dict__[key]
        return scores

    def pairs(self, *, pca: int = 0, cosine: bool = False) -> Pairs:
        """Similarities of standardised rows, see `pairs.unit_rows`, of the inputs or of so many components."""
        key = f"pairs {pca} {cosine}"
        if key not in self.__dict__:
            rows = pairs.unit_rows(self.components(pca) if pca else self.inputs, cosine=cosine)
            self.__dict__[key] = Pairs(pairs.similarities(rows))
        found: Pairs = self.__dict__[key]
        return found

    @cached_property
    def _block(self) -> Array | None:
        """The products of these rows as the whole has them, centred by its mean; None where it has none."""
        if self.whole is None or self.whole[0].tall:
            return None
        whole, rows = self.whole
        return whole.gram[rows][:, rows]

    def _components(self, count: int) -> Array:
        left, lengths, loadings = np.linalg.svd(self.centred, full_matrices=False)
        sign = np.sign(loadings[np.arange(count), np.abs(loadings[:count]).argmax(axis=1)])
        # Components beyond the rank hold only rounding, which standardising would blow up.
        kept = lengths[:count] > lengths[0] * max(self.inputs.shape) * np.finfo(np.float64).eps
        return np.asarray(left[:, :count] * (lengths[:count] * sign * kept))


def well_conditioned(gram: Array) -> Array | None:
    """The lower Cholesky factor of gram (M, M); None where its reciprocal condition is below KNOWN."""
    try:
        # A symmetric matrix is its own transpose, which is in the order that LAPACK reads.
        factor = linalg.cholesky(gram.T, lower=True, check_finite=False)
    except linalg.LinAlgError:
        return None
    share, _ = linalg.lapack.dpocon(factor, np.abs(gram).sum(axis=0).max(), uplo="L")
    return factor if share > KNOWN else None


def _check_finite(inputs: Array) -> None:
    with np.errstate(invalid="ignore", over="ignore"):
        # A sum is not finite where an entry is not; one that overflowed by itself is looked at entry by entry.
        suspect = np.flatnonzero(~np.isfinite(inputs.sum(axis=1, dtype=np.float64)))
    for row in suspect:
        columns = np.flatnonzero(~np.isfinite(inputs[row]))
        if len(columns):
            raise ContractError(
                f"inputs hold {inputs[row, columns[0]]} (row {row}, column {columns[0]})",
                "extract this sample again, or leave it out",
            )
