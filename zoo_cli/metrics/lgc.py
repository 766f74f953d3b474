"""LGC: label-gradient correlation.

Deshpande et al. 2021, "A linearized framework and a new benchmark for model selection for fine-tuning", paper 001
(arXiv 2102.00084), eq. 7 and 8. `zoo_cli.models.gradients` says how the gradients are taken.
"""

from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from zoo_cli.errors import Undefined
from zoo_cli.metrics.lfc import lfc
from zoo_cli.metrics.matrix import Matrix
from zoo_cli.metrics.probe import Probe
from zoo_cli.metrics.subsample_sums import score_by_sums
from zoo_cli.metrics.subsamples import Subsamples

Array = NDArray[Any]

SEEDS = 5  # independent projections side by side in a projected gradient, as `models.projection` makes them


def lgc(probe: Probe, *, outputs: Literal["trace", "sum"] = "trace") -> float:
    """Pearson correlation of the entries of the gradients' kernel with those of the labels'. Higher is better.

    Inputs (N, P): vectors whose inner products are Theta_ij = sum_k <dy_k(x_i)/dW, dy_k(x_j)/dW> over the source's own
    outputs y_k and one layer's weights W. The entries of the labels' matrix are 1 for two samples of one class and -1
    otherwise; all N^2 of them count, as in the paper. In [-1, 1]. The paper defines Theta for one output. For several
    outputs we take the trace over them, or with `outputs=sum` the gradient of their sum (the probe's `gradients_sum`).

    For projected vectors the value is an estimate. Notes `projection_sd=…`, its standard deviation over seeds of the
    projection, estimated from the five projections side by side as the standard deviation of their scores over sqrt(5).
    The noise of a projection also pulls the value towards 0, the less the wider the projection is.

    Raises Undefined: `too_few_examples`, `single_class`, `constant_features` where all gradients are equal,
    `no_gradients_of_sum` with `outputs=sum` where only the trace was extracted.
    """
    matrix = _gradients(probe, outputs)
    value = _score(probe, matrix)
    # Only for the whole probe: the spread over samples has an interval of its own.
    if outputs in probe.projected_gradients and matrix.whole is None:
        projections = matrix.cached("projections", lambda: _split_projections(matrix))
        seeds = [_score(probe, projection) for projection in projections]
        probe.notes.append(f"projection_sd={np.std(seeds, ddof=1) / SEEDS**0.5:.1e}")
    return value


def on_subsamples(probe: Probe, subsamples: Subsamples, *, outputs: Literal["trace", "sum"] = "trace") -> Array | None:
    """The scores of all subsamples (H,), NaN where undefined; None where each is computed by itself."""
    return score_by_sums(lfc, _with_matrix(probe, _gradients(probe, outputs)), subsamples)


def _gradients(probe: Probe, outputs: Literal["trace", "sum"]) -> Matrix:
    if outputs == "trace":
        return probe.matrix
    if probe.gradients_sum is None:
        raise Undefined("no_gradients_of_sum")
    return probe.further_matrix("gradients_sum")


def _score(probe: Probe, matrix: Matrix) -> float:
    return lfc(_with_matrix(probe, matrix))


def _with_matrix(probe: Probe, matrix: Matrix) -> Probe:
    return replace(probe, matrix=matrix, further_matrices={}, notes=[])


def _split_projections(matrix: Matrix) -> list[Matrix]:
    return [Matrix(block) for block in np.split(matrix.inputs, SEEDS, axis=1)]
