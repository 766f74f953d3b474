"""The result of a head: a linear function of standardised features, its temperature, and its leave-one-out answers."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo_cli.heads.likelihood import answers_accuracy, softmax_rows
from zoo_cli.heads.standardise import Features, check_values
from zoo_cli.heads.target_labels import TargetLabels

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Head:
    """A fitted head of one source: probabilities are softmax(((values - mean) * scale) @ weights + intercept) / T).

    `mean`, `scale` (D,): of the input, see `Features`; `weights` (D, P) and `intercept` (P,), of the classes `present`
    (P,) among `classes` C; `temperature`: T. `lam`: the penalty, None if the head has none. `leave_one_out` (L, C):
    probabilities of each labelled image by a head that has not seen its label, rows in the order of the labels; those
    of a class with one label are not judged. `nll`: their mean negative log-likelihood in nats; `accuracy`: their share
    of right answers in [0, 1]; both are None with a machine-readable `reason`.
    """

    mean: Array
    scale: Array
    weights: Array
    intercept: Array
    present: Array
    classes: int
    temperature: float
    lam: float | None
    leave_one_out: Array
    nll: float | None
    accuracy: float | None
    reason: str | None = None

    def answer(self, values: Array) -> Array:
        """Probabilities (M, C) float64 of rows (M, D), stored or new; 0 for a class without labels.

        Raises ContractError for another width or non-finite values.
        """
        check_values(values, width=len(self.mean))
        features = Features(values, self.mean, self.scale)
        answers = np.zeros((len(values), self.classes))
        answers[:, self.present] = softmax_rows(features.project(self.weights) + self.intercept, self.temperature)
        return answers


def make_head(
    features: Features,
    targets: TargetLabels,
    *,
    weights: Array,
    intercept: Array,
    temperature: float,
    lam: float | None,
    leave_one_out: Array,
    nll: float | None,
) -> Head:
    """A head of one source from its weights (D, P) and leave-one-out logits (L, P)."""
    answers = targets.widen(softmax_rows(leave_one_out, temperature))
    return Head(
        mean=features.mean,
        scale=features.scale,
        weights=weights,
        intercept=intercept,
        present=targets.present,
        classes=targets.classes,
        temperature=temperature,
        lam=lam,
        leave_one_out=answers,
        nll=nll,
        accuracy=answers_accuracy(answers, targets),
        reason=targets.reason,
    )
