"""`zoo score`: how similar each source is to the task, by every metric asked for, with its uncertainty."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zoo_cli import config, console, files, provenance, registry, schemas
from zoo_cli.config import STUDENT, Config, Source
from zoo_cli.errors import ContractError, Undefined, UsageError
from zoo_cli.options import HERE, Features, Format, Json, Manifest, On, Overwrite, Seed, Sources, Workspace
from zoo_cli.registry import METRICS, Method
from zoo_cli.stages import extract, failures, outputs

if TYPE_CHECKING:
    import numpy as np

    from zoo_cli.data.stored import Stored
    from zoo_cli.selection import Estimate

FIELDS = (
    console.Field("source"),
    console.Field("metric"),
    console.Field("representation", "on"),
    console.Field("value", style="score"),
    console.Field("low", style="score"),
    console.Field("high", style="score"),
    console.Field("chance", style="score"),
    console.Field("n", style="d"),
    console.Field("dim", style="d"),
    console.Field("status"),
    console.Field("reason"),
)


def score(
    metric: Annotated[
        list[str] | None, typer.Option("--metric", help="NAME or NAME:key=value. Repeats. Default: all.")
    ] = None,
    on: On = None,
    source: Sources = None,
    features: Features = None,
    manifest: Manifest = None,
    out: Annotated[Path | None, typer.Option("--out", help="Where the scores of one metric go.")] = None,
    seed: Seed = None,
    overwrite: Overwrite = False,
    form: Format = None,
    json: Json = False,
    workspace: Workspace = HERE,
) -> None:
    """Score every source on the probe set. Higher is better in every metric.

    zoo score --metric parc
    zoo score --features a.parquet --features b.parquet --metric parc --json
    """
    settings = config.load(workspace)
    chosen = settings.select(source or [])
    specs = metric or list(METRICS)
    if out is not None and len(specs) != 1:
        raise UsageError(f"--out takes the scores of one metric, not of {len(specs)}", "name it with --metric")
    rows: list[dict[str, Any]] = []
    for spec in specs:
        question = ask(spec, on, strict=metric is not None)
        if features:
            rows += bare(question, features, manifest, settings.task.seed if seed is None else seed, out)
        else:
            rows += make(settings, question, chosen, seed=seed, overwrite=overwrite, out=out)
    shown = [
        {key: row.get(key) for key in (column.name for column in schemas.SCORES.columns) if key != "draws"}
        for row in rows
    ]
    console.answer("zoo.score/1", shown, FIELDS, form="json" if json else form)


@dataclass(frozen=True)
class Question:
    """A metric, resolved, and the representation it is asked on."""

    method: Method
    on: str

    @property
    def facts(self) -> registry.Metric:
        """The metric's entry in the table."""
        return METRICS[self.method.name]

    @property
    def name(self) -> str:
        """The name of its file: the spec, and the representation where it is not the metric's own."""
        text = self.method.spec.replace(":", "-").replace(",", "-")
        return text if self.on == self.facts.on[0] else f"{text}-{self.on}"


def ask(spec: str, on: str | None, *, strict: bool = True) -> Question:
    """The question that --metric and --on put. Raises UsageError for a representation the metric does not read.

    Not `strict`: a metric that does not read it is asked on its own representation.
    """
    method = registry.resolve("metric", spec)
    accepted = METRICS[method.name].on
    if on is not None and on not in ("features", "probs"):
        raise UsageError(f'no representation "{on}"', "features or probs")
    if on is not None and on not in accepted and strict:
        raise UsageError(f"{method.name} reads {' or '.join(accepted)}, not {on}", f"leave --on {on} out")
    return Question(method, on if on in accepted else accepted[0])


def make(
    settings: Config,
    question: Question,
    chosen: Sequence[Source],
    *,
    seed: int | None = None,
    overwrite: bool = False,
    out: Path | None = None,
) -> list[dict[str, Any]]:
    """The scores of the chosen sources and of the student's starting features, from file where they are current."""
    if not chosen:
        raise UsageError(f"no source in {settings.root / config.FILE}", "add a [[source]] table, or use --features")
    everyone = [*chosen, *(source for source in settings.models if source.name == STUDENT)]
    images = extract.ensure(settings, everyone)
    rows = images.where(probe=True)
    # Sources pair by sample: what one of them lacks, because its image failed, none is scored on.
    absent = failures.ids(settings, "extract")
    rows = rows[[str(name) not in absent for name in images.ids[rows]]] if absent else rows
    seed = settings.task.seed if seed is None else seed
    inputs = {
        "probe": images.fingerprint(rows, "ids", "labels"),
        "metric": question.method.spec,
        "on": question.on,
        "seed": seed,
        "sources": {source.name: outputs.identity(outputs.about(settings, source.name)) for source in everyone},
    }
    path = out or settings.scores(question.name)
    if provenance.check_current(path, inputs, overwrite=overwrite, maker=f"score --metric {question.method.spec}"):
        standing: list[dict[str, Any]] = files.read_table(path, schemas.SCORES).to_pylist()
        return standing
    results = []
    for source in everyone:
        said = outputs.about(settings, source.name)
        column = {"features": "embedding", "probs": "logits"}[question.on]
        if not said["features" if question.on == "features" else "classes"]:
            results.append(_skipped(source.name, question, len(rows)))
            continue
        found = _read(settings, source.name, images.ids[rows], column)
        results.append(_row(source.name, question, _inputs(found, question, said["output"]), images.labels[rows], seed))
    _write(path, results, inputs)
    return results


