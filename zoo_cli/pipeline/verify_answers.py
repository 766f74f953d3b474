"""The checks of what is made from the outputs of sources: scores, the ranking, pseudo-labels, heads, predictions."""

import math
import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from zoo_cli import registry
from zoo_cli.config import STUDENT, Source
from zoo_cli.errors import ContractError, UsageError
from zoo_cli.pipeline import ensemble_choice, head_labels, pseudo_label, score
from zoo_cli.pipeline.head_config import HeadLabelConfig
from zoo_cli.pipeline.metric_specs import SIZE_SUFFIX
from zoo_cli.pipeline.verify_checks import (
    Check,
    Known,
    Reported,
    check_ids,
    join_command,
    read_outputs,
    try_to_read,
)
from zoo_cli.ranking.standings import effective_number
from zoo_cli.store import files, head_store, parquet_files, provenance, schemas, view_store
from zoo_cli.store.head_store import HeadRecord
from zoo_cli.store.score_store import SIZE, load_scores
from zoo_cli.store.source_record import has_source_record, load_source_record
from zoo_cli.weighting.file import file as weigh_by_file

OVERWRITE = "--overwrite"
PART = re.compile(r"part-(\d+)-of-(\d+)")


def list_answers(known: Known) -> Iterator[Check]:
    """The checks of all that is made from stored outputs, of a label set that is its own."""
    root = known.settings.labels_root
    for folder in sorted(path for path in (root / "scores").glob("*") if path.is_dir()):
        for path in sorted(folder.glob("*.parquet")):
            yield Check(path, partial(_read_scores, known, path), _score_command(path, path.stem))
    for path in _list_ensembles(root / "scores"):
        yield Check(path, partial(_read_ensemble, known, path), _score_command(path.with_suffix("") / "all", STUDENT))
    yield from _list_ranking(root)
    if known.settings.labels is None:
        yield from _list_pseudo_labels(known)
    for folder in (root / "pseudo", root / "pseudo" / "views"):
        for path in sorted(path for path in folder.glob("head=*") if path.is_dir()):
            yield from _list_pool(known, path, of_views=folder.name == "views")
    for of_views in (False, True):
        folder = head_store.heads_folder(known.settings, of_views=of_views)
        command = join_command(*_heads_command(known, folder, of_views))
        for path in sorted({*folder.glob("source=*.safetensors"), *_expected_heads(known, folder, of_views)}):
            yield Check(path, partial(head_store.load_head, path), command)
    for path in sorted((root / "predictions").glob("*.parquet")):
        yield Check(path, partial(_read_predictions, known, path), f"rm {path}")


def _list_ensembles(folder: Path) -> list[Path]:
    """The ensembles that are stored, and those that belong to stored scores."""
    scores = [path for path in folder.glob("*") if path.is_dir() and any(path.glob("*.parquet"))]
    joined = {folder / f"{path.name}.json" for path in scores if _is_joined(path.name)}
    return sorted({*folder.glob("*.json"), *joined})


def _is_joined(slug: str) -> bool:
    whole = re.sub(rf"-\d+{SIZE_SUFFIX}$", "", slug)
    entry = registry.METRICS.get(whole.partition("-features")[0].partition("-probs")[0])
    return entry is not None and bool(entry.joined)


def _score_command(path: Path, source: str) -> str:
    """The command that makes a score again, from what the files of its metric say; empty if they cannot be read."""
    for file in (path, *sorted(path.parent.glob("*.parquet"))):
        made_from = (try_to_read(partial(parquet_files.read_header, file)) or {}).get("inputs", {})
        if isinstance(metric := made_from.get("metric"), str):
            break
    else:
        return join_command("score", "--metric", path.parent.name, OVERWRITE) if _is_metric(path.parent.name) else ""
    entry = registry.METRICS.get(metric.partition(":")[0])
    on = () if entry is None or made_from.get("on") == entry.on[0] else ("--on", str(made_from.get("on")))
    alone = source == STUDENT or entry is None or entry.joined
    size = ("--probe-per-class", str(made_from[SIZE])) if SIZE in made_from else ()
    return join_command("score", "--metric", metric, *on, *size, *(() if alone else ("--source", source)), OVERWRITE)


def _is_metric(name: str) -> bool:
    return name in registry.METRICS


