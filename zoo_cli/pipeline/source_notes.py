"""What tables say of a source beside its numbers: that it is untrained, or where its weights come from."""

from collections.abc import Iterable

from zoo_cli.config import Config
from zoo_cli.store import weights_origin
from zoo_cli.store.source_record import has_source_record, load_source_record


def note_sources(settings: Config, names: Iterable[str]) -> dict[str, str]:
    """A note on the weights of each source of a workspace, by name; none where there is nothing to say."""
    notes = {name: _note(settings, name) for name in names}
    return {name: note for name, note in notes.items() if note}


def _note(settings: Config, name: str) -> str:
    for source in settings.models:
        if source.name == name:
            return weights_origin.describe_origin(source.model, source.weights)
    # A source that zoo.toml no longer names, or that was named by its spec.
    return load_source_record(settings, name).weights_note if has_source_record(settings, name) else ""
