"""What makes the folder of an expert a full source: its class means, its training data, and the images it has seen."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from zoo_cli.models.capture import FeatureExtractor
from zoo_cli.models.domain_student import DomainStudent
from zoo_cli.models.forward_passes import ForwardPasses
from zoo_cli.models.student import Student
from zoo_cli.store import files, image_lists, parquet_files, provenance, schemas
from zoo_cli.store.checksums import DOMAINS, IMAGES, MEANS, PREDICTIONS
from zoo_cli.store.columns import to_list_column
from zoo_cli.text_escapes import code_span, markdown
from zoo_cli.training import loop, students
from zoo_cli.training.image_cache import ImageCache
from zoo_cli.training.inference import BATCH
from zoo_cli.training.run_card import Lineage
from zoo_cli.training.run_folder import RunFolder


def write_expert(
    run: RunFolder,
    expert: Student,
    cache: ImageCache,
    rows: np.ndarray,
    predicted: np.ndarray,
    seen: Iterable[str] | None,
    lineage: Lineage,
) -> None:
    """Write the files of an expert of one domain, and seal the run.

    `rows` (N,): its training images, of which the class means are taken; `predicted` (M,): its test images; `seen`,
    `lineage`: see `students.write_student`.
    """
    run.confirm()
    # Before any file that names the record: one that is written after a kill then names the same.
    expert.eval()
    run.add_to_record("size", students.measure_size(expert))
    write_class_means(run.path / MEANS, run, expert, cache, rows)
    students.write_student(run, expert, cache, predicted, seen, lineage)


def write_experts(
    run: RunFolder,
    expert: DomainStudent,
    cache: ImageCache,
    rows: Sequence[np.ndarray],
    predicted: Sequence[np.ndarray],
    seen: Iterable[str] | None,
) -> None:
    """Write the files of an expert of several domains, and seal the run.

    `rows`, `predicted`: the training images (N_d,) and the test images (M_d,) of each domain.
    """
    run.confirm()
    expert.eval()
    run.add_to_record("size", students.measure_size(expert))  # first, as above
    for number, domain in enumerate(expert.domains):
        folder = run.path / DOMAINS / domain.name
        expert.select_domain(number)
        logits = students.predict_logits(run, expert, cache, predicted[number])
        write_class_means(folder / MEANS, run, expert, cache, rows[number])
        students.write_predictions(folder / PREDICTIONS, run, cache, predicted[number], logits)
    expert.select_domain(0)
    run.confirm()
    files.write_tensors(run.path / "model.safetensors", expert.plain_state_dict(), {"format": "pt"})
    files.write_json(run.path / "config.json", expert.config(run.path))
    files.write_text(run.path / "README.md", _model_card(run, expert))
    if seen is not None:
        image_lists.write_image_list(run.path / IMAGES, seen)
    run.seal()


def _model_card(run: RunFolder, expert: DomainStudent) -> str:
    """The model card of an expert of several domains."""
    name, model = run.place.name, run.record["student"]["student"]["model"]
    rows = "\n".join(
        f"| {markdown(domain.name)} | {len(domain.classes)} | {code_span(f'file:{name}#{domain.name}')} |"
        for domain in expert.domains
    )
    options = "\n".join(f"| {key} | {markdown(str(value))} |" for key, value in run.record["options"].items())
    return f"""---
library_name: zoo
tags: [image-classification]
---

# {markdown(name)}

{code_span(model)} for {len(expert.domains)} domains ({expert.kind}). In `zoo`, each is a source of its own:

| domain | classes | source |
|---|---|---|
{rows}

## Options

| option | value |
|---|---|
{options}
"""


def write_class_means(path: Path, run: RunFolder, expert: Student, cache: ImageCache, rows: np.ndarray) -> None:
    """Write the mean feature and the number of training images of each class of an expert.

    Raises NonFinite if a feature is not finite.
    """
    means, counts = average_features(expert, cache, rows, cache.images.labels[rows], len(expert.classes))
    if not np.isfinite(means).all():
        raise loop.NonFinite(run.record["options"]["steps"], "a feature of the expert")
    table = pa.table(
        {
            "class": pa.array(list(expert.classes), pa.string()),
            "count": pa.array(counts, pa.int64()),
            "mean": to_list_column(means),
        }
    )
    parquet_files.write_table(path, table, schemas.SOURCE_MEANS, {"run": provenance.fingerprint(run.record)})


def average_features(
    expert: Student, cache: ImageCache, rows: np.ndarray, labels: np.ndarray, classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """The mean features (C, D), float32, and the numbers (C,) of images (N,) of each class; a class without any has 0.

    The images are seen as in evaluation, and the network is put in eval mode.
    """
    expert.eval()
    passes = ForwardPasses(cache.device, None, BATCH)

    def embed(piece: Tensor) -> np.ndarray:
        (views,) = cache.evaluation_views(expert.preprocessing, piece.numpy(), len(piece))
        return _embed_batch(expert, views)

    sums = np.zeros((classes, expert.features_dim))
    for start in range(0, len(rows), BATCH):
        chunk = slice(start, start + BATCH)
        features = np.concatenate(passes.run("the expert", expert, embed, torch.from_numpy(rows[chunk])))
        np.add.at(sums, labels[chunk], features.astype(np.float64))
    counts = np.bincount(labels, minlength=classes)
    return (sums / np.maximum(counts, 1)[:, None]).astype(np.float32), counts


def _embed_batch(expert: FeatureExtractor, views: Tensor) -> np.ndarray:
    with torch.inference_mode():
        return np.asarray(expert(views)[0].float().cpu().numpy())