def _read_scores(known: Known, path: Path) -> None:
    rows = load_scores(path)
    if len(rows) != 1 or rows[0].source != path.stem:
        raise ContractError(f"{path} does not hold the score of {path.stem}")
    for row in rows:
        numbers = [row.value, row.low, row.high, *(row.draws or ())]
        if row.status == "ok" and row.value is None:
            raise ContractError(f"{path}: a score that is ok has no value")
        if any(number is not None and not math.isfinite(number) for number in numbers):
            raise ContractError(f"{path}: a score is not finite")
    _check_score_inputs(known, path, [path.stem])


def _read_ensemble(known: Known, path: Path) -> None:
    if not path.exists():
        raise Reported("unfinished", f"{path} is not made yet")
    ensemble_choice.load_ensemble(path)
    made_from = files.read_json(path).get("inputs")
    sources = made_from.get("sources") if isinstance(made_from, Mapping) else None
    if not isinstance(sources, Mapping):
        raise ContractError(f"{path} does not name its sources")
    scores = path.with_suffix("")
    if missing := [name for name in sources if scores.is_dir() and not (scores / f"{name}.parquet").exists()]:
        raise ContractError(f"{scores / missing[0]}.parquet is missing: {path.name} is made from it")
    _check_score_inputs(known, path, list(sources))


def _check_score_inputs(known: Known, path: Path, names: list[str]) -> None:
    """Raise Stale for a score of other inputs; nothing where these are damaged, which their own checks report."""
    if known.images is None or known.failed is None:
        return
    if gone := [name for name in names if not has_source_record(known.settings, name)]:
        raise provenance.stale_error(str(path), [f"nothing is stored of {gone[0]}"])
    sources = [known.find_source(name) or Source(name, "") for name in names]
    try:
        score.check_stored(known.settings, known.images, path, sources)
    except ContractError:
        return


def _list_ranking(root: Path) -> Iterator[Check]:
    path, weights = root / "ranking.parquet", root / "weights.json"
    if not path.exists() and not weights.exists():
        return
    made_from = (try_to_read(partial(parquet_files.read_header, path)) or {}).get("inputs", {}) if path.exists() else {}
    flags = []
    metric, _, plasticity = str(made_from.get("metric", registry.DEFAULT_METRIC)).partition("+")
    if metric != registry.DEFAULT_METRIC:
        flags += ["--metric", metric]
    entry = registry.METRICS.get(re.split("[:,]", metric)[0])
    if entry is not None and made_from.get("on", entry.on[0]) != entry.on[0]:
        flags += ["--on", str(made_from["on"])]
    if SIZE in made_from:
        flags += ["--probe-per-class", str(made_from[SIZE])]
    weighting = str(made_from.get("weighting", registry.DEFAULT_WEIGHTING))
    if weighting != registry.DEFAULT_WEIGHTING:
        flags += ["--weighting", weighting]
    command = join_command("rank", *flags, *(["--plasticity"] if plasticity else []))
    yield Check(path, partial(_read_ranking, path), command)
    yield Check(weights, partial(_read_weights, weights, path), command)


def _read_ranking(path: Path) -> None:
    table = parquet_files.read_table(path, schemas.RANKING)
    names = table.column("source").to_pylist()
    if len(set(names)) < len(names):
        raise ContractError(f"{path} ranks a source twice")


def _read_weights(path: Path, ranking: Path) -> None:
    weights = files.read_json(path)
    rows = weights.get("sources") if isinstance(weights, Mapping) else None
    names = [str(row.get("source")) for row in rows or () if isinstance(row, Mapping)] if isinstance(rows, list) else []
    # Without any weight, all sources are excluded or undefined.
    if not names or any(isinstance(row, Mapping) and row.get("weight") for row in rows or ()):
        try:
            weigh_by_file(np.zeros(len(names)), names, False, weights=weights)
        except ContractError as error:
            raise ContractError(f"{path}: {error.message}", error.hint) from None
    ranked = try_to_read(partial(_weights_of_ranking, ranking))
    if ranked is not None and {key: weights.get(key) for key in ranked} != ranked:
        raise ContractError(f"{path} and {ranking} disagree")


def _weights_of_ranking(path: Path) -> dict[str, object]:
    """What weights.json holds beside a ranking."""
    made_from = parquet_files.read_header(path).get("inputs", {})
    rows = parquet_files.read_table(path, schemas.RANKING, ["source", "value", "weight"]).to_pylist()
    weights = np.array([row["weight"] for row in rows], dtype=np.float64)
    return {
        "weighting": made_from.get("weighting"),
        "metric": made_from.get("metric"),
        "effective_sources": effective_number(weights) if weights.any() else 0.0,
        "sources": [{"source": row["source"], "score": row["value"], "weight": row["weight"]} for row in rows],
    }


