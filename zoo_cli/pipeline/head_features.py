"""What heads read of the stored outputs of sources, one source in memory at a time."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import overload

import numpy as np

from zoo_cli.config import Config, Source
from zoo_cli.errors import ContractError
from zoo_cli.heads.standardise import Features, log_ratios
from zoo_cli.heads.view_pools import ViewFeatures
from zoo_cli.store import feature_files, feature_store, view_store
from zoo_cli.store.source_record import load_source_record
from zoo_cli.store.view_set import ViewSet


class LazyFeatures(Sequence[Features]):
    """The features of sources, each loaded on access by `load(position)`."""

    def __init__(self, load: Callable[[int], Features], size: int):
        self.load = load
        self.size = size

    def __len__(self) -> int:
        return self.size

    @overload
    def __getitem__(self, position: int) -> Features: ...
    @overload
    def __getitem__(self, position: slice) -> Sequence[Features]: ...
    def __getitem__(self, position: int | slice) -> Features | Sequence[Features]:
        if isinstance(position, slice):
            return [self.load(i) for i in range(*position.indices(self.size))]
        return self.load(position)

    def __iter__(self) -> Iterator[Features]:
        return (self.load(position) for position in range(self.size))


def load_features(settings: Config, sources: Sequence[Source], ids: np.ndarray) -> LazyFeatures:
    """The standardised features of sources on some images."""
    return LazyFeatures(lambda position: Features.of(load_values(settings, sources[position], ids)), len(sources))


def load_view_features(
    settings: Config, sources: Sequence[Source], ids: np.ndarray, labelled: np.ndarray, views: ViewSet
) -> ViewFeatures:
    """The features of sources on stored views of images (N,), `labelled` (L,) of them with a label.

    A source with stored outputs only has those of the plain view in every view.
    """
    standards: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def load_plain(position: int) -> Features:
        features = Features.of(load_values(settings, sources[position], ids))
        standards[position] = features.mean, features.scale
        return features

    def standardise(position: int, values: np.ndarray) -> Features:
        """Values as the plain ones are standardised, which are read once for that."""
        if position not in standards:
            load_plain(position)
        return Features(values, *standards[position])

    def load_view(view: int, position: int) -> Features:
        return standardise(position, _load_view(settings, sources[position], ids, view))

    def load_labelled(position: int) -> Features:
        values = [_load_view(settings, sources[position], ids[labelled], view) for view in range(views.count)]
        stacked = np.stack(values, axis=1)
        return standardise(position, stacked.reshape(-1, stacked.shape[2]))

    count = len(sources)
    return ViewFeatures(
        LazyFeatures(load_plain, count),
        LazyFeatures(load_labelled, count),
        [LazyFeatures(partial(load_view, view), count) for view in range(views.count)],
    )


def _load_view(settings: Config, source: Source, ids: np.ndarray, view: int) -> np.ndarray:
    if feature_store.is_outputs_only(source):
        return load_values(settings, source, ids)
    folder = view_store.view_folder(view_store.features_folder(settings, source.name), view)
    return load_values(settings, source, ids, folder)


def load_values(settings: Config, source: Source, ids: np.ndarray, folder: Path | None = None) -> np.ndarray:
    """What the head of a source reads (N, D): its embedding, else what `log_ratios` makes of its probabilities.

    `folder`: of its outputs, by default those on the plain view.
    """
    record = load_source_record(settings, source.name)
    if not record.features and not record.classes:
        raise ContractError(
            f"{source.name} stores neither features nor outputs: no head can be fitted",
            f"zoo extract --source {source.name} --overwrite makes them again, or leave it out",
        )
    column = "embedding" if record.features else "logits"
    folder = folder or settings.features(source.name)
    outputs = feature_files.load_outputs(folder, ids=ids, columns=(column,), needed=(column,))
    if outputs.embedding is not None:
        return outputs.embedding
    assert outputs.logits is not None
    if record.output == "sigmoid":
        return outputs.logits
    return log_ratios(feature_files.to_probabilities(outputs.logits, "softmax"))
