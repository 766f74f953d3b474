"""The models that `zoo finetune` starts from, and the best source: the highest-ranked one with a network."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from zoo_cli import config, console, registry, specs
from zoo_cli.config import Config, Source
from zoo_cli.errors import ParameterError, UsageError
from zoo_cli.pipeline import score, student_choice
from zoo_cli.pipeline.metric_specs import ScoreConfig
from zoo_cli.pipeline.prepare import Needs
from zoo_cli.pipeline.rank import Ranking
from zoo_cli.pipeline.ranking_spec import RankingSpec, parse_ranking
from zoo_cli.store import feature_store, model_folders

BEST = "best"


def parse_best(models: Sequence[str], metric: str | None) -> RankingSpec | None:
    """The ranking that decides which source is best; None if no model is `best` or `best:ARCHITECTURE`.

    Raises ParameterError for a metric if no model needs a ranking.
    """
    if any(map(is_best, models)):
        return parse_ranking([metric or registry.DEFAULT_METRIC], None, registry.DEFAULT_WEIGHTING)
    if metric is not None:
        raise ParameterError("`metric` selects the best source", "start from best, or drop it")
    return None


def limit_sources(settings: Config, models: Sequence[str], folder: Path | None) -> Config:
    """The configuration with the domains of an expert's folder as its sources; as it is without a folder.

    A domain that zoo.toml declares stays as declared. Raises ParameterError if no model is `best`, UsageError for a
    folder of another kind.
    """
    if folder is None:
        return settings
    if not any(map(is_best, models)):
        raise ParameterError("`among` names the domains of which the best one is chosen", "start from best, or drop it")
    sources = []
    for spec in model_folders.domain_specs(folder):
        (typed,) = settings.select([spec])
        declared = [each for each in settings.sources if _is_same(settings, each, typed)]
        sources.append(declared[0] if declared else typed)
    return replace(settings, sources=tuple(sources))


def _is_same(settings: Config, source: Source, other: Source) -> bool:
    return model_folders.is_same_source(source.model, other.model, settings.root)


def check_models(settings: Config, models: Sequence[str]) -> None:
    """Raise UsageError for models that cannot be trained, before any source is scored."""
    for model in models:
        if is_best(model):
            _find_candidates(settings, _architecture(model))
        elif (selected := _select_model(settings, model)) == settings.student:
            student_choice.say_untrained(selected)


def best_needs(settings: Config, ranking: RankingSpec, *, refresh: bool = False) -> Needs:
    """What is needed to rank the sources. `refresh`: stale scores are made again."""
    return score.score_needs(settings, ScoreConfig(ranking.metrics, settings.sources, refresh=refresh))


def has_scores(settings: Config, ranking: RankingSpec) -> bool:
    """Whether the best source is known without scoring any."""
    folders = [settings.scores(metric.slug) for metric in ranking.metrics]
    return all((folder / f"{source.name}.parquet").exists() for folder in folders for source in settings.sources)


def select_models(settings: Config, models: Sequence[str], ranked: Ranking | None) -> list[Source]:
    """The models by their names. `ranked`: the sources, if one of the names is best or best:ARCHITECTURE."""
    return [
        _select_best(settings, _architecture(model), ranked)
        if ranked is not None and is_best(model)
        else _select_model(settings, model)
        for model in models
    ]


def is_best(model: str) -> bool:
    """Whether a model is `best` or `best:ARCHITECTURE`."""
    return model.partition(":")[0] == BEST


def _architecture(model: str) -> str:
    return model.partition(":")[2]


def _select_model(settings: Config, model: str) -> Source:
    if model == "student":
        return student_choice.select_student(settings, None)
    source = settings.select([model])[0]
    student_choice.check_source(settings, source)
    return source


def _select_best(settings: Config, architecture: str, ranked: Ranking) -> Source:
    """The highest-ranked source with a network, of an architecture if one is given."""
    candidates = _find_candidates(settings, architecture)
    for row in ranked.rows:
        if row.rank is not None and row.source in candidates:
            console.say(f"best{':' * bool(architecture)}{architecture} is {row.source}")
            return settings.find_source(row.source)
    raise UsageError(f"no source {f'of {architecture} ' * bool(architecture)}has a rank", "zoo rank shows why")


def _find_candidates(settings: Config, architecture: str) -> list[str]:
    """The sources with a network, of an architecture if one is given. Raises UsageError if there is none."""
    with_network = [source for source in settings.sources if not feature_store.is_outputs_only(source)]
    if not with_network:
        raise UsageError(f"{settings.root / config.FILE} has no source with a network", "add a [[source]] table")
    fitting = [
        source.name
        for source in with_network
        if not architecture or architecture in _architecture_names(settings, source)
    ]
    if not fitting:
        names = sorted({name for source in with_network for name in _architecture_names(settings, source)[:1]})
        raise specs.nearest("source of architecture", architecture, names)
    return fitting


def _architecture_names(settings: Config, source: Source) -> tuple[str, ...]:
    """The names of a source's architecture: `torchvision:resnet50` is resnet50, and so is a run of it."""
    model = source.model
    folder = model_folders.find_folder(model, settings.root)
    if folder is not None:
        from zoo_cli.models import file

        model = file.read_model_spec(folder) or model
    rest = model.partition(":")[2]
    last = rest.rpartition(":")[2]
    return (last, last.partition(".")[0], rest, source.model)
