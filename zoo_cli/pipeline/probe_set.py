"""The probe set: the labelled images on which sources are scored, or a part of it."""

from collections import defaultdict

import numpy as np

from zoo_cli import console
from zoo_cli.config import Config
from zoo_cli.data.hold_out import hash_id
from zoo_cli.store import failures
from zoo_cli.store.manifest import Images

MOST_NAMES = 5


def probe_rows(settings: Config, images: Images, per_class: int | None = None, seed: int = 0) -> np.ndarray:
    """The rows (M,) of the probe set, without the images that failed in `zoo extract`; see `draw_per_class`.

    Scores are paired by sample: no source is scored on an image that one of them lacks.
    """
    rows, absent = images.where(probe=True), failures.failed_ids(settings, "extract")
    if absent:
        rows = rows[~images.ids.take(rows).isin(absent)]
    return np.asarray(rows[draw_per_class(images.ids[rows], images.labels[rows], per_class, seed)])


def draw_per_class(ids: np.ndarray, labels: np.ndarray, per_class: int | None, seed: int) -> np.ndarray:
    """The positions, ascending, of at most `per_class` samples of each class; of all samples (N,) if None.

    Those of a smaller number are among those of a larger one. The order of a class is that in which `zoo split` draws
    its probe set: with the task's seed they are the images of `probe_per_class` in zoo.toml.
    """
    if per_class is None:
        return np.arange(len(ids))
    members: dict[int, list[int]] = defaultdict(list)
    for position in sorted(range(len(ids)), key=lambda i: (hash_id(seed, "probe", str(ids[i])), str(ids[i]))):
        members[int(labels[position])].append(position)
    return np.array(sorted(i for positions in members.values() for i in positions[:per_class]), dtype=np.int64)


def say_short_classes(labels: np.ndarray, per_class: int | None, names: tuple[str, ...] = ()) -> None:
    """Say which classes of a probe set (N,) have fewer than `per_class` images."""
    if per_class is None:
        return
    present, counts = np.unique(labels, return_counts=True)
    short = [(int(label), int(count)) for label, count in zip(present, counts, strict=True) if count < per_class]
    if short:
        shown = [f"{names[label] if label < len(names) else label} {count}" for label, count in short[:MOST_NAMES]]
        more = f" and {len(short) - MOST_NAMES} more" if len(short) > MOST_NAMES else ""
        have = f"{len(short)} class{'es' * (len(short) > 1)} of the probe set {'have' if len(short) > 1 else 'has'}"
        console.say(f"{have} fewer than {per_class} images: {', '.join(shown)}{more}")
