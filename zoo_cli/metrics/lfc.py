"""LFC: label-feature correlation.

Deshpande et al. 2021, "A linearized framework and a new benchmark for model selection for fine-tuning", paper 001
(arXiv 2102.00084), eq. 8 with the features themselves in place of the gradients.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo_cli.errors import Undefined
from zoo_cli.metrics.probe import Probe
from zoo_cli.metrics.subsample_sums import score_by_sums
from zoo_cli.metrics.subsamples import Subsamples

Array = NDArray[Any]


def lfc(probe: Probe, *, offdiag: bool = False) -> float:
    """Pearson correlation of the entries of the features' Gram matrix with those of the labels'. Higher is better.

    Inputs (N, D): features or probabilities, neither centred nor standardised. The entries of the labels' matrix are 1
    for two samples of one class and -1 otherwise. Over all N^2 entries, as in the paper, or `offdiag` over those off
    the diagonal. In [-1, 1].

    Raises Undefined: `too_few_examples`, `single_class`, `constant_features`, and with `offdiag`
    `no_same_class_pair`.

    Norms are Frobenius norms; some published copies use spectral norms, with which it would not be a correlation.
    """
    target = probe.require_pairs() if offdiag else probe.require_classes()
    count, sizes = float(probe.size), target.sizes
    # With features mean + g the Gram matrix less its mean has the entries g_i g_j + a_i + a_j, a = g mean. The rows of
    # g_i g_j and the a sum to 0, so that no large terms cancel, however far the features lie from 0.
    tilt = probe.tilt
    cross = 2 * probe.squared_sums + 4 * float(tilt @ sizes[target.codes])
    squares = probe.squared_gram + 2 * count * float(tilt @ tilt)
    entries, agree = count**2, 2 * float(sizes @ sizes) - count**2
    total = 0.0
    if offdiag:
        diagonal = probe.lengths + 2 * tilt
        entries, agree, total = entries - count, agree - count, -float(diagonal.sum())
        cross -= float(diagonal.sum())
        squares -= float(diagonal @ diagonal)
    variance = squares - total**2 / entries
    if variance <= 1e-14 * squares:
        raise Undefined("constant_features")
    return (cross - total * agree / entries) / float(np.sqrt(variance * (entries - agree**2 / entries)))


def on_subsamples(probe: Probe, subsamples: Subsamples, *, offdiag: bool = False) -> Array | None:
    """The scores of all subsamples (H,), NaN where undefined; None where each is computed by itself."""
    return score_by_sums(lfc, probe, subsamples, offdiag=offdiag)
