"""Which models `zoo finetune` starts from, and which source is the best of them: the highest-ranked with a network."""

from collections.abc import Sequence

from zoo_cli import config, console, specs
from zoo_cli.config import Config, Source
from zoo_cli.errors import UsageError
from zoo_cli.pipeline import prepare, rank, score, students
from zoo_cli.pipeline.metric_specs import ScoreConfig
from zoo_cli.store import feature_store

BEST = "best"


def needs_ranking(settings: Config, named: Sequence[str], metric: str | None) -> bool:
    """Whether the sources have to be scored before the best of them is known."""
    return _asked_for(named) and not settings.scores(_by(metric).slug).exists()


def select_models(settings: Config, named: Sequence[str], metric: str | None, *, stored: bool) -> list[Source]:
    """The models of these names; `stored`: the best by the scores that stand, so that nothing is made.

    Raises UsageError for one of which there is no network.
    """
    if metric is not None and not _asked_for(named):
        raise UsageError("--metric says which source is the best", "zoo finetune best, or leave it out")
    found: dict[str, Source] = {}
    for one in named:
        if one.partition(":")[0] != BEST:
            found[one] = students.select_student(settings, None) if one == "student" else settings.select([one])[0]
            students.check_networks(settings, found[one])
    for one in named:
        word, _, architecture = one.partition(":")
        if word == BEST:
            found[one] = _best(settings, architecture, _by(metric), stored=stored)
    return [found[one] for one in named]


def _asked_for(named: Sequence[str]) -> bool:
    return any(one.partition(":")[0] == BEST for one in named)


def _by(metric: str | None) -> rank.RankingSpec:
    return rank.parse_ranking([metric or rank.DEFAULT_METRIC], None, rank.DEFAULT_WEIGHTING)


def _best(settings: Config, architecture: str, asked: rank.RankingSpec, *, stored: bool) -> Source:
    """The highest-ranked source with a network, of an architecture where one is named."""
    able = [source for source in settings.sources if not feature_store.is_outputs_only(source)]
    if not able:
        raise UsageError(f"{settings.root / config.FILE} has no source with a network", "add a [[source]] table")
    fitting = [source.name for source in able if not architecture or architecture in _architectures(settings, source)]
    if not fitting:
        known = sorted({name for source in able for name in _architectures(settings, source)[:1]})
        raise specs.nearest("source of architecture", architecture, known)
    if stored:
        ranked = rank.rank_scores_file(settings.scores(asked.slug), asked.weighting, settings)
    else:
        prepare.prepare(settings, score.score_needs(settings, ScoreConfig(asked.metrics, settings.sources)))
        ranked = rank.rank_sources(settings, asked, settings.sources)
    for row in ranked.rows:
        if row.rank is not None and row.source in fitting:
            console.say(f"best{':' * bool(architecture)}{architecture} is {row.source}")
            return settings.find_source(row.source)
    raise UsageError(f"no source {f'of {architecture} ' * bool(architecture)}has a rank", "zoo rank says why")


def _architectures(settings: Config, source: Source) -> tuple[str, ...]:
    """By which names the architecture of a source goes: `torchvision:resnet50` is resnet50, and so is a run of it."""
    from zoo_cli.models import file

    model = source.model
    if model.startswith("file:"):
        model = file.read_model_spec(settings.root / model.removeprefix("file:")) or model
    rest = model.partition(":")[2]
    last = rest.rpartition(":")[2]
    return (last, last.partition(".")[0], rest, source.model)