def _list_pseudo_labels(known: Known) -> Iterator[Check]:
    settings = known.settings
    for folder in sorted((settings.root / "pseudo").glob("source=*")):
        name = folder.name.removeprefix("source=")
        command = join_command("pseudo-label", "--source", name, OVERWRITE) if known.find_source(name) else ""
        yield from _list_parts(known, folder, name, command, {})
    views = try_to_read(partial(view_store.load_view_set, settings))
    for folder in sorted((settings.root / "pseudo" / "views").glob("source=*")):
        name = folder.name.removeprefix("source=")
        count = len(list(folder.glob("view=*"))) if views is None else views.count
        command = join_command("pseudo-label", "--source", name, "--views", str(count), OVERWRITE)
        for view in range(count):
            inputs = {} if views is None else {"views": str(views), "view": view}
            yield from _list_parts(known, view_store.view_folder(folder, view), name, command, inputs)


def _list_parts(known: Known, folder: Path, name: str, command: str, inputs: Mapping[str, Any]) -> Iterator[Check]:
    for path in sorted(folder.glob("part-*.parquet")):
        yield Check(path, partial(_read_pseudo_labels, known, name, path, inputs), command)
    yield Check(folder, partial(_check_number_of_parts, folder, False), command)


def _check_number_of_parts(folder: Path, is_recorded: bool) -> None:
    """Report parts that are missing: lost, if later ones are there or a record says so; else not made yet."""
    matches = [match for path in folder.glob("part-*.parquet") if (match := PART.fullmatch(path.stem))]
    if not matches:
        if is_recorded:
            raise ContractError(f"{folder} has no parts")
        raise Reported("unfinished", f"{folder} has no parts yet")
    numbers, count = {int(match[1]) for match in matches}, int(matches[0][2])
    missing = [number for number in range(count) if number not in numbers]
    if not missing:
        return
    text = f"{folder} lacks part {missing[0]} of {count}"
    if is_recorded or missing[0] < max(numbers):
        raise ContractError(text)
    raise Reported("unfinished", text)


def _read_pseudo_labels(known: Known, name: str, path: Path, inputs: Mapping[str, Any]) -> None:
    made_from = parquet_files.read_header(path).get("inputs", {})
    outputs = read_outputs(path, schemas.PSEUDO, ("probs",), str(made_from.get("output", "softmax")))
    if known.images is None or known.failed is None or "samples" not in made_from:
        return  # of outputs by path, which no manifest lists
    record = try_to_read(partial(load_source_record, known.settings, name))
    rows = known.images.without(known.failed).where(split=pseudo_label.SPLITS)
    if record is not None:
        current = {**pseudo_label.source_inputs(known.images, rows, record), **inputs}
        if changed := provenance.differences(made_from, current):
            raise provenance.stale_error(str(path.parent), changed)
        if outputs.probs is not None and outputs.probs.shape[1] != record.classes:
            raise ContractError(f"{path} has {outputs.probs.shape[1]} classes, its source {record.classes}")
    _check_part_ids(known, path, outputs.ids, rows)


def _check_part_ids(known: Known, path: Path, ids: np.ndarray, rows: np.ndarray) -> None:
    match = PART.fullmatch(path.stem)
    assert known.images is not None
    if match:
        begin = int(match[1]) * schemas.ROW_GROUP
        check_ids(path, ids, known.images.ids[rows[begin : begin + schemas.ROW_GROUP]], frozenset())


def _list_pool(known: Known, folder: Path, *, of_views: bool) -> Iterator[Check]:
    record = try_to_read(partial(head_store.load_record, folder))
    pattern = "view=*/part-*.parquet" if of_views else "part-*.parquet"
    parts = sorted(folder.glob(pattern))
    document, formula = folder / head_store.DOCUMENT, folder / head_store.FORMULA
    command = join_command(*_pool_command(folder, record, parts, of_views))
    if document.exists():
        yield Check(document, partial(head_store.load_record, folder), command)
    else:
        yield Check(folder, partial(_report_unfinished, folder), command)
    for path in parts:
        yield Check(path, partial(_read_answers, known, path, of_views), command)
    views = sorted(path for path in folder.glob("view=*") if path.is_dir())
    for each in views if of_views else [folder]:
        yield Check(each, partial(_check_number_of_parts, each, document.exists()), command)
    if not of_views and (formula.exists() or document.exists()):
        yield Check(formula, partial(head_store.load_formula, folder), command)


