"""One run of a command: what it learns from, and the functions that make what it needs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo_cli.models.student import Student
from zoo_cli.objectives.supervised import Objective
from zoo_cli.store import image_lists
from zoo_cli.store.view_set import ViewSet
from zoo_cli.training.batch_source import BatchSource
from zoo_cli.training.image_cache import ImageCache
from zoo_cli.training.run_card import Lineage
from zoo_cli.training.run_folder import RunFolder
from zoo_cli.training.streams import IndexStreams
from zoo_cli.training.training_config import LoopOptions


@dataclass(frozen=True)
class RunSpec:
    """One run of a command: its folder, its images, and functions that make what it needs once it is trained.

    `record`: what run.json holds beside the training options, with its keys. `description`: what it learns from, as a
    phrase. `predicted` (M,): the rows of its predictions. `load_targets`, `load_teacher_logits`, `strong_views`: see
    `batches.make_batch_fn`. `stored_teachers`: the number of teachers of these logits. `views`: the stored views that
    the student sees, see `make_consistent_batch_fn`. `starts_from`: lists of the images that its starting weights were
    trained on, see `source_files.list_trained_images`. `build_batches`, from the cache and the student: the batch
    function in place of that of the streams, of batches whose shapes may differ. `write_files`: writes what the trained
    student consists of and seals the run, in place of `students.write_student`.
    """

    path: Path
    streams: IndexStreams
    options: LoopOptions
    record: Mapping[str, Any]
    description: str
    build_student: Callable[[], Student]
    build_objective: Callable[[Student, torch.device], Objective]
    predicted: np.ndarray
    load_targets: Callable[[], Tensor | None] | None = None
    load_teacher_logits: Callable[[ImageCache, Student], Tensor] | None = None
    stored_teachers: int = 0
    strong_views: bool = False
    views: ViewSet | None = None
    starts_from: Sequence[Path] | None = ()
    build_batches: Callable[[ImageCache, Student], BatchSource] | None = None
    write_files: Callable[[RunFolder, Student, ImageCache, set[str] | None], None] | None = None
    licenses: Mapping[str, str] = field(default_factory=dict)

    def describe_lineage(self) -> Lineage:
        """What the student is made from, for its card."""
        streams = self.streams
        labelled, unlabelled = (
            len(rows) if size else 0
            for rows, size in zip((streams.labelled, streams.unlabelled), streams.batch_sizes, strict=True)
        )
        return Lineage(labelled, unlabelled, len(self.predicted), self.licenses)

    def list_seen(self) -> set[str] | None:
        """The digests of the images that the student was trained on, also before; None if those are not known."""
        if self.starts_from is None:
            return None
        earlier = {digest for path in self.starts_from for digest in image_lists.read_image_list(path)}
        return earlier.union(map(str, self.streams.images.sha256[self.streams.rows]))
