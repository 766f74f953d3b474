"""The two streams of a run: rows of the manifest with labels and without, and how many of each are in a batch."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from zoo_cli.errors import UsageError
from zoo_cli.pipeline.training_options import TrainingOptions

if TYPE_CHECKING:
    import numpy as np

    from zoo_cli.store.manifest import Images


@dataclass(frozen=True)
class IndexStreams:
    """The rows (of the manifest) of the labelled and the unlabelled stream, and how many of each are in a batch."""

    images: "Images"
    labelled: "np.ndarray"
    unlabelled: "np.ndarray"
    batch: tuple[int, int]
    seed: int

    @classmethod
    def of(cls, images: "Images", course: TrainingOptions, seed: int, *, labels: bool, others: bool) -> "IndexStreams":
        """A batch of labelled images, of images whose labels are not used, or half of it each."""
        splits = ("labelled", "unlabelled") if course.unlabelled_from == "all" else ("unlabelled",)
        labelled, unlabelled = images.where(split=("labelled",)), images.where(split=splits)
        if labels and not len(labelled):
            raise UsageError("no labelled image to train on", "zoo split --labelled says how many")
        if others and not len(unlabelled):
            raise UsageError("no unlabelled image to distil on", "--unlabelled-from all takes the labelled ones too")
        count = course.batch_size
        batch = (count - count // 2, count // 2) if labels and others else (count * labels, count * others)
        return cls(images, labelled, unlabelled, batch, seed)

    @property
    def rows(self) -> "np.ndarray":
        """The rows that take part, in ascending order."""
        import numpy as np

        parts = [rows for rows, count in zip((self.labelled, self.unlabelled), self.batch, strict=True) if count]
        found: np.ndarray = np.unique(np.concatenate(parts))
        return found

    def inputs(self, judged: "np.ndarray") -> dict[str, str]:
        """Digests of what a run reads of the manifest; the truth is not among it."""
        taught = self.images.fingerprint(self.labelled, "ids", "sha256", "labels") if self.batch[0] else ""
        others = self.images.fingerprint(self.unlabelled, "ids", "sha256") if self.batch[1] else ""
        test = self.images.fingerprint(judged, "ids", "sha256")
        return {"labelled images": taught, "unlabelled images": others, "test images": test}
