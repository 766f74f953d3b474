"""What has become of each unit of work: done, running, stale, failed or missing, by the files of its artifact."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from zoo_cli.errors import ContractError, UsageError
from zoo_cli.evaluation.named_runs import LABELS_ONLY
from zoo_cli.label_sets import labels_flag
from zoo_cli.pipeline import head_labels, label_split, planned_search, pseudo_label, score, split
from zoo_cli.pipeline.head_config import configure_heads
from zoo_cli.pipeline.metric_specs import ScoreConfig
from zoo_cli.pipeline.plan_stages import SEARCH, TRAINING
from zoo_cli.pipeline.planned_runs import list_run_differences
from zoo_cli.pipeline.work_units import Unit, silent
from zoo_cli.store import failures, feature_store, files, head_store, lease, stage_log
from zoo_cli.store.checksums import is_finished
from zoo_cli.store.manifest import Images, load_manifest
from zoo_cli.store.provenance import Stale
from zoo_cli.training.run_record import read_log

DONE, RUNNING, STALE, FAILED, MISSING = STATES = ("done", "running", "stale", "failed", "missing")
LEFT = (STALE, FAILED, MISSING)
"""The states of units that are left to do."""


@dataclass(frozen=True)
class UnitState:
    """A unit and its state. `detail`: what differs, who makes it, or why it failed; `seconds`: it took."""

    unit: Unit
    state: str
    detail: str = ""
    seconds: float | None = None


def check_units(units: Iterable[Unit]) -> list[UnitState]:
    """The states of units. Loads no network; a damaged artifact has failed."""
    manifests: dict[Path, Images] = {}
    with silent():
        return [_check_unit(unit, manifests) for unit in units]


def _check_unit(unit: Unit, manifests: dict[Path, Images]) -> UnitState:
    log = read_log(unit.path)
    try:
        if unit.stage.command == "split":
            state, detail = _check_split(unit), ""
        elif not unit.settings.manifest.exists():
            state, detail = MISSING, ""
        else:
            file = unit.settings.manifest
            images = manifests.setdefault(file, manifests.get(file) or load_manifest(file, unit.settings.root))
            state, detail = _check_artifact(unit, images, log)
    except Stale as error:
        state, detail = STALE, error.message
    except ContractError as error:
        state, detail = FAILED, error.message
    except UsageError:  # what it reads is not there
        state, detail = MISSING, ""
    return UnitState(unit, state, detail, _read_seconds(unit, log))


def _read_seconds(unit: Unit, log: Mapping[str, object]) -> float | None:
    """How long a unit took by the logs of what it made; None if one of them is missing."""
    if unit.stage.command in ("split", *TRAINING) or unit.stored_command or unit.stage.pool is not None:
        seconds = log.get("seconds")
        return float(seconds) if isinstance(seconds, int | float) else None
    if unit.stage.command == SEARCH:
        runs = [log, *map(read_log, planned_search.find_trials(unit.settings))]
        spent = [seconds for each in runs if isinstance(seconds := each.get("seconds"), int | float)]
        return float(sum(spent)) if "seconds" in log else None
    settings, taken = unit.settings, []
    for source in unit.sources:
        if unit.stage.command == "score":
            places = [settings.scores(metric.slug) / f"{source.name}.parquet" for metric in unit.stage.metrics]
        else:
            places = [
                settings.features(source.name) if unit.stage.command == "extract" else settings.pseudo(source.name)
            ]
        try:
            logs = [stage_log.load_log(place) for place in places]
        except ContractError:
            return None
        if not logs or None in logs:
            return None
        # Metrics that are scored together log the same seconds.
        taken.append(max(each.seconds for each in logs if each is not None))
    return sum(taken) if taken else None


def _check_artifact(unit: Unit, images: Images, log: Mapping[str, object]) -> tuple[str, str]:
    if unit.stage.command == SEARCH:
        return _check_search(unit, images, log)
    if unit.run is not None or unit.stage.command in TRAINING or unit.stored_command:
        return _check_run(unit, images, log)
    checks: dict[str, Callable[[Unit, Images], bool]] = {
        "extract": _has_features,
        "score": _has_scores,
        "pseudo-label": _has_pseudo_labels if unit.stage.pool is None else _has_answers,
    }
    return (DONE if checks[unit.stage.command](unit, images) else MISSING), ""


def _check_split(unit: Unit) -> str:
    settings = unit.settings
    if not settings.manifest.exists():
        return MISSING
    if settings.labels is not None:
        label_split.check_current(settings)
        return DONE
    return DONE if split.is_manifest_current(settings) else MISSING


def _has_features(unit: Unit, images: Images) -> bool:
    shard = unit.stage.shard
    return all(feature_store.is_complete(unit.settings, source, images, shard=shard) for source in unit.sources)


def _has_scores(unit: Unit, images: Images) -> bool:
    options = ScoreConfig(unit.stage.metrics, unit.sources, seed=unit.stage.seed)
    return score.are_stored(unit.settings, images, options)


def _has_pseudo_labels(unit: Unit, images: Images) -> bool:
    return pseudo_label.are_stored(unit.settings, images, unit.sources, unit.stage.shard)


def _has_answers(unit: Unit, images: Images) -> bool:
    pool, settings = unit.stage.pool, unit.settings
    assert pool is not None, "only a pool has answers"
    options = configure_heads(settings, pool.head, pool.pool, unit.stage.sources, with_student=pool.with_student)
    names = [source.name for source in head_labels.select_usable(settings, options.sources, quiet=True)]
    images = images.without(failures.failed_ids(settings, "extract"))
    inputs = head_labels.pool_inputs(settings, options, names, images)
    return head_store.is_complete(unit.path, inputs, options.command + labels_flag(settings))


def _check_run(unit: Unit, images: Images, log: Mapping[str, object]) -> tuple[str, str]:
    """The state of a run. The lease tells whether a process makes it, its log why the last one failed."""
    path = unit.path
    holder, alive = lease.find_holder(path)
    if is_finished(path) and not alive:
        changed: list[str] = []
        if unit.run is not None and unit.seed is not None:
            changed = list_run_differences(unit.run, path, unit.settings, images, unit.seed)
        return (STALE, f"it was made from other inputs: {', '.join(changed)}") if changed else (DONE, "")
    if alive:
        return RUNNING, holder
    if error := log.get("error"):
        return FAILED, str(error)
    if holder:
        return FAILED, f"{holder} has ended before the run was finished"
    return MISSING, _describe_checkpoint(path)


def _check_search(unit: Unit, images: Images, log: Mapping[str, object]) -> tuple[str, str]:
    """The state of a search and of the run of what it chose. Each of its trials has a lease and a log."""
    settings, path = unit.settings, unit.path
    assert unit.seed is not None, "a search has a seed"
    trials = planned_search.find_trials(settings)
    holders = [lease.find_holder(folder) for folder in (path, *planned_search.find_held_folders(settings))]
    if running := [holder for holder, alive in holders if alive]:
        return RUNNING, running[0]
    if changed := planned_search.list_differences(settings, unit.stage, images, unit.seed, path):
        return STALE, f"it was made from other inputs: {', '.join(changed)}"
    if is_finished(path) and planned_search.result_file(settings).exists():
        return DONE, ""
    # Other candidates may diverge; labels only ends the search.
    logs = [log, *(read_log(trial) for trial in trials if trial.name == LABELS_ONLY and not is_finished(trial))]
    if errors := [str(each["error"]) for each in logs if each.get("error")]:
        return FAILED, errors[0]
    if ended := [holder for holder, _ in holders if holder]:
        return FAILED, f"{ended[0]} has ended before the search was finished"
    return MISSING, f"stopped, with {sum(map(is_finished, trials)):,} trials finished" if trials else ""


def _describe_checkpoint(path: Path) -> str:
    """Where a run that was stopped goes on; empty if it has no checkpoint."""
    file = path / "state" / "state.json"
    try:
        step = files.read_json(file).get("step") if file.is_file() else None
    except (ContractError, UsageError, AttributeError):
        step = None
    return "" if step is None else f"stopped, with a checkpoint at step {step:,}"
