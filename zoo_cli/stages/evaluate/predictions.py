"""Predictions to judge: of a run folder, or of anybody's parquet with id, label and logits or probs."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo_cli import console, files
from zoo_cli.errors import ContractError, UsageError

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Predictions:
    """ids (N,), labels (N,) and logits or log-probabilities (N, C); `unknown` are ids left out for want of a label."""

    name: str
    ids: "np.ndarray"
    labels: "np.ndarray"
    logits: "np.ndarray"
    classes: tuple[str, ...]
    unknown: "np.ndarray"

    def aligned(self, first: "Predictions") -> "np.ndarray":
        """Its logits in the order of another's samples.

        Raises ContractError where they are not the same samples or the labels disagree. Samples that the other left
        out because nobody knows their label do not count as too many.
        """
        import numpy as np

        place = {name: row for row, name in enumerate(self.ids)}
        wanted = set(first.ids) | set(first.unknown)
        missing = [str(name) for name in first.ids if name not in place]
        extra = [str(name) for name in self.ids if name not in wanted]
        if missing or extra:
            raise ContractError(
                f"{self.name} and {first.name} hold other samples: {len(missing)} of {first.name} are missing in "
                f"{self.name}, {len(extra)} are too many, e.g. {(missing or extra)[0]}",
                "compare predictions on the same samples",
            )
        rows = np.array([place[name] for name in first.ids], dtype=np.int64)
        labels = self.labels[rows]
        wrong = (labels >= 0) & (labels != first.labels)
        if wrong.any():
            raise ContractError(
                f"{self.name} and {first.name} disagree on the label of {wrong.sum()} samples, "
                f"e.g. {first.ids[wrong][0]}",
                "they were made for other tasks or splits",
            )
        return np.asarray(self.logits[rows])


def read(path: Path, *, labels: bool = True) -> Predictions:
    """The predictions at a path: a run folder or a parquet file; samples whose label nobody knows are left out.

    Raises ContractError for repeated ids, values that are not finite, or labels outside the classes.
    """
    import numpy as np

    from zoo_cli.data import stored

    file = path / "predictions.parquet" if path.is_dir() else path
    if not file.exists():
        what = "run folder with predictions.parquet" if path.is_dir() else "file"
        raise UsageError(f"no {what} at {path}", "a run that was stopped has none yet: run the same command again")
    found = stored.read(file, columns=("logits", "probs"))
    values = found.logits
    if values is None and found.probs is not None:
        values = np.log(np.maximum(found.probs.astype(np.float64), np.finfo(np.float32).tiny))
    if values is None:
        raise ContractError(f"{file} has neither logits nor probs")
    known = found.labels if found.labels is not None else np.full(len(found.ids), -1)
    classes = _classes(path, values.shape[1])
    unlabelled = found.ids[known < 0]
    if labels:
        if not (known >= 0).any():
            raise ContractError(f"{file} has no labels", "its column label says what is true")
        if len(unlabelled):
            console.warn(f"{file}: {len(unlabelled):,} samples without a label are left out")
            found, values, known = found.take(known >= 0), values[known >= 0], known[known >= 0]
        if known.max() >= values.shape[1]:
            raise ContractError(f"{file}: label {known.max()} is outside its {values.shape[1]} classes")
    return Predictions(str(path), found.ids, known, values, classes, unlabelled)


def _classes(path: Path, count: int) -> tuple[str, ...]:
    """The class names beside a run's predictions, else the numbers."""
    if path.is_dir() and (path / "config.json").exists():
        said: Any = files.read_json(path / "config.json")
        names = said.get("zoo", {}).get("classes") if isinstance(said, dict) else None
        if isinstance(names, list) and len(names) == count:
            return tuple(map(str, names))
    return tuple(str(number) for number in range(count))
