"""What is kept of a pool so that it answers for new images, without the images it was fitted on where that can be."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from zoo_cli.errors import ContractError
from zoo_cli.heads.linear_head import Head
from zoo_cli.heads.new_images import answer_heads, answer_joint, answer_neighbours
from zoo_cli.heads.pooled import JointHead, Pool
from zoo_cli.heads.standardise import Features

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class PoolFormula:
    """How a pool answers from the features (M, D_s) of its S sources, those of positive weight.

    `classes`: C; `present` (P,): those with a label. `weights` (S,); `means` and `scales`, an array (D_s,) for each
    source, standardise its features. Exactly one of these says how: `joint`, one head on all features (`kernel`, and
    `best` with its one source); `heads`, one for each source (`logmean`); `neighbours`, the number of nearest train
    images whose answers are averaged (`spread`, `product`).
    """

    classes: int
    present: Array
    weights: Array
    means: tuple[Array, ...]
    scales: tuple[Array, ...]
    joint: JointHead | None = None
    heads: tuple[Head, ...] = ()
    neighbours: int | None = None

    @classmethod
    def of(cls, pool: Pool, heads: Sequence[Head]) -> tuple[Self, list[int]]:
        """The formula of a pool of all heads, and the positions (S,) of the sources that it needs."""
        used = [int(position) for position in np.flatnonzero(pool.weights)]
        chosen = [heads[position] for position in used]
        joint: JointHead | None = None
        if pool.neighbours is None and pool.joint is not None:
            parts = (pool.joint.means, pool.joint.scales, pool.joint.weights)
            means, scales, weights = (tuple(part[position] for position in used) for part in parts)
            joint = JointHead(means, scales, weights, pool.joint.intercept, pool.joint.temperature, pool.joint.lam)
        elif pool.head is not None:
            head = heads[pool.head]
            lam = np.nan if head.lam is None else head.lam
            joint = JointHead((head.mean,), (head.scale,), (head.weights,), head.intercept, head.temperature, lam)
        is_logmean = joint is None and pool.neighbours is None
        formula = cls(
            classes=heads[0].classes,
            present=heads[0].present,
            weights=pool.weights[used],
            means=tuple(head.mean for head in chosen),
            scales=tuple(head.scale for head in chosen),
            joint=joint,
            heads=tuple(chosen) if is_logmean else (),
            neighbours=pool.neighbours,
        )
        return formula, used

    def answer(
        self, values: Sequence[Array], train: Sequence[Features] = (), train_answers: Array | None = None
    ) -> Array:
        """Probabilities (M, C) float64 for the features (M, D_s) of the S sources, 0 for a class without labels.

        `train`: with `neighbours`, the features of each source on the N train images, see `train_features`, and
        `train_answers` (N, C) those of the pool. Raises ContractError for other widths or numbers of rows.
        """
        if self.neighbours is not None:
            assert train_answers is not None, "neighbours need the answers of the train images"
            return answer_neighbours(train, self.weights, values, train_answers, self.present, k=self.neighbours)
        if self.joint is not None:
            return answer_joint(self.joint, values, self.present, self.classes)
        return answer_heads(self.heads, values)

    def train_features(self, position: int, values: Array) -> Features:
        """The features (N, D) of the source at a position on the train images, as the pool standardises them."""
        return Features(values, self.means[position], self.scales[position])

    def to_arrays(self) -> dict[str, Array]:
        """The formula as named arrays; those of a source begin with its position."""
        arrays = {"classes": np.array([self.classes]), "present": self.present, "source_weights": self.weights}
        for position, (mean, scale) in enumerate(zip(self.means, self.scales, strict=True)):
            arrays |= {f"{position}.mean": mean, f"{position}.scale": scale}
        if self.neighbours is not None:
            arrays["neighbours"] = np.array([self.neighbours])
        if self.joint is not None:
            arrays |= {"intercept": self.joint.intercept, "temperature": np.array([self.joint.temperature])}
            arrays |= {f"{position}.weights": weights for position, weights in enumerate(self.joint.weights)}
        for position, head in enumerate(self.heads):
            arrays[f"{position}.weights"] = head.weights
            arrays[f"{position}.intercept"] = head.intercept
            arrays[f"{position}.temperature"] = np.array([head.temperature])
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Self:
        """The formula of `to_arrays`. Raises ContractError where one is missing."""
        try:
            weights = arrays["source_weights"]
            means, scales = (tuple(arrays[f"{s}.{key}"] for s in range(len(weights))) for key in ("mean", "scale"))
            formula = cls(int(arrays["classes"][0]), arrays["present"], weights, means, scales)
            if "neighbours" in arrays:
                return replace(formula, neighbours=int(arrays["neighbours"][0]))
            columns = tuple(arrays[f"{s}.weights"] for s in range(len(weights)))
            if "intercept" not in arrays:
                return replace(formula, heads=tuple(formula._head(s, columns[s], arrays) for s in range(len(weights))))
            temperature = float(arrays["temperature"][0])
            joint = JointHead(means, scales, columns, arrays["intercept"], temperature, np.nan)
        except KeyError as error:
            raise ContractError(f"the formula of the pool has no array {error}", "make it again") from None
        return replace(formula, joint=joint)

    def _head(self, position: int, columns: Array, arrays: Mapping[str, Array]) -> Head:
        """A head that answers; what it knew of its own accuracy stands in the record of the pool."""
        return Head(
            mean=self.means[position],
            scale=self.scales[position],
            weights=columns,
            intercept=arrays[f"{position}.intercept"],
            present=self.present,
            classes=self.classes,
            temperature=float(arrays[f"{position}.temperature"][0]),
            lam=None,
            leave_one_out=np.zeros((0, self.classes)),
            nll=None,
            accuracy=None,
        )
