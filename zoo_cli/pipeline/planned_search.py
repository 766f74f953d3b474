"""A search of `zoo tune` as a unit of a plan: its trials, and what differs from the search that a stage asks for."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from zoo_cli.config import Config
from zoo_cli.pipeline import tune_record
from zoo_cli.pipeline.distill_config import CROSS_TASK, HEADS
from zoo_cli.pipeline.plan_stages import Stage
from zoo_cli.pipeline.planned_runs import PlannedRun, list_run_differences, plan_runs
from zoo_cli.pipeline.tune_candidates import BASELINE, CANDIDATES, Candidate, load_candidates
from zoo_cli.pipeline.tune_config import TuneConfig
from zoo_cli.store import failures, files, lease, provenance
from zoo_cli.store.checksums import is_finished
from zoo_cli.store.manifest import Images
from zoo_cli.store.source_record import load_source_record

OF_RUNS = ("lam", "kd_temperature", "test images")
"""What run.json says of a run and tune.json does not say of the search."""


def result_file(settings: Config) -> Path:
    """The file of the result of a search."""
    return tune_record.search_folder(settings) / tune_record.DOCUMENT


def find_trials(settings: Config) -> list[Path]:
    """The folders of the trials of a search that are there."""
    return sorted(tune_record.search_folder(settings).glob("split-*/runs/[!.]*/"))


def find_held_folders(settings: Config) -> list[Path]:
    """The folders whose lease a process of the search may hold: those of splits, of trials, and of trials made anew."""
    trials = find_trials(settings)
    splits = sorted(tune_record.search_folder(settings).glob("split-*/"))
    return [*splits, *trials, *map(lease.staging, trials)]


def check_search(settings: Config, stage: Stage) -> None:
    """Raise UsageError for a search that cannot begin: unknown names, or a file that does not list candidates."""
    config = _search_config(stage)
    settings.select(config.sources)
    for candidate in _list_candidates(config):
        _plan_candidate(settings, stage, candidate)


def list_differences(settings: Config, stage: Stage, images: Images, seed: int, run: Path) -> list[str]:
    """What the stored search, and the run of what it chose, were made from, where a stage would now make them from
    something else; nothing without a search. As far as no model has to be read for it.

    Raises ContractError for a result that is none of this search.
    """
    document, config = result_file(settings), _search_config(stage)
    if not document.exists():
        return []
    recorded = _mapping(_mapping(files.read_json(document)).get("inputs"))
    images = images.without(failures.failed_ids(settings, "extract"))
    # Candidates of the built-in list that no source can teach are left out.
    optional = (CROSS_TASK,) if config.candidates is None else ()
    known = _mapping(recorded.get("candidates"))
    candidates = {
        each.name: each for each in _list_candidates(config) if each.name in known or each.objective not in optional
    }
    described = _plan_candidate(settings, stage, BASELINE).describe(settings, images, seed)
    taught = any(each.objective in (CROSS_TASK, HEADS) for each in candidates.values())
    sources = (settings.select(config.sources) if config.sources else settings.sources) if taught else ()
    expected = {
        **{key: value for key, value in described.items() if key not in OF_RUNS},
        "unlabelled images": images.fingerprint(images.where(split=("unlabelled",)), "ids", "sha256"),
        "candidates": {name: each.settings for name, each in candidates.items()},
        "budget": config.budget or "",
        "sources": {source.name: load_source_record(settings, source.name).fingerprint for source in sources},
    }
    changed = provenance.differences({key: recorded[key] for key in expected if key in recorded}, expected)
    if changed:
        return changed
    record = tune_record.load_record(document, candidates)
    if not is_finished(run):
        return []
    chosen = _plan_candidate(settings, stage, candidates[record.chosen])
    return list_run_differences(chosen, run, settings, images, seed)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _search_config(stage: Stage) -> TuneConfig:
    assert isinstance(stage.config, TuneConfig), "the stage of a search"
    return stage.config


def _list_candidates(config: TuneConfig) -> Sequence[Candidate]:
    return (BASELINE, *(CANDIDATES if config.candidates is None else load_candidates(config.candidates)))


def _plan_candidate(settings: Config, stage: Stage, candidate: Candidate) -> PlannedRun:
    config = _search_config(stage)
    options = candidate.config(config.sources, config.student)
    (run,) = plan_runs(settings, options, candidate.training(stage.training))
    return run
