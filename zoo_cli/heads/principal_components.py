"""The pooled features of all sources as rows: side by side, or their principal components."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from zoo_cli.heads.standardise import Features

Array = NDArray[Any]

WIDE = 512  # columns; wider features of many rows are replaced by their principal components
MANY = 2048  # rows; the Gram matrix of fewer fits in 32 MB
COMPONENTS = 384  # assumed, between 256 and 512: still to be measured on data sets
PRECISE = 1e-6  # directions whose eigenvalue is a smaller share of the largest are noise of float32


def pool_rows(sources: Sequence[Features], weights: Array, *, seed: int = 0) -> Array:
    """Rows (N, Q) whose products are those of the pooled kernel K = sum_s w_s K_s.

    Exactly: the features side by side (N, sum of D) up to 512 columns, or a square root of K (N, N) up to 2,048 rows,
    in float64 up to 2,048 rows and float32 above. Otherwise K on its 384 leading directions, float32: randomised
    subspace iteration (Halko et al. 2011) with the Nyström formula (Tropp et al. 2017), seeded by column, so that the
    order of the rows does not matter. `sources` is gone through once or twice, one source at a time.
    """
    used = [int(position) for position in np.flatnonzero(weights)]
    widths = {position: sources[position].width for position in used}
    count = len(sources[used[0]])
    if sum(widths.values()) <= WIDE:
        kind = np.float64 if count <= MANY else np.float32
        rows = np.empty((count, sum(widths.values())), dtype=kind)
        start = 0
        for position in used:
            root = np.sqrt(weights[position])
            for places, values in sources[position].blocks():
                rows[places, start : start + widths[position]] = root * values
            start += widths[position]
        return rows
    if count <= MANY:
        gram = np.zeros((count, count))
        for position in used:
            phi = sources[position].take(slice(None))
            gram += weights[position] * (phi @ phi.T)
        values, vectors = linalg.eigh(gram, driver="evd", overwrite_a=True, check_finite=False)
        return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))
    return _nystrom_rows(sources, used, weights, min(COMPONENTS, count), seed)


def _nystrom_rows(sources: Sequence[Features], used: list[int], weights: Array, width: int, seed: int) -> Array:
    count = len(sources[used[0]])
    sketch = np.zeros((count, width), dtype=np.float32)
    for position in used:
        features = sources[position]
        draw = np.random.default_rng([seed, position]).standard_normal((features.width, width), dtype=np.float32)
        draw *= np.float32(np.sqrt(weights[position]))
        for places, values in features.blocks():
            sketch[places] += values.astype(np.float32) @ draw
    basis, _ = linalg.qr(sketch, mode="economic", overwrite_a=True, check_finite=False)
    product = np.zeros((count, width), dtype=np.float32)
    for position in used:
        features = sources[position]
        inner = np.zeros((features.width, width), dtype=np.float32)
        for places, values in features.blocks():
            inner += values.astype(np.float32).T @ basis[places]
        inner *= np.float32(weights[position])
        for places, values in features.blocks():
            product[places] += values.astype(np.float32) @ inner
    # K is about Y (Q'Y)^-1 Y' with Y = K Q.
    middle = (basis.T @ product).astype(np.float64)
    values, vectors = linalg.eigh((middle + middle.T) / 2, check_finite=False)
    kept = values > PRECISE * values[-1]
    return np.asarray(product @ (vectors[:, kept] / np.sqrt(values[kept])).astype(np.float32))
