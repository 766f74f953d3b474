"""PARC: rank correlation of the distances between features with the distances between labels.

Bolya et al. 2021, "Scalable Diverse Model Selection for Accessible Transfer Learning"; used in paper 000
(arXiv 2304.12314, A.8). Not multiplied by 100 as in the authors' code.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo_cli.errors import Undefined, UsageError
from zoo_cli.metrics.counted_pairs import CountedPairs
from zoo_cli.metrics.kept_pairs import KeptPairs
from zoo_cli.metrics.labels import Classes
from zoo_cli.metrics.pairs import below, rank_variance
from zoo_cli.metrics.probe import Probe

Array = NDArray[Any]


def parc(probe: Probe, *, normalized: bool = False, pca: int = 0, cosine: bool = False) -> float:
    """Spearman correlation, over the pairs of samples, of feature distance with label distance. Higher is better.

    Inputs (N, D): features or probabilities. Columns are standardised; the distance of two samples is 1 - Pearson of
    their rows, or 1 - `cosine`; two labels are 0 or 1 apart. In [-r, r], where the ceiling
    r = sqrt(3 m (M - m) / (M^2 - 1)) depends on the number m of same-class pairs among all M. `normalized`: over that
    ceiling, in [-1, 1]; it is 2 AUC - 1, AUC the probability that a same-class pair is the nearer one.
    `pca`: the first `pca` principal components replace the features; 0 uses the features themselves.

    Raises Undefined: `too_few_examples`, `single_class`, `no_same_class_pair`, `constant_features`.

    Departs from the published code, which ranks the rounding noise of its label distances. Distances between equal rows
    tie exactly; products are float32 for large probes, see `pairs`, and the pairs of still larger ones are counted on a
    grid, see `counted_pairs`.
    """
    target, similarities = _similarities(probe, pca, cosine)
    return correlation(similarities, target, normalized=normalized)


def correlation(similarities: KeptPairs | CountedPairs, target: Classes, *, normalized: bool = False) -> float:
    """Rank correlation of a pair's similarity with being of one class. Raises Undefined `constant_features`."""
    if similarities.variance <= 0:
        raise Undefined("constant_features")
    pairs, equal = similarities.count, target.same_pairs
    # A pair itself counts as half an equal one, so that this is the sum of mid-ranks less half for each pair.
    excess = similarities.same_below(target) - equal * pairs / 2
    return float(_score(excess, pairs, equal, similarities.variance, normalized))


def correlation_in_place(values: Array, target: Classes) -> float:
    """The same of the similarities of all pairs (M,), which are sorted."""
    same = np.sort(values[target.same_positions])
    values.sort()
    variance, equal = rank_variance(values), target.same_pairs
    if variance <= 0:
        raise Undefined("constant_features")
    return float(_score(below(values, same).sum() - equal * len(values) / 2, len(values), equal, variance, False))


