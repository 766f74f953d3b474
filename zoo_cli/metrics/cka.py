"""CKA: linear centred kernel alignment of the features with the labels.

Cortes et al. 2012; Kornblith et al. 2019, "Similarity of Neural Network Representations Revisited"; used in paper 000
(arXiv 2304.12314). Debiased: Székely and Rizzo 2014.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo_cli.errors import Undefined
from zoo_cli.metrics.labels import Classes
from zoo_cli.metrics.probe import Probe
from zoo_cli.metrics.subsample_sums import score_by_sums
from zoo_cli.metrics.subsamples import Subsamples

Array = NDArray[Any]


def cka(probe: Probe, *, debiased: bool = False) -> float:
    """Alignment of the Gram matrices of the features and of the one-hot labels. Higher is better.

    Inputs (N, D): features or probabilities. ||F'Y||^2 / (||F'F|| ||Y'Y||), both sides centred, Frobenius norms;
    features are not standardised. In [0, 1]. `debiased`: computed from the U-centred Gram matrices, with expected value
    0 for independent features and labels; about [-1, 1], needs N >= 4.

    Raises Undefined: `too_few_examples`, `single_class`, `constant_features`, and with `debiased`
    `no_same_class_pair`, and `degenerate_labels` where all labels but one are equal.
    """
    target = probe.require_classes()
    if debiased:
        return _debiased(probe, target)
    return float(probe.squared_sums / np.sqrt(probe.squared_gram * target.squared_gram))


def _debiased(probe: Probe, target: Classes) -> float:
    """U-centring without an N x N matrix: <K~, L~> = <K, L> + 1'K1 1'L1 / ((N-1)(N-2)) - 2 (K1)'(L1) / (N-2), K and L
    with zero diagonals. With centred features K1 = -diagonal."""
    count = float(probe.size)
    if count < 4:
        raise Undefined("too_few_examples")
    probe.require_pairs()
    diagonal, mates = probe.lengths, target.sizes[target.codes] - 1

    def inner(products: float, first: Array, second: Array) -> float:
        total = float(first.sum() * second.sum()) / ((count - 1) * (count - 2))
        return products + total - 2 * float(first @ second) / (count - 2)

    cross = inner(probe.squared_sums - float(diagonal.sum()), -diagonal, mates)
    features = inner(probe.squared_gram - float(diagonal @ diagonal), -diagonal, -diagonal)
    targets = inner(float(mates.sum()), mates, mates)
    # Both are squared norms; a zero that is off by rounding stays far below these bounds.
    if targets <= 1e-12 * mates.sum():
        raise Undefined("degenerate_labels")
    if features <= 1e-14 * float(diagonal.sum()) ** 2:
        raise Undefined("constant_features")
    return cross / float(np.sqrt(features * targets))


def on_subsamples(probe: Probe, subsamples: Subsamples, *, debiased: bool = False) -> Array | None:
    """The scores of all subsamples (H,), NaN where undefined; None where each is computed by itself."""
    return score_by_sums(cka, probe, subsamples, debiased=debiased)
