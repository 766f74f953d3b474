"""Ridge regression on the weighted sum of the sources' kernels."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo_cli.heads.likelihood import softmax_rows
from zoo_cli.heads.linear_head import Head
from zoo_cli.heads.pooled import JointHead, Pool, check_pool, make_pool
from zoo_cli.heads.ridge_solution import RidgeSolution, solve_gram, solve_rows
from zoo_cli.heads.standardise import Features
from zoo_cli.heads.target_labels import TargetLabels

Array = NDArray[Any]


def kernel(
    sources: Sequence[Features],
    heads: Sequence[Head],
    weights: Array,
    targets: TargetLabels,
    /,
    *,
    lam: float | None = None,
    T: float | None = None,
) -> Pool:
    """Answers of one ridge head on K = sum_s w_s K_s: on the features side by side, each scaled by sqrt(w_s).

    `lam` and `T` as for the head `ridge`, chosen anew for the pool. The heads are not used. `sources` is read twice,
    one source at a time: with a sequence that loads on access, only one is in memory.

    Raises UsageError without a source and for a lam or T that is not positive, ContractError for arrays that do not
    belong together.
    """
    weights = check_pool(sources, heads, weights, targets)
    used = np.flatnonzero(weights)
    solution = _solve(sources, weights, targets, lam, T)
    logits = np.zeros((targets.count, len(targets.present)))
    intercept = solution.base.copy()
    means, scales, columns = [], [], []
    start = 0
    for position in range(len(sources)):
        features = sources[position]
        means.append(features.mean)
        scales.append(features.scale)
        if position not in used:
            columns.append(np.zeros((features.width, len(targets.present))))
            continue
        root = float(np.sqrt(weights[position]))
        rows = features.take(targets.rows)
        mean = rows.mean(axis=0)
        if solution.primal is not None:
            block = root * solution.primal[start : start + features.width]
            start += features.width
        else:
            assert solution.dual is not None
            block = weights[position] * ((rows - mean).T @ solution.dual)
        columns.append(block)
        intercept -= mean @ block
        logits += features.project(block)
        del features  # before the next one is loaded
    logits += intercept
    joint = JointHead(tuple(means), tuple(scales), tuple(columns), intercept, solution.temperature, solution.lam)
    return make_pool(
        targets.widen(softmax_rows(logits, solution.temperature)),
        targets.widen(softmax_rows(solution.leave_one_out, solution.temperature)),
        weights,
        targets,
        joint=joint,
    )


def _solve(
    sources: Sequence[Features], weights: Array, targets: TargetLabels, lam: float | None, temperature: float | None
) -> RidgeSolution:
    """By the columns of all sources together while they are fewer than the labels, else by the Gram matrix (L, L)."""
    parts: list[Array] | None = []
    width = 0
    gram: Array = np.zeros((0, 0))
    for position in np.flatnonzero(weights):
        features = sources[int(position)]
        targets.check_rows(features.values)
        rows = features.take(targets.rows) * np.sqrt(weights[position])
        rows -= rows.mean(axis=0)
        width += features.width
        del features  # before the next one is loaded
        if parts is not None:
            parts.append(rows)
            if width < len(targets):
                continue
            gram = np.zeros((len(targets), len(targets)))
            for part in parts:
                gram += part @ part.T
            parts = None
        else:
            gram += rows @ rows.T
    if parts is not None:
        return solve_rows(np.hstack(parts), targets, lam, temperature)
    return solve_gram(gram, targets, lam, temperature)
