"""Images that failed and whose failure is not recorded: another process wrote the record, or has not come to them."""

from collections.abc import Mapping, Sequence

from zoo_cli import devices
from zoo_cli.config import Config, Source
from zoo_cli.errors import ContractError
from zoo_cli.images.decoding import BadImage, Geometry
from zoo_cli.images.view_batches import view_batches
from zoo_cli.pipeline.extract_config import ExtractConfig
from zoo_cli.store import failures, part_state
from zoo_cli.store.failures import Failure
from zoo_cli.store.manifest import Images

SMALLEST = Geometry(1, None, "bilinear", 3, 1)
"""An image fails in every geometry alike."""
ATTEMPTS = 10


def record_unexplained(settings: Config, images: Images, sources: Sequence[Source], options: ExtractConfig) -> None:
    """Decode the images that stored parts lack without a recorded failure, and record why they fail.

    Afterwards looks again: another process may have replaced the record meanwhile.
    """
    for _ in range(ATTEMPTS):
        known = failures.load_failures(settings, "extract")
        lacking = part_state.unexplained_ids(settings, sources, images, frozenset(failure.id for failure in known))
        unexplained = _decode(images, lacking, options)
        if not unexplained:
            return
        _record(settings, images, [*known, *unexplained], options)


def record_failed_views(
    settings: Config, images: Images, sources: Sequence[Source], failed: Mapping[int, Failure], options: ExtractConfig
) -> None:
    """Record images, by their rows, that failed while the views of sources were made: before the parts that lack them.

    The plain outputs of a range of images may be those of another shard, which has not come to them yet. Raises
    ContractError for an image whose plain outputs are stored: it has failed since.
    """
    for row, failure in failed.items():
        if any(part_state.has_output(settings, source, images, row) for source in sources):
            raise ContractError(f"{failure.id}: {failure.error}", "zoo split --overwrite leaves it out")
    new = {failure.id: failure for failure in failed.values()}
    known = [failure for failure in failures.load_failures(settings, "extract") if failure.id not in new]
    _record(settings, images, [*known, *new.values()], options)


def _record(settings: Config, images: Images, failed: Sequence[Failure], options: ExtractConfig) -> None:
    total = part_state.count_images(images)
    failures.record_failures(settings, "extract", failed, total, options.max_errors or "0")


def _decode(images: Images, ids: frozenset[str], options: ExtractConfig) -> list[Failure]:
    """Those of some images that cannot be decoded."""
    failed: list[Failure] = []

    def on_bad(row: int, error: BadImage) -> None:
        failed.append(Failure(str(images.ids[row]), images.paths[row], str(error)))

    rows = [row for row, name in enumerate(images.ids) if str(name) in ids]
    for _ in view_batches(images, rows, [SMALLEST], 256, devices.workers(options.workers), on_bad):
        pass
    return failed
