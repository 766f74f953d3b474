"""Slow reference implementations of the metrics, written from the formulas and not from the code."""

import math
from itertools import combinations, permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh
from scipy.special import softmax
from scipy.stats import rankdata

Array = NDArray[Any]


def parc(features: Array, labels: Array) -> float:
    """Spearman of two lists, one entry per pair: 1 - Pearson of standardised rows; whether the labels differ."""
    rows = standardise(features)
    pairs = list(combinations(range(len(labels)), 2))
    distance = [1 - _pearson(rows[i], rows[j]) for i, j in pairs]
    return spearman(distance, [float(labels[i] != labels[j]) for i, j in pairs])


def rsa(features: Array, labels: Array) -> float:
    """Spearman of two lists, one entry per pair: 1 - Pearson of standardised rows, of features and one-hot labels."""
    rows = standardise(features)
    targets = standardise(one_hot(labels))
    pairs = list(combinations(range(len(labels)), 2))
    distance = [1 - _pearson(rows[i], rows[j]) for i, j in pairs]
    return spearman(distance, [round(1 - _pearson(targets[i], targets[j]), 9) for i, j in pairs])


def auc(features: Array, labels: Array) -> float:
    """The share of couples of a same-class and another pair in which the same-class pair is nearer."""
    rows = standardise(features)
    pairs = list(combinations(range(len(labels)), 2))
    near = [_pearson(rows[i], rows[j]) for i, j in pairs if labels[i] == labels[j]]
    far = [_pearson(rows[i], rows[j]) for i, j in pairs if labels[i] != labels[j]]
    wins = sum(0.5 if abs(a - b) < 1e-12 else float(a > b) for a in near for b in far)
    return wins / len(near) / len(far)


def cka(features: Array, labels: Array) -> float:
    """<HKH, HLH> / (||HKH|| ||HLH||), H = I - 1/n, with n x n matrices."""
    size = len(labels)
    centring = np.eye(size) - 1 / size
    return _cosine(*(centring @ gram @ centring for gram in _grams(features, labels)))


def cka_debiased(features: Array, labels: Array) -> float:
    """The same of U-centred matrices: every entry minus row and column mean, plus the mean, off the diagonal."""
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
    return _cosine(*centred)


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


def nce(probs: Array, labels: Array) -> float:
    """sum p(y, z) log (p(y, z) / p(z)), z the source's most probable class, counted sample by sample."""
    chosen = [row.index(max(row)) for row in probs.tolist()]
    pairs = list(zip(chosen, labels.tolist(), strict=True))
    return sum(math.log(pairs.count(pair) / chosen.count(pair[0])) for pair in pairs) / len(pairs)


def logme(features: Array, labels: Array) -> float:
    """MacKay's updates with 1e-5 in both denominators, class by class, with d x d matrices; then the log evidence."""
    wide = features.astype(np.float64)
    size, width = wide.shape
    gram, total = wide.T @ wide, 0.0
    for label in np.unique(labels):
        target = (labels == label).astype(np.float64)
        ratio = 1.0
        for _ in range(1000):
            inverse = np.linalg.inv(gram + ratio * np.eye(width))
            weights = inverse @ wide.T @ target
            gamma = float((gram * inverse).sum())
            m2, r2 = float(weights @ weights), float(((wide @ weights - target) ** 2).sum())
            last, ratio = ratio, gamma / (m2 + 1e-5) * (r2 + 1e-5) / (size - gamma)
            if abs(ratio - last) < 1e-10 * ratio:
                break
        alpha, beta = gamma / m2, (size - gamma) / r2
        determinant = np.linalg.slogdet(alpha * np.eye(width) + beta * gram)[1]
        logs = width * math.log(alpha) + size * math.log(beta / 2 / math.pi) - determinant
        total += (logs - beta * r2 - alpha * m2) / 2 / size
    return total / len(np.unique(labels))


def hscore(features: Array, labels: Array) -> float:
    """tr(cov(F)^+ cov(E[F | y])) with a pseudo-inverse."""
    wide = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    means = np.stack([wide[labels == label].mean(axis=0) for label in labels])
    return float(np.trace(np.linalg.pinv(wide.T @ wide, rcond=1e-13) @ means.T @ means))


def hscore_shrunk(features: Array, labels: Array) -> float:
    """The same with scikit-learn's Ledoit-Wolf covariance, and its share taken off the other covariance."""
    from sklearn.covariance import ledoit_wolf

    wide = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    covariance, share = ledoit_wolf(wide, assume_centered=True)
    means = np.stack([wide[labels == label].mean(axis=0) for label in labels])
    return float((1 - share) * np.trace(np.linalg.inv(covariance) @ means.T @ means) / (len(labels) - 1))


def transrate(features: Array, labels: Array) -> float:
    """The authors' listing: log det(I + Z'Z / (n eps)) / 2 of all rows minus its mean over the classes."""
    wide = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    return _coding(wide) - float(np.mean([_coding(wide[labels == label]) for label in np.unique(labels)]))


def transrate_paper(features: Array, labels: Array) -> float:
    """Rows scaled to unit trace, classes weighted by size."""
    wide = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    wide /= math.sqrt((wide**2).sum())
    parts = [(labels == label).mean() * _coding(wide[labels == label]) for label in np.unique(labels)]
    return _coding(wide) - float(np.sum(parts))


def gbc_diagonal(features: Array, labels: Array) -> float:
    """Minus the sum of exp(-Bhattacharyya distance) over the ordered pairs of classes, with diagonal matrices."""
    return _gbc(features, labels, spherical=False)


def gbc(features: Array, labels: Array) -> float:
    """The same of 64 principal components, with multiples of the identity."""
    wide = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    _, lengths, loadings = np.linalg.svd(wide, full_matrices=False)
    return _gbc(wide @ loadings[lengths > 1e-9 * lengths[0]][:64].T, labels, spherical=True)


