"""Make what a command reads of a workspace, if it is missing: the only place where a stage runs another one.

Makers are imported by name, when there is something to make, so that reading what exists loads no torch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from zoo_cli import console, registry
from zoo_cli.config import Config, Source
from zoo_cli.errors import UsageError
from zoo_cli.pipeline import label_split
from zoo_cli.pipeline.extract_config import ExtractConfig
from zoo_cli.pipeline.head_config import HeadLabelConfig
from zoo_cli.pipeline.metric_specs import ScoreConfig
from zoo_cli.pipeline.probe_set import probe_rows
from zoo_cli.pipeline.split import SplitConfig, is_manifest_current, read_check, with_stored_flags, write_manifest
from zoo_cli.shards import Shard
from zoo_cli.store import failures, feature_store, gradient_store, output_summary
from zoo_cli.store.class_names import load_class_names
from zoo_cli.store.manifest import Images, load_manifest
from zoo_cli.store.provenance import Stale
from zoo_cli.store.view_set import ViewSet

MAKERS = {
    "extract": "zoo_cli.pipeline.extract:make_features",
    "views": "zoo_cli.pipeline.extract_views:make_views",
    "gradients": "zoo_cli.pipeline.missing_gradients:make_gradients",
    "score": "zoo_cli.pipeline.score:score_sources",
    "pseudo-label": "zoo_cli.pipeline.pseudo_label:make_pseudo_labels",
    "head-labels": "zoo_cli.pipeline.head_labels:make_head_labels",
}


@dataclass(frozen=True)
class Needs:
    """What a command reads besides the manifest, in the order in which it is made.

    `features`, `gradients` (of the probe set), `pseudo_labels`: of these sources; `scores`: of those it names;
    `head_labels`: the answers of a pool of heads. `views`: stored augmented views, of the sources `view_features`; the
    pseudo-labels are then of these views. `two_classes`: labelled images of two classes at least, which heads need;
    checked before anything is made.
    """

    features: Sequence[Source] = ()
    gradients: Sequence[Source] = ()
    scores: ScoreConfig | None = None
    pseudo_labels: Sequence[Source] = ()
    head_labels: HeadLabelConfig | None = None
    two_classes: bool = False
    view_features: Sequence[Source] = ()
    views: ViewSet | None = None


def prepare(
    settings: Config, needs: Needs | None = None, *, workers: int | None = None, refresh: bool = False
) -> Images:
    """Make what is missing of the needs, and load the manifest. `refresh`: make stale files again too.

    Raises Stale, naming what differs, for a stale file without `refresh`.
    """
    needs = needs or Needs()
    images = _prepare_manifest(settings, workers, refresh)
    if needs.two_classes or needs.head_labels is not None:
        _check_two_classes(settings, images)
    _prepare_features(settings, images, needs.features, refresh)
    if needs.views is not None:
        maker("views")(settings, images, needs.view_features, needs.views, refresh=refresh)
    _prepare_gradients(settings, images, needs.gradients, refresh)
    if needs.scores is not None:
        maker("score")(settings, images, needs.scores)
    if needs.pseudo_labels:
        maker("pseudo-label")(settings, images, needs.pseudo_labels, refresh=refresh, views=needs.views)
    if needs.head_labels is not None:
        maker("head-labels")(settings, images, needs.head_labels, refresh=refresh)
    return images


def lacks_manifest(settings: Config, *, refresh: bool) -> bool:
    """Whether `prepare` would make the manifest. Raises Stale where it would too."""
    try:
        if settings.labels is None:
            return not is_manifest_current(settings)
        if not label_split.is_main_current(settings):
            return True
        label_split.check_current(settings)
        return False
    except Stale:
        if not refresh:
            raise
        return True


def check_shard(settings: Config, shard: Shard, *, refresh: bool, features: Sequence[Source] = ()) -> None:
    """Raise UsageError where a shard lacks what all of them read: each would make it, at the same time.

    `features`: the sources whose outputs it reads.
    """
    if shard.is_whole:
        return
    if lacks_manifest(settings, refresh=refresh):
        raise UsageError(f"no current {settings.manifest}, which all shards read", "run zoo split once, before them")
    images = load_manifest(settings.manifest, settings.root) if features else None
    for source in features:
        if images is not None and not feature_store.is_complete(settings, source, images):
            raise UsageError(
                f"the features of {source.name} are not complete, and all shards read them",
                "run zoo extract first, in shards of its own or as one job",
            )


def maker(stage: str) -> Callable[..., Any]:
    """The function that makes what a stage writes."""
    return registry.import_target(MAKERS[stage])


def _prepare_manifest(settings: Config, workers: int | None, refresh: bool) -> Images:
    main = settings.with_labels(None)
    is_current = is_manifest_current if settings.labels is None else label_split.is_main_current
    try:
        if not is_current(main):
            console.say(f"no {main.manifest} yet: zoo split makes it first")
            write_manifest(main, SplitConfig(workers=workers))
    except Stale as stale:
        if not refresh:
            raise
        console.say(f"{stale.message}; zoo split makes it again")
        stored, flags = with_stored_flags(main)
        write_manifest(stored, SplitConfig(check=read_check(main), workers=workers), flags)
    if settings.labels is not None:
        _prepare_label_set(settings, refresh)
    failures.warn_of_too_many(settings, "split")
    return load_manifest(settings.manifest, settings.root)


def _prepare_label_set(settings: Config, refresh: bool) -> None:
    try:
        label_split.check_current(settings)
    except Stale as stale:
        if not refresh:
            raise
        console.say(f"{stale.message}; zoo split --labels {settings.labels} makes it again")
        label_split.write_label_set(*label_split.own_settings(settings))


def _check_two_classes(settings: Config, images: Images) -> None:
    """Raise UsageError unless two classes have a labelled image, without which no head can be fitted."""
    count = len(set(images.labels[images.where(split=("labelled",))].tolist()))
    if count < 2:
        more = "label more images, or raise `labelled` in zoo.toml; then zoo split --overwrite"
        if settings.labels is not None:
            more = f"zoo split --labels {settings.labels} --labelled N --overwrite, with more of them"
        raise UsageError(
            f"{count} of the {len(load_class_names(settings.classes))} classes of {settings.classes} have a labelled "
            "image, heads need two",
            more,
        )


def _prepare_features(settings: Config, images: Images, sources: Sequence[Source], refresh: bool) -> None:
    missing, stale = [], []
    for source in sources:
        try:
            if not feature_store.is_complete(settings, source, images):
                missing.append(source)
        except Stale as error:
            if not refresh:
                raise
            console.say(f"{error.message}; zoo extract makes it again")
            stale.append(source)
    if missing:
        console.say(f"no features of {', '.join(source.name for source in missing)} yet: zoo extract makes them first")
    if missing or stale:
        maker("extract")(settings, images, [*missing, *stale], ExtractConfig(refresh=refresh))
    output_summary.add_missing_summaries(settings, [source.name for source in sources])
    if sources:
        failures.warn_of_too_many(settings, "extract")


def _prepare_gradients(settings: Config, images: Images, sources: Sequence[Source], refresh: bool) -> None:
    """The gradients of the probe set, projected as those that are stored, or by default."""
    if not sources:
        return
    rows = probe_rows(settings, images)
    missing: dict[str, list[Source]] = {}
    for source in sources:
        if gradient_store.unavailable_reason(settings, source):
            continue
        record = gradient_store.load_gradient_record(settings, source.name)
        projection = gradient_store.PROJECTION if record is None else record.projection
        try:
            complete = not len(gradient_store.missing_rows(settings, source, images, rows, None))
        except Stale:
            if not refresh:
                raise
            complete = False
        if not complete:
            missing.setdefault(projection, []).append(source)
    for projection, group in missing.items():
        names = ", ".join(source.name for source in group)
        console.say(f"no gradients of {names} for this probe set yet: zoo extract --gradients makes them first")
        options = ExtractConfig(gradients=True, projection=projection, refresh=refresh)
        maker("gradients")(settings, images, group, options)
