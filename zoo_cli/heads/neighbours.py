"""The graph of nearest neighbours: exact, computed block by block."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Array = NDArray[Any]

BLOCK, TILE = 512, 1024  # a tile of float32 products takes 2 MB: it stays in the cache
POWER = 3
LIMIT = 200_000  # images; above, neighbours come from a seeded subset of this size


def unit_rows(rows: Array) -> Array:
    """Rows (N, Q) of length 1; a row of zeros stays."""
    lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows))[:, None]
    return np.asarray(np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0))


def nearest(queries: Array, rows: Array, k: int, *, skip: Array | None = None) -> tuple[Array, Array]:
    """The k rows of largest product with each query (M, Q) among rows (R, Q): positions and products, (M, k).

    Fewer than k where there are fewer rows. `skip` (M,): for each query, the position of a row that it does not take,
    itself; -1 for none. Only 512 x 1,024 products are in memory at once.
    """
    k = min(k, len(rows) - (skip is not None))
    places = np.zeros((len(queries), max(k, 0)), dtype=np.int64)
    products = np.full((len(queries), max(k, 0)), -np.inf, dtype=rows.dtype)
    if k < 1:
        return places, products
    for start in range(0, len(queries), BLOCK):
        part = slice(start, min(start + BLOCK, len(queries)))
        places[part], products[part] = _nearest(queries[part], rows, k, None if skip is None else skip[part])
    return places, products


def _nearest(queries: Array, rows: Array, k: int, skip: Array | None) -> tuple[Array, Array]:
    places = np.zeros((len(queries), 0), dtype=np.int64)
    products = np.zeros((len(queries), 0), dtype=rows.dtype)
    entering: list[tuple[Array, Array, Array]] = []
    merge = 0
    for start in range(0, len(rows), TILE):
        tile = queries @ rows[start : start + TILE].T
        if skip is not None:
            own = np.flatnonzero((skip >= start) & (skip < start + tile.shape[1]))
            tile[own, skip[own] - start] = -np.inf
        if places.shape[1] < k:
            count = min(k, tile.shape[1])
            best = np.argpartition(tile, tile.shape[1] - count, axis=1)[:, -count:]
            products = np.hstack([products, np.take_along_axis(tile, best, axis=1)])
            places, products = _keep_largest(np.hstack([places, best + start]), products, k)
            lowest, merge = products.min(axis=1, keepdims=True), 2 * (start + TILE)
            continue
        # Few products enter a full list: looking for these is faster than selecting k in every tile.
        above = np.flatnonzero(tile > lowest)
        query, column = np.divmod(above, tile.shape[1])
        entering.append((query, column + start, tile.ravel()[above]))
        if start + TILE >= merge:  # as many rows as before: about k of them enter each list
            places, products = _insert(places, products, entering, k)
            lowest, merge, entering = products.min(axis=1, keepdims=True), 2 * (start + TILE), []
    places, products = _insert(places, products, entering, k)
    order = np.argsort(-products, axis=1, kind="stable")
    return np.take_along_axis(places, order, axis=1), np.take_along_axis(products, order, axis=1)


def _insert(places: Array, products: Array, entering: list[tuple[Array, Array, Array]], k: int) -> tuple[Array, Array]:
    """The k largest of each list (M, k) and what enters it: queries, positions and products, in groups."""
    if not entering:
        return places, products
    query, place, value = (np.concatenate(parts) for parts in zip(*entering, strict=True))
    order = np.argsort(query, kind="stable")
    query, counts = query[order], np.bincount(query, minlength=len(places))
    slot = k + np.arange(len(query)) - np.repeat(np.cumsum(counts) - counts, counts)
    places = np.pad(places, ((0, 0), (0, counts.max())))
    products = np.pad(products, ((0, 0), (0, counts.max())), constant_values=-np.inf)
    places[query, slot], products[query, slot] = place[order], value[order]
    return _keep_largest(places, products, k)


def _keep_largest(places: Array, products: Array, k: int) -> tuple[Array, Array]:
    """The k largest products of each row (M, K), and their places; all where there are fewer."""
    if products.shape[1] <= k:
        return places, products
    best = np.argpartition(products, products.shape[1] - k, axis=1)[:, -k:]
    return np.take_along_axis(places, best, axis=1), np.take_along_axis(products, best, axis=1)


def edge_weights(cosines: Array) -> Array:
    """max(cos, 0)^3 in float64."""
    return np.maximum(cosines, 0.0, dtype=np.float64) ** POWER


def neighbour_graph(rows: Array, k: int, *, labelled: Array, seed: int = 0) -> tuple[sparse.csr_matrix, bool]:
    """The symmetric weights (N, N) of each row's k nearest others by cosine, and whether only a subset was searched.

    An edge in either direction has the weight max(cos, 0)^3; there are no self-loops. Above LIMIT rows (N, Q),
    neighbours are searched among a seeded subset that holds the `labelled` rows (L,).
    """
    unit = unit_rows(rows)
    count = len(unit)
    candidates = np.arange(count)
    if count > LIMIT:
        others = np.setdiff1d(candidates, labelled, assume_unique=True)
        sampled = np.random.default_rng([seed, count]).choice(others, max(LIMIT - len(labelled), 0), replace=False)
        candidates = np.sort(np.concatenate([labelled, sampled]))
    skip = np.full(count, -1)
    skip[candidates] = np.arange(len(candidates))
    among = unit if len(candidates) == count else unit[candidates]
    places, cosines = nearest(unit, among, k, skip=skip)
    return _join(candidates[places], cosines), len(candidates) < count


def kernel_graph(kernel: Array, k: int) -> sparse.csr_matrix:
    """The same weights (N, N) from all products of the rows with one another (N, N)."""
    count = len(kernel)
    k = min(k, count - 1)
    roots = np.sqrt(np.maximum(kernel.diagonal(), 0.0))
    lengths = roots[:, None] * roots
    cosines = np.divide(kernel, lengths, out=np.zeros_like(kernel), where=lengths > 0)
    np.fill_diagonal(cosines, -np.inf)
    places = np.argpartition(cosines, count - 1 - k, axis=1)[:, count - k :]
    return _join(places, np.take_along_axis(cosines, places, axis=1))


def _join(places: Array, cosines: Array) -> sparse.csr_matrix:
    """The symmetric graph (N, N) of the neighbours (N, K) of each row."""
    count, k = places.shape
    values = edge_weights(np.where(np.isfinite(cosines), cosines, 0.0))
    graph = sparse.csr_matrix((values.ravel(), places.ravel(), np.arange(count + 1) * k), shape=(count, count))
    graph = graph.maximum(graph.T).tocsr()
    graph.eliminate_zeros()
    return graph