def gbc_log(features: Array, labels: Array) -> float:
    """Minus the logarithm of the overlap."""
    return -math.log(-gbc(features, labels))


def sfda(features: Array, labels: Array) -> float:
    """Two regularised discriminant analyses by the generalised eigenproblem; samples are moved in between."""
    wide = features.astype(np.float64)
    names, codes = np.unique(labels, return_inverse=True)
    prior = np.bincount(codes) / len(codes)
    share = None
    probabilities = np.zeros((len(codes), len(names)))
    for again in range(2):
        means = np.stack([wide[codes == c].mean(axis=0) for c in range(len(names))])
        scatter = sum(p * np.cov(wide[codes == c].T, ddof=0) for c, p in enumerate(prior))
        if share is None:
            first = scatter.sum(axis=1)
            for _ in range(3):
                second = scatter @ first / np.linalg.norm(scatter @ first)
                first = scatter @ second / np.linalg.norm(scatter @ second)
            share = max(math.exp(-5 * first @ scatter @ second), 1e-10)
        scatter = (1 - share) * scatter + share * np.trace(scatter) / len(scatter) * np.eye(len(scatter))
        vectors = eigh(np.cov(wide.T, ddof=0), scatter)[1]
        weights = means @ vectors @ vectors.T
        logits = wide @ weights.T - np.diag(means @ weights.T) / 2 + np.log(prior)
        probabilities = softmax(logits, axis=1)
        if again == 0:
            sure = softmax(probabilities, axis=1)[np.arange(len(codes)), codes]
            others = np.stack([np.delete(means, c, axis=0).mean(axis=0) for c in codes])
            wide = sure[:, None] * wide + (1 - sure)[:, None] * others
    return float(probabilities[np.arange(len(codes)), codes].mean())


def knn(features: Array, labels: Array, k: int = 5, distance: str = "euclidean") -> float:
    """Row by row: sort all others by distance and position, vote, and among equal votes take the nearest."""
    wide, hits = features.astype(np.float64), 0
    for i, row in enumerate(wide):
        if distance == "euclidean":
            apart = np.sqrt(((wide - row) ** 2).sum(axis=1))
        else:
            lengths = np.linalg.norm(wide, axis=1) * np.linalg.norm(row)
            apart = 1 - np.where(lengths > 0, wide @ row / np.where(lengths > 0, lengths, 1), 0)
        near = sorted((round(float(apart[j]), 9), j) for j in range(len(wide)) if j != i)[:k]
        votes = [labels[j] for _, j in near]
        hits += max(votes, key=lambda label: (votes.count(label), -votes.index(label))) == labels[i]
    return hits / len(labels)


def ridge(features: Array, labels: Array) -> float:
    """For each penalty, fit a ridge regression without each sample in turn, and predict that sample."""
    from sklearn.linear_model import Ridge

    wide, targets = features.astype(np.float64), one_hot(labels)
    centred = wide - wide.mean(axis=0)
    scores = []
    for power in range(-5, 4):
        penalty = 10.0**power * float((centred**2).sum()) / len(wide)
        missed = guessed = 0.0
        for i in range(len(wide)):
            kept = np.delete(np.arange(len(wide)), i)
            model = Ridge(penalty, solver="svd").fit(wide[kept], targets[kept])
            missed += float(((model.predict(wide[i : i + 1])[0] - targets[i]) ** 2).sum())
            guessed += float(((targets[kept].mean(axis=0) - targets[i]) ** 2).sum())
        scores.append(1 - missed / guessed)
    return max(scores)


def _coding(rows: Array) -> float:
    size, width = rows.shape
    return float(np.linalg.slogdet(np.eye(width) + rows.T @ rows / (size * 1e-4))[1]) / 2


def _gbc(features: Array, labels: Array, *, spherical: bool) -> float:
    wide, total = features.astype(np.float64), 0.0
    groups = [wide[labels == label] for label in np.unique(labels)]
    spreads = [np.maximum(group.var(axis=0), 1e-4) for group in groups]
    if spherical:
        spreads = [np.full_like(spread, spread.mean()) for spread in spreads]
    for i, j in permutations(range(len(groups)), 2):
        apart, between = groups[i].mean(axis=0) - groups[j].mean(axis=0), (spreads[i] + spreads[j]) / 2
        logs = np.log(between / np.sqrt(spreads[i] * spreads[j])).sum()
        total += math.exp(-float((apart**2 / between).sum() / 8 + logs / 2))
    return -total


def standardise(values: Array) -> Array:
    wide = values.astype(np.float64)
    columns = [(c - c.mean()) / c.std() if np.ptp(c) > 0 else np.zeros_like(c) for c in wide.T]
    return np.stack(columns, axis=1)


def _cosine(x: Array, y: Array) -> float:
    return float((x * y).sum() / math.sqrt((x**2).sum() * (y**2).sum()))


def _pearson(x: Array, y: Array) -> float:
    a, b = x - x.mean(), y - y.mean()
    lengths = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / lengths if lengths > 1e-12 else 0.0


def spearman(x: list[float], y: list[float]) -> float:
    return float(np.corrcoef(rankdata(np.round(x, 11)), rankdata(y))[0, 1])


def one_hot(labels: Array) -> Array:
    return (labels[:, None] == np.unique(labels)[None, :]).astype(np.float64)


def _grams(features: Array, labels: Array) -> list[Array]:
    return [rows @ rows.T for rows in (features.astype(np.float64), one_hot(labels))]


def _signs(labels: Array) -> Array:
    return np.where(labels[:, None] == labels[None, :], 1.0, -1.0)
