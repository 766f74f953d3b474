"""The published forms of the scores, written plainly from the formulas of the code named; each gives the same value."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Form = Callable[[Any, Any], float]


def logme(features: Any, labels: Any) -> float:
    """thuml/LogME: the SVD of F'F, then a fixed point class by class, here until it converges."""
    f = features.astype(np.float64)
    size, width = f.shape
    _, values, right = np.linalg.svd(f.T @ f)
    left = f @ right.T / np.sqrt(values)
    total = 0.0
    for label in np.unique(labels):
        y = (labels == label).astype(np.float64)
        x2 = (left.T @ y) ** 2
        rest = float(y @ y - x2.sum())
        ratio = 1.0
        while True:
            gamma = (values / (values + ratio)).sum()
            m2 = (values * x2 / (ratio + values) ** 2).sum()
            r2 = (x2 / (1 + values / ratio) ** 2).sum() + rest
            last, ratio = ratio, gamma / (m2 + 1e-5) * (r2 + 1e-5) / (size - gamma)
            if abs(ratio - last) < 1e-12 * ratio:
                break
        a, b = gamma / m2, (size - gamma) / r2
        logs = width * np.log(a) + size * np.log(b / 2 / np.pi) - np.log(a + b * values).sum()
        total += (logs - b * r2 - a * m2) / 2 / size
    return float(total / len(np.unique(labels)))


def hscore(features: Any, labels: Any) -> float:
    """Transfer-Learning-Library: the pseudo-inverse of the covariance of features times that of class means."""
    f = features.astype(np.float64)
    means = np.zeros_like(f)
    for label in np.unique(labels):
        means[labels == label] = f[labels == label].mean(axis=0)
    return float(np.trace(np.linalg.pinv(np.cov(f, rowvar=False), rcond=1e-15) @ np.cov(means, rowvar=False)))


def hscore_shrunk(features: Any, labels: Any) -> float:
    """Transfer-Learning-Library: the same with the Ledoit-Wolf covariance of scikit-learn."""
    from sklearn.covariance import LedoitWolf

    f = features.astype(np.float64)
    f -= f.mean(axis=0)
    fitted = LedoitWolf().fit(f)
    means = np.zeros_like(f)
    for label in np.unique(labels):
        means[labels == label] = f[labels == label].mean(axis=0)
    inverse = np.linalg.pinv(fitted.covariance_, rcond=1e-15)
    return float(np.trace(inverse @ ((1 - fitted.shrinkage_) * np.cov(means, rowvar=False))))


def transrate(features: Any, labels: Any) -> float:
    """The authors' listing: d x d log determinants of all samples and of each class."""

    def rate(z: Any) -> float:
        return float(np.linalg.slogdet(np.eye(z.shape[1]) + z.T @ z / (len(z) * 1e-4))[1]) / 2

    z = features.astype(np.float64)
    z -= z.mean(axis=0)
    return rate(z) - float(np.mean([rate(z[labels == label]) for label in np.unique(labels)]))


def sfda(features: Any, labels: Any) -> float:
    """TencentARC/SFDA: two generalised eigenproblems of d x d matrices."""
    from scipy import linalg
    from scipy.special import softmax

    x, share = features.astype(np.float64), None
    names, codes = np.unique(labels, return_inverse=True)
    prior = np.bincount(codes) / len(codes)
    p = np.zeros((len(codes), len(names)))
    for again in range(2):
        means = np.stack([x[codes == c].mean(axis=0) for c in range(len(names))])
        within = sum(share_of * np.cov(x[codes == c].T, ddof=0) for c, share_of in enumerate(prior))
        if share is None:
            u = within.sum(axis=1)
            for _ in range(3):
                v = within @ u / np.linalg.norm(within @ u)
                u = within @ v / np.linalg.norm(within @ v)
            share = max(float(np.exp(-5 * u @ within @ v)), 1e-10)
        within = (1 - share) * within + share * np.trace(within) / len(within) * np.eye(len(within))
        values, vectors = linalg.eigh(np.cov(x.T, ddof=0) - within, within)
        vectors = vectors[:, np.argsort(values)[::-1]]
        weights = (means @ vectors) @ vectors.T
        p = softmax(x @ weights.T - np.diag(means @ weights.T) / 2 + np.log(prior), axis=1)
        if again == 0:
            confidence = softmax(p, axis=1)[np.arange(len(codes)), codes]
            others = (means.sum(axis=0) - means) / (len(names) - 1)
            x = confidence[:, None] * x + (1 - confidence)[:, None] * others[codes]
    return float(p[np.arange(len(codes)), codes].mean())


