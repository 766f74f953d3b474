"""Which augmented views of each image are stored. Importing this loads neither numpy nor torch."""

from dataclasses import dataclass

from zoo_cli.errors import UsageError

VIEW_KINDS = ("flip", "shift", "crop", "affine", "rand")
"""The augmentations of which views can be stored: all that change an image."""
DEFAULT_KIND = "crop"


@dataclass(frozen=True)
class ViewSet:
    """`count` (V) augmented views of each image: view v of a sample is a function of (seed, v, sample).

    `augment`: one of VIEW_KINDS. Raises UsageError for another one, and below one view.
    """

    count: int
    augment: str = DEFAULT_KIND
    seed: int = 0

    def __post_init__(self) -> None:
        if self.count < 1:
            raise UsageError(f"{self.count} views", "expected a whole number from 1 up")
        if self.augment not in VIEW_KINDS:
            raise UsageError(f'no views of the augmentation "{self.augment}"', f"one of: {', '.join(VIEW_KINDS)}")

    def __str__(self) -> str:
        return f"{self.count} {self.augment} view{'s' if self.count > 1 else ''}, seed {self.seed}"

    @property
    def note(self) -> str:
        """A machine-readable remark on what was fitted on them."""
        return f"fitted_on_{self.count}_{self.augment}_views"

    @property
    def command(self) -> str:
        """The command that stores them."""
        return f"extract --views {self.count} --augment {self.augment}"
