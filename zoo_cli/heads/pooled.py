"""The result of a pool, and the checks that all pools share."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo_cli.errors import ContractError, UsageError
from zoo_cli.heads.likelihood import answers_accuracy, answers_nll
from zoo_cli.heads.linear_head import Head
from zoo_cli.heads.standardise import Features
from zoo_cli.heads.target_labels import TargetLabels

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class JointHead:
    """A head on the features of S sources: softmax((intercept + sum_s phi_s @ weights_s) / T).

    phi_s = (values_s - mean_s) * scale_s. `means`, `scales` and `weights` hold one array for each source, of shapes
    (D_s,), (D_s,) and (D_s, P); `intercept` (P,), of the classes with a label.
    """

    means: tuple[Array, ...]
    scales: tuple[Array, ...]
    weights: tuple[Array, ...]
    intercept: Array
    temperature: float
    lam: float


@dataclass(frozen=True, eq=False)
class Pool:
    """The answers of several sources as one, for all N images of the train part.

    `probabilities` (N, C) float64, rows of sum 1, 0 for a class without labels; `leave_one_out` (L, C): those of each
    labelled image without its label. `weights` (S,): of the sources, sum 1. `nll`: mean negative log-likelihood of the
    leave-one-out answers in nats, floored at 1e-9; `accuracy`: their share of right answers in [0, 1]; both None with a
    machine-readable `reason`. `neighbours`: the k of the graph; `joint`: the head of `kernel`; `head`: the position of
    the source that alone answers. `notes`: what a reader must know, machine readable.
    """

    probabilities: Array
    leave_one_out: Array
    weights: Array
    nll: float | None
    accuracy: float | None
    reason: str | None = None
    joint: JointHead | None = None
    head: int | None = None
    neighbours: int | None = None
    notes: tuple[str, ...] = ()


def make_pool(
    probabilities: Array,
    leave_one_out: Array,
    weights: Array,
    targets: TargetLabels,
    *,
    joint: JointHead | None = None,
    head: int | None = None,
    neighbours: int | None = None,
    notes: tuple[str, ...] = (),
) -> Pool:
    """A pool and how well its leave-one-out answers (L, C) fit the labels."""
    return Pool(
        probabilities=probabilities,
        leave_one_out=leave_one_out,
        weights=weights,
        nll=answers_nll(leave_one_out, targets),
        accuracy=answers_accuracy(leave_one_out, targets),
        reason=targets.reason,
        joint=joint,
        head=head,
        neighbours=neighbours,
        notes=notes,
    )


def check_pool(sources: Sequence[Features], heads: Sequence[Head], weights: Array, targets: TargetLabels) -> Array:
    """Weights (S,) float64 of sum 1.

    Raises UsageError without a source, ContractError where heads or weights are not one for each source, or a weight is
    negative or not finite, or all are 0.
    """
    if not len(sources):
        raise UsageError("no source to pool", "extract one, or check which are excluded")
    values = np.asarray(weights, dtype=np.float64)
    if values.shape != (len(sources),) or len(heads) != len(sources):
        raise ContractError(f"{len(sources)} sources, {len(heads)} heads, weights of shape {values.shape}")
    if not np.isfinite(values).all() or (values < 0).any() or not values.any():
        raise ContractError(f"weights are {values.tolist()}", "weights are finite, at least 0, and one is positive")
    for head in heads:
        if head.classes != targets.classes or len(head.leave_one_out) != len(targets):
            raise ContractError("a head was fitted on other labels", "fit the heads again")
    values = values / values.max()
    return np.asarray(values / values.sum())
