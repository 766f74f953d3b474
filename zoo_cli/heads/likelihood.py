"""How well leave-one-out answers fit the labels, and the temperature that fits best."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from zoo_cli.errors import UsageError
from zoo_cli.heads.target_labels import TargetLabels

Array = NDArray[Any]

LAMBDAS = tuple(float(value) for value in 10.0 ** (np.arange(-6, 5) / 2))
TEMPERATURES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
ONE_LABEL_LAMBDA, ONE_LABEL_TEMPERATURE = 1.0, 0.1  # where there is nothing to choose by
FLOOR = 1e-9  # of probabilities


def softmax_rows(logits: Array, temperature: float = 1.0) -> Array:
    """Softmax (M, P) of each row of logits / temperature."""
    return np.asarray(np.exp(log_softmax(logits / temperature, axis=1)))


def logits_nll(logits: Array, targets: TargetLabels, temperature: float) -> float:
    """Mean negative log-likelihood in nats of the judged labels under softmax(logits (L, P) / temperature)."""
    scaled = logits[targets.judged] / temperature
    own = scaled[np.arange(len(scaled)), targets.codes[targets.judged]]
    return float((log_sum_rows(scaled) - own).mean())


def log_sum_rows(logits: Array) -> Array:
    """The logarithm (M,) of the summed exponentials of each row of finite logits (M, P).

    As `scipy.special.logsumexp` computes it, to the last bit; a choice of temperatures calls it 77 times.
    """
    peaks = logits.max(axis=1, keepdims=True)
    is_peak = logits == peaks
    raised = np.exp(logits - peaks)
    raised[is_peak] = 0.0  # for precision they are no part of the sum
    counts = is_peak.sum(axis=1, dtype=logits.dtype)
    return np.asarray(np.log1p(raised.sum(axis=1) / counts) + np.log(counts) + peaks[:, 0])


def answers_nll(answers: Array, targets: TargetLabels) -> float | None:
    """The same of probabilities (L, C), floored at 1e-9; None if every class has one label."""
    if targets.single:
        return None
    own = answers[targets.judged, targets.labels[targets.judged]]
    return float(-np.log(np.maximum(own, FLOOR)).mean())


def answers_accuracy(answers: Array, targets: TargetLabels) -> float | None:
    """Share of the judged labels that probabilities (L, C) hit; None if every class has one label."""
    if targets.single:
        return None
    return float((answers.argmax(axis=1) == targets.labels)[targets.judged].mean())


def choose_temperature(logits: Array, targets: TargetLabels, temperature: float | None) -> tuple[float, float | None]:
    """The temperature of TEMPERATURES with the least nll of leave-one-out logits (L, P), and its nll.

    A `temperature` that is not None is kept; where every class has one label it is 0.1, and there is no nll.
    """
    options = check_options("T", temperature, TEMPERATURES)
    if targets.single:
        return (ONE_LABEL_TEMPERATURE if temperature is None else temperature), None
    losses = [logits_nll(logits, targets, option) for option in options]
    best = int(np.argmin(losses))
    return options[best], losses[best]


def check_options(name: str, value: float | None, options: Sequence[float]) -> Sequence[float]:
    """The value alone if there is one, else the options. Raises UsageError unless it is positive and finite."""
    if value is None:
        return options
    if not 0 < value < np.inf:
        raise UsageError(f"{name}={value:g} is not positive and finite", f"leave {name} out to choose it by the labels")
    return (value,)
