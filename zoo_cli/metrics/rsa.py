"""RSA: representational similarity of the features with the labels.

Dwivedi and Roig 2019, in the form of paper 000 (arXiv 2304.12314, A.8): against labels, not a trained network.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo_cli.errors import Undefined
from zoo_cli.metrics.counted_pairs import LEVELS, CountedPairs, below_levels, rank_variance
from zoo_cli.metrics.kept_pairs import RANKED, KeptPairs
from zoo_cli.metrics.labels import Classes
from zoo_cli.metrics.pairs import square
from zoo_cli.metrics.parc import correlation, correlation_in_place
from zoo_cli.metrics.probe import Probe
from zoo_cli.metrics.subsample_pairs import SubsamplePairs
from zoo_cli.metrics.subsamples import Subsamples, score_or_nan

Array = NDArray[Any]

# A pair is one integer: 41 bits of its similarity on a grid of 2^-40, about 1e-12, above 22 bits for the index of its
# label distance. Sorting these integers is ten times as fast as ranking the similarities.
GRID = 2.0**40
INDEX_BITS = 22
STEP = 1 << 20
KEPT_ROWS = 1024


def rsa(probe: Probe) -> float:
    """Spearman correlation, over the pairs of samples, of the features' distance with the labels'. Higher is better.

    Inputs (N, D): features or probabilities. On both sides the columns are standardised, those of the labels being the
    one-hot columns of the classes that occur, and the distance of two samples is 1 - Pearson of their rows. Equal to
    PARC, range included, for balanced classes and for two; otherwise the label distance takes up to C (C - 1) / 2 + 1
    values. Label distances within 1e-9 are tied.

    Raises Undefined: `too_few_examples`, `single_class`, `no_same_class_pair`, `constant_features`.
    """
    return _score(probe)


def on_subsamples(probe: Probe, subsamples: Subsamples) -> Array | None:
    """The scores of all subsamples (H,), NaN where undefined; None where each is computed by itself."""
    each = SubsamplePairs(probe.matrix, subsamples)
    if not each.are_small:
        return None
    parts = zip(subsamples.parts, each, strict=True)
    return np.array([score_or_nan(_score_values, probe.take(*part), values=values) for part, values in parts])


def on_permutations(probe: Probe, targets: Sequence[Classes]) -> Array | None:
    """The scores (P,) under other labels of the same samples; None where each is computed by itself."""
    similarities = probe.matrix.pairs()
    if isinstance(similarities, CountedPairs) or similarities.count > RANKED:
        return None
    ranks = cache(partial(_rank_pairs, similarities, probe.size))
    return np.array([score_or_nan(_score, probe.with_labels(target), ranks=ranks) for target in targets])


def _score(probe: Probe, *, ranks: Callable[[], tuple[Array, float]] | None = None) -> float:
    """The score; `ranks` returns those of the pairs, as `_rank_pairs` does."""
    target, similarities = probe.require_pairs(), probe.matrix.pairs()
    groups = _group_labels(target)
    if len(groups.pairs) == 2:
        return correlation(similarities, target)
    if ranks is not None:
        return _divide(*_sum_by_class(*ranks(), target, groups), groups)
    if isinstance(similarities, CountedPairs):
        return _divide(*_count(similarities, target, groups), groups)
    return _divide(*_sort(similarities.values, target, groups), groups)


def _score_values(probe: Probe, *, values: Array) -> float:
    """The score from the similarities of all pairs (M,), which are overwritten."""
    target = probe.require_pairs()
    groups = _group_labels(target)
    if len(groups.pairs) == 2:
        return correlation_in_place(values, target)
    return _divide(*_sort(values, target, groups), groups)


def _divide(covariance: float, variance: float, groups: "_Groups") -> float:
    """The correlation. Raises Undefined `constant_features`."""
    if variance <= 0:
        raise Undefined("constant_features")
    return covariance / float(np.sqrt(variance * groups.spread))


def ceiling(probe: Probe) -> float:
    """The RSA of features whose distances are in the order of the label distances, without ties."""
    groups = _group_labels(probe.require_pairs())
    count = float(groups.pairs.sum())
    return float(np.sqrt(groups.spread / ((count**3 - count) / 12)))


@dataclass(frozen=True)
class _Groups:
    """The pairs of samples by label distance, in ascending order; group 0 are those of one class.

    `pairs` (G,): their numbers, float64. `kinds` (N,): of each sample, the position of its class size among the U
    different ones, on which alone its label distances depend; `of_kinds` (U, U): the group of two kinds.
    """

    pairs: Array
    kinds: Array
    of_kinds: Array

    @property
    def ranks(self) -> Array:
        """The mid-rank of the label distance of each group (G,)."""
        return np.asarray(np.cumsum(self.pairs) - (self.pairs - 1) / 2)

    @property
    def spread(self) -> float:
        """The sum of squared deviations of the mid-ranks of the label distances."""
        count = float(self.pairs.sum())
        return float((count**3 - count - (self.pairs**3 - self.pairs).sum()) / 12)


def _group_labels(target: Classes) -> _Groups:
    return target.cached("label groups", lambda: _compute_groups(target))


def _compute_groups(target: Classes) -> _Groups:
    sizes, kind_of_class, classes = np.unique(target.counts, return_inverse=True, return_counts=True)
    # The one-hot column of class k, standardised, is w_k less v_k = w_k share_k on its samples and -v_k elsewhere. What
    # follows are the products of two such rows, of classes a and b, centred over the C columns.
    share = sizes / float(sizes @ classes)
    count = float(classes.sum())
    weights = 1 / np.sqrt(share * (1 - share))
    shift = weights * share
    total, squares = float(shift @ classes), float(shift**2 @ classes)
    centres = (weights - total) / count
    products = squares - (weights * shift)[:, None] - weights * shift - count * np.outer(centres, centres)
    lengths = np.sqrt(products.diagonal() + weights**2)
    distances = 1 - products / np.outer(lengths, lengths)
    pairs = np.outer(sizes * classes, sizes * classes).astype(np.float64)
    # Of two classes of one size; there is no such pair where a single class has that size.
    np.fill_diagonal(pairs, sizes.astype(np.float64) ** 2 * classes * (classes - 1) / 2)
    upper = np.triu_indices(len(sizes))
    exist = pairs[upper] > 0
    rows, columns = upper[0][exist], upper[1][exist]
    order = np.argsort(distances[rows, columns], kind="stable")
    rows, columns = rows[order], columns[order]
    of_kinds = np.zeros((len(sizes), len(sizes)), np.int64)
    of_kinds[rows, columns] = np.cumsum(np.diff(distances[rows, columns], prepend=-1.0) > 1e-9)
    of_kinds[columns, rows] = of_kinds[rows, columns]
    numbers = np.bincount(of_kinds[rows, columns], weights=pairs[rows, columns])
    numbers[0] = target.same_pairs
    return _Groups(numbers, kind_of_class[target.codes], of_kinds)


def _count(similarities: CountedPairs, target: Classes, groups: _Groups) -> tuple[float, float]:
    """The covariance of the mid-ranks of both sides, times the number of pairs, and the same of the similarities."""
    ranks = groups.ranks - (groups.pairs.sum() + 1) / 2
    of_kinds = ranks[groups.of_kinds]
    counts, sums = np.zeros(LEVELS, np.int64), np.zeros(LEVELS)
    for rows, columns, levels in similarities.tiles():
        apart = of_kinds[groups.kinds[rows][:, None], groups.kinds[columns]]
        apart[target.codes[rows][:, None] == target.codes[columns]] = ranks[0]
        counts += np.bincount(levels.ravel(), minlength=LEVELS + 1)[:LEVELS]
        sums += np.bincount(levels.ravel(), weights=apart.ravel(), minlength=LEVELS + 1)[:LEVELS]
    # Labels are grouped by distance and features by similarity, so that the covariance changes its sign.
    return -float((below_levels(counts) - similarities.count / 2) @ sums), rank_variance(counts)


def _sort(values: Array, target: Classes, groups: _Groups) -> tuple[float, float]:
    """As `_count`, of similarities (M,) that are kept."""
    count = float(len(values))
    ranks, middle = groups.ranks - (count + 1) / 2, (count + 1) / 2
    covariance, tied = 0.0, 0.0
    for mid, distances, sizes in _rank_chunks(_pack_pairs(values, _label_distances(target, groups))):
        covariance -= float((mid - middle) @ ranks[distances])
        tied += float((sizes.astype(np.float64) ** 3 - sizes).sum())
    return covariance, (count**3 - count - tied) / 12


def _rank_pairs(similarities: KeptPairs, size: int) -> tuple[Array, float]:
    """The mid-ranks of the similarities, less their mean, as a symmetric matrix (size, size) with diagonal 0, and the
    sum of their squares over the pairs."""
    values, count = similarities.values, float(similarities.count)
    if similarities.apart:  # nearly always: then they are those of the jackknife of PARC
        return square(similarities.ranks - count / 2, size), similarities.variance
    ranks, tied = np.empty(len(values)), 0.0
    for mid, pairs, sizes in _rank_chunks(_pack_pairs(values, np.arange(len(values), dtype=np.uint64))):
        ranks[pairs] = mid - (count + 1) / 2
        tied += float((sizes.astype(np.float64) ** 3 - sizes).sum())
    return square(ranks, size), (count**3 - count - tied) / 12


def _sum_by_class(ranks: Array, variance: float, target: Classes, groups: _Groups) -> tuple[float, float]:
    """As `_count`, from the ranks (N, N) of the pairs: their sums over the pairs of two classes decide."""
    sums = target.sums(target.sums(ranks).T)
    kinds = groups.kinds[target.order[target.starts]]
    labels = groups.ranks - (groups.pairs.sum() + 1) / 2
    of_classes = labels[groups.of_kinds[kinds[:, None], kinds]]
    np.fill_diagonal(of_classes, labels[0])
    return -float(np.vdot(sums, of_classes)) / 2, variance


def _label_distances(target: Classes, groups: _Groups) -> Array:
    """As `_distance_indices`, kept with a small target, which many sources share."""
    if len(target) > KEPT_ROWS:
        return _distance_indices(target, groups)
    indices = target.cached("label distances", lambda: _distance_indices(target, groups).astype(np.uint32))
    return np.asarray(indices.astype(np.uint64))


def _pack_pairs(values: Array, packed: Array) -> Array:
    """The pairs as sorted integers, most distant first: similarity above an index, `packed`, which is overwritten."""
    for start in range(0, len(values), STEP):
        level = np.clip(values[start : start + STEP].astype(np.float64), -1, 1)
        level += 1
        level *= GRID
        packed[start : start + STEP] |= np.rint(level, out=level).astype(np.uint64) << np.uint64(INDEX_BITS)
    packed.sort()
    return packed


def _distance_indices(target: Classes, groups: _Groups) -> Array:
    """The index of the label distance of every pair i < j, row by row, uint64."""
    kinds, of_kinds = groups.kinds, groups.of_kinds.astype(np.uint64)
    indices = np.concatenate([of_kinds[kind, kinds[i + 1 :]] for i, kind in enumerate(kinds)])
    indices[target.same_positions] = 0
    return np.asarray(indices)


def _rank_chunks(ordered: Array) -> Iterator[tuple[Array, Array, Array]]:
    """Chunks of the sorted packed pairs: their mid-ranks, their indices, and the sizes of groups of equal ones,
    among them all of two and more."""
    for start, level, indices in _split_chunks(ordered):
        apart = level[1:] - level[:-1] > 1
        if apart.all():  # nearly always: no ties
            yield np.arange(start + 1.0, start + len(level) + 1), indices, np.ones(1)
            continue
        edges = np.append(0, np.flatnonzero(apart) + 1)
        sizes = np.diff(edges, append=len(level))
        yield np.repeat(start + edges + (sizes + 1) / 2, sizes), indices, sizes


def _split_chunks(ordered: Array) -> Iterator[tuple[int, Array, Array]]:
    """Chunks of the sorted packed pairs: start, similarities on the grid, and indices, both int64. No
    chunk ends within a group of equal similarities."""
    count, bits, mask = len(ordered), np.uint64(INDEX_BITS), np.uint64((1 << INDEX_BITS) - 1)
    start = 0
    while start < count:
        stop = start + STEP
        level = (ordered[start:stop] >> bits).astype(np.int64)
        while stop < count:
            more = (ordered[stop : stop + STEP] >> bits).astype(np.int64)
            apart = np.flatnonzero(np.diff(more, prepend=level[-1]) > 1)
            taken = int(apart[0]) if len(apart) else len(more)
            level = np.concatenate([level, more[:taken]])
            stop += taken
            if taken < len(more):
                break
        stop = min(stop, count)
        yield start, level, (ordered[start:stop] & mask).astype(np.int64)
        start = stop
