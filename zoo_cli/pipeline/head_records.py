"""The record of a pool's answers, and a head as the arrays of its file."""

from collections.abc import Sequence

import numpy as np

from zoo_cli.config import Source
from zoo_cli.heads.estimate import AccuracyEstimate, estimate_accuracy
from zoo_cli.heads.linear_head import Head
from zoo_cli.heads.pooled import Pool
from zoo_cli.heads.standardise import Features
from zoo_cli.heads.target_labels import TargetLabels
from zoo_cli.pipeline.head_config import HeadLabelConfig
from zoo_cli.store.head_store import HeadRecord, PoolEstimate, SourceHead

LISTED = 1000
"""The number of images in the record: those on which the heads disagree most."""
LEANINGS, LEAST_SHARE = 3, 0.05
"""The most classes that the record names for such an image, and the least share of the heads that each has."""


def describe_heads(
    options: HeadLabelConfig,
    sources: Sequence[Source],
    heads: Sequence[Head],
    pools: Sequence[Pool],
    targets: TargetLabels,
    features: Sequence[Features],
    ids: np.ndarray,
    classes: Sequence[str],
) -> HeadRecord:
    """The record of the answers of a pool, one for the plain view or one for each of V views.

    Of views, the estimate and the class shares are means over them. `features` (N, D_s) are of the plain view, on which
    the heads are compared.
    """
    pool, unlabelled = pools[0], targets.unlabelled
    estimate = _average_estimates([estimate_accuracy(each, targets) for each in pools])
    shares = np.zeros(len(classes))
    if len(unlabelled):
        shares = np.mean([each.probabilities[unlabelled].mean(axis=0) for each in pools], axis=0)
    disagreement, mixture = _disagreement(features, heads, pool, unlabelled)
    order = np.argsort(-disagreement, kind="stable")[:LISTED]
    return HeadRecord(
        head=options.head,
        pool=options.pool,
        labels=len(targets),
        images=len(ids),
        sources=tuple(
            SourceHead(source.name, head.lam, head.temperature, head.nll, head.accuracy, float(weight))
            for source, head, weight in zip(sources, heads, pool.weights, strict=True)
        ),
        estimate=estimate,
        class_shares={name: float(share) for name, share in zip(classes, shares, strict=True)},
        missing=tuple(classes[c] for c in targets.missing),
        disagreement=[(str(ids[unlabelled[i]]), round(float(disagreement[i]), 6)) for i in order],
        leaning=[_leaning(mixture[i], classes) for i in order],
        notes=pool.notes if options.views is None else (*pool.notes, options.views.note),
    )


def _average_estimates(estimates: Sequence[AccuracyEstimate]) -> PoolEstimate:
    """The mean over the views of the accuracy on one view, and of the ends of its interval."""
    first = estimates[0]
    if first.accuracy is None:
        return PoolEstimate(None, None, None, first.reason)
    values = np.array([(each.accuracy, each.low, each.high) for each in estimates], dtype=np.float64)
    accuracy, low, high = values.mean(axis=0).tolist()
    return PoolEstimate(accuracy, low, high, first.reason)


def _disagreement(
    features: Sequence[Features], heads: Sequence[Head], pool: Pool, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """How far the heads disagree on images (M,), in nats, and the weighted mean (M, C) of their answers.

    The former is the weighted Jensen-Shannon divergence of the answers.
    """
    mixture, entropy = np.zeros((len(rows), heads[0].classes)), np.zeros(len(rows))
    if not len(rows):
        return entropy, mixture
    for source, head, weight in zip(features, heads, pool.weights, strict=True):
        answers = head.answer(source.values[rows])
        mixture += weight * answers
        entropy += weight * _entropy(answers)
    return np.maximum(_entropy(mixture) - entropy, 0.0), mixture


def _leaning(shares: np.ndarray, classes: Sequence[str]) -> dict[str, float]:
    """The classes to which most of the heads lean, the most likely first, with their shares."""
    order = np.argsort(-shares, kind="stable")[:LEANINGS]
    return {classes[c]: round(float(shares[c]), 4) for c in order if shares[c] >= LEAST_SHARE}


def _entropy(probabilities: np.ndarray) -> np.ndarray:
    logs = np.log(np.maximum(probabilities, np.finfo(np.float64).tiny))
    return np.asarray(-(probabilities * logs).sum(axis=1))


def head_arrays(head: Head) -> dict[str, np.ndarray]:
    """A head as the arrays of its file. `lam` is NaN if it has none."""
    return {
        "mean": head.mean,
        "scale": head.scale,
        "weights": head.weights,
        "intercept": head.intercept,
        "present": head.present,
        "temperature": np.array([head.temperature]),
        "lam": np.array([np.nan if head.lam is None else head.lam]),
    }
