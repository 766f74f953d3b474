"""Slow independent implementations of heads and pools in float64, from the formulas and with matrices of N x N."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def softmax(logits: Array, temperature: float = 1.0) -> Array:
    rows = []
    for row in logits.tolist():
        top = max(row)
        terms = [math.exp((value - top) / temperature) for value in row]
        rows.append([term / sum(terms) for term in terms])
    return np.array(rows)


def phi(values: Array) -> Array:
    """Standardised columns without the constant ones, divided by the square root of their number."""
    wide = values.astype(np.float64)
    kept = [column for column in wide.T if column.std() > 0]
    return np.array([(column - column.mean()) / column.std() / math.sqrt(len(kept)) for column in kept]).T


def one_hot(labels: Array, classes: int) -> Array:
    return np.array([[float(label == number) for number in range(classes)] for label in labels])


def ridge_values(kernel: Array, labels: Array, classes: int, lam: float, without: int | None = None) -> Array:
    """Regression values of all N images from the kernel (N, N), after the label of one image is taken away.

    The coefficients solve the equations of kernel ridge regression with a free intercept: (K + lam I) alpha + 1 b = Y,
    1' alpha = 0.
    """
    rows = [i for i in range(len(labels)) if labels[i] >= 0 and i != without]
    size = len(rows)
    system = np.ones((size + 1, size + 1))
    system[:size, :size] = kernel[np.ix_(rows, rows)] + lam * np.eye(size)
    system[size, size] = 0
    right = np.vstack([one_hot(labels[rows], classes), np.zeros(classes)])
    solution = np.linalg.solve(system, right)
    return kernel[:, rows] @ solution[:size] + solution[size]


def ridge_left_out(kernel: Array, labels: Array, classes: int, lam: float) -> Array:
    """The value of each labelled image from all other labels."""
    rows = [i for i in range(len(labels)) if labels[i] >= 0]
    return np.array([ridge_values(kernel, labels, classes, lam, i)[i] for i in rows])


def nll(probabilities: Array, labels: Array) -> float:
    """Of the labels (L,) whose class has two or more."""
    terms = [-math.log(p[y]) for p, y in zip(probabilities, labels.tolist(), strict=True) if (labels == y).sum() > 1]
    return sum(terms) / len(terms)


def choose_ridge(kernel: Array, labels: Array, classes: int) -> tuple[float, float]:
    """The penalty and the temperature of least nll, each label really left out."""
    known = labels[labels >= 0]
    best = (math.inf, 0.0, 0.0)
    for exponent in range(-6, 5):
        lam = 10 ** (exponent / 2)
        values = ridge_left_out(kernel, labels, classes, lam)
        for temperature in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0):
            scaled = values / temperature
            logs = scaled - scaled.max(axis=1, keepdims=True)
            logs -= np.log(np.exp(logs).sum(axis=1, keepdims=True))
            counted = [i for i, y in enumerate(known) if (known == y).sum() > 1]
            loss = -float(np.mean([logs[i, known[i]] for i in counted]))
            best = min(best, (loss, lam, temperature))
    return best[1], best[2]


def ncm_logits(rows: Array, labels: Array, classes: int, temperature: float, without: int | None = None) -> Array:
    """-|phi - m_c|² / T of all images; -inf for a class whose only label is taken away."""
    result = np.full((len(rows), classes), -np.inf)
    for number in range(classes):
        members = [i for i in range(len(rows)) if labels[i] == number and i != without]
        if members:
            mean = np.mean([rows[i] for i in members], axis=0)
            result[:, number] = [-float(((row - mean) ** 2).sum()) / temperature for row in rows]
    return result


def pooled_kernel(arrays: Sequence[Array], weights: Array) -> Array:
    return np.asarray(sum(w * phi(a) @ phi(a).T for a, w in zip(arrays, weights.tolist(), strict=True)))


def graph(kernel: Array, k: int) -> Array:
    """Weights (N, N) of the k nearest others by cosine, of either direction."""
    size = len(kernel)
    cosine = [[kernel[i, j] / math.sqrt(kernel[i, i] * kernel[j, j]) for j in range(size)] for i in range(size)]
    result = np.zeros((size, size))
    for i in range(size):
        others = sorted((j for j in range(size) if j != i), key=lambda j: -cosine[i][j])
        for j in others[:k]:
            weight = max(cosine[i][j], 0.0) ** 3
            result[i, j] = max(result[i, j], weight)
            result[j, i] = max(result[j, i], weight)
    return result


def spreading(weights: Array, a: float) -> Array:
    """Z = (1 - a)(I - a S)^-1."""
    roots = np.array([1 / math.sqrt(total) if total > 0 else 0.0 for total in weights.sum(axis=1)])
    normal = roots[:, None] * weights * roots
    return (1 - a) * np.linalg.inv(np.eye(len(weights)) - a * normal)


def spread_mass(z: Array, labels: Array, classes: int, without: int | None = None) -> Array:
    """Z Y / counts, after the label of one image is taken away."""
    result = np.zeros((len(labels), classes))
    for number in range(classes):
        members = [i for i in range(len(labels)) if labels[i] == number and i != without]
        if members:
            result[:, number] = z[:, members].sum(axis=1) / len(members)
    return result


def share(mass: Array) -> Array:
    return np.array([row / row.sum() if row.sum() > 0 else np.full(len(row), 1 / len(row)) for row in mass])


def mass_factors(mass: Array, ridge: Array, labels: Array) -> Array:
    unlabelled = labels < 0
    return np.asarray(ridge[unlabelled].mean(axis=0) / mass[unlabelled].mean(axis=0))
