"""LEEP: log expected empirical prediction.

Nguyen et al. 2020, "LEEP: A New Measure to Evaluate Transferability of Learned Representations", eq. 2; a baseline of
paper 001 (arXiv 2102.00084).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo_cli.errors import ContractError
from zoo_cli.metrics.labels import Classes
from zoo_cli.metrics.matrix import Matrix
from zoo_cli.metrics.probabilities import invalid_rows
from zoo_cli.metrics.probe import Probe
from zoo_cli.metrics.subsamples import Subsamples, score_or_nan

Array = NDArray[Any]


def leep(probe: Probe) -> float:
    """Mean log-likelihood of the labels when each source class stands for the target classes it co-occurs with.

    Inputs (N, K): probabilities of the source's classes, rows that sum to 1. Natural logarithm. In (-inf, 0], higher is
    better; an uninformative source scores minus the entropy of the labels.

    Raises ContractError where a row is negative or does not sum to 1 within 0.01; Undefined: `too_few_examples`,
    `single_class`, `constant_features` (all rows equal).

    A source class without any mass has conditional probability 0. Nothing is added to avoid log 0, which cannot occur.
    """
    return float(np.log(predictions(probe)).mean())


def predictions(probe: Probe) -> Array:
    """The expected empirical prediction of every sample: the likelihood of its own label through the source's classes.

    Inputs and errors as in `leep`. (N,), in (0, 1], in the order of `target.order`: sorted by class.
    """
    target = probe.require_classes()
    check_probabilities(probe.matrix)
    return expected_predictions(probe.inputs, target)


def on_subsamples(probe: Probe, subsamples: Subsamples) -> Array:
    """The scores of all subsamples (H,), NaN where undefined."""
    check_probabilities(probe.matrix)
    table = _predict_subsamples(probe, subsamples)
    return np.array(
        [
            score_or_nan(_average, probe.take(rows, target), predictions=table[rows, number])
            for number, (rows, target) in enumerate(subsamples.parts)
        ]
    )


def _average(probe: Probe, predictions: Array) -> float:
    probe.require_classes()
    return float(np.log(predictions).mean())


def _predict_subsamples(probe: Probe, subsamples: Subsamples) -> Array:
    """The expected empirical predictions of all samples in each of H subsamples (N, H); those of its own count."""
    probs, indicators = probe.inputs, subsamples.indicators(probe.size)
    mass = indicators.T @ probs.astype(np.float64)
    inverse = np.divide(1.0, mass, out=np.zeros_like(mass), where=mass > 0)
    table = np.empty_like(indicators)
    for members in probe.target.members:
        rows = probs[members].astype(np.float64)
        table[members] = rows @ ((indicators[members].T @ rows) * inverse).T
    return table


def expected_predictions(probs: Array, target: Classes) -> Array:
    """As `predictions`, for probs (N, K) that need no check."""
    # A class at a time is converted to float64: the rows of all at once would not stay in the cache.
    joint = np.stack([probs[members].sum(axis=0, dtype=np.float64) for members in target.members])
    mass = joint.sum(axis=0)
    conditional = np.divide(joint, mass, out=np.zeros_like(joint), where=mass > 0)
    blocks = zip(target.members, conditional, strict=True)
    return np.concatenate([probs[members].astype(np.float64) @ likelihood for members, likelihood in blocks])


def check_probabilities(matrix: Matrix) -> None:
    """Raise ContractError, naming the row, where inputs (N, K) are negative or a row does not sum to 1 within 0.01."""
    if matrix.whole is not None:
        check_probabilities(matrix.whole[0])
        return
    inputs = matrix.inputs
    invalid = matrix.cached("invalid rows", lambda: np.flatnonzero(invalid_rows(inputs)))
    if len(invalid):
        row = invalid[0]
        total = inputs[row].sum(dtype=np.float64)
        raise ContractError(
            f"row {row} does not hold probabilities: sum {total:g}, smallest entry {inputs[row].min():g}",
            "this score reads probabilities, not logits or features",
        )
