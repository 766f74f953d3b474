"""Sources that have seen the target task take no part: what they know of it they have been told."""

import difflib
from collections.abc import Sequence

from zoo_cli import console
from zoo_cli.config import Config
from zoo_cli.store import feature_store

NEARLY = 0.8


def excluded_sources(settings: Config, names: Sequence[str]) -> dict[str, str]:
    """The sources that have seen the target, each with what it was trained on. Nearly equal names are warned of."""
    if not settings.task.train and not settings.sources:
        return {}
    targets = [settings.task.name, *settings.task.aliases]
    found: dict[str, str] = {}
    unknown = []
    for name in names:
        seen = _trained_on(settings, name)
        if not seen:
            unknown.append(name)
        for data in seen:
            if data in targets:
                found[name] = f"trained on {data}"
            elif any(difflib.SequenceMatcher(None, _bare(data), _bare(target)).ratio() >= NEARLY for target in targets):
                console.warn(
                    f'{name} was trained on "{data}", nearly the name of this task; '
                    "if it is the same data, add it to aliases in [task]"
                )
    if unknown:
        console.say(f"training data unknown: {', '.join(unknown)}")
    return found


def _trained_on(settings: Config, name: str) -> tuple[str, ...]:
    for source in settings.sources:
        if source.name == name:
            return source.trained_on
    path = settings.features(name) / "source.json"
    return tuple(feature_store.load_source_record(settings, name).get("trained_on") or ()) if path.exists() else ()


def _bare(name: str) -> str:
    return "".join(c for c in name.casefold() if c.isalnum())