def bare(
    question: Question, paths: Sequence[Path], manifest: Path | None, seed: int, out: Path | None
) -> list[dict[str, Any]]:
    """The scores of stored outputs given by path, with their own labels or those of a manifest's probe set."""
    import numpy as np

    from zoo_cli.data import images, stored

    ids = labels = None
    if manifest is not None:
        told = images.read(manifest, manifest.parent)
        rows = told.where(probe=True)
        ids, labels = told.ids[rows], told.labels[rows]
    results = []
    sources: dict[str, str] = {}
    first: tuple[Path, dict[str, int]] | None = None
    for path in paths:
        columns = ("embedding",) if question.on == "features" else ("logits", "probs")
        found = stored.read(path, ids=ids, columns=columns)
        if found.name in sources:
            raise UsageError(f'two --features are named "{found.name}"', "rename a file: its stem is the source's name")
        sources[found.name] = stored.identity(path)
        values = _inputs(found, question, "softmax")
        if values is None:
            results.append(_skipped(found.name, question, len(found.ids)))
            continue
        y = found.labels if labels is None else labels
        if y is None:
            raise ContractError(f"{path} has no column label", "add one, or name the task's manifest with --manifest")
        known = y >= 0
        if ids is None:
            # Sources pair by sample: rows in one order for all of them, whatever the order of the files.
            order = np.argsort(found.ids.astype(str), kind="stable")
            found, known, y, values = found.take(order), known[order], y[order], values[order]
        classed = dict(zip(found.ids[known].tolist(), y[known].tolist(), strict=True))
        first = first or (path, classed)
        _check_same(path, classed, *first)
        results.append(_row(found.name, question, values[known], y[known], seed))
    if out is not None:
        _write(out, results, {"metric": question.method.spec, "on": question.on, "seed": seed, "sources": sources})
    return results


def _check_same(path: Path, labels: Mapping[str, int], other: Path, others: Mapping[str, int]) -> None:
    """Scores are compared, and their replicates paired, sample by sample."""
    single = sorted(labels.keys() ^ others.keys())
    if single:
        raise ContractError(
            f"{path} and {other} are stored on different samples: {len(single):,} ids stand in one of them only, "
            f"e.g. {single[0]}",
            "score them on the same ids",
        )
    wrong = [name for name, label in labels.items() if label != others[name]]
    if wrong:
        raise ContractError(
            f"{path} and {other} disagree on the label of {len(wrong):,} samples, e.g. {wrong[0]}",
            "they were made for other tasks",
        )


def _read(settings: Config, name: str, ids: "np.ndarray", column: str) -> "Stored":
    from zoo_cli.data import stored

    return stored.read(settings.features(name), ids=ids, columns=(column,), needed=column)


def _inputs(found: "Stored", question: Question, output: str) -> "np.ndarray | None":
    return found.embedding if question.on == "features" else found.probabilities(output)


def _row(name: str, question: Question, values: "np.ndarray | None", labels: "np.ndarray", seed: int) -> dict[str, Any]:
    import numpy as np

    from zoo_cli import selection

    assert values is not None
    row = {
        **_blank(name, question, len(labels)),
        "dim": values.shape[1],
        "classes": len(np.unique(labels)),
    }
    try:
        estimate: Estimate = selection.estimate(question.method, question.facts, values, labels, seed=seed)
    except Undefined as undefined:
        return row | {"status": "undefined", "reason": undefined.reason}
    return row | {
        "value": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "chance": estimate.chance,
        "draws": None if estimate.draws is None else estimate.draws.tolist(),
        "status": "ok",
        "reason": estimate.reason,
    }


def _skipped(name: str, question: Question, count: int) -> dict[str, Any]:
    reason = "no features: it has only outputs" if question.on == "features" else "no probabilities: it has no head"
    console.say(f"{name} is left out of {question.method.spec}: {reason}")
    return _blank(name, question, count) | {"status": "skipped", "reason": reason}


def _blank(name: str, question: Question, count: int) -> dict[str, Any]:
    params = question.method.spec.partition(":")[2]
    told = {"source": name, "metric": question.method.name, "params": params, "representation": question.on}
    empty = dict.fromkeys(("value", "low", "high", "chance", "reason", "draws"))
    return {**told, "n": count, "dim": 0, "classes": 0, **empty, "status": "ok"}


def _write(path: Path, results: Sequence[Mapping[str, Any]], inputs: Mapping[str, Any]) -> None:
    import pyarrow as pa

    kinds = {"string": pa.string(), "int64": pa.int64(), "double": pa.float64(), "list<double>": pa.list_(pa.float64())}
    arrow = pa.schema([(column.name, kinds[column.type]) for column in schemas.SCORES.columns])
    ordered = [{column.name: row.get(column.name) for column in schemas.SCORES.columns} for row in results]
    files.write_table(path, pa.Table.from_pylist(ordered, schema=arrow), schemas.SCORES, inputs)
