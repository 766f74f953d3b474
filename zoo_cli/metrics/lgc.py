"""LGC: label-gradient correlation.

Deshpande et al. 2021, "A linearized framework and a new benchmark for model selection for fine-tuning", paper 001
(arXiv 2102.00084), eq. 7 and 8. How the gradients are taken is said at `zoo_cli.models.gradients`.
"""

from dataclasses import replace
from typing import Literal

import numpy as np

from zoo_cli.errors import Undefined
from zoo_cli.metrics.lfc import lfc
from zoo_cli.metrics.matrix import Matrix
from zoo_cli.metrics.probe import Probe

SEEDS = 5  # independent projections that stand side by side in a projected gradient, as `models.projection` makes them


def lgc(probe: Probe, *, outputs: Literal["trace", "sum"] = "trace") -> float:
    """Pearson correlation of the entries of the gradients' kernel with those of the labels'. Higher is better.

    Inputs (N, P): vectors whose inner products are Theta_ij = sum_k <dy_k(x_i)/dW, dy_k(x_j)/dW> over the source's own
    outputs y_k and one layer's weights W. The entries of the labels' matrix are 1 for two samples of one class and -1
    for others, all N^2 of them, as the paper has it. In [-1, 1]. The paper defines Theta for one output; the trace over
    them and `outputs=sum`, the gradient of their sum (the probe's `gradients_sum`), are our readings for many.

    Of projected vectors the value is an estimate. `projection_sd=…` is noted: its standard deviation over seeds of the
    projection, found from the five that stand side by side, the standard deviation of their scores over sqrt(5). The
    noise of a projection also draws the value towards 0, the less the wider it is.

    Raises Undefined: `too_few_examples`, `single_class`, `constant_features` where all gradients are equal,
    `no_gradients_of_sum` where the sum is asked for and only the trace is known.
    """
    if outputs == "sum" and probe.gradients_sum is None:
        raise Undefined("no_gradients_of_sum")
    matrix = probe.matrix if outputs == "trace" else probe.side("gradients_sum")
    value = _score(probe, matrix)
    # Of a part of the probe nobody asks: the spread over samples has an interval of its own.
    if outputs in probe.projected_gradients and matrix.whole is None:
        seeds = [_score(probe, block) for block in _blocks(probe, outputs, matrix)]
        probe.notes.append(f"projection_sd={np.std(seeds, ddof=1) / SEEDS**0.5:.1e}")
    return value


def _score(probe: Probe, matrix: Matrix) -> float:
    return lfc(replace(probe, matrix=matrix, sides={}, notes=[]))


def _blocks(probe: Probe, outputs: str, matrix: Matrix) -> list[Matrix]:
    """The single projections, kept beside the probe for other labels of the same samples."""
    for number, block in enumerate(np.split(matrix.inputs, SEEDS, axis=1)):
        probe.sides.setdefault(f"{outputs} {number}", Matrix(block))
    return [probe.sides[f"{outputs} {number}"] for number in range(SEEDS)]
