"""The labels of a task for heads: which images are labelled, and which classes can be judged."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from zoo_cli.errors import ContractError, UsageError

Array = NDArray[Any]

ONE_LABEL = "one_label_per_class"


@dataclass(frozen=True, eq=False)
class TargetLabels:
    """The labels of N images, L of them labelled, over C classes, P of which have a label.

    `count` is N, `classes` is C. `rows` (L,): positions of the labelled images, ascending; `labels` (L,): their classes
    in 0..C-1; `present` (P,): the classes with a label, ascending; `codes` (L,): positions of the labels in `present`;
    `counts` (P,): labels of each. `views` V: each image stands in V rows one after another, all of them labelled or
    none; rows of one image are left out together, and count as one label.
    """

    count: int
    classes: int
    rows: Array
    labels: Array
    present: Array
    codes: Array
    counts: Array
    views: int = 1

    @classmethod
    def of(cls, labels: Array, classes: int) -> Self:
        """Labels (N,), integers in 0..classes-1, and -1 for an image without a label.

        Raises ContractError for labels of another kind or range, UsageError where fewer than two classes have one.
        """
        if labels.ndim != 1:
            raise ContractError(f"labels have shape {labels.shape}", "a head takes labels of shape (N,)")
        if labels.dtype.kind not in "iu":
            raise ContractError(f"labels are {labels.dtype}, not integers")
        if len(labels) and not -1 <= int(labels.min()) <= int(labels.max()) < classes:
            raise ContractError(
                f"labels are in {labels.min()}..{labels.max()}", f"expected -1 (no label) to {classes - 1}"
            )
        rows = np.flatnonzero(labels >= 0)
        chosen = labels[rows].astype(np.int64)
        present, codes, counts = np.unique(chosen, return_inverse=True, return_counts=True)
        if len(present) < 2:
            raise UsageError(
                f"{len(present)} of {classes} classes have a labelled image", "a head needs labels of two classes"
            )
        return cls(len(labels), classes, rows, chosen, present, codes, counts)

    def __len__(self) -> int:
        """L."""
        return len(self.rows)

    def repeat(self, views: int) -> Self:
        """The labels of the labelled images alone, each in `views` (V) rows one after another: L V rows."""
        return type(self)(
            count=len(self) * views,
            classes=self.classes,
            rows=np.arange(len(self) * views),
            labels=np.repeat(self.labels, views),
            present=self.present,
            codes=np.repeat(self.codes, views),
            counts=self.counts * views,
            views=views,
        )

    def check_rows(self, values: Array) -> None:
        """Raise ContractError unless values have N rows."""
        if len(values) != self.count:
            raise ContractError(f"features have {len(values)} rows and labels {self.count}", "extract again")

    @cached_property
    def missing(self) -> Array:
        """The classes without a label, ascending: their probability is 0 in every answer."""
        return np.setdiff1d(np.arange(self.classes), self.present)

    @cached_property
    def unlabelled(self) -> Array:
        """Positions of the images without a label (N - L,)."""
        return np.setdiff1d(np.arange(self.count), self.rows, assume_unique=True)

    @property
    def single(self) -> bool:
        """Whether every class with a label has only one: nothing can then be chosen or estimated."""
        return int(self.counts.max()) == self.views

    @property
    def reason(self) -> str | None:
        """Why nothing can be chosen or estimated, machine readable; None if it can."""
        return ONE_LABEL if self.single else None

    @cached_property
    def judged(self) -> Array:
        """Which labelled images take part in nll and estimates (L,): those whose class has two labels or more."""
        return np.asarray(self.counts[self.codes] > self.views)

    @cached_property
    def one_hot(self) -> Array:
        """One-hot labels (L, P) float64."""
        return np.asarray(np.eye(len(self.present))[self.codes])

    def widen(self, values: Array) -> Array:
        """Values of the present classes (M, P) as values of all classes (M, C), 0 for the missing ones."""
        if len(self.present) == self.classes:
            return values
        wide = np.zeros((len(values), self.classes))
        wide[:, self.present] = values
        return wide