def cka(features: Any, labels: Any) -> float:
    """cvai and others: both n x n Gram matrices, centred, and three sums over their products."""
    x = features.astype(np.float64)
    y = (labels[:, None] == np.unique(labels)).astype(np.float64)
    grams = []
    for gram in (x @ x.T, y @ y.T):
        means = gram.mean(axis=0)
        grams.append(gram - means - means[:, None] + means.mean())
    x, y = grams
    return float((x * y).sum() / np.sqrt((x * x).sum() * (y * y).sum()))


def lfc(features: Any, labels: Any) -> float:
    """Both n x n matrices less their means, with Frobenius norms."""
    x = features.astype(np.float64)
    theta, agree = x @ x.T, np.where(labels[:, None] == labels, 1.0, -1.0)
    theta -= theta.mean()
    agree -= agree.mean()
    return float((theta * agree).sum() / np.linalg.norm(theta) / np.linalg.norm(agree))


def leep(probs: Any, labels: Any) -> float:
    """thuml/LogME: the joint distribution class by class, then N x K x C products, of which N are used."""
    p = probs.astype(np.float64)
    count = labels.max() + 1
    joint = np.zeros((count, p.shape[1]))
    for label in range(count):
        joint[label] = p[labels == label].sum(axis=0) / len(p)
    conditional = (joint / joint.sum(axis=0, keepdims=True)).T
    predicted = p @ conditional
    return float(np.log(predicted[np.arange(len(p)), labels]).mean())


def knn(features: Any, labels: Any) -> float:
    """dbolya/parc: all distances, each row sorted, the first column left out as the sample itself."""
    f = features - features.mean(axis=0)
    lengths = (f * f).sum(axis=1)
    apart = lengths[:, None] + lengths - 2 * f @ f.T
    np.fill_diagonal(apart, -1)
    return float((labels[np.argsort(apart, axis=1)[:, 1]] == labels).mean())


def gbc(features: Any, labels: Any) -> float:
    """Ba1Jun/transferability: scikit-learn's components, then a loop over the pairs of classes."""
    from sklearn.decomposition import PCA

    rows = PCA(64, svd_solver="covariance_eigh").fit_transform(features.astype(np.float64))
    groups = [rows[labels == label] for label in np.unique(labels)]
    means = [group.mean(axis=0) for group in groups]
    spreads = [np.maximum(group.var(axis=0), 1e-4).mean() for group in groups]
    total = 0.0
    for i in range(len(groups)):
        for j in range(len(groups)):
            if i != j:
                between = (spreads[i] + spreads[j]) / 2
                apart = ((means[i] - means[j]) ** 2).sum() / between / 8
                total += np.exp(-apart - 32 * np.log(between / np.sqrt(spreads[i] * spreads[j])))
    return -float(total)


def parc(features: Any, labels: Any) -> float:
    """The definition in numpy and scipy, see bench_parc: dbolya/parc with an exact label matrix."""
    from tests.bench.bench_parc import definition

    return definition(features, labels)


FORMS: Mapping[str, Form] = {
    "parc": parc,
    "logme": logme,
    "hscore": hscore,
    "hscore:shrunk=true": hscore_shrunk,
    "transrate": transrate,
    "sfda": sfda,
    "cka": cka,
    "lfc": lfc,
    "leep": leep,
    "knn:k=1": knn,
    "gbc": gbc,
}
