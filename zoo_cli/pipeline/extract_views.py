"""`zoo extract --views`: the outputs of sources on stored augmented views. Checking what is stored loads no torch."""

from collections.abc import Sequence

from zoo_cli import console, ranks, registry
from zoo_cli.config import STUDENT, Config, Source
from zoo_cli.pipeline.extract_config import ExtractConfig
from zoo_cli.store import feature_store, view_store
from zoo_cli.store.manifest import Images
from zoo_cli.store.view_set import ViewSet
from zoo_cli.store.view_store import ViewPart

RUNNER = "zoo_cli.pipeline.view_extraction:extract_views"


def extract_views(
    settings: Config, images: Images, sources: Sequence[Source], views: ViewSet, options: ExtractConfig
) -> None:
    """Store the missing outputs of sources on augmented views; their plain outputs are stored already.

    Sources with stored outputs only have the plain view alone. In a job of several processes each runs the models on
    parts of its own. Raises Stale, naming what differs.
    """
    first_paths = ranks.first_does(lambda: _open_views(settings, images, sources, views, options))
    pending = []
    for source in sources:
        if paths := first_paths.get(source.name):
            parts = view_store.planned_parts(settings, source, images, views)
            pending.append((source, [part for part in parts if str(part.paths[0]) in paths]))
    if pending:
        registry.import_target(RUNNER)(settings, images, pending, views, options)
        ranks.gather(True)  # all parts are there


def _open_views(
    settings: Config, images: Images, sources: Sequence[Source], views: ViewSet, options: ExtractConfig
) -> dict[str, list[str]]:
    """Record the views and remove what is stale; the parts that sources lack, by the path of their first view."""
    remake = options.overwrite or options.refresh
    # A damaged record is overwritten too.
    stored = None if options.overwrite else view_store.load_view_set(settings)
    if not remake:
        view_store.check_view_set(settings, views)
    pending: list[tuple[Source, list[ViewPart]]] = []
    for source in sources:
        if feature_store.is_outputs_only(source):
            console.say(f"{source.name} has stored outputs only: it answers for the plain view")
            continue
        if options.overwrite:
            missing = list(view_store.planned_parts(settings, source, images, views))
        else:
            missing = view_store.missing_parts(settings, source, images, views, remake=remake)
        if missing:
            pending.append((source, missing))
        else:
            console.say(f"{views} of {source.name} are up to date")
    if options.dry_run:
        if pending:
            names = ", ".join(source.name for source, _ in pending)
            console.say(f"would extract {views} of {len(pending)} sources: {names}")
        return {}
    if stored != views:
        view_store.write_view_set(settings, views)
    for source, _ in pending:
        planned = {path for part in view_store.planned_parts(settings, source, images, views) for path in part.paths}
        for path in view_store.existing_parts(settings, source.name) - (set() if options.overwrite else planned):
            path.unlink(missing_ok=True)
    return {source.name: [str(part.paths[0]) for part in parts] for source, parts in pending}


def make_views(
    settings: Config, images: Images, sources: Sequence[Source], views: ViewSet, *, refresh: bool = False
) -> None:
    """Store what a command reads of the views of sources and what is missing; it says so."""
    run = [source for source in sources if not feature_store.is_outputs_only(source)]
    remake = refresh
    if not remake and view_store.check_view_set(settings, views):
        lacking = [s for s in run if view_store.missing_parts(settings, s, images, views, remake=False)]
    else:
        lacking = [s for s in run if view_store.missing_parts(settings, s, images, views, remake=True)]
    if lacking:
        names = ", ".join(source.name for source in lacking)
        console.say(f"no {views} of {names} yet: zoo extract --views makes them first")
        extract_views(settings, images, lacking, views, ExtractConfig(refresh=refresh))


def view_sources(sources: Sequence[Source]) -> list[Source]:
    """The sources of which zoo extract stores views: all but the student's starting point, which rarely teaches."""
    return [source for source in sources if source.name != STUDENT]
