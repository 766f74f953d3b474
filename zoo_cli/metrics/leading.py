"""The largest eigenvalues of a symmetric matrix with their eigenvectors, without the other eigenvectors."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

Array = NDArray[Any]

BLOCK = 64  # columns that LAPACK transforms at once
SHARE = 4  # of fewer than one in so many eigenvectors it is faster than all of them
EXACT = 1e-12  # of the largest eigenvalue: the error of an eigenvector that is accepted


def find_leading(gram: Array, count: int) -> tuple[Array, Array] | None:
    """All eigenvalues of gram (M, M), descending, and orthonormal eigenvectors of the largest `count` (M, count).

    By the tridiagonal form of the matrix: its eigenvalues by QR steps, the eigenvectors by inverse iteration. None
    where that is not faster than all eigenvectors, or not exact, as it may be for repeated eigenvalues. Only the upper
    half of gram is read.
    """
    size = len(gram)
    if not 0 < SHARE * count <= size:
        return None
    # The transpose is the same matrix, in the memory order of LAPACK.
    reflectors, diagonal, beside, factors, failed = lapack.dsytrd(gram.T, lower=1, lwork=BLOCK * size)
    values, unsorted = lapack.dsterf(diagonal, beside)
    if failed or unsorted:
        return None
    ends = np.zeros(size, dtype=np.int32)
    ends[0] = size
    largest = values[-count:]
    inner, failed = lapack.dstein(diagonal, beside, largest, np.ones(size, dtype=np.int32), ends)
    if failed or not _is_exact(diagonal, beside, largest, inner[:, :count]):
        return None
    # The first row and column are not reflected.
    rotated, _, failed = lapack.dormqr(
        "L", "N", np.asfortranarray(reflectors[1:, :-1]), factors, inner[1:, :count], BLOCK * (count + BLOCK + 1)
    )
    return None if failed else (values[::-1], np.concatenate([inner[:1, :count], rotated])[:, ::-1])


def _is_exact(diagonal: Array, beside: Array, values: Array, vectors: Array) -> bool:
    """Whether orthonormal vectors (M, K) are eigenvectors of a tridiagonal matrix."""
    error = diagonal[:, None] * vectors - vectors * values
    error[:-1] += beside[:, None] * vectors[1:]
    error[1:] += beside[:, None] * vectors[:-1]
    overlap = vectors.T @ vectors
    overlap.flat[:: len(overlap) + 1] -= 1.0
    return float(np.abs(error).max()) <= EXACT * float(values[-1]) and float(np.abs(overlap).max()) <= EXACT
