"""RSA: representational similarity of the features with the labels.

Dwivedi and Roig 2019, in the form of paper 000 (arXiv 2304.12314, A.8): against labels, not a trained network.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo_cli.errors import Undefined
from zoo_cli.metrics.labels import Classes
from zoo_cli.metrics.parc import correlation
from zoo_cli.metrics.probe import Probe

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
    target, similarities = probe.require_pairs(), probe.matrix.pairs()
    groups, pairs = _label_groups(tuple(target.counts.tolist()))
    if len(pairs) == 2:
        return correlation(similarities, target)
    ordered = _pack_pairs(similarities.values, target, groups)
    count = float(len(ordered))
    spread = _spread(pairs)
    ranks = np.cumsum(pairs) - (pairs - 1) / 2
    middle = (count + 1) / 2
    # Labels are grouped by distance and features by similarity, so that the covariance changes its sign.
    covariance, tied = 0.0, 0.0
    for start, level, distances in _split_chunks(ordered):
        edges = np.flatnonzero(np.diff(level, prepend=level[0] - 2) > 1)
        sizes = np.diff(edges, append=len(level))
        mid = np.repeat(start + edges + (sizes + 1) / 2, sizes)
        covariance -= float((mid - middle) @ (ranks[distances] - middle))
        tied += float((sizes.astype(np.float64) ** 3 - sizes).sum())
    variance = (count**3 - count - tied) / 12
    if variance <= 0:
        raise Undefined("constant_features")
    return covariance / float(np.sqrt(variance * spread))


def ceiling(probe: Probe) -> float:
    """The RSA of features whose distances are in the order of the label distances, without ties."""
    _, pairs = _label_groups(tuple(probe.require_pairs().counts.tolist()))
    count = float(pairs.sum())
    return float(np.sqrt(_spread(pairs) / ((count**3 - count) / 12)))


def _spread(pairs: Array) -> float:
    """The sum of squared deviations of the mid-ranks of the label distances, pairs (G,) of which are equal each."""
    count = float(pairs.sum())
    return float((count**3 - count - (pairs**3 - pairs).sum()) / 12)


@lru_cache(maxsize=64)
def _label_groups(sizes: tuple[int, ...]) -> tuple[Array, Array]:
    """The label distance of two classes, (C, C) indices into the distinct distances in ascending order, and the number
    of pairs at each distance (G,), float64. Index 0 is a class with itself."""
    counts = np.array(sizes)
    share = counts / counts.sum()
    rows = (np.eye(len(counts)) - share) / np.sqrt(share * (1 - share))
    rows -= rows.mean(axis=1, keepdims=True)
    rows /= np.sqrt(np.einsum("ij,ij->i", rows, rows))[:, None]
    distance = 1 - rows @ rows.T
    np.fill_diagonal(distance, 0.0)
    upper = np.triu_indices(len(counts), 1)
    order = np.argsort(distance[upper])
    steps = np.diff(distance[upper][order], prepend=-1.0) > 1e-9
    groups = np.zeros((len(counts), len(counts)), dtype=np.int64)
    groups[upper[0][order], upper[1][order]] = np.cumsum(steps)
    groups += groups.T
    pairs = np.bincount(groups[upper], weights=counts[upper[0]] * counts[upper[1]])
    pairs[0] = (counts * (counts - 1) // 2).sum()
    return groups, pairs


def _pack_pairs(values: Array, target: Classes, groups: Array) -> Array:
    """The pairs as sorted integers, most distant first: similarity above the index of the label distance."""
    if len(target) <= KEPT_ROWS:
        # Kept with a small target, which many sources share.
        packed = target.cached("label distances", lambda: _distance_indices(target, groups).astype(np.uint32))
        packed = packed.astype(np.uint64)
    else:
        packed = _distance_indices(target, groups)
    for start in range(0, len(values), STEP):
        near = np.clip(values[start : start + STEP].astype(np.float64), -1, 1)
        level = np.rint((near + 1) * GRID).astype(np.uint64)
        packed[start : start + STEP] |= level << np.uint64(INDEX_BITS)
    packed.sort()
    return packed


def _distance_indices(target: Classes, groups: Array) -> Array:
    """The index of the label distance of every pair i < j, row by row, uint64."""
    codes, indices = target.codes, groups.astype(np.uint64)
    return np.concatenate([indices[code, codes[i + 1 :]] for i, code in enumerate(codes)])


def _split_chunks(ordered: Array) -> Iterator[tuple[int, Array, Array]]:
    """Chunks of the sorted packed pairs: start, similarities on the grid, int64, and indices of label distances. No
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
