"""Label spreading on the pooled features, with class-mass normalisation."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo_cli.errors import UsageError
from zoo_cli.heads.kernel import kernel
from zoo_cli.heads.linear_head import Head
from zoo_cli.heads.neighbours import kernel_graph, neighbour_graph
from zoo_cli.heads.pooled import Pool, check_pool, make_pool
from zoo_cli.heads.principal_components import pool_kernel, pool_rows
from zoo_cli.heads.spreading import normalise_graph, spread_labels
from zoo_cli.heads.standardise import Features
from zoo_cli.heads.target_labels import TargetLabels

Array = NDArray[Any]

SUBSET = "graph_of_a_subset"
FEW = 2048  # images; up to there the graph comes from the kernel itself, which takes 32 MB


def spread(
    sources: Sequence[Features],
    heads: Sequence[Head],
    weights: Array,
    targets: TargetLabels,
    /,
    *,
    k: int = 10,
    a: float = 0.9,
    seed: int = 0,
) -> Pool:
    """Answers of label spreading (Zhou et al. 2004) on the k nearest neighbours by the cosine of K = sum_s w_s K_s.

    Z = (1 - a)(I - a S)^-1 with S the normalised weights max(cos, 0)^3 of either direction; Z Y / counts is scaled per
    class so that its mean over the unlabelled images is that of the answers of `kernel` (class-mass normalisation, Zhu
    et al. 2003), and rows to sum 1. An image without any mass has the same probability for all classes with a label.
    Leave-one-out answers hold the graph and the class factors fixed. `seed`: of the principal components of wide
    features, see `pool_rows`, and of the subset above 200,000 images (note `graph_of_a_subset`).

    Raises UsageError without a source, for k < 1 or a outside (0, 1), ContractError for arrays that do not belong
    together. Departs from the papers in 1 / counts and in the prior, which is that of `kernel`.
    """
    weights = check_pool(sources, heads, weights, targets)
    check_spread(k, a)
    ridge = kernel(sources, heads, weights, targets)
    spreading = spread_pooled(sources, weights, targets, ridge, k=k, a=a, seed=seed)
    return make_pool(
        spreading.probabilities,
        spreading.leave_one_out,
        weights,
        targets,
        neighbours=k,
        notes=spreading.notes,
    )


def check_spread(k: int, a: float) -> None:
    """Raise UsageError for k < 1 or a outside (0, 1)."""
    if k < 1:
        raise UsageError(f"k={k} is below 1", "k is the number of neighbours")
    if not 0 < a < 1:
        raise UsageError(f"a={a:g} is not between 0 and 1", "a is the share that a label passes on, 0.9 by default")


@dataclass(frozen=True, eq=False)
class Spreading:
    """Probabilities (N, C), leave-one-out probabilities (L, C), and notes."""

    probabilities: Array
    leave_one_out: Array
    notes: tuple[str, ...]


def spread_pooled(
    sources: Sequence[Features], weights: Array, targets: TargetLabels, ridge: Pool, *, k: int, a: float, seed: int
) -> Spreading:
    """Label spreading with the class masses of the answers `ridge` of `kernel`."""
    if targets.count <= FEW:
        graph, subset = kernel_graph(pool_kernel(sources, weights), k), False
    else:
        rows = pool_rows(sources, weights, seed=seed)
        graph, subset = neighbour_graph(rows, k, labelled=targets.rows, seed=seed)
    mass, left_out = spread_labels(normalise_graph(graph), targets, a)
    factors = class_factors(mass, ridge.probabilities[:, targets.present], targets)
    return Spreading(
        targets.widen(share_mass(mass * factors)),
        targets.widen(share_mass(left_out * factors)),
        (SUBSET,) if subset else (),
    )


def class_factors(mass: Array, answers: Array, targets: TargetLabels) -> Array:
    """Factors (P,) that give mass (N, P) the mean of the answers (N, P) over the unlabelled images, or over all if
    there are none; 1 for a class without mass there."""
    rows = targets.unlabelled if len(targets.unlabelled) else targets.rows
    means = mass[rows].mean(axis=0)
    factors = np.ones(len(means))
    np.divide(answers[rows].mean(axis=0), means, out=factors, where=means > 0)
    return factors


def share_mass(mass: Array) -> Array:
    """Rows (M, P) divided by their sums; uniform where there is no mass."""
    sums = mass.sum(axis=1, keepdims=True)
    uniform = np.full_like(mass, 1 / mass.shape[1])
    return np.asarray(np.divide(mass, sums, out=uniform, where=sums > 0))
