"""Which heads are fitted on which sources, and how they are pooled."""

from dataclasses import dataclass

from zoo_cli import registry, specs
from zoo_cli.config import Source
from zoo_cli.store.view_set import ViewSet


@dataclass(frozen=True)
class HeadLabelConfig:
    """Heads on the stored features of `sources`, by the specs of the tables HEADS and POOLS.

    `views`: stored augmented views, on all of which of the labelled images the heads are then fitted; they answer for
    each.
    """

    head: str = "ridge"
    pool: str = registry.DEFAULT_POOL
    sources: tuple[Source, ...] = ()
    views: ViewSet | None = None

    @property
    def slug(self) -> str:
        """Both specs as a part of a file name."""
        return f"{specs.slug(self.head)}-{specs.slug(self.pool)}"
