"""Which heads are fitted on which sources, and how they are pooled."""

from dataclasses import dataclass

from zoo_cli import specs
from zoo_cli.config import Source


@dataclass(frozen=True)
class HeadLabelConfig:
    """Heads on the stored features of `sources`, by the specs of the tables HEADS and POOLS."""

    head: str = "ridge"
    pool: str = "product"
    sources: tuple[Source, ...] = ()

    @property
    def slug(self) -> str:
        """Both specs as a part of a file name."""
        return f"{specs.slug(self.head)}-{specs.slug(self.pool)}"
