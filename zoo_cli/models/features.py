"""features:PATH, stored embeddings or logits of a source that cannot be run here."""

from pathlib import Path
from typing import NoReturn

from zoo_cli.config import Source
from zoo_cli.errors import UsageError


def load(source: Source, rest: str, root: Path, seed: int) -> NoReturn:  # noqa: ARG001 - every provider's signature
    """There is no model to load. Raises UsageError."""
    raise UsageError(
        f"source {source.name}: features:{rest} holds stored features, no model",
        "it can be scored and ranked, not run",
    )
