"""Leave-one-out nearest neighbours: how often the neighbours of a sample predict its label."""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from zoo_cli.errors import Undefined, UsageError
from zoo_cli.metrics import pairs
from zoo_cli.metrics.labels import Classes
from zoo_cli.metrics.matrix import Matrix
from zoo_cli.metrics.probe import Probe
from zoo_cli.metrics.subsamples import Subsamples, score_or_nan

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
    _require_neighbours(probe, k)
    matrix = probe.matrix
    blocks: Iterable[tuple[int, Array]] = _neighbours(matrix, k, distance)
    if k <= matrix.width:  # permuted labels need them again
        blocks = matrix.cached(f"neighbours {k} {distance}", partial(list, blocks))
    return _accuracy(probe.target, blocks)


def on_subsamples(
    probe: Probe, subsamples: Subsamples, *, k: int = 5, distance: Literal["euclidean", "cosine"] = "euclidean"
) -> Array | None:
    """The scores of all subsamples (H,), NaN where undefined, from lists of neighbours in the whole probe.

    None where each is computed by itself.
    """
    count = min(probe.size - 1, LISTED * k)
    if count > probe.matrix.width:
        return None
    lists = np.concatenate([neighbours for _, neighbours in _neighbours(probe.matrix, count, distance)])

    def score(part: Probe, rows: Array) -> float:
        _require_neighbours(part, k)
        near = _nearest_in_subsample(lists, rows, k)
        return knn(part, k=k, distance=distance) if near is None else _accuracy(part.target, [(0, near)])

    return np.array([score_or_nan(score, probe.take(rows, target), rows=rows) for rows, target in subsamples.parts])


def _require_neighbours(probe: Probe, k: int) -> None:
    probe.require_classes()
    if probe.size <= k:
        raise Undefined("too_few_examples")


def _accuracy(target: Classes, blocks: Iterable[tuple[int, Array]]) -> float:
    """The share of samples whose label wins the vote; `blocks` as from `_neighbours`."""
    correct = 0
    for start, neighbours in blocks:
        k = neighbours.shape[1]
        labels, true = target.codes[neighbours], target.codes[start : start + len(neighbours)]
        if k <= FEW:
            votes = (labels[:, :, None] == labels[:, None, :]).sum(axis=2)
        else:
            own = np.arange(len(labels))[:, None] * len(target.counts)
            counts = np.bincount((own + labels).ravel(), minlength=len(labels) * len(target.counts))
            votes = counts[own + labels]
        correct += int((labels[np.arange(len(labels)), votes.argmax(axis=1)] == true).sum())
    return correct / len(target)


def _nearest_in_subsample(lists: Array, rows: Array, k: int) -> Array | None:
    """The k nearest other rows of each row of a subsample (M, k), from lists of neighbours in the whole (N, L).

    None where the list of a row holds fewer than k rows of the subsample.
    """
    places = np.full(len(lists), -1)
    places[rows] = np.arange(len(rows))
    near = places[lists[rows]]
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
