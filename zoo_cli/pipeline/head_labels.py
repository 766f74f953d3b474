"""`zoo pseudo-label --head`: answers in the task's classes by heads on the sources' stored features."""

from collections.abc import Sequence
from pathlib import Path

from zoo_cli import console
from zoo_cli.config import STUDENT, Config, Source
from zoo_cli.errors import UsageError
from zoo_cli.heads.fitting import fit_heads, pool_heads
from zoo_cli.heads.pool_formula import PoolFormula
from zoo_cli.heads.target_labels import TargetLabels
from zoo_cli.heads.view_pools import pool_views
from zoo_cli.label_sets import labels_flag
from zoo_cli.metrics.collapse import COLLAPSED
from zoo_cli.pipeline import leakage, prepare
from zoo_cli.pipeline.head_config import HeadLabelConfig
from zoo_cli.pipeline.head_features import load_features, load_view_features
from zoo_cli.pipeline.head_records import describe_heads, head_arrays
from zoo_cli.pipeline.prepare import Needs
from zoo_cli.store import failures, head_store
from zoo_cli.store.class_names import load_class_names
from zoo_cli.store.head_store import HeadRecord, StoredFormula
from zoo_cli.store.manifest import Images
from zoo_cli.store.output_summary import find_collapsed
from zoo_cli.store.provenance import Inputs, Stale, fingerprint
from zoo_cli.store.source_record import load_source_record
from zoo_cli.store.view_store import answers_folder

SPLITS = ("labelled", "unlabelled")


def label_with_heads(
    settings: Config, options: HeadLabelConfig, *, overwrite: bool = False, refresh: bool = False
) -> HeadRecord:
    """The pool's answers on the labelled and unlabelled images, stored, and their record.

    Sources that have seen the task are excluded; those without a head of their own take part. Raises UsageError if no
    source is left or fewer than two classes have a label, Stale naming what differs.
    """
    sources = select_usable(settings, options.sources, quiet=True)
    if any(source.name == STUDENT for source in sources) and settings.task.unlabelled:
        raise UsageError(
            "the student has no features of the images of `unlabelled` in zoo.toml", "leave --with-student out"
        )
    needs = Needs(
        features=sources, view_features=sources if options.views else (), views=options.views, two_classes=True
    )
    images = prepare.prepare(settings, needs, refresh=refresh)
    return make_head_labels(settings, images, options, overwrite=overwrite, refresh=refresh)


def make_head_labels(
    settings: Config, images: Images, options: HeadLabelConfig, *, overwrite: bool = False, refresh: bool = False
) -> HeadRecord:
    """Store the pool's answers, unless they exist and are current: for the plain view, or for each stored one."""
    head, pool = options.head_method, options.pool_method
    sources = select_usable(settings, options.sources)
    images = images.without(failures.failed_ids(settings, "extract"))
    rows = images.where(split=SPLITS)
    classes = load_class_names(settings.classes)
    views = options.views
    folder = settings.pseudo_head(options.slug) if views is None else answers_folder(settings, options.slug)
    inputs = pool_inputs(settings, options, [source.name for source in sources], images)
    if not overwrite and _is_complete(folder, inputs, options, options.command + labels_flag(settings), refresh):
        console.say(f"{folder} is up to date")
        record = head_store.load_record(folder)
        _warn_missing(record.missing)
        return record
    targets = TargetLabels.of(images.labels[rows], len(classes))
    _warn_missing([classes[c] for c in targets.missing])
    features = load_features(settings, sources, images.ids[rows])
    if views is None:
        heads = fit_heads(head, features, targets)
        pools = [pool_heads(pool, features, heads, targets)]
    else:
        features_of_views = load_view_features(settings, sources, images.ids[rows], targets.rows, views)
        heads = fit_heads(head, features_of_views.labelled, targets.repeat(views.count))
        pools = pool_views(pool, features_of_views, heads, targets)
    record = describe_heads(options, sources, heads, pools, targets, features, images.ids[rows], classes)
    arrays = {source.name: head_arrays(fitted) for source, fitted in zip(sources, heads, strict=True)}
    head_store.write_heads(settings, arrays, head.spec, of_views=views is not None)
    if views is not None:
        probabilities = [each.probabilities for each in pools]
        head_store.write_view_answers(folder, images.ids[rows], probabilities, record, inputs)
        return record
    formula, used = PoolFormula.of(pools[0], heads)
    names = tuple(sources[position].name for position in used)
    stored = StoredFormula(names, formula.to_arrays())
    head_store.write_answers(folder, images.ids[rows], pools[0].probabilities, record, stored, inputs)
    return record


def pool_inputs(settings: Config, options: HeadLabelConfig, sources: Sequence[str], images: Images) -> Inputs:
    """What a pool of the heads of these sources is made from. `images`: without those that failed."""
    rows = images.where(split=SPLITS)
    return {
        "head": options.head_method.spec,
        "pool": options.pool_method.spec,
        "sources": {name: load_source_record(settings, name).fingerprint for name in sources},
        "samples": images.fingerprint(rows, "ids", "sha256"),
        "labels": fingerprint(images.fingerprint(rows, "labels"), load_class_names(settings.classes)),
        **({} if options.views is None else {"views": str(options.views)}),
    }


def select_usable(settings: Config, sources: Sequence[Source], *, quiet: bool = False) -> list[Source]:
    """The sources that have not seen the task and whose stored outputs, if there are any, are not collapsed.

    Names the others, unless `quiet`. Raises UsageError if none is left.
    """
    names = [source.name for source in sources if source.name != STUDENT]
    excluded = (leakage.find_leaks if quiet else leakage.excluded_sources)(settings, names)
    excluded |= dict.fromkeys(find_collapsed(settings, names), f"undefined: {COLLAPSED}")
    for name, reason in () if quiet else excluded.items():
        console.say(f"{name} is excluded: {reason}")
    usable = [source for source in sources if source.name not in excluded]
    if not any(source.name in names for source in usable):
        reasons = ", ".join(f"{name} {reason}" for name, reason in excluded.items())
        raise UsageError(
            f"no source is left to fit a head on: {reasons}",
            "add a source that has not seen this task, or correct its trained_on in zoo.toml",
        )
    return usable


def _warn_missing(classes: Sequence[str]) -> None:
    if classes:
        console.warn(f"no labelled image of {', '.join(classes)}: the heads never answer with these classes")


def _is_complete(folder: Path, inputs: Inputs, options: HeadLabelConfig, maker: str, refresh: bool) -> bool:
    views = None if options.views is None else options.views.count
    try:
        return head_store.is_complete(folder, inputs, maker, views=views)
    except Stale:
        if refresh:
            return False
        raise
