"""Networks whose class names are not known: their order is first tried on the labelled images of the task."""

from collections.abc import Callable, Sequence

import numpy as np

from zoo_cli import console
from zoo_cli.errors import ContractError
from zoo_cli.evaluation.class_order import check_class_order
from zoo_cli.store import feature_files
from zoo_cli.store.manifest import Images

MOST = 1000
"""The number of labelled images that are asked, at most."""
LISTED = 20
"""The number of classes up to which an error lists them in the order that fits."""


def assume_order(
    name: str, classes: Sequence[str], images: Images, predict: Callable[[np.ndarray], np.ndarray]
) -> None:
    """Take the outputs of a network to be the task's classes (C,), in order, unless labelled images refute it.

    `predict`: its logits (M, C) for rows (M,) of the manifest. Raises ContractError for an order that is refuted.
    """
    console.warn(f"the class names of {name} are not known: they are taken to be the task's, in order")
    rows = images.where(split=("labelled",))
    if not len(rows):
        return
    # Each class in its share: the labelled images may be sorted by class.
    rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), MOST)).round().astype(np.int64)]
    logits = predict(rows)
    if (bad := ~np.isfinite(logits).all(axis=1)).any():
        first = images.ids[rows][bad][0]
        raise ContractError(f"{name} gives logits that are not finite for {bad.sum():,} images, e.g. {first}")
    check = check_class_order(feature_files.to_probabilities(logits, "softmax"), images.labels[rows])
    if not check.refuted:
        console.say(f"{name} is right on {check.right:,} of {check.images:,} labelled images in that order")
        return
    hint = "declare its class names in the order of its outputs: classes = "
    by_output = [classes[c] for c in np.argsort(check.columns)]
    listed = ", ".join(f'"{label}"' for label in by_output) if len(by_output) <= LISTED else "…"
    counts = (
        f"{check.right:,} of {check.images:,} labelled images are right, {check.right_reordered:,} in another order"
    )
    raise ContractError(f"the outputs of {name} are not the task's classes in order: {counts}", f"{hint}[{listed}]")
