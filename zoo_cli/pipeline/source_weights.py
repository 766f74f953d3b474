"""The weights of the sources under a weighting, and how a weighting is called in a file name."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from zoo_cli import console, specs
from zoo_cli.errors import ContractError
from zoo_cli.store import files

if TYPE_CHECKING:
    import numpy as np


def weigh_sources(
    method: specs.Method, values: "np.ndarray", names: Sequence[str], zero_means_none: bool, metric: str
) -> "np.ndarray":
    """The weights (S,) of sources by their scores, values (S,); NaN where a score is undefined."""
    import numpy as np

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


def weigh_without_scores(method: specs.Method, names: list[str]) -> dict[str, float]:
    """The weights of sources of which no score is known, by a weighting that needs none."""
    import numpy as np

    if method.name == "file":
        weights = load_weights(Path(method.params["path"]), names)
    else:
        weights = np.asarray(method.function(np.ones(len(names)), names, False, **method.params))
    return {name: float(weight) for name, weight in zip(names, weights, strict=True)}


def load_weights(path: Path, names: Sequence[str]) -> "np.ndarray":
    """The weights (S,) that a weights.json gives the named sources."""
    import numpy as np

    from zoo_cli.weighting import file

    told = files.read_json(path)
    rows = told.get("sources") if isinstance(told, dict) else None
    if isinstance(rows, list):
        # A weights.json of ours also lists, with weight 0, the sources that were excluded.
        absent = [
            row for row in rows if isinstance(row, dict) and row.get("weight") == 0 and row.get("source") not in names
        ]
        told = {**told, "sources": [row for row in rows if row not in absent]}
    try:
        return np.asarray(file.file(np.zeros(len(names)), list(names), False, weights=told))
    except ContractError as error:
        raise ContractError(f"{path}: {error.message}", error.hint) from None


def weighting_slug(weighting: str) -> str:
    """A weighting as a part of a file name: `p2`, `nearest`, `softmax-T0.1`."""
    if weighting.startswith("file:"):
        return f"file-{Path(weighting.removeprefix('file:')).stem}"
    name, params = specs.split_spec(weighting)
    said = "-".join(f"{key}{value}" for key, value in params.items())
    return said if name == "power" and said else "-".join(part for part in (name, said) if part)
