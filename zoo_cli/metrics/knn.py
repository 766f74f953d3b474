"""Leave-one-out nearest neighbours: how often the neighbours of a sample predict its label."""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from zoo_cli.errors import Undefined, UsageError
from zoo_cli.metrics import pairs
from zoo_cli.metrics.matrix import Matrix
from zoo_cli.metrics.probe import Probe

Array = NDArray[Any]

CHUNK = 256
ENTRIES = 1 << 22  # of a block of products
FEW = 32  # neighbours whose votes are compared pair by pair
CROWDED = 64  # with more candidates for a row than this, one product of all is cheaper than pair by pair
GRID = 1e12
LISTED = 8  # lists for all subsets are so many times longer than k: half of a list is then nearly always enough


def knn(probe: Probe, *, k: int = 5, distance: Literal["euclidean", "cosine"] = "euclidean") -> float:
    """Share of samples whose label wins the vote of their k nearest other samples. Higher is better.

    Inputs (N, D): features. In [0, 1]. Among equal distances the earlier sample counts as nearer; among equal votes
    the class with the nearest neighbour wins. Cosine: 1 minus the cosine of the raw features; a row of zeros has
    distance 1 from all others. A sample is never its own neighbour, as can happen in published code where rows repeat.

    Raises Undefined: `too_few_examples` (also for N <= k), `single_class`, `constant_features`.
    """
    if k < 1:
        raise UsageError(f"k={k} is below 1")
    target = probe.require_classes()
    if probe.size <= k:
        raise Undefined("too_few_examples")
    matrix, correct = probe.matrix, 0
    within = None if probe.subset is None else _neighbours_in_subset(matrix, k, distance)
    blocks: Iterable[tuple[int, Array]] = _neighbours(matrix, k, distance) if within is None else [(0, within)]
    if k <= matrix.width:  # permuted labels need them again
        blocks = matrix.cached(f"neighbours {k} {distance}", partial(list, blocks))
    for start, neighbours in blocks:
        labels, true = target.codes[neighbours], target.codes[start : start + len(neighbours)]
        if k <= FEW:
            votes = (labels[:, :, None] == labels[:, None, :]).sum(axis=2)
        else:
            own = np.arange(len(labels))[:, None] * len(target.counts)
            counts = np.bincount((own + labels).ravel(), minlength=len(labels) * len(target.counts))
            votes = counts[own + labels]
        correct += int((labels[np.arange(len(labels)), votes.argmax(axis=1)] == true).sum())
    return correct / probe.size


def _neighbours_in_subset(matrix: Matrix, k: int, distance: str) -> Array | None:
    """The k nearest other rows of each row (M, k), from longer lists of the whole that its subsets share.

    None where the list of a row holds fewer than k rows of the subset.
    """
    assert matrix.whole is not None
    whole, rows = matrix.whole
    count = min(len(whole) - 1, LISTED * k)
    if count > whole.width:
        return None

    def list_neighbours() -> Array:
        return np.concatenate([neighbours for _, neighbours in _neighbours(whole, count, distance)])

    places = np.full(len(whole), -1)
    places[rows] = np.arange(len(rows))
    near = places[whole.cached(f"neighbours {count} {distance} of all", list_neighbours)[rows]]
    if ((near >= 0).sum(axis=1) < k).any():
        return None
    return np.asarray(np.take_along_axis(near, np.argsort(near < 0, axis=1, kind="stable")[:, :k], axis=1))


def _neighbours(matrix: Matrix, k: int, distance: str) -> Iterator[tuple[int, Array]]:
    """The k nearest other rows of some rows (R, k), nearest first, and where these rows start.

    Products, in single precision for large probes, leave few candidates, which are compared exactly. Few rows or wide
    ones are multiplied all at once, which halves the work: the product is symmetric.
    """
    count = len(matrix)
    if distance == "euclidean":
        rows, lengths = matrix.centred, matrix.lengths
    else:
        rows = matrix.inputs.astype(np.float64)
        norms = np.sqrt(np.einsum("ij,ij->i", rows, rows))
        rows = rows / np.where(norms > 0, norms, 1.0)[:, None]
        lengths = np.zeros(count)
    factors: Array = rows
    products: Array | None = None
    if distance == "euclidean" and not matrix.tall:
        products = matrix.gram
    else:
        kind = np.float64 if pairs.small(matrix.inputs) else np.float32
        factors = rows.astype(kind, copy=False)
        products = factors @ factors.T if pairs.fit_in_memory(*rows.shape) else None
    precision = factors.dtype
    scale = max(1.0 if distance == "cosine" else 0.0, float(lengths.max()))
    slack = 8 * np.sqrt(matrix.width) * float(np.finfo(precision).eps) * scale + 2 / GRID * scale
    halved = (lengths / 2).astype(precision)
    step = max(1, min(CHUNK, ENTRIES // max(count, k * min(k, FEW))))
    for start in range(0, count, step):
        near = factors[start : start + step] @ factors.T if products is None else products[start : start + step]
        block = halved - near
        own = np.arange(len(block))
        block[own, start + own] = np.inf
        nearest = block.min(axis=1) if k == 1 else np.partition(block, k - 1, axis=1)[:, k - 1]
        line, other = np.nonzero(block <= (nearest + slack)[:, None])
        exact = _exact(rows, lengths, start, line, other, distance) / scale
        order = np.lexsort((other, np.rint(exact * GRID), line))
        first = np.searchsorted(line, own)
        yield start, other[order][first[:, None] + np.arange(k)]


def _exact(rows: Array, lengths: Array, start: int, line: Array, other: Array, distance: str) -> Array:
    """Half the squared distances, or minus the cosines, of pairs of a row of the block and another row."""
    distances = np.empty(len(line))
    crowded = np.bincount(line) > CROWDED
    for i in np.flatnonzero(crowded):
        pairs_of_row = line == i
        products = rows[other[pairs_of_row]] @ rows[start + i]
        distances[pairs_of_row] = (lengths[other[pairs_of_row]] + lengths[start + i]) / 2 - products
    rest = np.flatnonzero(~crowded[line])
    step = max(1, min(4096, ENTRIES // rows.shape[1]))
    for part in np.split(rest, range(step, len(rest), step)):
        first, second = rows[start + line[part]], rows[other[part]]
        if distance == "euclidean":
            apart = first - second
            distances[part] = np.einsum("ij,ij->i", apart, apart) / 2
        else:
            distances[part] = -np.einsum("ij,ij->i", first, second)
    return distances
