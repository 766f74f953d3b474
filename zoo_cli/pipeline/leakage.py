"""Sources that have seen the target task are excluded: what they know of it is not transferred."""

import difflib
from collections.abc import Sequence

from zoo_cli import console
from zoo_cli.config import Config
from zoo_cli.store import model_folders
from zoo_cli.store.model_folders import TrainingData
from zoo_cli.store.source_record import has_source_record, load_source_record

SIMILAR = 0.8
"""The similarity of two data set names, in [0, 1], from which they are worth a warning."""


def excluded_sources(settings: Config, names: Sequence[str]) -> dict[str, str]:
    """The sources that have seen the target, each with what it was trained on. Warns of nearly equal names."""
    if not settings.task.train and not settings.sources:
        return {}
    targets = _targets(settings)
    unknown = []
    for name in names:
        trained_on = _trained_on(settings, name)
        if not trained_on:
            unknown.append(name)
        for data in trained_on:
            if data not in targets and any(_similarity(data, target) >= SIMILAR for target in targets):
                console.warn(
                    f'{name} was trained on "{data}", nearly the name of this task; '
                    "if it is the same data, add it to aliases in [task]"
                )
    if unknown:
        console.say(f"training data unknown: {', '.join(unknown)}")
    return find_leaks(settings, names)


def find_leaks(settings: Config, names: Sequence[str]) -> dict[str, str]:
    """The same, without a message."""
    if not settings.task.train and not settings.sources:
        return {}
    targets = _targets(settings)
    leaks = {name: [data for data in _trained_on(settings, name) if data in targets] for name in names}
    shared = {name: _shared_domains(settings, name) for name, data in leaks.items() if data}
    return {
        name: f"{'co-' if data[-1] in shared[name] else ''}trained on {data[-1]}"
        for name, data in leaks.items()
        if data
    }


def _targets(settings: Config) -> list[str]:
    return [settings.task.name, *settings.task.aliases]


def _trained_on(settings: Config, name: str) -> tuple[str, ...]:
    for source in settings.sources:
        if source.name == name:
            return source.trained_on or _recorded(settings, source.model).all
    return load_source_record(settings, name).trained_on if has_source_record(settings, name) else ()


def _shared_domains(settings: Config, name: str) -> tuple[str, ...]:
    """The other domains of the network of which a source is one domain."""
    models = [source.model for source in settings.sources if source.name == name]
    if not models and has_source_record(settings, name):
        models = [str(load_source_record(settings, name).content.get("model", ""))]
    return _recorded(settings, models[0]).shared if models else ()


def _recorded(settings: Config, model: str) -> TrainingData:
    return model_folders.read_training_data(model, settings.root)


def _similarity(name: str, other: str) -> float:
    return difflib.SequenceMatcher(None, _letters(name), _letters(other)).ratio()


def _letters(name: str) -> str:
    return "".join(c for c in name.casefold() if c.isalnum())
