"""The pooled features of all sources: their kernel, or rows of few columns with nearly the same products."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from zoo_cli.heads.standardise import Features, blocks

Array = NDArray[Any]

WIDE = 512  # columns; wider features are replaced by their principal components
COMPONENTS = 384  # 256 to 512 change the accuracy on packs by 0.1 points at most: tests/claims/README.md
PRECISE = 1e-6  # directions whose eigenvalue is a smaller share of the largest are noise of float32


def pool_kernel(sources: Sequence[Features], weights: Array) -> Array:
    """K = sum_s w_s K_s (N, N) float64, for at most a few thousand images. One source is in memory at a time."""
    kernel: Array | None = None
    for position in np.flatnonzero(weights):
        rows = sources[int(position)].take(slice(None))
        part = weights[position] * (rows @ rows.T)
        kernel = part if kernel is None else kernel + part
    assert kernel is not None
    return kernel


def pool_rows(sources: Sequence[Features], weights: Array, *, seed: int = 0) -> Array:
    """Rows (N, Q) float32 whose products are those of the pooled kernel K = sum_s w_s K_s.

    Up to 512 columns these are the features side by side. Otherwise K on its 384 leading directions: randomised
    subspace iteration (Halko et al. 2011) with the Nyström formula (Tropp et al. 2017), seeded by column, so that the
    order of the rows does not matter. `sources` is read once or twice, one source at a time.
    """
    used = [int(position) for position in np.flatnonzero(weights)]
    widths = {position: sources[position].width for position in used}
    count = len(sources[used[0]])
    if sum(widths.values()) > WIDE:
        return _nystrom_rows(sources, used, weights, min(COMPONENTS, count), seed)
    rows = np.empty((count, sum(widths.values())), dtype=np.float32)
    start = 0
    for position in used:
        root = np.sqrt(weights[position])
        for places, values in sources[position].blocks():
            rows[places, start : start + widths[position]] = root * values
        start += widths[position]
    return rows


def _nystrom_rows(sources: Sequence[Features], used: list[int], weights: Array, width: int, seed: int) -> Array:
    count = len(sources[used[0]])
    sketch = np.zeros((count, width), dtype=np.float32)
    for position in used:
        features = sources[position]
        draw = np.random.default_rng([seed, position]).standard_normal((features.width, width), dtype=np.float32)
        draw *= (np.sqrt(weights[position]) * features.scale[:, None]).astype(np.float32)
        for places, values in _centred_blocks(features):
            sketch[places] += values @ draw
        del features  # before the next one is loaded
    basis, _ = linalg.qr(sketch, mode="economic", overwrite_a=True, check_finite=False)
    product = np.zeros((count, width), dtype=np.float32)
    for position in used:
        features = sources[position]
        inner = np.zeros((features.width, width), dtype=np.float32)
        for places, values in _centred_blocks(features):
            inner += values.T @ basis[places]
        inner *= (weights[position] * features.scale[:, None] ** 2).astype(np.float32)
        for places, values in _centred_blocks(features):
            product[places] += values @ inner
        del features
    # K is about Y (Q'Y)^-1 Y' with Y = K Q.
    middle = (basis.T @ product).astype(np.float64)
    values, vectors = linalg.eigh((middle + middle.T) / 2, check_finite=False)
    kept = values > PRECISE * values[-1]
    return np.asarray(product @ (vectors[:, kept] / np.sqrt(values[kept])).astype(np.float32))


def _centred_blocks(features: Features) -> Iterator[tuple[slice, Array]]:
    """Blocks of rows (M, D) float32 less the mean, not scaled: the scale goes into what they are multiplied by."""
    kind = np.result_type(features.values.dtype, np.float32)
    mean = features.mean.astype(kind)
    for rows in blocks(*features.values.shape):
        yield rows, np.subtract(features.values[rows], mean, dtype=kind).astype(np.float32, copy=False)
