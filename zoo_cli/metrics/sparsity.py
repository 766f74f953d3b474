"""Sparsity of the features: how few of them a sample sets in motion.

Ueno and Kondo 2020, as paper 001 (arXiv 2102.00084) tells of it: "the optimal linear combination of two sparsity
metrics, sparser is better". Their text gives no formula that we could check: both metrics, and that the first one alone
is the default, are our reading, which every value says of itself by the flag `assumed`.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo_cli.errors import Undefined, UsageError
from zoo_cli.metrics.probe import Probe

Array = NDArray[Any]


def sparsity(probe: Probe, *, hoyer: float = 0.0, tol: float = 0.0) -> float:
    """The share of features that are zero, mixed with Hoyer's sparsity, a mean over the samples. Higher is better.

    Inputs (N, D): features after a ReLU; others are hardly ever zero, which the flag `no_zeros` tells. An entry of at
    most `tol` in size is zero. `hoyer` in [0, 1] is the weight of (sqrt D - l1 / l2) / (sqrt D - 1), Hoyer 2004, which
    needs no zeros; a row of zeros has 1 by it, and the flag `zero_rows` tells of such rows. In [0, 1]. The labels take
    no part.

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
    """The sparsity of the probe without each of its samples (N,), exactly: it is a mean. Arguments as in `sparsity`."""
    terms = _terms(probe, hoyer, tol)
    return np.asarray((terms.sum() - terms) / (len(terms) - 1))


def _terms(probe: Probe, hoyer: float, tol: float) -> Array:
    """The sparsity of each sample (N,)."""
    if not 0 <= hoyer <= 1:
        raise UsageError(f"hoyer={hoyer:g} is no weight", "between 0 and 1")
    if not 0 <= tol < np.inf:
        raise UsageError(f"tol={tol:g} is no size", "0 or a small number above it")
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
