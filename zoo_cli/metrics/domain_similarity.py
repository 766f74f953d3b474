"""Domain similarity: earth mover's distance between the classes of the source's training data and of the target.

Cui et al. 2018, "Large Scale Fine-Grained Categorization and Domain-Specific Transfer Learning", eq. 1-3; a baseline of
paper 001 (arXiv 2102.00084).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import linprog

from zoo_cli.errors import ContractError, Undefined, UsageError
from zoo_cli.metrics.probe import Probe

Array = NDArray[Any]


@dataclass(frozen=True)
class Transport:
    """The cheapest transport of one distribution to another: its mean `distance`, the `flow` (K, C) in shares, and the
    dual `prices` (C,) of the demand, by how much a little more of it raises the distance."""

    distance: float
    flow: Array
    prices: Array


@dataclass(frozen=True)
class _ClassMeans:
    """Class means of the source (K, D) and of the target (C, D), the shares of the images in each class, (K,) and (C,),
    and the distances between the means (K, C)."""

    source_means: Array
    source_shares: Array
    target_means: Array
    target_shares: Array
    distances: Array


def domain_similarity(probe: Probe, *, gamma: float = 0.01, min_images: int = 0) -> float:
    """exp(-gamma EMD) of the class means of source and target, weighted by their shares of images. Higher is better.

    Inputs (N, D): features; the probe's `source_means` (K, D) and `source_counts` (K,): mean feature and number of
    images of each class that the source was trained on, by the same network. The ground distance is Euclidean, not
    squared; the earth mover's distance (EMD) is the exact optimum of the linear programme. `min_images`: source classes
    of fewer images are left out (the authors' notebook: 200). In (0, 1]; gamma does not change the order of sources,
    and 0.01 suits the scale of the authors' features.

    Raises Undefined: `too_few_examples`, `single_class`, `constant_features`, and `no_source_class` where no class has
    enough images; ContractError where the source's means and features differ in width.
    """
    classes = _class_means(probe, gamma, min_images)
    return float(np.exp(-gamma * _transport_classes(classes).distance))


def leave_one_out(probe: Probe, *, gamma: float = 0.01, min_images: int = 0) -> Array:
    """The similarity without each of the samples (N,), to first order: from one linear programme instead of N.

    Arguments as in `domain_similarity`. At the optimal flow, the distance changes with the position of a class mean by
    the change in length of the flow into it, and with the share of a class by its price.
    """
    classes, target, count = _class_means(probe, gamma, min_images), probe.target, float(probe.size)
    best = _transport_classes(classes)
    # d EMD / d mean_c = sum_k flow_kc (mean_c - source_k) / distance_kc, which has no direction where the two coincide.
    pull = np.divide(best.flow, classes.distances, out=np.zeros_like(best.flow), where=classes.distances > 0)
    slope = pull.sum(axis=0)[:, None] * classes.target_means - pull.T @ classes.source_means
    codes = target.codes
    # Without a sample, the mean of its class moves by this much,
    shift = (classes.target_means[codes] - probe.inputs) / np.maximum(target.sizes[codes] - 1, 1)[:, None]
    # and the shares are those of the other N - 1: all grow by N / (N - 1), its own class loses 1 / (N - 1).
    moved = np.einsum("ij,ij->i", shift, slope[codes]) + (best.prices @ classes.target_shares - best.prices[codes]) / (
        count - 1
    )
    return np.asarray(np.exp(-gamma * (best.distance + moved)))


def needed_memory(probe: Probe, **_: object) -> int:
    """The bytes that HiGHS takes for the linear programme, with a variable for each pair of a source's and a target's
    class: about 1,300 for each, as measured."""
    return 0 if probe.source_counts is None else 1300 * len(probe.source_counts) * len(probe.target.counts)


def transport(distances: Array, supply: Array, demand: Array) -> Transport:
    """Move supply (K,) to demand (C,), both of sum 1, over distances (K, C): the exact optimum, a vertex of the linear
    programme, by the simplex method of HiGHS. Raises ContractError where HiGHS finds none."""
    rows, columns = distances.shape
    constraints = np.concatenate([np.repeat(np.arange(rows), columns), rows + np.tile(np.arange(columns), rows)])
    variables = np.tile(np.arange(rows * columns), 2)
    shape = (rows + columns, rows * columns)
    sums = sparse.csc_matrix((np.ones(len(constraints)), (constraints, variables)), shape=shape)
    scale = float(distances.max()) or 1.0  # the tolerances of HiGHS are absolute
    masses = np.concatenate([supply, demand])
    solution = linprog(distances.ravel() / scale, A_eq=sums, b_eq=masses, bounds=(0, None), method="highs-ds")
    if not solution.success:
        raise ContractError(f"cannot compute the earth mover's distance: {solution.message}")
    flow = np.maximum(solution.x.reshape(rows, columns), 0.0)
    return Transport(float(np.vdot(flow, distances)), flow, np.asarray(solution.eqlin.marginals[rows:]) * scale)


def _transport_classes(classes: _ClassMeans) -> Transport:
    return transport(classes.distances, classes.source_shares, classes.target_shares)


def _class_means(probe: Probe, gamma: float, min_images: int) -> _ClassMeans:
    if not 0 < gamma < np.inf:
        raise UsageError(f"gamma={gamma:g} is not a positive number", "the default is 0.01")
    if min_images < 0:
        raise UsageError(f"min_images={min_images} is negative", "0 keeps all classes")
    target = probe.require_classes()
    means, counts = probe.source_means, probe.source_counts
    assert means is not None, "the table says that this metric needs them"
    assert counts is not None
    if means.shape != (len(counts), probe.matrix.width):
        raise ContractError(
            f"class means of shape {means.shape} do not match {len(counts)} counts and features of width "
            f"{probe.matrix.width}",
            "they must come from the same network and layer",
        )
    if not np.isfinite(means).all() or (counts < 0).any():
        raise ContractError("a class mean is not finite, or a count is below 0", "compute the class means again")
    kept = counts >= max(min_images, 1)
    if not kept.any():
        raise Undefined("no_source_class")
    source_means = means[kept].astype(np.float64)
    target_means = target.sums(probe.inputs.astype(np.float64)) / target.sizes[:, None]
    # Differences first: squares of means far from 0 would cost a short distance its digits.
    distances = np.stack([np.sqrt(((source_means - mean) ** 2).sum(axis=1)) for mean in target_means], axis=1)
    images = counts[kept].astype(np.float64)
    return _ClassMeans(source_means, images / images.sum(), target_means, target.sizes / target.sizes.sum(), distances)
