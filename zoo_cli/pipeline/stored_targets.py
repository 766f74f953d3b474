"""The pseudo-labels that a student learns from, as they are stored, and in the words of its run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from zoo_cli.errors import ContractError
from zoo_cli.store import feature_files, provenance, view_store
from zoo_cli.store.manifest import Images
from zoo_cli.store.view_set import ViewSet

LISTED = 4
"""The number of sources in the description of a run."""


@dataclass(frozen=True)
class PseudoLabels:
    """The stored pseudo-labels of one source, and its weight in the loss.

    `views`: their number where `path` has a folder for each stored view; 0: of the plain view.
    """

    name: str
    path: Path
    weight: float
    output: str
    digest: str
    views: int = 0


class StoredTargets:
    """The pseudo-labels of the sources, each read once for all students of a command."""

    def __init__(self, images: Images):
        self.images = images
        self._probs: dict[Path, np.ndarray] = {}

    def read(self, target: PseudoLabels, rows: np.ndarray) -> np.ndarray:
        """The probabilities (Nu, K) of one source on rows (Nu,) of the manifest, the same rows in every call.

        (V, Nu, K) where the source has answered for V stored views.
        """
        if target.path not in self._probs:
            folders = [view_store.view_folder(target.path, view) for view in range(target.views)]
            probs = [self._load(folder, target.output, rows) for folder in folders or [target.path]]
            self._probs[target.path] = np.stack(probs) if target.views else probs[0]
        return self._probs[target.path]

    def concatenate(self, targets: Sequence[PseudoLabels], rows: np.ndarray) -> Tensor:
        """The probabilities (Nu, sum K) of several sources, side by side, or (V, Nu, sum K).

        A source that has answered for the plain view only has the same answers in every view.
        """
        arrays = [self.read(target, rows) for target in targets]
        views = np.broadcast_shapes(*(array.shape[:-2] for array in arrays))
        return torch.from_numpy(
            np.concatenate([np.broadcast_to(array, (*views, *array.shape[-2:])) for array in arrays], axis=-1)
        )

    def _load(self, path: Path, output: str, rows: np.ndarray) -> np.ndarray:
        probs = feature_files.load_outputs(
            path, ids=self.images.ids.take(rows), columns=("probs",), output=output, images=self.images
        ).probs
        if probs is None:
            raise ContractError(f"{path} has no column probs", "make it with zoo pseudo-label")
        return probs


def digest_views(folder: Path, views: ViewSet) -> str:
    """A digest of what is stored in a folder for each view."""
    folders = [view_store.view_folder(folder, view) for view in range(views.count)]
    return provenance.fingerprint([feature_files.content_digest(each) for each in folders])


def describe_views(views: ViewSet | None) -> dict[str, str]:
    """The option of run.json that names the stored views; empty without any."""
    return {} if views is None else {"views": str(views)}


def describe_targets(targets: Sequence[PseudoLabels]) -> str:
    """The sources and weights as a phrase."""
    if not targets:
        return "labels only"
    ordered = sorted(targets, key=lambda target: -target.weight)
    listed = ", ".join(f"{target.name} {target.weight:.2f}" for target in ordered[:LISTED])
    return f"from {listed}" + (f" and {len(ordered) - LISTED} more" if len(ordered) > LISTED else "")
