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
from zoo_cli.stages import extract, failures, inputs, outputs

if TYPE_CHECKING:
    import numpy as np

    from zoo_cli.metrics.labels import Classes
    from zoo_cli.selection import Replicates

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
    console.Field("flags"),
)


def score(
    metric: Annotated[
        list[str] | None, typer.Option("--metric", help="NAME or NAME:key=value. Repeats. Default: the quick ones.")
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
    specs = metric or [name for name, facts in METRICS.items() if facts.cheap]
    if out is not None and len(specs) != 1:
        raise UsageError(f"--out takes the scores of one metric, not of {len(specs)}", "name it with --metric")
    questions = [ask(spec, on, strict=metric is not None) for spec in specs]
    if features:
        rows = bare(questions, features, manifest, settings.task.seed if seed is None else seed, out)
    else:
        rows = make(settings, questions, chosen, seed=seed, overwrite=overwrite, out=out, strict=metric is not None)
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
    questions: Sequence[Question],
    chosen: Sequence[Source],
    *,
    seed: int | None = None,
    overwrite: bool = False,
    out: Path | None = None,
    strict: bool = True,
) -> list[dict[str, Any]]:
    """The scores of the chosen sources and of the student's starting features, from file where they are current.

    Each source is read once, for all questions whose scores are not. Not `strict`: a question that needs an array that
    no source has is left out.
    """
    if not chosen:
        raise UsageError(f"no source in {settings.root / config.FILE}", "add a [[source]] table, or use --features")
    everyone = [*chosen, *(source for source in settings.models if source.name == STUDENT)]
    images = extract.ensure(settings, everyone)
    rows = images.where(probe=True)
    # Sources pair by sample: what one of them lacks, because its image failed, none is scored on.
    absent = failures.ids(settings, "extract")
    rows = rows[[str(name) not in absent for name in images.ids[rows]]] if absent else rows
    seed = settings.task.seed if seed is None else seed
    identities = {source.name: outputs.identity(outputs.about(settings, source.name)) for source in everyone}
    probe = images.fingerprint(rows, "ids", "labels")
    answers: dict[str, list[dict[str, Any]]] = {}
    pending: list[tuple[Question, Path, dict[str, Any]]] = []
    for question in questions:
        path = out or settings.scores(question.name)
        made_from = {"probe": probe, "metric": question.method.spec, "on": question.on, "seed": seed}
        made_from["sources"] = {
            name: [identity, further]
            if (further := inputs.identities(settings, question.facts.needs, name))
            else identity
            for name, identity in identities.items()
        }
        if provenance.check_current(
            path, made_from, overwrite=overwrite, maker=f"score --metric {question.method.spec}"
        ):
            answers[question.name] = files.read_table(path, schemas.SCORES).to_pylist()
        else:
            pending.append((question, path, made_from))
    if pending:
        asked = [question for question, _, _ in pending]
        found = _score_all(settings, asked, everyone, images.ids[rows], images.labels[rows], seed)
        for question, path, made_from in pending:
            results = [found[source.name, question.name] for source in everyone]
            if strict or not question.facts.needs or any(row["status"] != "skipped" for row in results):
                _write(path, results, made_from)
                answers[question.name] = results
    return [row for question in questions for row in answers.get(question.name, [])]


def bare(
    questions: Sequence[Question], paths: Sequence[Path], manifest: Path | None, seed: int, out: Path | None
) -> list[dict[str, Any]]:
    """The scores of stored outputs given by path, with their own labels or those of a manifest's probe set."""
    import numpy as np

    from zoo_cli import selection
    from zoo_cli.data import images, stored
    from zoo_cli.metrics.labels import Classes

    ids = labels = None
    if manifest is not None:
        told = images.read(manifest, manifest.parent)
        rows = told.where(probe=True)
        ids, labels = told.ids[rows], told.labels[rows]
    columns = inputs.columns({question.on for question in questions}, _needs(questions))
    answers: list[list[dict[str, Any]]] = []
    sources: dict[str, str] = {}
    first: tuple[Path, dict[str, int]] | None = None
    side: tuple[Classes, Replicates] | None = None
    for path in paths:
        found = stored.read(path, ids=ids, columns=columns)
        if found.name in sources:
            raise UsageError(f'two --features are named "{found.name}"', "rename a file: its stem is the source's name")
        sources[found.name] = stored.identity(path)
        y = found.labels if labels is None else labels
        if y is None:
            raise ContractError(f"{path} has no column label", "add one, or name the task's manifest with --manifest")
        # Sources pair by sample: rows in one order for all of them, whatever the order of the files.
        order = np.argsort(found.ids.astype(str), kind="stable") if ids is None else np.arange(len(y))
        order = order[y[order] >= 0]
        found, y = found.take(order), y[order]
        classed = dict(zip(found.ids.tolist(), y.tolist(), strict=True))
        first = first or (path, classed)
        _check_same(path, classed, *first)
        if side is None:
            target = Classes.of(y)
            side = target, selection.replicates(target, seed=seed)
        origin = inputs.Origin(None, found.name, found.ids, found, "softmax")
        answers.append(_rows(origin, questions, side[0], side[1], seed))
    results = [row for answer in zip(*answers, strict=True) for row in answer]
    if out is not None:
        (question,) = questions
        _write(out, results, {"metric": question.method.spec, "on": question.on, "seed": seed, "sources": sources})
    return results


def _score_all(
    settings: Config,
    questions: Sequence[Question],
    sources: Sequence[Source],
    ids: "np.ndarray",
    labels: "np.ndarray",
    seed: int,
) -> dict[tuple[str, str], dict[str, Any]]:
    """The row of every source and question. The label side is made once."""
    from zoo_cli import selection
    from zoo_cli.data import stored
    from zoo_cli.metrics.labels import Classes

    target = Classes.of(labels)
    drawn = selection.replicates(target, seed=seed)
    columns = inputs.columns({question.on for question in questions}, _needs(questions))
    results = {}
    for source in sources:
        said = outputs.about(settings, source.name)
        held = [column for column in columns if said["features" if column == "embedding" else "classes"]]
        # Probabilities are stored as logits in a workspace.
        needed = {"embedding", "logits"}.intersection(held)
        found = stored.read(settings.features(source.name), ids=ids, columns=held, needed=needed) if held else None
        origin = inputs.Origin(settings, source.name, ids, found, said["output"])
        rows = _rows(origin, questions, target, drawn, seed)
        results.update({(source.name, question.name): row for question, row in zip(questions, rows, strict=True)})
    return results


def _needs(questions: Sequence[Question]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(need for question in questions for need in question.facts.needs))


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


def _rows(
    origin: inputs.Origin, questions: Sequence[Question], target: "Classes", drawn: "Replicates", seed: int
) -> list[dict[str, Any]]:
    """The answers of one source to all questions, in their order: one probe a representation."""
    from zoo_cli import selection

    answers: dict[int, dict[str, Any]] = {}
    for on in dict.fromkeys(question.on for question in questions):
        asked = {i: question for i, question in enumerate(questions) if question.on == on}
        try:
            probe, missing = inputs.probe(origin, target, on, _needs(list(asked.values())))
        except inputs.Missing as absent:
            answers |= {i: _skipped(origin.name, question, len(target), absent.reason) for i, question in asked.items()}
            continue
        for i, question in list(asked.items()):
            reasons = [missing[need] for need in question.facts.needs if need in missing]
            if reasons:
                answers[i] = _skipped(origin.name, asked.pop(i), len(target), reasons[0])
        methods = [(question.method, question.facts) for question in asked.values()]
        found = selection.estimate(methods, probe, seed=seed, drawn=drawn)
        for (i, question), one in zip(asked.items(), found, strict=True):
            row = _blank(origin.name, question, len(target))
            row |= {"dim": probe.matrix.width, "classes": len(target.counts)}
            if isinstance(one, Undefined):
                answers[i] = row | {"status": "undefined", "reason": one.reason}
                continue
            shown = {key: getattr(one, key) for key in ("value", "low", "high", "chance", "reason", "ceiling")}
            draws = None if one.draws is None else one.draws.tolist()
            answers[i] = row | shown | {"draws": draws, "flags": ",".join(one.flags) or None}
    return [answers[i] for i in range(len(questions))]


def _skipped(name: str, question: Question, count: int, reason: str) -> dict[str, Any]:
    console.say(f"{name} is left out of {question.method.spec}: {reason}")
    return _blank(name, question, count) | {"status": "skipped", "reason": reason}


def _blank(name: str, question: Question, count: int) -> dict[str, Any]:
    params = question.method.spec.partition(":")[2]
    told = {"source": name, "metric": question.method.name, "params": params, "representation": question.on}
    empty = dict.fromkeys(("value", "low", "high", "chance", "reason", "ceiling", "flags", "draws"))
    return {**told, "n": count, "dim": 0, "classes": 0, **empty, "status": "ok"}


def _write(path: Path, results: Sequence[Mapping[str, Any]], inputs: Mapping[str, Any]) -> None:
    import pyarrow as pa

    kinds = {"string": pa.string(), "int64": pa.int64(), "double": pa.float64(), "list<double>": pa.list_(pa.float64())}
    arrow = pa.schema([(column.name, kinds[column.type]) for column in schemas.SCORES.columns])
    ordered = [{column.name: row.get(column.name) for column in schemas.SCORES.columns} for row in results]
    files.write_table(path, pa.Table.from_pylist(ordered, schema=arrow), schemas.SCORES, inputs)