def _report_unfinished(folder: Path) -> None:
    raise Reported("unfinished", f"{folder} has no {head_store.DOCUMENT} yet")


def _pool_command(folder: Path, record: HeadRecord | None, parts: list[Path], of_views: bool) -> list[str]:
    """The command that stores the answers of a pool, from its record or, if that is damaged, from a part."""
    if record is not None:
        head, pool, names = record.head, record.pool, [source.source for source in record.sources]
    else:
        headers = (try_to_read(partial(parquet_files.read_header, part)) or {} for part in parts)
        inputs: Mapping[str, Any] = next((header["inputs"] for header in headers if "inputs" in header), {})
        head = str(inputs.get("head", registry.DEFAULT_HEAD))
        pool, names = str(inputs.get("pool", registry.DEFAULT_POOL)), list(inputs.get("sources", ()))
    words = ["pseudo-label", "--head", head]
    words += ["--pool", pool] if pool != registry.DEFAULT_POOL else []
    if "-of-" in folder.name:
        words += [word for name in names if name != STUDENT for word in ("--source", name)]
    words += ["--with-student"] if STUDENT in names else []
    words += ["--views", str(len(list(folder.glob("view=*"))))] if of_views else []
    return [*words, OVERWRITE]


def _expected_heads(known: Known, folder: Path, of_views: bool) -> Iterator[Path]:
    """The heads of the sources of stored pools."""
    place = known.settings.labels_root / "pseudo" / ("views" if of_views else "")
    for pool in sorted(path for path in place.glob("head=*") if path.is_dir()):
        record = try_to_read(partial(head_store.load_record, pool))
        if record is not None:
            yield from (folder / f"source={head.source}.safetensors" for head in record.sources)


def _heads_command(known: Known, folder: Path, of_views: bool) -> list[str]:
    """The command that stores the heads of all sources again: that of a pool of them, if one is stored."""
    heads = (try_to_read(partial(head_store.load_head, path)) for path in sorted(folder.glob("source=*.safetensors")))
    specs = [head[1] for head in heads if head is not None]
    place = known.settings.labels_root / "pseudo" / ("views" if of_views else "")
    for pool in sorted(path for path in place.glob("head=*") if path.is_dir()):
        record = try_to_read(partial(head_store.load_record, pool))
        if record is not None and (not specs or record.head == specs[0]):
            return _pool_command(pool, record, [], of_views)
    return ["pseudo-label", "--head", specs[0] if specs else registry.DEFAULT_HEAD, OVERWRITE]


def _read_answers(known: Known, path: Path, of_views: bool) -> None:
    outputs = read_outputs(path, schemas.PSEUDO, ("probs",))
    if known.classes is not None and outputs.probs is not None and outputs.probs.shape[1] != known.classes:
        raise ContractError(f"{path} has {outputs.probs.shape[1]} classes, the task {known.classes}")
    if known.images is None or known.failed is None or known.classes is None:
        return
    images = known.images.without(known.failed)
    made_from = parquet_files.read_header(path).get("inputs", {})
    views = view_store.load_view_set(known.settings) if of_views else None
    try:
        options = HeadLabelConfig(str(made_from.get("head")), str(made_from.get("pool")), views=views)
        inputs = head_labels.pool_inputs(known.settings, options, list(made_from.get("sources", ())), images)
    except ContractError:
        return  # a record of a source or the class names, which their own checks report
    except UsageError:
        raise provenance.stale_error(str(path.parent), ["sources"]) from None
    further = {"view": made_from.get("view")} if of_views else {}
    if changed := provenance.differences(made_from, {**inputs, **further}):
        raise provenance.stale_error(str(path.parent), changed)
    _check_part_ids(known, path, outputs.ids, images.where(split=head_labels.SPLITS))


def _read_predictions(known: Known, path: Path) -> None:
    outputs = read_outputs(path, schemas.PREDICTIONS, ("logits",))
    if known.classes is not None and outputs.logits is not None and outputs.logits.shape[1] != known.classes:
        raise ContractError(f"{path} has {outputs.logits.shape[1]} classes, the task {known.classes}")
