"""How sources are run on images."""

from dataclasses import dataclass

from zoo_cli import devices, ranks, specs
from zoo_cli.errors import UsageError
from zoo_cli.shards import WHOLE, Shard
from zoo_cli.store import failures, gradient_store
from zoo_cli.store.view_set import DEFAULT_KIND, ViewSet

ENGINES = {"ray": "zoo_cli.pipeline.ray_engine:extract_features"}
"""What can run the models in other processes, by name."""


@dataclass(frozen=True)
class ExtractConfig:
    """How sources are run. `projection`: the length that gradients are projected to, "none" to keep them whole.

    `views`: the number of augmented views to store too, made with `augment`, by default crop. `shard`: this job's share
    of the parts. `engine`: what runs the models in other processes, see ENGINES; None: this process does.
    """

    batch_size: str = "auto"
    device: str = "auto"
    precision: str = "fp32"
    workers: int | None = None
    max_errors: str | None = None
    gradients: bool = False
    projection: str | None = None
    views: int = 0
    augment: str | None = None
    overwrite: bool = False
    refresh: bool = False
    dry_run: bool = False
    shard: Shard = WHOLE
    engine: str | None = None

    def check(self) -> None:
        """Raise UsageError for a value outside its range, before any work."""
        devices.check_device_name(self.device)
        devices.check_precision(self.precision)
        _ = self.batch
        failures.parse_limit(self.max_errors or "0", 0)
        devices.workers(self.workers)
        if self.gradients:
            gradient_store.check_projection(self.projection or gradient_store.PROJECTION)
        elif self.projection is not None:
            raise UsageError("--projection applies to gradients", "add --gradients")
        if self.views < 0:
            raise UsageError(f"--views is {self.views}", "expected a whole number from 1 up")
        if self.augment is not None and not self.views:
            raise UsageError("--augment is of stored views", "add --views N")
        _ = self.view_set(0)
        if self.engine is not None:
            self._check_engine(self.engine)
        if not self.shard.is_whole:
            if self.overwrite:
                raise UsageError(
                    "--overwrite and --shard cannot be combined: no job knows when the others are done",
                    "--refresh makes stale parts again; to make all of them again, remove their folder first",
                )
            if self.gradients:
                raise UsageError(
                    "--gradients and --shard cannot be combined: the probe set is not divided",
                    "run zoo extract --gradients once, when the shards are done",
                )

    def _check_engine(self, engine: str) -> None:
        if engine not in ENGINES:
            raise specs.nearest("engine", engine, ENGINES)
        if not self.shard.is_whole or ranks.world_size() > 1:
            raise UsageError(f"--engine {engine} divides the parts itself", "leave out --shard, and torchrun")
        if self.views or self.gradients:
            raise UsageError(
                f"--engine {engine} makes features and logits alone", "store --views in shards, --gradients in one job"
            )
        if self.device.startswith("cuda:"):
            raise UsageError(f"--device {self.device}: the engine chooses the card", "use --device cuda")

    def view_set(self, seed: int) -> ViewSet | None:
        """The augmented views to store, None without any. Raises UsageError for an unknown augmentation."""
        return ViewSet(self.views, self.augment or DEFAULT_KIND, seed) if self.views else None

    @property
    def batch(self) -> int | None:
        """Images per forward pass; None: chosen automatically. Raises UsageError."""
        if self.batch_size == "auto":
            return None
        if not self.batch_size.isdigit() or int(self.batch_size) < 1:
            raise UsageError(f'--batch-size "{self.batch_size}"', "expected a whole number or auto")
        return int(self.batch_size)
