"""`zoo score`: how similar each source is to the task, by every metric asked for, with its uncertainty."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zoo_cli import config, console
from zoo_cli.commands.options import HERE, Features, Format, Json, Manifest, On, Overwrite, Seed, Sources, Workspace
from zoo_cli.config import STUDENT, Config, Source
from zoo_cli.errors import ContractError, UsageError
from zoo_cli.pipeline import ensemble_choice, extract, leakage, metric_inputs, parallel
from zoo_cli.pipeline.metric_scores import (
    MetricSpec,
    is_reported,
    needed_inputs,
    parse_metric,
    score_source,
    write_scores,
)
from zoo_cli.registry import METRICS
from zoo_cli.store import failures, feature_store, files, provenance, schemas

if TYPE_CHECKING:
    import numpy as np

    from zoo_cli.metrics.labels import Classes
    from zoo_cli.ranking.uncertainty import Replicates

SMALL = 1024  # samples
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
    reference: Annotated[
        Path | None, typer.Option("--reference", help="Stored features of a small network trained on the task.")
    ] = None,
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
    strict = metric is not None
    questions = [parse_metric(spec, on, strict=strict) for spec in specs]
    if reference is not None and "reference" not in needed_inputs(questions):
        raise UsageError(f"{', '.join(specs)}: no metric that reads a --reference", "rsa-ref does")
    sets: dict[str, dict[str, Any]] = {}
    if features:
        drawn = settings.task.seed if seed is None else seed
        rows = score_files(questions, features, manifest, drawn, out, reference=reference, strict=strict, sets=sets)
    else:
        rows = score_sources(
            settings,
            questions,
            chosen,
            seed=seed,
            overwrite=overwrite,
            out=out,
            strict=strict,
            reference=reference,
            sets=sets,
        )
    shown = [
        {key: row.get(key) for key in (column.name for column in schemas.SCORES.columns) if key != "draws"}
        for row in rows
    ]
    notes = [line for chosen_set in sets.values() for line in ensemble_choice.describe_ensemble(chosen_set)]
    meta = {"sets": list(sets.values())} if sets else {}
    console.answer("zoo.score/1", shown, FIELDS, form="json" if json else form, meta=meta, notes=notes)


def score_sources(
    settings: Config,
    questions: Sequence[MetricSpec],
    chosen: Sequence[Source],
    *,
    seed: int | None = None,
    overwrite: bool = False,
    out: Path | None = None,
    strict: bool = True,
    reference: Path | None = None,
    sets: dict[str, dict[str, Any]] | None = None,
) -> list[dict[str, Any]]:
    """The scores of the chosen sources and of the student's starting features, from file where they are current.

    Each source is read once, for all questions whose scores are not. Not `strict`: a question that needs an array that
    no source has is left out. `reference`: where it is not said again, scores made with one stay current. `sets` is
    given the set of sources that each question chooses which scores sets too.
    """
    from zoo_cli.metrics.labels import Classes

    if not chosen:
        raise UsageError(
            f"no source in {settings.root / config.FILE}",
            "add a [[source]] table; without one, zoo rank --features FILE",
        )
    everyone = [*chosen, *(source for source in settings.models if source.name == STUDENT)]
    images = extract.ensure_features(settings, everyone)
    rows = images.where(probe=True)
    # Sources pair by sample: what one of them lacks, because its image failed, none is scored on.
    absent = failures.failed_ids(settings, "extract")
    rows = rows[[str(name) not in absent for name in images.ids[rows]]] if absent else rows
    metric_inputs.prepare_inputs(settings, everyone, images, needed_inputs(questions))
    seed = settings.task.seed if seed is None else seed
    identities = {
        source.name: feature_store.source_fingerprint(feature_store.load_source_record(settings, source.name))
        for source in everyone
    }
    probe = images.fingerprint(rows, "ids", "labels")
    joint = any(question.facts.joined for question in questions)
    barred = leakage.excluded_sources(settings, [source.name for source in chosen]) if joint else {}
    answers: dict[str, list[dict[str, Any]]] = {}
    pending: list[tuple[MetricSpec, Path, dict[str, Any]]] = []
    for question in questions:
        path = out or settings.scores(question.name)
        made_from = {"probe": probe, "metric": question.method.spec, "on": question.on, "seed": seed}
        made_from["sources"] = {
            name: [identity, further]
            if (further := metric_inputs.input_digests(settings, question.facts.needs, name))
            else identity
            for name, identity in identities.items()
        }
        if "reference" in question.facts.needs:
            made_from["reference"] = _reference_identity(reference, path)
        maker = f"score --metric {question.method.spec}"
        some = made_from if question.facts.joined or overwrite else _among(path, made_from)
        current = provenance.is_current(path, some, overwrite=overwrite, maker=maker)
        if current and question.facts.joined:
            told = {**made_from, "left_out": barred}
            current = provenance.is_current(ensemble_choice.ensemble_path(path), told, overwrite=overwrite, maker=maker)
        if current:
            standing = files.read_table(path, schemas.SCORES).to_pylist()
            answers[question.name] = [row for row in standing if row["source"] in identities]
        elif "reference" in question.facts.needs and reference is None:
            if strict:
                raise UsageError(
                    f"{question.method.spec} compares with a small network trained on the task",
                    f"zoo {maker} --reference PATH, its stored features",
                )
        else:
            pending.append((question, path, made_from))
    if pending:
        asked = [question for question, _, _ in pending]
        target = Classes.of(images.labels[rows])
        drawn = _drawn(target, seed)
        found = _score_all(settings, asked, everyone, images.ids[rows], target, drawn, seed, reference)
        for question, path, made_from in pending:
            results = [found[source.name, question.name] for source in everyone]
            if not is_reported(question, results, strict):
                continue
            if question.facts.joined:
                chosen_set = ensemble_choice.choose_ensemble(
                    question.method, question.facts, results, drawn, seed=seed, left_out=barred
                )
                ensemble_choice.write_ensemble(path, chosen_set, {**made_from, "left_out": barred})
            write_scores(path, results, made_from)
            answers[question.name] = results
    for question in questions:
        if sets is not None and question.facts.joined:
            sets[question.name] = ensemble_choice.load_ensemble(out or settings.scores(question.name))
    return [row for question in questions for row in answers.get(question.name, [])]


def score_files(
    questions: Sequence[MetricSpec],
    paths: Sequence[Path],
    manifest: Path | None,
    seed: int,
    out: Path | None,
    *,
    reference: Path | None = None,
    strict: bool = True,
    sets: dict[str, dict[str, Any]] | None = None,
) -> list[dict[str, Any]]:
    """The scores of stored outputs given by path, with their own labels or those of a manifest's probe set.

    `reference`, `strict` and `sets` as in `make`.
    """
    import numpy as np

    from zoo_cli.metrics.labels import Classes
    from zoo_cli.store import feature_files
    from zoo_cli.store.manifest import load_manifest

    ids = labels = None
    if manifest is not None:
        told = load_manifest(manifest, manifest.parent)
        chosen = told.where(probe=True)
        ids, labels = told.ids[chosen], told.labels[chosen]
    columns = metric_inputs.stored_columns({question.on for question in questions}, needed_inputs(questions))
    answers: list[list[dict[str, Any]]] = []
    sources: dict[str, str] = {}
    first: tuple[Path, dict[str, int]] | None = None
    side: tuple[Classes, Replicates] | None = None
    held: np.ndarray | None = None
    for path in paths:
        found = feature_files.load_outputs(path, ids=ids, columns=columns)
        if found.name in sources:
            raise UsageError(f'two --features are named "{found.name}"', "rename a file: its stem is the source's name")
        sources[found.name] = feature_files.content_digest(path)
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
            side = target, _drawn(target, seed)
        if held is None and reference is not None:
            held = _read_reference(reference, found.ids)
        origin = metric_inputs.SourceOutputs(
            None, found.name, found.ids, found, "softmax", path if path.is_dir() else None, held
        )
        answers.append(score_source(origin, questions, side[0], side[1], seed))
    results: list[dict[str, Any]] = []
    for place, question in enumerate(questions):
        rows = [answer[place] for answer in answers]
        if not is_reported(question, rows, strict):
            continue
        results += rows
        made_from = {"metric": question.method.spec, "on": question.on, "seed": seed, "sources": sources}
        if "reference" in question.facts.needs and reference is not None:
            made_from["reference"] = feature_files.content_digest(reference)
        if question.facts.joined and side is not None:
            chosen_set = ensemble_choice.choose_ensemble(
                question.method, question.facts, rows, side[1], seed=seed, left_out={}
            )
            if sets is not None:
                sets[question.name] = chosen_set
            if out is not None:
                ensemble_choice.write_ensemble(out, chosen_set, made_from)
        if out is not None:
            write_scores(out, rows, made_from)
    return results


def _drawn(target: "Classes", seed: int) -> "Replicates":
    """The subsamples and permutations of the labels."""
    from zoo_cli.ranking import uncertainty

    return uncertainty.draw_replicates(target, seed=seed)


def _score_all(
    settings: Config,
    questions: Sequence[MetricSpec],
    sources: Sequence[Source],
    ids: "np.ndarray",
    target: "Classes",
    drawn: "Replicates",
    seed: int,
    reference: Path | None,
) -> dict[tuple[str, str], dict[str, Any]]:
    """The row of every source and question."""
    from zoo_cli.store import feature_files

    held_reference = None if reference is None else _read_reference(reference, ids)
    columns = metric_inputs.stored_columns({question.on for question in questions}, needed_inputs(questions))

    def one(source: Source) -> list[dict[str, Any]]:
        said = feature_store.load_source_record(settings, source.name)
        held = [column for column in columns if said["features" if column == "embedding" else "classes"]]
        # Probabilities are stored as logits in a workspace.
        needed = {"embedding", "logits"}.intersection(held)
        found = (
            feature_files.load_outputs(settings.features(source.name), ids=ids, columns=held, needed=needed)
            if held
            else None
        )
        folder = settings.features(source.name)
        origin = metric_inputs.SourceOutputs(settings, source.name, ids, found, said["output"], folder, held_reference)
        return score_source(origin, questions, target, drawn, seed)

    answers = parallel.parallel_map(one, sources, small=len(ids) <= SMALL)
    return {
        (source.name, question.name): row
        for source, rows in zip(sources, answers, strict=True)
        for question, row in zip(questions, rows, strict=True)
    }


def _read_reference(path: Path, ids: "np.ndarray") -> "np.ndarray":
    """Features (N, D') of the reference network on these samples."""
    from zoo_cli.store import feature_files

    found = feature_files.load_outputs(path, ids=ids, columns=("embedding",), needed={"embedding"}).embedding
    assert found is not None
    return found


def _reference_identity(reference: Path | None, scores: Path) -> Any:
    """A digest of the reference; where none is named, of the one that standing scores were made with."""
    from zoo_cli.store import feature_files

    if reference is not None:
        return feature_files.content_digest(reference)
    return files.read_header(scores).get("inputs", {}).get("reference") if scores.exists() else None


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


def _among(path: Path, made_from: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs asked for, with those of further sources that a standing file also holds: it serves some of them."""
    standing = files.read_header(path).get("inputs", {}).get("sources", {}) if path.exists() else {}
    return {**made_from, "sources": {**standing, **made_from["sources"]}}