def ceiling(probe: Probe, *, normalized: bool = False, **_: object) -> float:
    """The PARC of features where every same-class pair is nearer than every other pair and no two distances tie.

    It depends on the labels alone: `pca` and `cosine` do not change it.
    """
    if normalized:
        return 1.0
    pairs, same = float(probe.size * (probe.size - 1) // 2), float(probe.require_pairs().same_pairs)
    return float(np.sqrt(3 * same * (pairs - same) / (pairs**2 - 1)))


def leave_one_out(probe: Probe, *, normalized: bool = False, pca: int = 0, cosine: bool = False) -> Array:
    """The PARC of the probe without each of its samples, (N,); NaN where the rest has none. O(N^2 log N) in total.

    Arguments as in `parc`. Distances are those of the whole probe: columns are not standardised, nor components
    computed, again without the sample. On ten Gaussian probes the spread of the results was 0.84 to 1.25 times that
    with standardising again. The share of the rank variance that ties take away is that of the whole probe as well.
    Apart from these two the results are exact.
    """
    target, similarities = _similarities(probe, pca, cosine)
    untied = (float(similarities.count) ** 3 - similarities.count) / 12
    share = similarities.variance / untied
    if share <= 0:
        raise Undefined("constant_features")
    # Without a sample, the couples with its same-class pairs and those with its other pairs are gone.
    total, removed = similarities.count_couples(target)
    results, pairs = np.full(probe.size, np.nan), similarities.count - (probe.size - 1)
    variance = share * (float(pairs) ** 3 - pairs) / 12
    remaining = target.same_pairs - (target.counts[target.codes] - 1)
    for i, equal in enumerate(remaining.tolist()):
        if 0 < equal < pairs:
            excess = total - removed[i] - equal * (pairs - equal) / 2
            results[i] = _score(excess, pairs, equal, variance, normalized)
    return results


PAIR_ROWS = 512
"""The largest probe whose pairs are counted: in larger ones they hardly matter, and there are too many."""


def pair_variance(probe: Probe, *, normalized: bool = False, pca: int = 0, cosine: bool = False) -> float:
    """The part of the sampling variance of PARC that belongs to pairs of samples, 0 above PAIR_ROWS samples.

    PARC is a mean over pairs (a U-statistic of degree 2), h its terms. What the row means of h leave over within each
    pair of classes is the part of a pair alone (Hoeffding 1948); its variance, summed over all pairs, is the result.
    The jackknife counts it twice (Efron and Stein 1981). Within classes of up to three samples it cannot be seen, and
    counts as 0.
    """
    if probe.size > PAIR_ROWS:
        return 0.0
    target, similarities = _similarities(probe, pca, cosine)
    if similarities.variance <= 0:
        raise Undefined("constant_features")
    assert isinstance(similarities, KeptPairs), "so few pairs are kept"
    pairs, same = similarities.count, target.same_pairs
    ranks = similarities.ranks - pairs / 2
    ranks /= np.sqrt((ranks**2).sum())
    rows, columns = np.triu_indices(probe.size, 1)
    labels = np.where(target.codes[rows] == target.codes[columns], 1.0, 0.0) - same / pairs
    terms = np.zeros((probe.size, probe.size))
    terms[rows, columns] = ranks * labels / np.sqrt((labels**2).sum())
    terms += terms.T
    variance = sum(_pair_residuals(terms, target))
    return variance / ceiling(probe) ** 2 if normalized else variance


def _pair_residuals(terms: Array, target: Classes) -> tuple[float, float]:
    """Squared residuals of terms (N, N), symmetric with diagonal 0, about additive effects of both samples of a pair.

    Within classes and between classes; each sum is scaled from its degrees of freedom up to its number of pairs.
    """
    sizes = target.sizes
    sums = target.sums(terms).T  # (N, C): of a sample's terms with each class
    totals = target.sums(sums)
    squares = target.sums(target.sums(terms**2).T)
    own = sums[np.arange(len(target)), target.codes]
    means = np.diag(totals) / np.maximum(sizes * (sizes - 1), 1)
    effects = (own - ((sizes - 1) * means)[target.codes]) / np.maximum(sizes - 2, 1)[target.codes]
    inner = np.diag(squares) / 2 - means**2 * sizes * (sizes - 1) / 2
    inner -= (sizes - 2) * np.bincount(target.codes, effects**2, len(sizes))
    inner_freedom = np.where(sizes > 3, sizes * (sizes - 3) / 2, 0.0)
    # Row and column means of each block of two classes, and its mean, which both of them contain.
    by_class = target.sums(sums**2)
    outer = squares - by_class / sizes - (by_class / sizes).T + totals**2 / np.outer(sizes, sizes)
    outer_freedom = np.outer(sizes - 1, sizes - 1)
    pairs = target.same_pairs, len(target) * (len(target) - 1) // 2 - target.same_pairs
    between = ~np.eye(len(sizes), dtype=bool)
    return (
        _scaled(inner[sizes > 3].sum(), inner_freedom.sum(), pairs[0]),
        _scaled(outer[between].sum() / 2, outer_freedom[between].sum() / 2, pairs[1]),
    )


def _scaled(squares: float, freedom: float, count: int) -> float:
    return max(float(squares), 0.0) * count / float(freedom) if freedom > 0 else 0.0


def _similarities(probe: Probe, pca: int, cosine: bool) -> tuple[Classes, KeptPairs | CountedPairs]:
    if pca < 0:
        raise UsageError(f"pca={pca} is negative", "0 uses the features themselves")
    return probe.require_pairs(), probe.matrix.pairs(pca=pca, cosine=cosine)


def _score(excess: float, pairs: int, equal: int, variance: float, normalized: bool) -> float:
    """rho from the rank sum of the same-class pairs less its expected value; positive, as the ranks are of similarities
    and not of distances."""
    if normalized:
        return 2 * excess / (equal * (pairs - equal))
    return excess / float(np.sqrt(variance * equal * (pairs - equal) / pairs))
