"""Outputs of a source that were stored elsewhere, such as those of a model that only another machine can run."""

from pathlib import Path

import numpy as np

from zoo_cli import console
from zoo_cli.config import Config, Source
from zoo_cli.errors import ContractError, UsageError
from zoo_cli.store import feature_files, feature_store, path_patterns, replacement
from zoo_cli.store.feature_files import StoredOutputs
from zoo_cli.store.manifest import Images
from zoo_cli.store.source_record import SourceRecord, has_source_record
from zoo_cli.store.text_column import TextColumn


def import_outputs(settings: Config, source: Source, images: Images, *, overwrite: bool, refresh: bool = False) -> None:
    """Import outputs that were stored elsewhere into the workspace: checked, joined by id, in canonical order.

    Probabilities are stored as their logarithms, whose softmax they are. Samples of the manifest that the file lacks
    are left out here; the stages that need them report it. `refresh`: stale outputs are imported again.
    """
    path = settings.root / source.model.partition(":")[2]
    if not path_patterns.match_paths(path):
        raise UsageError(
            f"no stored features at {path} for the source {source.name}", "correct its path, or leave it out"
        )
    digest = feature_files.content_digest(path)
    outputs = feature_files.load_outputs(path, output=source.output, name=source.name, images=images)
    _check_ids(settings, outputs, images, path)
    logits = outputs.logits
    if logits is None and (probs := outputs.probabilities(source.output)) is not None:
        logits = _to_logits(probs, source.output)
    check_width(source, logits)
    record = SourceRecord(
        feature_store.to_json_values(
            {
                "declared": settings.declared(source),
                "weights_sha256": digest,
                "name": source.name,
                "provider": "features",
                "model": source.model,
                "features": 0 if outputs.embedding is None else outputs.embedding.shape[1],
                "classes": 0 if logits is None else logits.shape[1],
                "class_names": list(source.classes) if isinstance(source.classes, tuple) else None,
                "output": source.output,
                "trained_on": list(source.trained_on),
                "depth": source.depth,
            }
        )
    )
    if overwrite and feature_store.is_replaced(settings, source, images, record):
        return
    new = None
    if overwrite or (refresh and has_source_record(settings, source.name)):
        new = feature_store.begin_replacement(settings, record)
        stored = new.keep(lambda: feature_store.current_parts(settings, source, images, record, new))
    else:
        feature_store.open_features(settings, record)
        stored = feature_store.current_parts(settings, source, images, record)
    place = TextColumn.of(outputs.ids).positions(images.ids)
    for part, rows in feature_store.planned_parts(settings, source, images):
        if part in stored:
            continue
        present = rows[place[rows] >= 0]
        order = place[present]
        features, part_logits = (None if values is None else values[order] for values in (outputs.embedding, logits))
        arguments = images, rows, present, features, part_logits, {"source": record.fingerprint}, source.name
        replacement.commit(new, part, feature_store.write_part, *arguments)
    if new is not None:
        feature_store.replace_outputs(settings, source, images, new, record, remember=overwrite)


def check_width(source: Source, logits: np.ndarray | None) -> None:
    """Raise ContractError unless logits (N, K) are of as many classes as the source declares."""
    declared = len(source.classes) if isinstance(source.classes, tuple) else source.classes
    if logits is not None and declared is not None and declared != logits.shape[1]:
        raise ContractError(f"{source.name} declares {declared} classes, its file holds {logits.shape[1]}")


def _check_ids(settings: Config, outputs: StoredOutputs, images: Images, path: Path) -> None:
    unknown = int((images.ids.positions(TextColumn.of(outputs.ids)) < 0).sum())
    if unknown == len(outputs.ids):
        raise ContractError(f"{path} has no id of {settings.manifest}", "compare both with zoo show")
    if unknown:
        console.warn(f"{unknown:,} of {len(outputs.ids):,} ids of {path} are not in the manifest and are left out")


def _to_logits(probs: np.ndarray, output: str) -> np.ndarray:
    logits = feature_files.log_probabilities(probs)
    if output == "sigmoid":
        logits = logits - feature_files.log_probabilities(1.0 - probs)
    return np.asarray(logits, dtype=np.float32)
