"""A search of `zoo tune` as a unit of a plan: its trials, and what differs from the search that a stage asks for."""

from collections.abc import Iterator
from pathlib import Path

from zoo_cli.config import Config
from zoo_cli.pipeline import tune_record
from zoo_cli.pipeline.plan_stages import Stage
from zoo_cli.pipeline.planned_runs import plan_runs
from zoo_cli.pipeline.tune_candidates import BASELINE, CANDIDATES, load_candidates
from zoo_cli.pipeline.tune_config import TuneConfig
from zoo_cli.store import files, provenance
from zoo_cli.store.manifest import Images


def find_trials(settings: Config) -> Iterator[Path]:
    """The folders of the trials of a search that are there."""
    return (settings.labels_root / "tune").glob("split-*/runs/[!.]*/")


def list_differences(settings: Config, stage: Stage, images: Images, seed: int) -> list[str]:
    """What the stored search was made from, where that is not what a stage would make it from now; nothing without one.

    As far as no model has to be read for it.
    """
    config, document = stage.config, settings.labels_root / "tune" / tune_record.DOCUMENT
    assert isinstance(config, TuneConfig), "the stage of a search"
    if not document.exists():
        return []
    recorded = files.read_json(document)["inputs"]
    listed = CANDIDATES if config.candidates is None else load_candidates(config.candidates)
    # Candidates of the built-in list that no source can teach are left out.
    candidates = {
        each.name: each.settings
        for each in (BASELINE, *listed)
        if config.candidates is not None or each.name in recorded["candidates"]
    }
    options = BASELINE.training(stage.training)
    (baseline,) = plan_runs(settings, BASELINE.config(config.sources, config.student), options)
    expected = {
        **baseline.describe(settings, images, seed),
        "unlabelled images": images.fingerprint(images.where(split=("unlabelled",)), "ids", "sha256"),
        "candidates": candidates,
        "budget": config.budget or "",
    }
    shared = expected.keys() & recorded.keys()
    return provenance.differences({key: recorded[key] for key in shared}, {key: expected[key] for key in shared})
