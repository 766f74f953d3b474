"""The labelled and the unlabelled images of a run, as rows of the manifest."""

from dataclasses import dataclass

import numpy as np

from zoo_cli import ranks
from zoo_cli.errors import ParameterError, UsageError
from zoo_cli.store.manifest import Images
from zoo_cli.training.training_config import ResolvedTraining


@dataclass(frozen=True)
class IndexStreams:
    """The rows of the labelled (Nl,) and of the unlabelled (Nu,) stream, and the number of each in a batch."""

    images: Images
    labelled: np.ndarray
    unlabelled: np.ndarray
    batch_sizes: tuple[int, int]
    seed: int

    @property
    def rows(self) -> np.ndarray:
        """The rows (N,) that are used, in ascending order."""
        streams = zip((self.labelled, self.unlabelled), self.batch_sizes, strict=True)
        rows: np.ndarray = np.unique(np.concatenate([rows for rows, size in streams if size]))
        return rows

    def inputs(self, predicted: np.ndarray) -> dict[str, str]:
        """Digests of what a run reads of the manifest, without the truth. `predicted` (M,): rows that it predicts."""
        columns = ("ids", "sha256")
        return {
            "labelled images": self.images.fingerprint(self.labelled, *columns, "labels")
            if self.batch_sizes[0]
            else "",
            "unlabelled images": self.images.fingerprint(self.unlabelled, *columns) if self.batch_sizes[1] else "",
            "test images": self.images.fingerprint(predicted, *columns),
        }


def make_streams(
    images: Images, training: ResolvedTraining, seed: int, *, labelled: bool, unlabelled: bool
) -> IndexStreams:
    """The streams of a run that uses labelled images, images without their labels, or one half batch of each.

    Raises UsageError if the task has no such image, or if the processes of a job cannot have equal shares of a batch.
    """
    splits = ("labelled", "unlabelled") if training.unlabelled_from == "all" else ("unlabelled",)
    labelled_rows, unlabelled_rows = images.where(split=("labelled",)), images.where(split=splits)
    if labelled and not len(labelled_rows):
        raise UsageError("no labelled image to train on", "set the number with zoo split --labelled")
    if unlabelled and not len(unlabelled_rows):
        raise ParameterError("no unlabelled image to train on", "`unlabelled_from` all uses the labelled ones too")
    size = training.batch_size
    both = labelled and unlabelled
    batch_sizes = (size - size // 2, size // 2) if both else (size * labelled, size * unlabelled)
    processes = ranks.world_size()
    if any(part % processes for part in batch_sizes):
        raise ParameterError(
            f"`batch_size` {size} cannot be divided equally among {processes} processes",
            f"use a multiple of {processes * (1 + both)}",
        )
    return IndexStreams(images, labelled_rows, unlabelled_rows, batch_sizes, seed)
