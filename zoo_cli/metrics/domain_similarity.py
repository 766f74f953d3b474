"""Domain similarity: how far the classes of the source's own training data are to be carried to those of the target.

Cui et al. 2018, "Large Scale Fine-Grained Categorization and Domain-Specific Transfer Learning", eq. 1-3; a baseline of
paper 001 (arXiv 2102.00084).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo_cli.errors import ContractError, Undefined, UsageError
from zoo_cli.metrics.probe import Probe

Array = NDArray[Any]


@dataclass(frozen=True)
class Transport:
    """The best way to carry one distribution to another: the mean `distance`, the `flow` (K, C) in shares, and the
    dual `prices` (C,) of the demand: what a little more of it adds to the distance."""

    distance: float
    flow: Array
    prices: Array


@dataclass(frozen=True)
class _Classes:
    """Class means of source, theirs (K, D), and target, ours (C, D), their shares of the images, supply (K,) and demand
    (C,), and the distances of the means, away (K, C)."""

    theirs: Array
    supply: Array
    ours: Array
    demand: Array
    away: Array


def domain_similarity(probe: Probe, *, gamma: float = 0.01, min_images: int = 0) -> float:
    """exp(-gamma EMD) of the class means of source and target, each with its share of the images. Higher is better.

    Inputs (N, D): features; the probe's `source_means` (K, D) and `source_counts` (K,): mean feature and number of
    images of each class that the source was trained on, by the same network. The ground distance is Euclidean, not
    squared; the earth mover's distance (EMD) is the exact optimum of the linear programme. `min_images`: source classes
    of fewer images are left out (the authors' notebook: 200). In (0, 1]; gamma moves no source past another one, and
    0.01 goes with the scale of the authors' features.

    Raises Undefined: `too_few_examples`, `single_class`, `constant_features`, and `no_source_class` where none has
    enough images; ContractError where the source's means are not of the width of its features.
    """
    classes = _classes(probe, gamma, min_images)
    return float(np.exp(-gamma * transport(classes.away, classes.supply, classes.demand).distance))


def leave_one_out(probe: Probe, *, gamma: float = 0.01, min_images: int = 0) -> Array:
    """The similarity without each of the samples (N,), to first order: one linear programme, and not N of them.

    Arguments as in `domain_similarity`. At the best flow, the distance changes with the place of a class mean as the
    flow into it gets longer or shorter, and with the share of a class by its price.
    """
    classes, target, count = _classes(probe, gamma, min_images), probe.target, float(probe.size)
    best = transport(classes.away, classes.supply, classes.demand)
    # d EMD / d mean_c = sum_k flow_kc (mean_c - source_k) / distance_kc; where the two coincide it has no direction.
    pull = np.divide(best.flow, classes.away, out=np.zeros_like(best.flow), where=classes.away > 0)
    slope = pull.sum(axis=0)[:, None] * classes.ours - pull.T @ classes.theirs
    codes = target.codes
    # Without a sample, the mean of its class lies this much elsewhere,
    shift = (classes.ours[codes] - probe.inputs) / np.maximum(target.sizes[codes] - 1, 1)[:, None]
    # and the shares are those of the other N - 1: all grow by N / (N - 1), its own class loses 1 / (N - 1).
    moved = np.einsum("ij,ij->i", shift, slope[codes]) + (best.prices @ classes.demand - best.prices[codes]) / (
        count - 1
    )
    return np.asarray(np.exp(-gamma * (best.distance + moved)))


def transport(away: Array, supply: Array, demand: Array) -> Transport:
    """Carry supply (K,) to demand (C,), both of sum 1, over distances (K, C): the exact optimum, a vertex of the linear
    programme, by the simplex method of HiGHS."""
    from scipy import sparse
    from scipy.optimize import linprog

    rows, columns = away.shape
    ends = np.concatenate([np.repeat(np.arange(rows), columns), rows + np.tile(np.arange(columns), rows)])
    ways = np.tile(np.arange(rows * columns), 2)
    sums = sparse.csc_matrix((np.ones(len(ends)), (ends, ways)), shape=(rows + columns, rows * columns))
    scale = float(away.max()) or 1.0  # the tolerances of HiGHS are absolute
    masses = np.concatenate([supply, demand])
    found = linprog(away.ravel() / scale, A_eq=sums, b_eq=masses, bounds=(0, None), method="highs-ds")
    if not found.success:
        raise ContractError(f"no earth mover's distance: {found.message}")
    flow = np.maximum(found.x.reshape(rows, columns), 0.0)
    return Transport(float(np.vdot(flow, away)), flow, np.asarray(found.eqlin.marginals[rows:]) * scale)


def _classes(probe: Probe, gamma: float, min_images: int) -> _Classes:
    if not 0 < gamma < np.inf:
        raise UsageError(f"gamma={gamma:g} is no rate", "it takes a number above 0")
    if min_images < 0:
        raise UsageError(f"min_images={min_images} is no number of images", "0 keeps all classes")
    target = probe.compared()
    means, counts = probe.source_means, probe.source_counts
    assert means is not None, "stages.inputs gives what the table says it needs"
    assert counts is not None
    if means.shape != (len(counts), probe.matrix.width):
        raise ContractError(
            f"class means of shape {means.shape} do not go with {len(counts)} counts and features of width "
            f"{probe.matrix.width}",
            "they must be of the same network and layer",
        )
    if not np.isfinite(means).all() or (counts < 0).any():
        raise ContractError("a class mean is not finite, or a count is below 0", "make the source's class means again")
    kept = counts >= max(min_images, 1)
    if not kept.any():
        raise Undefined("no_source_class")
    theirs = means[kept].astype(np.float64)
    ours = target.sums(probe.inputs.astype(np.float64)) / target.sizes[:, None]
    # Differences first: from the squares of far-off means a short distance would lose its digits.
    away = np.stack([np.sqrt(((theirs - mean) ** 2).sum(axis=1)) for mean in ours], axis=1)
    share = counts[kept].astype(np.float64)
    return _Classes(theirs, share / share.sum(), ours, target.sizes / target.sizes.sum(), away)
