"""The student of a training command: which model it starts as, and the files it ends as."""

from dataclasses import replace
from typing import TYPE_CHECKING

from zoo_cli import config, specs
from zoo_cli.config import Config, Source
from zoo_cli.errors import UsageError
from zoo_cli.pipeline import prediction
from zoo_cli.pipeline.image_cache import ImageCache
from zoo_cli.store import files, provenance, schemas
from zoo_cli.store.columns import to_list_column
from zoo_cli.training.run_folder import RunFolder

if TYPE_CHECKING:
    import numpy as np

    from zoo_cli.models.loading import LoadedModel
    from zoo_cli.models.student import Student


def select_student(settings: Config, spec: str | None) -> Source:
    """The model that --student names, by name or PROVIDER:NAME, else the [student] of zoo.toml."""
    if spec is not None:
        return settings.select([spec])[0]
    if settings.student is None:
        raise UsageError(f"no student: {settings.root / config.FILE} has no [student]", "add one, or --student SPEC")
    return settings.student


def build_student(settings: Config, chosen: Source, init: str | None, classes: tuple[str, ...], seed: int) -> "Student":
    """The student before training. With `init`, its body starts from the weights of that source.

    Raises UsageError where the source is of another architecture.
    """
    from zoo_cli.models import loading, student

    model = loading.load_model(chosen, settings.root, seed=seed)
    if init is not None:
        other = loading.load_model(settings.select([init])[0], settings.root, seed=seed)
        head = () if model.tap.head is None else (f"{model.tap.head}.",)
        body = {key: value for key, value in model.module.state_dict().items() if not key.startswith(head)}
        theirs = other.module.state_dict()
        unlike = [key for key, value in body.items() if key not in theirs or theirs[key].shape != value.shape]
        if unlike:
            raise UsageError(
                f"--init {init} is of another architecture than the student: {len(unlike)} of {len(body)} weights "
                f"do not fit, e.g. {unlike[0]}",
                "name that source as --student instead",
            )
        model.module.load_state_dict({key: theirs[key] for key in body}, strict=False)
        model = replace(model, weights_sha256=other.weights_sha256)
    return student.build_student(model, classes, seed)


def check_networks(settings: Config, chosen: Source, init: str | None = None) -> None:
    """Raise UsageError for models of an unknown provider, or without any network, before the sources are run."""
    for source in (chosen, *(() if init is None else settings.select([init]))):
        if specs.provider("model provider", source.model)[0] == "features":
            raise UsageError(f"of {source.name} only stored outputs are known", "a student needs a network")


def model_digests(settings: Config, *chosen: Source) -> dict[str, str]:
    """The digests of the files that models name, weights and code, by their paths: what a run is held against."""
    found: dict[str, str] = {}
    for source in chosen:
        found |= prediction.file_digests(settings, source)
    return {f"file {name}": digest for name, digest in sorted(found.items())}


def load_network(settings: Config, chosen: Source, seed: int) -> "LoadedModel":
    """The network that a student starts as."""
    from zoo_cli.models import loading

    return loading.load_model(chosen, settings.root, seed=seed)


def as_trained_student(model: "LoadedModel", classes: tuple[str, ...]) -> "Student":
    """A student that is trained for the task already, with the head it has.

    Raises UsageError for one of other classes.
    """
    from zoo_cli.models import label_space, student

    name = model.source.name
    try:
        order = label_space.match_classes(name, model.class_names, model.classes, classes)
    except UsageError as error:
        raise UsageError(error.message, f"train it for the task first: zoo finetune {name}") from None
    return student.build_trained_student(model, classes, order)


def write_student(run: RunFolder, student: "Student", shared: ImageCache, rows: "np.ndarray") -> None:
    """The student's files; the predictions, of these rows, come last, and say that all is there."""
    import numpy as np
    import pyarrow as pa

    from zoo_cli.training import loop

    images, said = shared.images, student.preprocessing
    held = shared.holding(rows)
    if held is not None:
        logits = prediction.predict_views(student.to(shared.device), held.clean(said, rows, prediction.BATCH))
    else:
        logits = prediction.predict_rows(student, said, images, rows, shared.device, shared.workers)
    if not np.isfinite(logits).all():
        raise loop.NonFinite(run.said["options"]["steps"], "an answer of the student")
    truth = images.truth()[rows]
    files.write_tensors(run.path / "model.safetensors", student.plain_state_dict(), {"format": "pt"})
    files.write_json(run.path / "config.json", student.config(run.path))
    files.write_text(run.path / "README.md", _card(run, student))
    table = pa.table(
        {
            "id": pa.array([str(name) for name in images.ids[rows]], pa.string()),
            "label": pa.array([None if label < 0 else int(label) for label in truth], pa.int64()),
            "logits": to_list_column(logits.astype(np.float32, copy=False)),
        }
    )
    files.write_table(
        run.path / "predictions.parquet", table, schemas.PREDICTIONS, {"run": provenance.fingerprint(run.said)}
    )


def _card(run: RunFolder, student: "Student") -> str:
    """The model card. It holds no accuracy: the labels of the test images are not this stage's to read."""
    said = student.preprocessing
    by = [*run.said["weights"], *run.said.get("teachers", [])]
    sources = "\n".join(f"| {row['source']} | {row['weight']:.4f} |" for row in by)
    taught = f"| source | weight |\n|---|---|\n{sources}" if sources else "No source: labels and images of the task."
    options = "\n".join(f"| {key} | {value} |" for key, value in run.said["options"].items())
    view = (
        f"shorter side {said.resize}, centre crop {said.input_size}"
        if said.resize
        else f"whole image at {said.input_size}"
    )
    names = ", ".join(student.classes[:20]) + (", …" if len(student.classes) > 20 else "")
    model = run.said["student"]["student"]["model"]
    return f"""---
library_name: zoo
tags: [image-classification, knowledge-distillation]
---

# {run.path.name}

`{model}` for {len(student.classes)} classes: {names}.

## Input

{said.channels} channels, {view} px ({said.interpolation}), values in [0, 1],
mean {list(said.mean)}, std {list(said.std)}.

## Use

`zoo` names it `file:{run.path.name}` as a source or a student; `config.json` says how it is built.
`zoo evaluate accuracy {run.path.name}` judges its predictions on the test images.

## Taught by

{taught}

## Options

| option | value |
|---|---|
{options}
"""
