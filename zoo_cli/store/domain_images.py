"""The images of the domains of an expert, one after another, in the place of a manifest."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from zoo_cli.errors import ContractError
from zoo_cli.store.manifest import Array, Images


@dataclass
class DomainImages(Images):
    """Images (N,) of one or several domains, with ids that begin with the name of their domain.

    `domain` (N,): the number of the domain of each. `known` (N,): its label among the classes of that domain, also of
    test images, whose `labels` are -1. `embedded`: the encoded images that no file holds, by row.
    """

    domain: Array = field(kw_only=True)
    known: Array = field(kw_only=True)
    embedded: Mapping[int, bytes] = field(kw_only=True)

    def encoded(self, row: int) -> bytes:
        """The encoded image of a row. Raises BadImage if its file cannot be read, ContractError if it changed."""
        try:
            return super().encoded(row)
        except ContractError:
            raise ContractError(
                f"{self.ids[row]} has changed since its domain was read", "run the same command again"
            ) from None

    def truth(self) -> Array:
        """The known labels (N,) of every image."""
        return self.known

    def _stored(self, row: int) -> bytes:
        return self.embedded[row]
