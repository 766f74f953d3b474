"""`zoo pseudo-label --head`: answers in the task's classes by heads on the sources' stored features."""

from collections.abc import Sequence
from pathlib import Path

from zoo_cli import console, specs
from zoo_cli.config import STUDENT, Config, Source
from zoo_cli.errors import UsageError
from zoo_cli.heads.fitting import fit_heads, pool_heads
from zoo_cli.heads.target_labels import TargetLabels
from zoo_cli.heads.view_pools import pool_views
from zoo_cli.pipeline import leakage, prepare
from zoo_cli.pipeline.head_config import HeadLabelConfig
from zoo_cli.pipeline.head_features import load_features, load_view_features
from zoo_cli.pipeline.head_records import describe_heads, head_arrays
from zoo_cli.pipeline.prepare import Needs
from zoo_cli.store import failures, head_store
from zoo_cli.store.class_names import load_class_names
from zoo_cli.store.head_store import HeadRecord
from zoo_cli.store.manifest import Images
from zoo_cli.store.provenance import Inputs, Stale, fingerprint
from zoo_cli.store.source_record import load_source_record
from zoo_cli.store.view_set import ViewSet
from zoo_cli.store.view_store import answers_folder

SPLITS = ("labelled", "unlabelled")
MAKER = "pseudo-label --head"


def label_with_heads(
    settings: Config, options: HeadLabelConfig, *, overwrite: bool = False, refresh: bool = False
) -> HeadRecord:
    """The pool's answers on the labelled and unlabelled images, stored, and their record.

    Sources that have seen the task are excluded; those without a head of their own take part. Raises UsageError if no
    source is left or fewer than two classes have a label, Stale naming what differs.
    """
    needs = Needs(features=options.sources, view_features=options.sources if options.views else (), views=options.views)
    images = prepare.prepare(settings, needs, refresh=refresh)
    return make_head_labels(settings, images, options, overwrite=overwrite, refresh=refresh)


def make_head_labels(
    settings: Config, images: Images, options: HeadLabelConfig, *, overwrite: bool = False, refresh: bool = False
) -> HeadRecord:
    """Store the pool's answers, unless they exist and are current: for the plain view, or for each stored one."""
    head, pool = specs.resolve("head", options.head), specs.resolve("pool", options.pool)
    sources = _usable(settings, options.sources)
    images = images.without(failures.failed_ids(settings, "extract"))
    rows = images.where(split=SPLITS)
    if any(source.name == STUDENT for source in sources) and (images.data[rows] == "unlabelled").any():
        raise UsageError(
            "the student has no features of the images of `unlabelled` in zoo.toml", "leave --with-student out"
        )
    classes = load_class_names(settings.classes)
    views = options.views
    folder = settings.pseudo_head(options.slug) if views is None else answers_folder(settings, options.slug)
    inputs: Inputs = {
        "head": head.spec,
        "pool": pool.spec,
        "sources": {source.name: load_source_record(settings, source.name).fingerprint for source in sources},
        "samples": images.fingerprint(rows, "ids", "sha256"),
        "labels": fingerprint(images.fingerprint(rows, "labels"), classes),
        **({} if views is None else {"views": str(views)}),
    }
    if not overwrite and _is_complete(folder, inputs, refresh, views):
        console.say(f"{folder} is up to date")
        return head_store.load_record(folder)
    targets = TargetLabels.of(images.labels[rows], len(classes))
    missing = tuple(classes[c] for c in targets.missing)
    if missing:
        console.warn(f"no labelled image of {', '.join(missing)}: the heads never answer with these classes")
    features = load_features(settings, sources, images.ids[rows])
    if views is None:
        heads = fit_heads(head, features, targets)
        pools = [pool_heads(pool, features, heads, targets)]
    else:
        features_of_views = load_view_features(settings, sources, images.ids[rows], targets.rows, views)
        heads = fit_heads(head, features_of_views.labelled, targets.repeat(views.count))
        pools = pool_views(pool, features_of_views, heads, targets)
    record = describe_heads(options, sources, heads, pools, targets, features, images.ids[rows], classes)
    for source, fitted in zip(sources, heads, strict=True):
        head_store.write_head(settings, source.name, head_arrays(fitted), head.spec, of_views=views is not None)
    if views is None:
        head_store.write_answers(folder, images.ids[rows], pools[0].probabilities, record, inputs)
    else:
        probabilities = [each.probabilities for each in pools]
        head_store.write_view_answers(folder, images.ids[rows], probabilities, record, inputs)
    return record


def _usable(settings: Config, sources: Sequence[Source]) -> list[Source]:
    """The sources that have not seen the task. Raises UsageError if none is left."""
    excluded = leakage.excluded_sources(settings, [source.name for source in sources if source.name != STUDENT])
    for name, reason in excluded.items():
        console.say(f"{name} is excluded: {reason}")
    usable = [source for source in sources if source.name not in excluded]
    if not usable:
        raise UsageError("no source is left to fit a head on", "zoo rank shows why each is excluded")
    return usable


def _is_complete(folder: Path, inputs: Inputs, refresh: bool, views: ViewSet | None) -> bool:
    try:
        if views is None:
            return head_store.is_complete(folder, inputs, MAKER)
        return head_store.is_complete(folder, inputs, f"{MAKER} --views {views.count}", views=views.count)
    except Stale:
        if refresh:
            return False
        raise
