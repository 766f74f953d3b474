"""What `zoo split` saw that the manifest does not hold: errors/split.seen.json, for `zoo report`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from zoo_cli.config import Config
from zoo_cli.store import files, seals
from zoo_cli.store.records import build_record

FILE = "split.seen.json"


@dataclass(frozen=True)
class _Document:
    """The content of the file: one line for each kind of thing that was seen."""

    lines: tuple[str, ...]


def notes_file(settings: Config) -> Path:
    """Where the notes are, if there are any."""
    return settings.errors("split").with_name(FILE)


def notes_text(lines: Sequence[str]) -> str:
    """The content of the file, with its seal."""
    return files.to_json_text(seals.seal_document({"lines": list(lines)}))


def load_notes(settings: Config) -> tuple[str, ...]:
    """The lines, none without the file. Raises ContractError for a damaged one."""
    path = notes_file(settings)
    if not path.exists():
        return ()
    return build_record(_Document, files.read_json(path), path, "zoo split --overwrite writes it again").lines
