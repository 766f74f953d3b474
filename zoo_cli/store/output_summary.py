"""What the stored outputs of a source look like, computed once and kept beside them."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

from zoo_cli.config import STUDENT, Config
from zoo_cli.errors import ContractError, UsageError
from zoo_cli.metrics.collapse import Block, OutputSummary, summarise_outputs
from zoo_cli.store import feature_files, files, parquet_files, replacement, source_record
from zoo_cli.store.records import build_record

DOCUMENT = "_outputs.json"
ROWS = 4096
"""Rows whose probabilities are in memory at a time."""


def summarise_path(path: Path, output: str) -> OutputSummary:
    """The summary of the outputs stored at a path. `output`: what its logits are for, softmax or sigmoid."""

    def read() -> Iterator[Block]:
        for part in feature_files.load_parts(path, output):
            for start in range(0, len(part.ids), ROWS):
                rows = slice(start, start + ROWS)
                features = None if part.embedding is None else part.embedding[rows]
                yield features, part.take(rows).probabilities(output)

    return summarise_outputs(read)


def load_summary(settings: Config, name: str, *, overwrite: bool = False) -> OutputSummary:
    """The summary of the stored outputs of a source, made again where they have changed, or to `overwrite` it."""
    folder = settings.features(name)
    record = source_record.load_source_record(settings, name)
    inputs = {"source": record.fingerprint, "parts": feature_files.content_digest(folder)}
    path = folder / DOCUMENT
    if path.exists() and not overwrite:
        stored = files.read_json(path)
        if isinstance(stored, dict) and stored.get("inputs") == inputs:
            again = f"zoo extract --source {name} --overwrite makes it again"
            return build_record(OutputSummary, stored, path, again, extra_keys=True)

    def summarise() -> OutputSummary:
        for part in sorted(folder.glob("data=*/part-*.parquet")):
            made_from = parquet_files.read_header(part).get("inputs")
            if not isinstance(made_from, dict) or made_from.get("source") != record.fingerprint:
                raise ContractError(
                    f"{part} is not of the source that {folder} records", f"zoo extract --source {name} --overwrite"
                )
        return summarise_path(folder, record.output)

    summary = replacement.read_whole(folder, summarise)
    files.write_sealed_json(path, {**asdict(summary), "inputs": inputs})
    return summary


def add_missing_summaries(settings: Config, names: Iterable[str]) -> None:
    """Store the summaries that a process did not come to, which ended after it had stored the outputs."""
    for name in names:
        if not (settings.features(name) / DOCUMENT).exists():
            load_summary(settings, name)


def find_collapsed(settings: Config, names: Iterable[str]) -> list[str]:
    """The sources of which collapsed outputs are stored. The student is none: its head is replaced."""
    return [name for name in names if name != STUDENT and _is_collapsed(settings, name)]


def _is_collapsed(settings: Config, name: str) -> bool:
    if not source_record.has_source_record(settings, name):
        return False
    try:
        return load_summary(settings, name).collapsed
    except UsageError:  # its parts are not there yet
        return False
