"""features:PATH: stored embeddings or logits of a source without a network."""

from pathlib import Path
from typing import NoReturn

from zoo_cli.config import Source
from zoo_cli.errors import UsageError


def load_features(source: Source, rest: str, root: Path, seed: int) -> NoReturn:  # noqa: ARG001 - providers share it
    """Raise UsageError: stored features have no network to load."""
    raise UsageError(
        f"source {source.name}: features:{rest} holds stored features, not a model",
        "it can be scored and ranked, but not run",
    )
