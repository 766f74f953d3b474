"""Predictions of new images as a parquet, CSV or TSV file, written batch by batch."""

import csv
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from zoo_cli.errors import UsageError
from zoo_cli.store import commits, parquet_files, schemas
from zoo_cli.store.columns import to_list_column
from zoo_cli.store.provenance import Inputs
from zoo_cli.text_escapes import spreadsheet_text

DELIMITERS = {".csv": ",", ".tsv": "\t"}
SUFFIXES = (".parquet", *DELIMITERS)


@dataclass(frozen=True, eq=False)
class PredictedBatch:
    """Predictions of M images: `ids`, `paths` (None for an image without a file), `probs` (M, C) float32.

    `logits` (M, C) float32: the network's outputs, None if heads answered.
    """

    ids: Sequence[str]
    paths: Sequence[str | None]
    probs: np.ndarray
    logits: np.ndarray | None = None

    @property
    def best(self) -> np.ndarray:
        """The predicted classes (M,), int64, the first among equals."""
        # Two logits may differ by less than their probabilities can show.
        return np.asarray((self.probs if self.logits is None else self.logits).argmax(axis=1))

    @property
    def confidence(self) -> np.ndarray:
        """The probabilities of the predicted classes (M,)."""
        return np.asarray(self.probs[np.arange(len(self.ids)), self.best])


Write = Callable[[PredictedBatch], None]


def check_suffix(path: Path) -> None:
    """Raise UsageError for a file of another format, before any work."""
    if path.suffix not in SUFFIXES:
        raise UsageError(f"--out {path}", f"its name must end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")


def prediction_writer(
    path: Path, classes: Sequence[str], inputs: Inputs, *, logits: bool, csv_safe: bool = False
) -> AbstractContextManager[Write]:
    """Yields a function that takes the next batch; the file replaces an older one when all are written.

    `classes`: names (C,) in the order of the probabilities. Parquet has the schema `schemas.NEW_PREDICTIONS`, and the
    classes among the inputs of its header; `logits`: whether the batches have them. Tables of text have the columns id,
    path, class and probability, and p_NAME for each class; `csv_safe`: see `spreadsheet_text`.
    """
    if path.suffix in DELIMITERS:
        return _write_text(path, classes, spreadsheet_text if csv_safe else str)
    return _write_parquet(path, classes, inputs, logits)


@contextmanager
def _write_parquet(path: Path, classes: Sequence[str], inputs: Inputs, logits: bool) -> Iterator[Write]:
    empty = np.zeros((0, len(classes)), np.float32)
    header = {**inputs, "classes": list(classes)}
    schema = _to_table(PredictedBatch((), (), empty, empty if logits else None), classes).schema
    with parquet_files.table_writer(path, schemas.NEW_PREDICTIONS, header, schema) as write:
        yield lambda batch: write(_to_table(batch, classes))


def _to_table(batch: PredictedBatch, classes: Sequence[str]) -> pa.Table:
    columns = {
        "id": pa.array(batch.ids, pa.string()),
        "path": pa.array(batch.paths, pa.string()),
        "class": pa.array([classes[c] for c in batch.best], pa.string()),
        "probability": pa.array(batch.confidence, pa.float32()),
        "probs": to_list_column(batch.probs),
    }
    return pa.table(columns if batch.logits is None else {**columns, "logits": to_list_column(batch.logits)})


@contextmanager
def _write_text(path: Path, classes: Sequence[str], text: Callable[[str], str]) -> Iterator[Write]:
    with commits.replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        plain, quoted = (
            csv.writer(stream, delimiter=DELIMITERS[path.suffix], lineterminator="\n", quoting=quoting)
            for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL)
        )

        def write_row(cells: Sequence[str]) -> None:
            # The module leaves a lone carriage return unquoted, and its own reader ends the line there.
            (quoted if any("\r" in cell for cell in cells) else plain).writerow(cells)

        def write(batch: PredictedBatch) -> None:
            best, confidence = batch.best, batch.confidence
            for row, name in enumerate(batch.ids):
                # str of a float32 is the shortest text that reads back as the same number.
                numbers = map(str, (confidence[row], *batch.probs[row]))
                write_row([text(name), text(batch.paths[row] or ""), text(classes[best[row]]), *numbers])

        write_row(["id", "path", "class", "probability", *(f"p_{name}" for name in classes)])
        yield write
