"""What a command reads of a workspace, made first where it is missing: the one place where a stage leads to another.

A maker is resolved by its name, when there is something to make: reading what is there loads no torch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from zoo_cli import console, registry
from zoo_cli.config import Config, Source
from zoo_cli.pipeline.metric_scores import ScoreConfig
from zoo_cli.store import failures, feature_store, gradient_store, schemas
from zoo_cli.store.manifest import Images, load_manifest

PROJECTION = "10000"
MAKERS = {
    "split": "zoo_cli.pipeline.split:make_manifest",
    "extract": "zoo_cli.pipeline.extract:extract_features",
    "gradients": "zoo_cli.pipeline.gradient_extraction:extract_gradients",
    "score": "zoo_cli.pipeline.score:score_sources",
    "pseudo-label": "zoo_cli.pipeline.pseudo_label:make_pseudo_labels",
}


@dataclass(frozen=True)
class Needs:
    """What a command reads beside the manifest, in the order in which it is made.

    `features`, `gradients` (of the probe set), `pseudo_labels`: of these sources; `scores`: of those it names.
    """

    features: Sequence[Source] = ()
    gradients: Sequence[Source] = ()
    scores: ScoreConfig | None = None
    pseudo_labels: Sequence[Source] = ()


def prepare(settings: Config, needs: Needs | None = None, *, workers: int | None = None) -> Images:
    """The manifest, once everything needed is there. Raises UsageError naming what differs where some is stale."""
    needs = needs or Needs()
    images = _prepare_manifest(settings, workers)
    _prepare_features(settings, images, needs.features)
    _prepare_gradients(settings, images, needs.gradients)
    if needs.scores is not None:
        maker("score")(settings, images, needs.scores)
    if needs.pseudo_labels:
        maker("pseudo-label")(settings, images, needs.pseudo_labels)
    return images


def maker(stage: str) -> Callable[..., Any]:
    """The function that makes what a stage writes."""
    return registry.import_target(MAKERS[stage])


def probe_rows(settings: Config, images: Images) -> Any:
    """The rows (M,) of the probe set, but for the images that failed."""
    rows, absent = images.where(probe=True), failures.failed_ids(settings, "extract")
    return rows[[str(name) not in absent for name in images.ids[rows]]] if absent else rows


def _prepare_manifest(settings: Config, workers: int | None) -> Images:
    if not settings.manifest.exists():
        console.say(f"no {settings.manifest} yet: zoo split makes it first")
    if settings.task.train or not settings.manifest.exists():
        maker("split")(settings, workers=workers)
    return load_manifest(settings.manifest, settings.root)


def _prepare_features(settings: Config, images: Images, sources: Sequence[Source]) -> None:
    lacking = [
        source for source in sources if not feature_store.is_complete(settings, source, images, schemas.ROW_GROUP)
    ]
    if lacking:
        console.say(f"no features of {', '.join(source.name for source in lacking)} yet: zoo extract makes them first")
        maker("extract")(settings, images, lacking)


def _prepare_gradients(settings: Config, images: Images, sources: Sequence[Source]) -> None:
    """The gradients of the probe set, projected as those that are stored, or by default."""
    rows = probe_rows(settings, images)
    lacking: dict[str, list[Source]] = {}
    for source in sources:
        if gradient_store.unavailable_reason(settings, source):
            continue
        if len(gradient_store.missing_rows(settings, source, images, rows, None)):
            record = gradient_store.load_gradient_record(settings, source.name) or {"projection": PROJECTION}
            lacking.setdefault(record["projection"], []).append(source)
    for projection, some in lacking.items():
        names = ", ".join(source.name for source in some)
        console.say(f"no gradients of {names} for this probe set yet: zoo extract --gradients makes them first")
        maker("gradients")(settings, images, some, projection=projection)
