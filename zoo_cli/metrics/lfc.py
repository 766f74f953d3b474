"""LFC: label-feature correlation.

Deshpande et al. 2021, "A linearized framework and a new benchmark for model selection for fine-tuning", paper 001
(arXiv 2102.00084), eq. 8 with the features themselves in place of the gradients.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo_cli.errors import Undefined
from zoo_cli.metrics.cka import squared_gram
from zoo_cli.metrics.labels import classes

Array = NDArray[Any]


def lfc(inputs: Array, labels: Array, *, offdiag: bool = False) -> float:
    """Pearson correlation of the entries of the features' Gram matrix with those of the labels'. Higher is better.

    inputs (N, D): features or probabilities, neither centred nor standardised; labels (N,): integers. The entries of
    the labels' matrix are 1 for two samples of one class and -1 for others. Over all N^2 entries, as the paper has it,
    or over those off the diagonal. In [-1, 1].

    Raises Undefined: `too_few_examples`, `single_class`, `constant_features`, and with `offdiag`
    `no_same_class_pair`.

    Norms are Frobenius norms; with the spectral norms of copies in circulation it is no correlation.
    """
    probe = classes(inputs, labels)
    if offdiag and probe.same_pairs == 0:
        raise Undefined("no_same_class_pair")
    count, sizes = float(len(labels)), probe.counts.astype(np.float64)
    mean = inputs.mean(axis=0, dtype=np.float64)
    centred = inputs - mean
    # With features mean + g the Gram matrix less its mean has the entries g_i g_j + a_i + a_j, a = g mean. The rows of
    # g_i g_j and the a sum to 0, so that no large terms cancel, however far the features lie from 0.
    tilt = centred @ mean
    sums = probe.sums(centred)
    cross = 2 * float(np.vdot(sums, sums)) + 4 * float(tilt @ sizes[probe.codes])
    squares = squared_gram(centred) + 2 * count * float(tilt @ tilt)
    entries, agree = count**2, 2 * float(sizes @ sizes) - count**2
    total = 0.0
    if offdiag:
        diagonal = np.einsum("ij,ij->i", centred, centred) + 2 * tilt
        entries, agree, total = entries - count, agree - count, -float(diagonal.sum())
        cross -= float(diagonal.sum())
        squares -= float(diagonal @ diagonal)
    variance = squares - total**2 / entries
    if variance <= 1e-14 * squares:
        raise Undefined("constant_features")
    return (cross - total * agree / entries) / float(np.sqrt(variance * (entries - agree**2 / entries)))
