"""Each metric once more, slowly, written from its formula and not from the code."""

import math
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Array = NDArray[Any]


def parc(features: Array, labels: Array) -> float:
    """Spearman of two lists, one entry a pair: 1 - Pearson of standardised rows; whether the labels differ."""
    rows = _standardised(features)
    pairs = list(combinations(range(len(labels)), 2))
    distance = [1 - _pearson(rows[i], rows[j]) for i, j in pairs]
    return _spearman(distance, [float(labels[i] != labels[j]) for i, j in pairs])


def rsa(features: Array, labels: Array) -> float:
    """Spearman of two lists, one entry a pair: 1 - Pearson of standardised rows, of features and of one-hot labels."""
    rows = _standardised(features)
    targets = _standardised(_one_hot(labels))
    pairs = list(combinations(range(len(labels)), 2))
    distance = [1 - _pearson(rows[i], rows[j]) for i, j in pairs]
    return _spearman(distance, [round(1 - _pearson(targets[i], targets[j]), 9) for i, j in pairs])


def auc(features: Array, labels: Array) -> float:
    """The share of couples, of a same-class and another pair, in which the same-class pair is the nearer."""
    rows = _standardised(features)
    pairs = list(combinations(range(len(labels)), 2))
    near = [_pearson(rows[i], rows[j]) for i, j in pairs if labels[i] == labels[j]]
    far = [_pearson(rows[i], rows[j]) for i, j in pairs if labels[i] != labels[j]]
    wins = sum(0.5 if abs(a - b) < 1e-12 else float(a > b) for a in near for b in far)
    return wins / len(near) / len(far)


def cka(features: Array, labels: Array) -> float:
    """<HKH, HLH> / (||HKH|| ||HLH||), H = I - 1/n, with n x n matrices."""
    size = len(labels)
    centring = np.eye(size) - 1 / size
    one, other = (centring @ gram @ centring for gram in _grams(features, labels))
    return float((one * other).sum() / math.sqrt((one**2).sum() * (other**2).sum()))


def cka_debiased(features: Array, labels: Array) -> float:
    """The same of U-centred matrices: every entry less its row's and column's mean, plus the mean, off the diagonal."""
    size = len(labels)
    centred = []
    for gram in _grams(features, labels):
        np.fill_diagonal(gram, 0)
        result = np.zeros_like(gram)
        for i in range(size):
            for j in range(size):
                if i != j:
                    means = (gram[i].sum() + gram[:, j].sum()) / (size - 2)
                    result[i, j] = gram[i, j] - means + gram.sum() / (size - 1) / (size - 2)
        centred.append(result)
    one, other = centred
    return float((one * other).sum() / math.sqrt((one**2).sum() * (other**2).sum()))


def lfc(features: Array, labels: Array) -> float:
    """Pearson of the entries of F F' and of the matrix of +1 and -1."""
    wide = features.astype(np.float64)
    return float(np.corrcoef((wide @ wide.T).ravel(), _signs(labels).ravel())[0, 1])


def lfc_offdiag(features: Array, labels: Array) -> float:
    """The same without the diagonals."""
    wide = features.astype(np.float64)
    off = ~np.eye(len(labels), dtype=bool)
    return float(np.corrcoef((wide @ wide.T)[off], _signs(labels)[off])[0, 1])


def leep(probs: Array, labels: Array) -> float:
    """Mean log of sum_z P(y | z) p_z, the joint distribution of y and z counted sample by sample."""
    joint: dict[tuple[int, int], float] = {}
    for label, row in zip(labels.tolist(), probs.astype(np.float64).tolist(), strict=True):
        for source, mass in enumerate(row):
            joint[label, source] = joint.get((label, source), 0.0) + mass / len(labels)
    whole = [sum(mass for (_, s), mass in joint.items() if s == source) for source in range(probs.shape[1])]
    total = 0.0
    for label, row in zip(labels.tolist(), probs.astype(np.float64).tolist(), strict=True):
        total += math.log(sum(joint[label, s] / whole[s] * mass for s, mass in enumerate(row) if whole[s] > 0))
    return total / len(labels)


def _standardised(values: Array) -> Array:
    wide = values.astype(np.float64)
    columns = [(c - c.mean()) / c.std() if np.ptp(c) > 0 else np.zeros_like(c) for c in wide.T]
    return np.stack(columns, axis=1)


def _pearson(one: Array, other: Array) -> float:
    a, b = one - one.mean(), other - other.mean()
    lengths = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / lengths if lengths > 1e-12 else 0.0


def _spearman(one: list[float], other: list[float]) -> float:
    return float(np.corrcoef(rankdata(np.round(one, 11)), rankdata(other))[0, 1])


def _one_hot(labels: Array) -> Array:
    return (labels[:, None] == np.unique(labels)[None, :]).astype(np.float64)


def _grams(features: Array, labels: Array) -> list[Array]:
    return [rows @ rows.T for rows in (features.astype(np.float64), _one_hot(labels))]


def _signs(labels: Array) -> Array:
    return np.where(labels[:, None] == labels[None, :], 1.0, -1.0)
