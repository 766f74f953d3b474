"""`zoo pseudo-label`: every source's class probabilities on the task's images, stored once for all students."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zoo_cli import config, console
from zoo_cli.commands.options import HERE, Format, Json, Overwrite, Sources, Workspace
from zoo_cli.config import STUDENT, Config, Source
from zoo_cli.errors import UsageError
from zoo_cli.pipeline import prepare
from zoo_cli.pipeline.prepare import Needs
from zoo_cli.store import failures, feature_store, files, provenance, schemas
from zoo_cli.store.columns import to_list_column

if TYPE_CHECKING:
    import numpy as np

    from zoo_cli.store.manifest import Images

SPLITS = ("labelled", "unlabelled")
FIELDS = (console.Field("source"), console.Field("images", style=","), console.Field("classes", style="d"))


def pseudo_label(
    source: Sources = None,
    features: Annotated[
        Path | None, typer.Option("--features", help="Stored outputs, without a zoo.toml; needs --out.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the pseudo-labels of --features.")] = None,
    output: Annotated[
        str, typer.Option("--output", help="What the logits of --features are for: softmax or sigmoid.")
    ] = "softmax",
    overwrite: Overwrite = False,
    form: Format = None,
    json: Json = False,
    workspace: Workspace = HERE,
) -> None:
    """Store the soft targets of every source on the labelled and unlabelled images.

    zoo pseudo-label
    zoo pseudo-label --features theirs.parquet --out pseudo/source=theirs
    """
    settings = config.load(workspace)
    if output not in ("softmax", "sigmoid"):
        raise UsageError(f'--output "{output}"', "softmax or sigmoid")
    if features is not None:
        if out is None:
            raise UsageError("--features needs --out, the folder of its pseudo-labels")
        rows = [_bare(features, out, output, overwrite)]
    elif out is not None:
        raise UsageError("--out goes with --features", "in a workspace the place is pseudo/source=NAME")
    else:
        chosen = [one for one in settings.select(source or []) if one.name != STUDENT]
        if not chosen:
            raise UsageError(f"no source in {settings.root / config.FILE}", "add a [[source]] table, or use --features")
        images = prepare.prepare(settings, Needs(features=chosen))
        rows = make_pseudo_labels(settings, images, chosen, overwrite=overwrite)
    console.answer("zoo.pseudo-label/1", rows, FIELDS, form="json" if json else form)


def make_pseudo_labels(
    settings: Config, images: "Images", chosen: Sequence[Source], *, overwrite: bool = False
) -> list[dict[str, Any]]:
    """The pseudo-labels of the chosen sources, those without a head left out; one row each."""
    from zoo_cli.store import feature_files

    rows = images.without(failures.failed_ids(settings, "extract")).where(split=SPLITS)
    answered = []
    for source in chosen:
        said = feature_store.load_source_record(settings, source.name)
        if not said["classes"]:
            console.say(f"{source.name} has no head: no pseudo-labels of it")
            continue
        inputs = _inputs(images, rows, said)
        folder = settings.pseudo(source.name)
        if not _current(folder, inputs, overwrite):
            found = feature_files.load_outputs(
                settings.features(source.name), ids=images.ids[rows], columns=("logits",), needed=("logits",)
            )
            probs = found.probabilities(said["output"])
            assert probs is not None
            _write(folder, found.ids, probs, inputs)
        answered.append({"source": source.name, "images": len(rows), "classes": said["classes"]})
    return answered


def _inputs(images: "Images", rows: "np.ndarray", said: dict[str, Any]) -> dict[str, Any]:
    samples = images.fingerprint(rows, "ids", "sha256")
    return {"source": feature_store.source_fingerprint(said), "samples": samples, "output": said["output"]}


def _bare(features: Path, out: Path, output: str, overwrite: bool) -> dict[str, Any]:
    from zoo_cli.store import feature_files

    inputs = {"source": feature_files.content_digest(features), "output": output}
    found = feature_files.load_outputs(features, columns=("logits", "probs"), output=output)
    probs = found.probabilities(output)
    if probs is None:
        raise UsageError(f"{features} has neither logits nor probs", "a source without a head has no pseudo-labels")
    if not len(probs):
        raise UsageError(f"{features} has no rows")
    if not _current(out, inputs, overwrite):
        _write(out, found.ids, probs, inputs)
    return {"source": out.name.removeprefix("source="), "images": len(found.ids), "classes": probs.shape[1]}


def _current(folder: Path, inputs: dict[str, Any], overwrite: bool) -> bool:
    standing = sorted(folder.glob("part-*.parquet"))
    if overwrite:
        for part in standing:
            part.unlink()
        return False
    if not standing:
        return False
    planned = int(standing[0].stem.rpartition("-")[2])
    current = [
        provenance.is_current(part, inputs, overwrite=False, kept=str(folder), maker="pseudo-label")
        for part in standing
    ]
    return all(current) and len(standing) == planned


def _write(folder: Path, ids: "np.ndarray", probs: "np.ndarray", inputs: dict[str, Any]) -> None:
    """In parts, float16: a student needs no more, and the mass that rounding loses is given back when they are read."""
    import numpy as np
    import pyarrow as pa

    count = max(1, -(-len(ids) // schemas.ROW_GROUP))
    for part in range(count):
        rows = slice(part * schemas.ROW_GROUP, (part + 1) * schemas.ROW_GROUP)
        table = pa.table(
            {
                "id": pa.array([str(name) for name in ids[rows]], pa.string()),
                "probs": to_list_column(probs[rows].astype(np.float16)),
            }
        )
        files.write_table(folder / f"part-{part:05}-of-{count:05}.parquet", table, schemas.PSEUDO, inputs)
