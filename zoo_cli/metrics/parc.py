"""PARC: rank correlation of the distances between features with the distances between labels.

Bolya et al. 2021, "Scalable Diverse Model Selection for Accessible Transfer Learning"; used in paper 000
(arXiv 2304.12314, A.8). Not scaled by 100, as the authors' code does.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo_cli.errors import Undefined, UsageError
from zoo_cli.metrics.labels import Classes, classes
from zoo_cli.metrics.pairs import below, rank_variance, row_starts, similarities, unit_rows

Array = NDArray[Any]


def parc(inputs: Array, labels: Array, *, normalized: bool = False, pca: int = 0, cosine: bool = False) -> float:
    """Spearman correlation, over the pairs of samples, of feature distance with label distance. Higher is better.

    inputs (N, D): features or probabilities; labels (N,): integers. Columns are standardised; the distance of two
    samples is 1 - Pearson of their rows, or 1 - `cosine`; two labels are 0 or 1 apart. In [-r, r], where the ceiling
    r = sqrt(3 m (M - m) / (M^2 - 1)) depends on the number m of same-class pairs among all M. `normalized`: over that
    ceiling, in [-1, 1]; it is 2 AUC - 1, AUC the chance that a same-class pair is the nearer one.
    `pca`: the scores of so many principal components take the place of the features, 0: none.

    Raises Undefined: `too_few_examples`, `single_class`, `no_same_class_pair`, `constant_features`.

    Departs from the published code, which ranks the rounding noise of its label distances. Distances of equal rows
    are tied exactly; products are float32 for large probes, see `pairs`.
    """
    probe, rows = _rows(inputs, labels, pca, cosine)
    values = similarities(rows)
    del rows
    same = _same(values, probe)
    values.sort()
    variance = rank_variance(values)
    if variance <= 0:
        raise Undefined("constant_features")
    pairs, equal = len(values), len(same)
    # `below` counts a pair itself as half an equal one, so that this sum is that of the mid-ranks less half each.
    excess = float(below(values, same).sum()) - equal * pairs / 2
    return float(_score(excess, pairs, equal, variance, normalized))


def leave_one_out(
    inputs: Array, labels: Array, *, normalized: bool = False, pca: int = 0, cosine: bool = False
) -> Array:
    """The PARC of the probe without each of its samples, (N,); NaN where the others have none. O(N^2 log N) in all.

    Arguments as in `parc`. Distances are those of the whole probe: columns are not standardised, nor components found,
    again without the sample. The spread of the results was 0.84 to 1.25 of that with standardising again, on ten
    Gaussian probes. The share of the rank variance that ties take away is that of the whole probe, too. Apart from
    these two the results are exact.
    """
    probe, rows = _rows(inputs, labels, pca, cosine)
    count = len(rows)
    values = similarities(rows)
    del rows
    mask = np.zeros(len(values), dtype=bool)
    for start, stop in _same_slices(probe):
        mask[start:stop] = True
    same, other = np.sort(values[mask]), np.sort(values[~mask])
    everything = np.sort(values)
    untied = (float(len(values)) ** 3 - len(values)) / 12
    share = rank_variance(everything) / untied
    del everything, mask
    if share <= 0:
        raise Undefined("constant_features")
    # U counts the couples of a same-class and another pair of which the first is the nearer. A sample takes with it
    # its own same-class pairs, its own other pairs, and what was counted twice: the couples of two of its pairs.
    total = float(below(other, same).sum())
    begin = row_starts(count)
    first = np.repeat(probe.starts, probe.counts)
    size = np.repeat(probe.counts, probe.counts)
    results = np.empty(count)
    for i in range(count):
        line = np.concatenate([values[begin[:i] - np.arange(i) - 1 + i], values[begin[i] : begin[i] + count - i - 1]])
        near = line[first[i] : first[i] + size[i] - 1]
        far = np.sort(np.concatenate([line[: first[i]], line[first[i] + size[i] - 1 :]]))
        mine = below(other, near).sum() + (len(same) - below(same, far)).sum() - below(far, near).sum()
        pairs, equal = len(values) - len(line), len(same) - len(near)
        if equal == 0 or equal == pairs:
            results[probe.order[i]] = np.nan
            continue
        variance = share * (float(pairs) ** 3 - pairs) / 12
        excess = total - mine - equal * (pairs - equal) / 2
        results[probe.order[i]] = _score(excess, pairs, equal, variance, normalized)
    return results


def _rows(inputs: Array, labels: Array, pca: int, cosine: bool) -> tuple[Classes, Array]:
    if pca < 0:
        raise UsageError(f"pca={pca} is no number of components", "0 is none")
    probe = classes(inputs, labels)
    if probe.same_pairs == 0:
        raise Undefined("no_same_class_pair")
    return probe, unit_rows(_components(inputs, pca) if pca else inputs, probe.order, cosine=cosine)


def _components(inputs: Array, count: int) -> Array:
    """Scores (N, min(count, N, D)) of the largest principal components, each signed so that its largest loading is
    positive: Pearson over components is not invariant to their signs, cosine is."""
    centred = inputs - inputs.mean(axis=0, dtype=np.float64)
    count = min(count, *centred.shape)
    left, lengths, loadings = np.linalg.svd(centred, full_matrices=False)
    sign = np.sign(loadings[np.arange(count), np.abs(loadings[:count]).argmax(axis=1)])
    # Components beyond the rank hold only rounding, which standardising would blow up.
    kept = lengths[:count] > lengths[0] * max(centred.shape) * np.finfo(np.float64).eps
    scores: Array = left[:, :count] * (lengths[:count] * sign * kept)
    return scores


def _same_slices(probe: Classes) -> list[tuple[int, int]]:
    """Where the same-class pairs of each row stand among `similarities` of rows sorted by class."""
    count = len(probe.codes)
    begin = row_starts(count)
    mates = np.repeat(probe.starts + probe.counts, probe.counts) - np.arange(count) - 1
    return list(zip(begin.tolist(), (begin + mates).tolist(), strict=True))


def _same(values: Array, probe: Classes) -> Array:
    same = np.concatenate([values[start:stop] for start, stop in _same_slices(probe)])
    same.sort()
    return same


def _score(excess: float, pairs: int, equal: int, variance: float, normalized: bool) -> float:
    """rho from the rank sum of the same-class pairs less its expected value. Similarities: the sign is not turned."""
    if normalized:
        return 2 * excess / (equal * (pairs - equal))
    return excess / float(np.sqrt(variance * equal * (pairs - equal) / pairs))
