"""NCE: negative conditional entropy.

Tran et al. 2019, "Transferability and Hardness of Supervised Classification Tasks".
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo_cli.metrics.leep import check_probabilities
from zoo_cli.metrics.matrix import Matrix
from zoo_cli.metrics.probe import Probe

Array = NDArray[Any]


def nce(probe: Probe) -> float:
    """Minus the entropy of the labels given the source's most probable class. Higher is better.

    Inputs (N, K): probabilities of the source's classes, rows that sum to 1; among equal ones the first class counts.
    Natural logarithm. In [-H(Y), 0], H(Y) the entropy of the labels.

    Raises ContractError where a row is negative or does not sum to 1 within 0.01; Undefined: `too_few_examples`,
    `single_class`, `constant_features` (all rows equal).

    Empty cells of the joint distribution contribute 0; the published code adds a small number to each.
    """
    target = probe.require_classes()
    check_probabilities(probe.matrix)
    classes = len(target.counts)
    named = _most_probable(probe.matrix) * classes + target.codes
    cells, joint = np.unique(named, return_counts=True)
    chosen = np.bincount(cells // classes, weights=joint)
    return float((joint * np.log(joint / chosen[cells // classes])).sum() / probe.size)


def _most_probable(matrix: Matrix) -> Array:
    """The most probable class of each row (N,), computed once for a matrix and all that is taken from it."""
    if matrix.whole is not None:
        whole, rows = matrix.whole
        return np.asarray(_most_probable(whole)[rows])
    return matrix.cached("most probable", lambda: matrix.inputs.argmax(axis=1))
