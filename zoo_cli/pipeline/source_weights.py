"""The weights of sources under a weighting."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from zoo_cli import console, specs
from zoo_cli.errors import ContractError
from zoo_cli.store import files
from zoo_cli.weighting import file


def weigh_sources(
    method: specs.Method, values: np.ndarray, names: Sequence[str], zero_means_none: bool, metric: str
) -> np.ndarray:
    """The weights (S,) of sources by their scores (S,), NaN if undefined. `zero_means_none`: see the registry."""
    if not names:
        return np.zeros(0)
    if method.name == "file":
        return load_weights(Path(method.params["path"]), names)
    if np.isnan(values).all():
        console.warn(f"no source has a {metric} score: no weights")
        return np.zeros(len(names))
    if zero_means_none and np.nanmax(values) <= 0:
        console.warn("no positive similarity: the weights are equal")
    return np.asarray(method.function(values, list(names), zero_means_none, **method.params))


def weigh_without_scores(method: specs.Method, names: Sequence[str]) -> dict[str, float]:
    """The weights of sources without scores, under a weighting that needs none."""
    if method.name == "file":
        weights = load_weights(Path(method.params["path"]), names)
    else:
        weights = np.asarray(method.function(np.ones(len(names)), list(names), False, **method.params))
    return {name: float(weight) for name, weight in zip(names, weights, strict=True)}


def load_weights(path: Path, names: Sequence[str]) -> np.ndarray:
    """The weights (S,) of the named sources in a weights.json."""
    content = files.read_json(path)
    rows = content.get("sources") if isinstance(content, dict) else None
    if isinstance(rows, list):
        # zoo rank also lists the excluded sources, with weight 0.
        excluded = [
            row for row in rows if isinstance(row, dict) and row.get("weight") == 0 and row.get("source") not in names
        ]
        content = {**content, "sources": [row for row in rows if row not in excluded]}
    try:
        return np.asarray(file.file(np.zeros(len(names)), list(names), False, weights=content))
    except ContractError as error:
        raise ContractError(f"{path}: {error.message}", error.hint) from None
