"""Sparsity of the features: how few of them a sample activates.

Ueno and Kondo 2020, as described in paper 001 (arXiv 2102.00084): "the optimal linear combination of two sparsity
metrics, sparser is better". The text has no formula to check against. Both metrics, and the first alone as the default,
are our reading: every value has the flag `assumed`.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo_cli.errors import Undefined, UsageError
from zoo_cli.metrics.probe import Probe

Array = NDArray[Any]


def sparsity(probe: Probe, *, hoyer: float = 0.0, tol: float = 0.0) -> float:
    """Share of features that are zero, mixed with Hoyer's sparsity, averaged over the samples. Higher is better.

    Inputs (N, D): features after a ReLU; others are hardly ever zero, which the flag `no_zeros` reports. An entry with
    absolute value at most `tol` counts as zero. `hoyer` in [0, 1] is the weight of (sqrt D - l1 / l2) / (sqrt D - 1),
    Hoyer 2004, which needs no zeros; a row of zeros counts as 1, and the flag `zero_rows` reports such rows. In [0, 1].
    Labels are not used.

    Raises Undefined: `too_few_examples` below three samples, `constant_features`, and with `hoyer` `one_feature`.
    """
    probe.notes.append("assumed")
    terms = _terms(probe, hoyer, tol)
    if not (np.abs(probe.inputs) <= tol).any():
        probe.notes.append("no_zeros")
    elif (np.abs(probe.inputs) <= tol).all(axis=1).any():
        probe.notes.append("zero_rows")
    return float(terms.mean())


def leave_one_out(probe: Probe, *, hoyer: float = 0.0, tol: float = 0.0) -> Array:
    """The sparsity without each of the samples (N,): exact, as it is a mean. Arguments as in `sparsity`."""
    terms = _terms(probe, hoyer, tol)
    return np.asarray((terms.sum() - terms) / (len(terms) - 1))


def _terms(probe: Probe, hoyer: float, tol: float) -> Array:
    """The sparsity of each sample (N,)."""
    if not 0 <= hoyer <= 1:
        raise UsageError(f"hoyer={hoyer:g} is not between 0 and 1", "it is the weight of Hoyer's sparsity")
    if not 0 <= tol < np.inf:
        raise UsageError(f"tol={tol:g} is negative or not finite", "0 or a small positive number")
    if probe.size < 3:
        raise Undefined("too_few_examples")
    if probe.matrix.constant:
        raise Undefined("constant_features")
    terms = (1 - hoyer) * (np.abs(probe.inputs) <= tol).mean(axis=1, dtype=np.float64)
    return np.asarray(terms + hoyer * _hoyer(probe.inputs) if hoyer else terms)


def _hoyer(inputs: Array) -> Array:
    root = float(np.sqrt(inputs.shape[1]))
    if root == 1:
        raise Undefined("one_feature")
    sizes = np.abs(inputs.astype(np.float64))
    largest = sizes.max(axis=1, keepdims=True)
    sizes /= np.where(largest > 0, largest, 1)  # squares of large or small entries stay in range
    length = np.sqrt(np.einsum("ij,ij->i", sizes, sizes))
    ratio = np.divide(sizes.sum(axis=1), length, out=np.ones(len(sizes)), where=length > 0)
    return np.asarray((root - ratio) / (root - 1))
